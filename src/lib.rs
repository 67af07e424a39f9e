//! Every ThinLTO back end of a build, in one process.
//!
//! Data moves one way. A front door ([`front`]) turns what a build left on
//! disk into a [`Plan`]; [`run`] takes it through the stages:
//!
//! ```text
//!   Plan ─ flags ──── clang's driver library maps each distinct flag set once
//!        └ prepare ── every file mapped once, checked, imports resolved
//!           └ schedule ── work-stealing pool, longest first
//!              └ codegen ── clang's own backend compile, in memory
//!                 └ emit ── whole objects under their final names
//! ```
//!
//! The front door then links ([`link`]). All of LLVM is behind `llvm`, and
//! everything of the kernel's is behind [`front::kbuild`].
//!
//! ```no_run
//! # fn main() -> Result<(), Vec<backlto::Error>> {
//! use backlto::{Command, Job, Options, Plan, Silent};
//!
//! let flags = ["clang", "--target=x86_64-linux-gnu", "-O2"].map(String::from);
//! let plan = Plan {
//!     jobs: vec![Job {
//!         directory: "/src/hello".into(),
//!         module: "main.o".into(),
//!         index: Some("main.o.thinlto.bc".into()),
//!         output: "main.native.o".into(),
//!         command: Command::Flags(flags.as_slice().into()),
//!     }],
//! };
//! let reports = backlto::run(&plan, &Options::default(), &Silent)?;
//! assert!(reports.iter().all(|job| job.result.is_ok()));
//! # Ok(())
//! # }
//! ```

mod codegen;
mod emit;
pub mod error;
mod flags;
pub mod front;
mod input;
pub mod link;
mod lld_names;
mod llvm;
mod plan;
mod prepare;
pub mod report;
mod schedule;
mod sys;

use std::num::NonZeroUsize;
use std::sync::Mutex;

pub use codegen::JobReport;
pub use error::{Error, Result};
pub use llvm::BUILT_VERSION;
pub use plan::{Command, Job, Plan};

/// How to run a plan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Backends at a time; all cores when not given.
    pub workers: Option<NonZeroUsize>,
}

impl Options {
    fn workers(&self) -> NonZeroUsize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

/// Is told what happens, from any worker thread, as it happens.
pub trait Observer: Sync {
    /// Job `number` of the plan was given to a worker.
    fn started(&self, number: usize, job: &Job);
    /// Job `number` ended, well or not.
    fn finished(&self, number: usize, job: &Job, report: &JobReport);
}

/// An [`Observer`] that does not care.
pub struct Silent;

impl Observer for Silent {
    fn started(&self, _: usize, _: &Job) {}
    fn finished(&self, _: usize, _: &Job, _: &JobReport) {}
}

/// Compiles every job of `plan` and writes its objects.
///
/// Calls from several threads take turns, since LLVM's options are the
/// process's.
///
/// Reports come in plan order. A job that fails does not stop the others, and
/// leaves the output that was there before.
///
/// # Errors
/// When the plan, its flags or its files do not fit together, all the reasons
/// that could be found; then no output was touched. Also when the jobs cannot
/// be started.
pub fn run(
    plan: &Plan,
    options: &Options,
    observer: &dyn Observer,
) -> std::result::Result<Vec<JobReport>, Vec<Error>> {
    llvm::start().map_err(|e| vec![e])?;
    let flags = flags::map(plan)?;
    let mut inputs = input::Inputs::default();
    let readers = rayon::ThreadPoolBuilder::new()
        .num_threads(options.workers().get())
        .build()
        .map_err(|e| {
            vec![Error::new(error::Kind::Environment, "cannot start threads").because(e)]
        })?;
    let tasks = readers.install(|| prepare::prepare(plan, &flags, &mut inputs))?;
    drop(readers);

    let reports: Vec<Mutex<Option<JobReport>>> =
        plan.jobs.iter().map(|_| Mutex::default()).collect();
    schedule::run(tasks, options.workers(), |task| {
        observer.started(task.number, task.job);
        let report = codegen::run(task);
        observer.finished(task.number, task.job, &report);
        *reports[task.number]
            .lock()
            .unwrap_or_else(|e| e.into_inner()) = Some(report);
    })
    .map_err(|e| vec![e])?;
    Ok(reports
        .into_iter()
        .filter_map(|report| report.into_inner().unwrap_or_else(|e| e.into_inner()))
        .collect())
}

/// Whether jobs read the mapped files of the plan. When a program that embeds
/// this library does not export its symbols to libclang-cpp, LLVM opens the
/// files again by name: the bytes are the same, some messages of LLVM go to
/// standard error instead of a [`JobReport`].
pub fn shares_inputs() -> bool {
    llvm::seams_active()
}

/// Makes this process outlive a crash of LLVM in a job, LLVM's fatal errors,
/// and input files that shrink while they are mapped. For programs, not for
/// libraries: it installs signal handlers and LLVM's fatal-error handler.
///
/// # Errors
/// When the LLVM that is loaded is not the one built against.
pub fn own_process() -> Result<()> {
    llvm::start()?;
    llvm::contain_crashes();
    sys::guard_mappings();
    Ok(())
}

/// Ends the process. After a crash of LLVM in a job, its clean-up at exit could
/// wait for ever for a lock that the job held, so it is left out.
pub fn exit(status: i32) -> ! {
    if codegen::has_crashed() {
        sys::exit_now(status);
    }
    std::process::exit(status);
}

/// The job that a clang command line stands for, compiler's name first, when
/// run in `directory`.
///
/// # Errors
/// When clang's driver does not accept it, or it is not one backend compile.
pub fn job_from_command_line(args: &[String], directory: std::path::PathBuf) -> Result<Job> {
    llvm::start()?;
    flags::job_from_command_line(args, directory)
}
