//! What the doors have in common: settings, the engine with its reporter, locks,
//! and how they end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::audit;
use crate::console;
use crate::interrupt;
use crate::linker::Linker;
use crate::report::{Reporter, Verbosity};
use crate::runs::outlets::Outlets;
use crate::summary::Caches;
use backlto::error::{Error, Errors, Kind, Result};
use backlto::files::Files;
use backlto::incremental::Record;
use backlto::{Engine, Job, JobReport, Options, Plan};

/// What every door takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// How to run the backends.
    pub(crate) options: Options,
    /// How much to say.
    pub(crate) verbosity: Verbosity,
    /// The linker chosen by the user.
    pub(crate) linker: Option<PathBuf>,
    /// Print what happens as JSON, for programs.
    pub(crate) json: bool,
    /// Where a trace of the run goes.
    pub(crate) trace: Option<PathBuf>,
    /// Where a report of the run goes: a file, or a directory that gets one.
    pub(crate) report: Option<PathBuf>,
    /// Without the cache that [`Options::cache`] names, go on: nobody asked for it,
    /// or a link must not fail for it.
    pub(crate) cache_is_optional: bool,
    /// Without the engine that [`Options::remote`] names, go on: a link must not fail
    /// for it.
    pub(crate) remote_is_optional: bool,
    /// The object of which there must be a reproducer in the end.
    pub(crate) saves: Option<PathBuf>,
    /// Say in one line what the backends of a link came to.
    pub(crate) one_line: bool,
}

impl Settings {
    /// Finds the linker, and warns when its version does not fit. The linker is
    /// asked for that, which takes as long as a small job: only doors that link do it.
    ///
    /// # Errors
    /// When there is none, or what was chosen is not LLD.
    pub(crate) fn find_linker(&self) -> Result<Linker> {
        let linker = Linker::find(self.linker.as_deref())?;
        if let Some(text) = linker.mismatch() {
            console::warning(&text);
        }
        Ok(linker)
    }

    /// These settings for what stands in a linker's place: no link fails for want of a
    /// cache, or of a reproducer that another link may make.
    #[must_use]
    pub(crate) fn in_linkers_place(mut self) -> Settings {
        self.cache_is_optional = true;
        self.remote_is_optional = true;
        self.saves = None;
        self
    }

    /// These settings for a run that is part of a link, which prints nothing when all is
    /// well, as linkers do.
    #[must_use]
    pub(crate) fn within_link(self) -> Settings {
        let mut settings = self.in_linkers_place();
        settings.one_line =
            settings.verbosity == Verbosity::Normal && !settings.json && wants_line();
        if settings.verbosity == Verbosity::Normal {
            settings.verbosity = Verbosity::Progress;
        }
        settings
    }
}

/// Whether the backends of a link are to end with a line that says what they came to:
/// as BACKLTO_SUMMARY says, else where somebody looks on.
fn wants_line() -> bool {
    match std::env::var_os("BACKLTO_SUMMARY").filter(|value| !value.is_empty()) {
        Some(value) => value != "0",
        None => std::io::stderr().is_terminal(),
    }
}

/// What the stages of a door, or of several doors at once, have in common.
pub(crate) struct Session {
    engine: Engine,
    /// Tells the user what happens.
    pub(crate) reporter: Reporter,
    /// See [`Settings::saves`].
    saves: Option<PathBuf>,
    is_saved: AtomicBool,
    one_line: bool,
    /// Where what happened goes.
    outlets: Outlets,
}

/// What else there is to know of the backends of a plan.
pub(crate) struct About<'a> {
    /// Whose line of the summary they count for.
    pub(crate) group: Option<&'a str>,
    /// Names the object of a job.
    pub(crate) label: &'a dyn Fn(&Job) -> String,
    /// The file of the record, beside which what happened is kept; `None` for the backends
    /// of a link that ld.lld runs, which has none.
    pub(crate) record: Option<&'a Path>,
}

impl Session {
    /// Starts the engine as `settings` say.
    ///
    /// # Errors
    /// When the engine cannot start; for want of a cache only if that was asked for.
    pub(crate) fn new(settings: &Settings) -> Result<Session> {
        let engine = start(settings)?;
        if let Some(reason) = engine.cache_is_read_only()
            && settings.verbosity == Verbosity::Verbose
        {
            console::warning(&format!("objects are not kept: {reason}"));
        }
        if let Some(audit) = &settings.options.audit
            && settings.verbosity >= Verbosity::Normal
        {
            console::note(&audit::announcement(audit));
        }
        let reporter = Reporter::new(settings.verbosity, settings.json, settings.trace.clone());
        reporter.begin(settings.options.audit.as_ref());
        Ok(Session {
            engine,
            saves: settings.saves.clone(),
            is_saved: AtomicBool::new(false),
            one_line: settings.one_line,
            reporter,
            outlets: Outlets::new(settings.report.clone()),
        })
    }

    /// Runs the backends of `plan` that are not up to date by `record`, says how each
    /// ended, and notes it for a report.
    ///
    /// # Errors
    /// When the plan cannot be run, or a job failed; [`Options::keep_going`] says what
    /// became of the others.
    pub(crate) fn run_backends(
        &self,
        plan: &Plan,
        record: &mut Record,
        files: &Files,
        about: &About<'_>,
    ) -> Outcome {
        let observer = self
            .reporter
            .follow(plan.jobs.len(), about.group, about.label);
        let reports = self.engine.run_recorded(plan, record, files, &observer)?;
        if self.outlets.open(about.record, &reports) {
            observer.note(plan, &reports, record, about.record.is_none());
        }
        if say_reproducers(&reports) {
            self.is_saved.store(true, Ordering::Relaxed);
        }
        match reports.iter().any(|report| report.result.is_err()) {
            true => Err(Failure::Reported),
            false => Ok(()),
        }
    }

    /// Runs `linker` with `args` in `directory`; `doing` names the step.
    ///
    /// # Errors
    /// When the linker cannot be run or does not succeed.
    pub(crate) fn link<S: AsRef<OsStr>>(
        &self,
        linker: &Linker,
        directory: &Path,
        args: &[S],
        doing: &str,
    ) -> Result<()> {
        let begin = Instant::now();
        let linked = linker.run(directory, args, doing);
        self.reporter.step_ended(doing, directory, begin);
        linked
    }

    /// Ends the use of the caches, and prints the summary if one is wanted.
    pub(crate) fn finish(self) {
        self.end(Reporter::finish);
    }

    /// Ends the use of the caches without a summary, for a step of somebody else's
    /// build.
    pub(crate) fn finish_quietly(self) {
        self.end(|reporter, _| reporter.end());
    }

    /// Ends the use of the caches, writes what happened, and has `last` say it.
    fn end(self, last: impl FnOnce(&Reporter, &Caches)) {
        if let Some(object) = self.saves.filter(|_| !self.is_saved.into_inner()) {
            let text = format!("there is no reproducer of `{}`", object.display());
            console::lost_output(&Error::new(Kind::Plan, text).because("no job makes it"));
        }
        let workers = self.engine.workers().get();
        let caches = finish_caches(self.engine);
        self.outlets
            .write(|| self.reporter.take_run(workers, &caches));
        last(&self.reporter, &caches);
        if self.one_line {
            self.reporter.say_in_one_line(&caches);
        }
    }
}

/// Starts an engine as `settings` say, without the caches that it can do without if
/// those cannot be used: without a place to keep objects, they are compiled.
///
/// # Errors
/// As [`Engine::new`].
pub(crate) fn start(settings: &Settings) -> Result<Engine> {
    let options = &settings.options;
    let error = match engine(options) {
        Ok(engine) => return Ok(engine),
        Err(e) => e,
    };
    let fewer = [(true, false), (false, true), (true, true)];
    for (no_remote, no_cache) in fewer {
        let is_allowed = (!no_remote || settings.remote_is_optional && options.remote.is_some())
            && (!no_cache || settings.cache_is_optional && options.cache.is_some());
        let less = Options {
            remote: options.remote.clone().filter(|_| !no_remote),
            cache: options.cache.clone().filter(|_| !no_cache),
            ..options.clone()
        };
        if is_allowed && let Ok(engine) = engine(&less) {
            console::done_without(&error);
            return Ok(engine);
        }
    }
    Err(error)
}

/// Starts an engine whose runs end when a signal asks for it.
///
/// # Errors
/// As [`Engine::new`].
fn engine(options: &Options) -> Result<Engine> {
    let engine = Engine::new(options)?;
    interrupt::cancels(engine.canceller());
    Ok(engine)
}

/// Says where the reproducers are that were asked for, and whether there are any. The
/// error of a crash says where that one is.
pub(crate) fn say_reproducers(reports: &[JobReport]) -> bool {
    let mut any = false;
    for report in reports {
        let Some(path) = &report.reproducer else {
            continue;
        };
        any = true;
        if report.result.is_ok() {
            console::note(&format!("`{}` is the reproducer asked for", path.display()));
        }
    }
    any
}

/// Writes `record` to `path` for the next run. Only a warning says that it could
/// not be done.
pub(crate) fn keep_record(record: &Record, path: &Path) {
    if let Err(e) = record.write(path) {
        console::warning(&format!("the next run will not know of this one: {e}"));
    }
}

/// Ends the use of the caches of `engine`, and warns of what went wrong with them.
/// Returns what was counted.
pub(crate) fn finish_caches(mut engine: Engine) -> Caches {
    let remote = engine.finish_remote();
    let cache = engine.finish();
    let troubles = [
        ("cache", cache.as_ref().and_then(|c| c.first_error.as_ref())),
        (
            "remote cache",
            remote.as_ref().and_then(|r| r.first_trouble.as_ref()),
        ),
    ];
    for (what, reason) in troubles {
        if let Some(reason) = reason {
            console::warning(&format!(
                "the {what} could not be used as it should: {reason}"
            ));
        }
    }
    if let Some(reason) = remote.as_ref().and_then(|r| r.closed.as_ref()) {
        console::warning(&format!("the remote engine was left alone: {reason}"));
    }
    Caches { cache, remote }
}

/// Waits until no other backlto works in any of `directories`, and keeps others
/// out until the result is dropped: two thin links at once would write the same
/// indexes. The lock is on the directory itself, so it leaves no file behind.
///
/// # Errors
/// When a directory cannot be opened.
pub(crate) fn lock<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Result<Vec<File>> {
    // Everybody locks in one order, so that nobody waits in a circle.
    let ordered: BTreeSet<PathBuf> = directories
        .into_iter()
        .map(|directory| directory.canonicalize().unwrap_or(directory.to_owned()))
        .collect();
    ordered
        .iter()
        .map(|directory| lock_one(directory))
        .collect()
}

/// Waits until nobody else holds the lock of `directory`, and holds it.
fn lock_one(directory: &Path) -> Result<File> {
    let failed = |e: std::io::Error| {
        Error::new(
            Kind::Environment,
            format!("cannot work in `{}`", directory.display()),
        )
        .because(e)
    };
    let file = File::open(directory).map_err(failed)?;
    // A file system without locks answers otherwise: then nobody can be waited
    // for.
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    {
        console::warning(&format!(
            "waiting for another backlto in `{}`",
            directory.display()
        ));
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
    }
    Ok(file)
}

/// How a door ended.
pub(crate) type Outcome = std::result::Result<(), Failure>;

/// Why a door did not reach its goal.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed, and the user has been told why.
    Reported,
    /// It failed because of these, which the user has not been told.
    Errors(Errors),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Errors(error.into())
    }
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Failure {
        Failure::Errors(errors)
    }
}

/// `path` made absolute.
///
/// # Errors
/// When there is no working directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(
            Kind::Environment,
            format!("cannot resolve `{}`", path.display()),
        )
        .because(e)
    })
}
