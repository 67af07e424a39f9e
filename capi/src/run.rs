//! Runs plans, and reports what came of them.

use std::ffi::{CString, c_char, c_void};

use backlto::{CacheOptions, Diagnostic, Engine, Job, JobReport, Observer, Options, Severity};

use crate::guard::{
    Grows, Result, backlto_bytes, backlto_error, c_text, free, free_with, grown, guard_new,
    required, text,
};
use crate::plan::backlto_plan;

/// Workers that run plans, several at a time if several threads ask.
pub struct backlto_engine(Engine);

/// Says how to run plans.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_engine_options {
    /// sizeof(struct backlto_engine_options)
    pub struct_size: usize,
    /// Back ends at a time; one for each core when zero.
    pub workers: usize,
    /// The directory of a cache of objects; none when NULL.
    pub cache_directory: *const c_char,
    /// How large and old that may get, as for ld.lld's --thinlto-cache-policy=; its
    /// default when NULL.
    pub cache_policy: *const c_char,
    /// Whether jobs of a run still start once one of it has failed.
    pub keep_going: bool,
    /// How many bytes of memory jobs may take together, by an estimate; as much as
    /// the system has when zero. Those that do not fit wait.
    pub memory_limit: u64,
}

// SAFETY: it does start with its size, and all may be zero.
unsafe impl Grows for backlto_engine_options {}

/// Says how bad a diagnostic is.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum backlto_severity {
    /// Text that clang gives no level.
    BACKLTO_SEVERITY_TEXT = 0,
    /// Says more about the one before it.
    BACKLTO_SEVERITY_NOTE = 1,
    /// Says what an optimisation did.
    BACKLTO_SEVERITY_REMARK = 2,
    /// Warns; the object is there all the same.
    BACKLTO_SEVERITY_WARNING = 3,
    /// Says why there is no object.
    BACKLTO_SEVERITY_ERROR = 4,
}

/// Is told what happens, by the thread that called backlto_run(). Any function may
/// be NULL. Jobs are numbered in the order of the plan, from 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_observer {
    /// sizeof(struct backlto_observer)
    pub struct_size: usize,
    /// Handed to each function.
    pub context: *mut c_void,
    /// A worker has taken up a job.
    pub started: Option<unsafe extern "C" fn(context: *mut c_void, job: usize, worker: usize)>,
    /// The compiler says something of a job: all together, before it has finished.
    /// The text lives as long as the call.
    pub diagnostic: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            job: usize,
            severity: backlto_severity,
            text: *const c_char,
        ),
    >,
    /// A job has ended, well or not.
    pub finished: Option<unsafe extern "C" fn(context: *mut c_void, job: usize, ok: bool)>,
}

// SAFETY: it does start with its size, and all may be zero.
unsafe impl Grows for backlto_observer {}

impl Observer for backlto_observer {
    fn started(&self, number: usize, worker: usize, _: &Job) {
        if let Some(tell) = self.started {
            // SAFETY: what the caller of `backlto_run` gave, with its own context.
            unsafe { tell(self.context, number, worker) };
        }
    }

    fn diagnostic(&self, number: usize, _: &Job, diagnostic: &Diagnostic) {
        if let Some(tell) = self.diagnostic {
            let severity = match diagnostic.severity {
                Severity::Note => backlto_severity::BACKLTO_SEVERITY_NOTE,
                Severity::Remark => backlto_severity::BACKLTO_SEVERITY_REMARK,
                Severity::Warning => backlto_severity::BACKLTO_SEVERITY_WARNING,
                Severity::Error => backlto_severity::BACKLTO_SEVERITY_ERROR,
                _ => backlto_severity::BACKLTO_SEVERITY_TEXT,
            };
            let text = c_text(&diagnostic.text);
            // SAFETY: what the caller of `backlto_run` gave; the text outlives the call.
            unsafe { tell(self.context, number, severity, text.as_ptr()) };
        }
    }

    fn finished(&self, number: usize, _: usize, _: &Job, report: &JobReport) {
        if let Some(tell) = self.finished {
            // SAFETY: what the caller of `backlto_run` gave, with its own context.
            unsafe { tell(self.context, number, report.result.is_ok()) };
        }
    }
}

/// Tells how each job of a plan ended.
pub struct backlto_reports(Vec<Report>);

struct Report {
    object: Vec<u8>,
    diagnostics: CString,
    error: Option<backlto_error>,
}

impl From<JobReport> for Report {
    fn from(report: JobReport) -> Report {
        Report {
            object: report.object.unwrap_or_default(),
            diagnostics: c_text(&report.diagnostics),
            error: report.result.err().map(Into::into),
        }
    }
}

/// Reads C's options.
///
/// # Safety
/// `options` are as the header wants them.
unsafe fn options(options: *const backlto_engine_options) -> Result<Options> {
    // SAFETY: promised by the caller.
    let given = unsafe { grown(options) }?;
    // SAFETY: promised by the caller.
    let (directory, policy) = unsafe { (text(given.cache_directory)?, text(given.cache_policy)?) };
    Ok(Options {
        workers: given.workers.try_into().ok(),
        cache: directory.map(|directory| CacheOptions {
            policy: policy.unwrap_or_default(),
            ..CacheOptions::new(directory)
        }),
        keep_going: given.keep_going,
        memory_limit: Some(given.memory_limit).filter(|limit| *limit > 0),
        ..Options::default()
    })
}

/// Starts the workers. `options` may be NULL.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_engine_new(
    options: *const backlto_engine_options,
    error: *mut *mut backlto_error,
) -> *mut backlto_engine {
    // SAFETY: promised by the caller.
    unsafe {
        guard_new(error, || {
            let options = self::options(options)?;
            Ok(backlto_engine(Engine::new(&options)?))
        })
    }
}

/// Ends all runs soon: jobs that have not started end with BACKLTO_KIND_CANCELLED,
/// now and in runs to come. Callbacks may call it.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_engine_cancel(engine: *const backlto_engine) {
    // SAFETY: promised by the caller.
    if let Some(engine) = unsafe { engine.as_ref() } {
        engine.0.cancel();
    }
}

/// Waits for the workers and frees an engine that no thread uses any more. What is too
/// old or too much for the cache's policy is removed, when it is time to.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_engine_free(engine: *mut backlto_engine) {
    // SAFETY: promised by the caller.
    unsafe { free_with(engine, |engine| drop(engine.0.finish())) }
}

/// Compiles every job of `plan`. `observer` may be NULL. NULL is returned when the
/// plan, its flags or its files do not fit together; a job that fails says so in
/// its report, `keep_going` says what becomes of the others.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_run(
    engine: *const backlto_engine,
    plan: *const backlto_plan,
    observer: *const backlto_observer,
    error: *mut *mut backlto_error,
) -> *mut backlto_reports {
    // SAFETY: promised by the caller.
    unsafe {
        guard_new(error, || {
            let (engine, plan) = (required(engine, "engine")?, required(plan, "plan")?);
            let observer = grown(observer)?;
            let reports = engine.0.run(&plan.0, &observer)?;
            Ok(backlto_reports(
                reports.into_iter().map(Into::into).collect(),
            ))
        })
    }
}

/// Finds the report of a job.
///
/// # Safety
/// See the crate.
unsafe fn report<'a>(reports: *const backlto_reports, job: usize) -> Option<&'a Report> {
    // SAFETY: promised by the caller.
    unsafe { reports.as_ref() }.and_then(|reports| reports.0.get(job))
}

/// Counts the jobs that there were.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_reports_count(reports: *const backlto_reports) -> usize {
    // SAFETY: promised by the caller.
    unsafe { reports.as_ref() }.map_or(0, |reports| reports.0.len())
}

/// Gives the object of a job, if the plan asks for it in memory and the job went well.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_reports_object(
    reports: *const backlto_reports,
    job: usize,
) -> backlto_bytes {
    // SAFETY: promised by the caller.
    let report = unsafe { report(reports, job) };
    backlto_bytes::of(report.map_or(&[], |report| &report.object))
}

/// Gives what clang would have printed for a job.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_reports_diagnostics(
    reports: *const backlto_reports,
    job: usize,
) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { report(reports, job) }.map_or(c"".as_ptr(), |report| report.diagnostics.as_ptr())
}

/// Says why a job gave no object; NULL when it did. It belongs to the reports.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_reports_error(
    reports: *const backlto_reports,
    job: usize,
) -> *const backlto_error {
    // SAFETY: promised by the caller.
    let error = unsafe { report(reports, job) }.and_then(|report| report.error.as_ref());
    error.map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Frees reports.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_reports_free(reports: *mut backlto_reports) {
    // SAFETY: promised by the caller.
    unsafe { free(reports) }
}
