//! Every ThinLTO back end of a build, in one process.
//!
//! Data moves one way. A front door ([`front`]) turns what a build left on
//! disk into a [`Plan`]; [`Engine::run`] takes it through the stages:
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
//! # let fail = |e| vec![e];
//! use backlto::{Command, Engine, Job, Options, Plan, Silent};
//!
//! let flags = ["clang", "--target=x86_64-linux-gnu", "-O2"].map(String::from);
//! let plan = Plan {
//!     jobs: vec![Job {
//!         directory: "/src/hello".into(),
//!         module: "main.o".into(),
//!         index: Some("main.o.thinlto.bc".into()),
//!         output: "main.native.o".into(),
//!         command: Command::Flags(flags.as_slice().into()),
//!         post: None,
//!     }],
//! };
//! let engine = Engine::new(&Options::default()).map_err(fail)?;
//! let reports = engine.run(&plan, &Silent)?;
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use codegen::JobReport;
pub use error::{Error, Result};
pub use llvm::BUILT_VERSION;
pub use plan::{Command, Job, Plan};
use schedule::Event;

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

/// Is told what happens, in the order in which it happens, by the thread that
/// called [`Engine::run`].
pub trait Observer {
    /// Job `number` of the plan was given to worker `worker`.
    fn started(&self, number: usize, worker: usize, job: &Job);
    /// Job `number` ended, well or not.
    fn finished(&self, number: usize, worker: usize, job: &Job, report: &JobReport);
}

/// An [`Observer`] that does not care.
pub struct Silent;

impl Observer for Silent {
    fn started(&self, _: usize, _: usize, _: &Job) {}
    fn finished(&self, _: usize, _: usize, _: &Job, _: &JobReport) {}
}

/// Workers that compile plans, several at a time if several threads ask.
pub struct Engine {
    pool: schedule::Pool,
    readers: rayon::ThreadPool,
    cancelled: Arc<AtomicBool>,
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the LLVM that is loaded is not the one built against, or the system
    /// gives no threads.
    pub fn new(options: &Options) -> Result<Engine> {
        llvm::start()?;
        let workers = options.workers();
        let readers = rayon::ThreadPoolBuilder::new()
            .num_threads(workers.get())
            .build()
            .map_err(|e| Error::new(error::Kind::Environment, "cannot start threads").because(e))?;
        Ok(Engine {
            pool: schedule::Pool::new(workers)?,
            readers,
            cancelled: Arc::default(),
        })
    }

    /// Compiles every job of `plan` and writes its objects.
    ///
    /// Threads may run plans at the same time: their jobs share the workers,
    /// the longest of all first.
    ///
    /// Reports come in plan order. A job that fails does not stop the others,
    /// and leaves the output that was there before.
    ///
    /// # Errors
    /// When the plan, its flags or its files do not fit together, all the
    /// reasons that could be found; then no output was touched.
    pub fn run(
        &self,
        plan: &Plan,
        observer: &dyn Observer,
    ) -> std::result::Result<Vec<JobReport>, Vec<Error>> {
        let flags = flags::map(plan)?;
        let tasks = self.readers.install(|| prepare::prepare(plan, &flags))?;
        let mut reports: Vec<Option<JobReport>> = plan.jobs.iter().map(|_| None).collect();
        let (events, happened) = crossbeam::channel::unbounded();
        let mut running = tasks.len();
        self.pool.submit(tasks, &events, &self.cancelled);
        while running > 0 {
            match happened.recv() {
                Ok(Event::Started { number, worker }) => {
                    observer.started(number, worker, &plan.jobs[number]);
                }
                Ok(Event::Finished {
                    number,
                    worker,
                    report,
                }) => {
                    observer.finished(number, worker, &plan.jobs[number], &report);
                    reports[number] = Some(report);
                    running -= 1;
                }
                Err(_) => unreachable!("this function holds a sender"),
            }
        }
        Ok(reports.into_iter().flatten().collect())
    }

    /// Ends all runs soon: jobs that have not started end with
    /// [`error::Kind::Cancelled`], now and in runs to come. Any thread may call it.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
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
