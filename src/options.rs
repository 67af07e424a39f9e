//! How the host of this library wants an engine to be.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::AuditOptions;
use crate::remote::RemoteOptions;
use crate::reproducer::ReproducerOptions;

/// Says how an [`Engine`](crate::Engine) runs plans.
///
/// More fields may come: write `..Options::default()`.
///
/// ```
/// use backlto::{CacheOptions, Options};
///
/// let options = Options {
///     cache: backlto::default_cache_directory().map(CacheOptions::new),
///     ..Options::default()
/// };
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many backends run at a time; as many as there are cores when not given.
    pub workers: Option<NonZeroUsize>,
    /// The place of objects of earlier builds; none are kept when not given.
    pub cache: Option<CacheOptions>,
    /// Whether LLVM traces its time in each compile, for
    /// [`JobReport::time_trace`](crate::JobReport::time_trace).
    pub time_trace: bool,
    /// A program for worker processes, which calls
    /// [`worker::serve`](crate::worker::serve) when it is started with the argument
    /// `worker`, as backlto itself does.
    ///
    /// They compile what this process must not: jobs that need other options of
    /// LLVM (`-mllvm`) than its first ones, and all that is left once LLVM has
    /// crashed in it. Without a program, such jobs fail.
    pub helper: Option<PathBuf>,
    /// Whether jobs of a run still start once one of it has failed. If not, those
    /// that run are finished, and the others end with
    /// [`Kind::Cancelled`](crate::error::Kind::Cancelled).
    pub keep_going: bool,
    /// After how long a compile is given up, with
    /// [`Kind::TimedOut`](crate::error::Kind::TimedOut); never when not given. All jobs
    /// go to worker processes then, since a thread that does not end could not be ended:
    /// it needs a [`Options::helper`].
    pub timeout_per_object: Option<Duration>,
    /// How much memory, in bytes, jobs may take together, by an estimate; as much
    /// as the machine and the process's control group have, when not given or when
    /// that is less. Those that do not fit wait. One job alone may always run.
    pub memory_limit: Option<u64>,
    /// The load of the machine (as `uptime` has it, over a minute) from which on one job
    /// runs at a time; no limit when not given.
    pub load_limit: Option<f64>,
    /// What to write reproducers of: compiles in one file that can be repeated
    /// anywhere. None are written when not given.
    pub reproducers: Option<ReproducerOptions>,
    /// How much of what would be taken from the record or the cache is compiled
    /// anyway and compared; nothing when not given. An object that differs is an error
    /// of its job, [`Kind::Mismatch`](crate::error::Kind::Mismatch), and is not taken
    /// again. What comes from another machine is not looked at.
    pub audit: Option<AuditOptions>,
    /// A cache on another machine, which is asked for what [`Options::cache`] has not.
    /// The crate's feature `remote` is needed for it.
    pub remote: Option<RemoteOptions>,
}

/// Says where objects are cached.
///
/// More fields may come: write `..CacheOptions::new(directory)`.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The directory, which is created if need be.
    pub directory: PathBuf,
    /// How large and old the cache may get, as [`Policy`](crate::cache::Policy) reads
    /// it; empty for ld.lld's own default.
    pub policy: String,
    /// Says that others may write to the directory: they decide what is linked. One
    /// that somebody else can write to is refused otherwise.
    pub shared: bool,
}

impl CacheOptions {
    /// Chooses `directory`, with ld.lld's default policy, for this user alone.
    pub fn new(directory: impl Into<PathBuf>) -> CacheOptions {
        CacheOptions {
            directory: directory.into(),
            policy: String::new(),
            shared: false,
        }
    }
}

impl Options {
    /// How many backends run at a time when nothing else limits them.
    pub(crate) fn workers(&self) -> NonZeroUsize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}
