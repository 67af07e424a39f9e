//! Runs every ThinLTO back end of a build in one process.
//!
//! Data moves one way. Whoever knows what a build has left on disk, or has modules
//! in memory, makes a [`Plan`]; [`Engine::run`] takes it through the stages:
//!
//! ```text
//!   Plan ─ flags ──── clang's driver library maps each distinct flag set once
//!        └ prepare ── every file mapped once, checked, imports resolved
//!           └ schedule ── work-stealing pool, longest first
//!              └ codegen ── clang's own backend compile, in memory
//!                 └ emit ── whole objects under their final names
//! ```
//!
//! A [`Plan`] has [`Job`]s, each with a [`CompilerCommand`]. An [`Engine`] runs
//! plans, tells an [`Observer`] what happens, and returns a [`JobReport`] for each
//! job. What the host of this library has in memory need not go through files: see
//! [`embed`]. Objects of earlier builds are kept in a [`cache`], and a
//! [record](incremental) says what is up to date. All of LLVM is behind a private
//! module.
//!
//! ```no_run
//! use backlto::{CompilerCommand, Engine, Job, Options, Plan, Silent};
//!
//! # fn main() -> Result<(), backlto::Errors> {
//! let command = CompilerCommand::flags(["clang", "--target=x86_64-linux-gnu", "-O2"]);
//! let plan = Plan {
//!     jobs: vec![Job {
//!         directory: "/src/hello".into(),
//!         ..Job::new("main.o", command)
//!     }],
//!     ..Plan::default()
//! };
//! let engine = Engine::new(&Options::default())?;
//! let reports = engine.run(&plan, &Silent)?;
//! assert!(reports.iter().all(|job| job.result.is_ok()));
//! # Ok(())
//! # }
//! ```

// The macros that print panic when nobody reads any more.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod asm;
mod audit;
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "nothing is compiled elsewhere then")
)]
mod away;
mod batch;
pub mod bitcode;
mod block_list;
pub mod cache;
mod cancel;
mod choice;
mod codegen;
mod compile;
pub mod dependency;
pub mod digest;
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "nothing is found elsewhere then")
)]
mod elsewhere;
pub mod embed;
pub mod emit;
pub mod errands;
pub mod error;
mod execute;
pub mod files;
mod flag_key;
mod flags;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod hands;
pub mod identity;
pub mod incremental;
mod llvm;
mod memory;
mod named;
mod observer;
mod options;
mod origin;
mod plan;
mod portable;
mod prepare;
mod price;
mod recheck;
pub mod remote;
mod report;
pub mod reproducer;
mod row;
mod run;
mod schedule;
pub mod simulate;
mod sys;
pub mod worker;

/// Holds the examples of README.md, which are run as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use audit::Audit;
#[doc(inline)]
pub use audit::AuditOptions;
use cache::Cache;
#[doc(inline)]
pub use cancel::Canceller;
#[doc(inline)]
pub use embed::{
    CodegenOptions, Diagnostic, Linkage, Module, Severity, ThinLinkOptions, thin_link,
    thin_lto_bitcode,
};
#[doc(inline)]
pub use error::{Error, Errors, Result};
use files::Files;
use incremental::record::Record;
pub use llvm::BUILT_VERSION;
pub use observer::{Observer, Silent};
#[doc(inline)]
pub use options::{CacheOptions, Options};
pub use origin::Origin;
pub use plan::{CompilerCommand, Job, Plan};
use remote::RemoteCache;
#[doc(inline)]
pub use remote::RemoteOptions;
pub use report::JobReport;
#[doc(inline)]
pub use reproducer::ReproducerOptions;
use reproducer::Reproducers;
use run::Run;
pub use simulate::{Simulation, simulate};

/// Compiles plans with its workers, several plans at a time if several threads ask.
///
/// A host may use the same LLVM. Its handlers stay ([`own_process`] is for
/// programs). Its LLVM options stay in force, for its own work and for jobs whose
/// flags have none (`-mllvm`). A process has one set of them for its life: the
/// host's, if it has set any, else that of the first job. Jobs with another set go
/// to worker processes ([`Options::helper`]). While a host's own are in force
/// nothing is cached, since no key knows them.
pub struct Engine {
    pool: schedule::Pool,
    readers: rayon::ThreadPool,
    canceller: Canceller,
    cache: Option<Arc<Cache>>,
    remote: Option<RemoteCache>,
    time_trace: bool,
    keep_going: bool,
    reproducers: Option<Arc<Reproducers>>,
    audit: Option<Arc<Audit>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`error::Kind::Environment`] when the LLVM that is loaded is not the one
    /// built against, the system gives no threads, the cache cannot be used or trusted,
    /// the remote cache is there and cannot be used, or time is limited and there is no
    /// [`Options::helper`]; [`error::Kind::Flags`] when the cache's policy is not one.
    pub fn new(options: &Options) -> Result<Engine> {
        llvm::start()?;
        let workers = memory::workers_that_fit(options.workers());
        let cache = match &options.cache {
            Some(cache) => {
                let policy = cache.policy.parse()?;
                Some(Cache::open(&cache.directory, policy, cache.shared)?)
            }
            None => None,
        };
        let remote = options.remote.as_ref();
        let remote = remote.map(|remote| RemoteCache::open(remote, options.helper.as_deref()));
        let remote = remote.transpose()?;
        let reproducers = options.reproducers.as_ref().map(Reproducers::new);
        let audit = options.audit.as_ref().map(Audit::new);
        if options.timeout_per_object.is_some() && options.helper.is_none() {
            let text = "time cannot be limited without a program for worker processes";
            return Err(Error::new(error::Kind::Environment, text).hint("give `Options::helper`"));
        }
        if options.helper.is_some() {
            // While nobody holds the loader's lock for ever, after a crash.
            let _ = identity::libraries();
        }
        let canceller = Canceller::default();
        let limits = execute::Limits {
            cancelled: Arc::clone(canceller.flag()),
            timeout: options.timeout_per_object,
        };
        let helper = options.helper.clone();
        let hire = move || {
            let executor = execute::Dispatch::new(helper.clone(), &limits)?;
            Ok(Box::new(executor) as Box<dyn execute::Executor>)
        };
        let memory = memory::Memory::new(options.memory_limit);
        let mut pool = schedule::Pool::new(workers, memory, options.load_limit, Box::new(hire));
        if let Some(workshop) = remote.as_ref().and_then(RemoteCache::workshop) {
            pool.use_workshop(workshop)?;
        }
        Ok(Engine {
            pool,
            readers: readers(workers)?,
            canceller,
            cache: cache.map(Arc::new),
            remote,
            time_trace: options.time_trace,
            keep_going: options.keep_going,
            reproducers: reproducers.transpose()?.map(Arc::new),
            audit: audit.transpose()?.map(Arc::new),
        })
    }

    /// Compiles every job of `plan` and writes its objects.
    ///
    /// Threads may run plans at the same time: their jobs share the workers,
    /// the longest of all first.
    ///
    /// Reports come in plan order. A job that fails leaves the output that was there
    /// before; [`Options::keep_going`] says what becomes of the others.
    ///
    /// # Errors
    /// All the reasons that could be found why the plan, its flags or its files do
    /// not fit together; then no output was touched. What is wrong with one job
    /// alone is in its [`JobReport::result`].
    ///
    /// ```
    /// use backlto::{CompilerCommand, Engine, Module, Options, Plan, Silent, ThinLinkOptions};
    ///
    /// let ir = br#"target triple = "x86_64-unknown-linux-gnu" define void @f() { ret void }"#;
    /// let bitcode = backlto::thin_lto_bitcode("f.ll", ir)?;
    /// let modules = [Module::new("f.o", bitcode)];
    /// let indexes = backlto::thin_link(&modules, &ThinLinkOptions::default())?;
    /// let command = CompilerCommand::flags(["clang", "--target=x86_64-linux-gnu", "-O2"]);
    /// let plan = Plan::in_memory(&modules, indexes, &command)?;
    ///
    /// let engine = Engine::new(&Options::default())?;
    /// let reports = engine.run(&plan, &Silent)?;
    /// let object = reports[0].object.as_ref().expect("an object");
    /// assert_eq!(reports[0].result.as_ref().ok(), Some(&(object.len() as u64)));
    /// # Ok::<(), backlto::Errors>(())
    /// ```
    pub fn run(
        &self,
        plan: &Plan,
        observer: &dyn Observer,
    ) -> std::result::Result<Vec<JobReport>, Errors> {
        self.run_recorded(plan, &mut Record::default(), &Files::default(), observer)
    }

    /// Has each of `tasks`, which are run as `verdicts` say, done as the options ask.
    fn with_settings(
        &self,
        mut tasks: Vec<prepare::Task>,
        verdicts: &[incremental::Verdict],
        record: &Record,
    ) -> Vec<prepare::Task> {
        incremental::costs::learn(&mut tasks, record);
        let remote = self.remote.as_ref();
        let remote = remote.filter(|_| !llvm::options_of_host());
        for task in &mut tasks {
            task.time_trace = self.time_trace;
            task.reproducers.clone_from(&self.reproducers);
            task.is_to_be_saved = self.is_to_be_saved(&task.job);
            if task.is_to_be_saved {
                // What its assembly reads shows in a compile alone.
                task.cache = None;
            }
            if let Some(audit) = &self.audit {
                recheck::draw(audit, task, &verdicts[task.number], remote.is_some());
            }
        }
        if let Some(remote) = remote {
            incremental::ahead::ask(&mut tasks, &remote.elsewhere());
        }
        tasks
    }

    /// Whether there is to be a reproducer of `job` in any case.
    fn is_to_be_saved(&self, job: &Job) -> bool {
        let reproducers = self.reproducers.as_ref();
        reproducers.is_some_and(|reproducers| reproducers.is_asked_for(job))
    }

    /// Compiles what is not up to date of `plan`, as [`Engine::run`] compiles all.
    /// A job is left out when `record` says that its object was made of what files
    /// hold now, which `files` opens once; the others are added to `record`.
    ///
    /// # Errors
    /// When [`Engine::run`] would fail.
    pub fn run_recorded(
        &self,
        plan: &Plan,
        record: &mut Record,
        files: &Files,
        observer: &dyn Observer,
    ) -> std::result::Result<Vec<JobReport>, Errors> {
        let plan = &*plan.with_absolute_directories()?;
        let mut none = Record::default();
        let record = match llvm::options_of_host() {
            // What they decide is in no record.
            true => &mut none,
            false => record,
        };
        if let Some(twice) = prepare::duplicate_outputs(plan) {
            return Err(twice);
        }
        if !plan.files.is_empty() && !shares_inputs() {
            let error = "LLVM cannot read files in memory in this process";
            let hint = "link the program with backlto before LLVM (see `shares_inputs`)";
            return Err(Error::new(error::Kind::Environment, error)
                .hint(hint)
                .into());
        }
        let cache = self.cache.as_ref().filter(|_| !llvm::options_of_host());
        files.add_in_memory(plan);
        let flags = flags::map(plan, files)?;
        let (verdicts, tasks) = self.readers.install(|| {
            let mut verdicts = incremental::compare(plan, &flags, record, files);
            for (verdict, job) in verdicts.iter_mut().zip(&plan.jobs) {
                if self.is_to_be_saved(job) {
                    verdict.make_stale("a reproducer of it is asked for");
                }
                if let Some(audit) = &self.audit {
                    verdict.audit(audit);
                }
            }
            let to_run = incremental::to_run(&verdicts);
            let tasks = prepare::prepare(plan, &to_run, &flags, cache, files)?;
            let tasks = self.with_settings(tasks, &verdicts, record);
            Ok::<_, Errors>((verdicts, tasks))
        })?;
        let mut run = Run::begin(plan, verdicts, observer);
        files.take(tasks.iter().map(|task| task.job.output_path()));
        let count = tasks.len();
        observer.planned(&prepare::work_of(&tasks));
        let (events, happened) = crossbeam::channel::unbounded();
        let stop = batch::Stop::new(self.canceller.flag(), self.keep_going);
        self.pool.submit(tasks, &events, stop);
        run.follow(&happened, count, record);
        Ok(run.into_reports())
    }

    /// Says why nothing is added to the cache, if nothing is.
    pub fn cache_is_read_only(&self) -> Option<&str> {
        self.cache.as_ref()?.read_only()
    }

    /// Ends the use of the remote cache: waits for uploads, at most as long as
    /// [`RemoteOptions::linger`] says (not at all once cancelled), and gives what all
    /// came to. `None` without a remote cache, and when its use has ended already.
    pub fn finish_remote(&mut self) -> Option<remote::Summary> {
        let is_cancelled = self.canceller.flag().load(Ordering::Relaxed);
        self.pool.leave_workshop();
        let remote = self.remote.take()?;
        Some(remote.finish(!is_cancelled))
    }

    /// Ends the use of the cache: counts are added up, and what is too old or too
    /// much is removed when it is time to. Gives `None` without a cache.
    pub fn finish(self) -> Option<cache::Summary> {
        // What still runs has lost against an engine, since all runs have ended.
        if self.pool.is_busy() {
            self.canceller.cancel();
        }
        // Workers may still hold on to tasks, and tasks to the cache.
        drop(self.pool);
        self.cache.and_then(Arc::into_inner).map(Cache::finish)
    }

    /// How many jobs run at a time, as far as memory, load and a jobserver let them.
    pub fn workers(&self) -> NonZeroUsize {
        self.pool.workers()
    }

    /// Ends all runs soon: jobs that have not started, and those in worker
    /// processes, end with [`error::Kind::Cancelled`], now and in runs to come. Any
    /// thread may call it. Jobs in this process are finished, since a thread cannot
    /// be ended; but a program ([`own_process`]) leaves them behind and must end soon,
    /// by [`exit`].
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// Gives what cancels this engine's runs for somebody who does not have the
    /// engine.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }
}

/// Threads that read inputs: one for each core, at most `limit`, or as many as the
/// system gives.
fn readers(limit: NonZeroUsize) -> Result<rayon::ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut count = limit.get().min(cores);
    loop {
        match rayon::ThreadPoolBuilder::new().num_threads(count).build() {
            Ok(pool) => return Ok(pool),
            Err(_) if count > 1 => count /= 2,
            Err(e) => {
                let text = "cannot start threads";
                return Err(Error::new(error::Kind::Environment, text).because(e));
            }
        }
    }
}

/// Says where objects of earlier builds are kept when nobody says otherwise:
/// `$BACKLTO_CACHE_DIR`, else `backlto` in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn default_cache_directory() -> Option<PathBuf> {
    Cache::default_directory()
}

/// Says whether jobs read the mapped files of the plan. When a program that embeds
/// this library does not export its symbols to libclang-cpp, LLVM opens the
/// files again by name: the bytes are the same, some messages of LLVM go to
/// standard error instead of a [`JobReport`].
pub fn shares_inputs() -> bool {
    llvm::seams_active()
}

/// Makes this process outlive a crash of LLVM in a job, LLVM's fatal errors,
/// and input files that shrink while they are mapped. For programs, not for
/// libraries: it installs signal handlers and LLVM's fatal-error handler. A file
/// that becomes larger than the system allows is an error then, not the end of the
/// process (`SIGXFSZ`).
///
/// The thread of a crash may hold the lock of a heap of glibc's for ever. So the program's
/// Rust needs an allocator that is not glibc's (`#[global_allocator]`), as backlto's own
/// programs have it; else it may wait for that thread.
///
/// # Errors
/// [`error::Kind::Environment`] when the LLVM that is loaded is not the one built
/// against.
pub fn own_process() -> Result<()> {
    llvm::start()?;
    sys::separate_heaps();
    llvm::contain_crashes();
    sys::guard_mappings();
    sys::ignore_signals(&[libc::SIGXFSZ]);
    execute::leave_cancelled_behind();
    Ok(())
}

/// Ends the process.
///
/// The libraries' clean-up at exit frees memory that the system takes back anyway.
/// After a crash of LLVM in a job it could wait for ever for a lock that the job held,
/// and a job that was left behind still runs. So it is left out, unless LLVM was given
/// options: it prints what some of them (`-stats`) asked for.
pub fn exit(status: i32) -> ! {
    let may_hang = llvm::has_crashed() || execute::has_left_behind();
    if may_hang || !llvm::has_options() {
        sys::exit_now(status);
    }
    std::process::exit(status);
}

/// Says whether a make or cargo above this process counts its jobs: then workers
/// ask it for leave.
pub fn has_jobserver() -> bool {
    sys::jobserver().is_some()
}

/// Makes the job that the clang command line `args`, compiler's name first, stands
/// for when it is run in `directory`.
///
/// # Errors
/// [`error::Kind::Flags`] when clang's driver does not accept it, or it is not one
/// backend compile; [`error::Kind::Environment`] when the LLVM that is loaded is
/// not the one built against.
///
/// ```
/// let line = "clang -O2 -x ir -fthinlto-index=a.o.thinlto.bc -c -o a.native.o a.o";
/// let args: Vec<String> = line.split(' ').map(String::from).collect();
/// let job = backlto::job_from_command_line(&args, std::env::temp_dir())?;
/// assert_eq!((job.module.as_str(), job.output.as_str()), ("a.o", "a.native.o"));
/// assert_eq!(job.index.as_deref(), Some("a.o.thinlto.bc"));
/// # Ok::<(), backlto::Error>(())
/// ```
pub fn job_from_command_line(args: &[String], directory: PathBuf) -> Result<Job> {
    llvm::start()?;
    flags::job_from_command_line(args, directory)
}
