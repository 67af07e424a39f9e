//! What is known of a job once it has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::incremental::record::ObjectRecord;
use crate::origin::Origin;

/// Tells how one job ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobReport {
    /// What clang would have printed for the job. An object from the cache comes
    /// with the messages of its compile; for one that is
    /// [`UpToDate`](Origin::UpToDate) they are not repeated, and this is empty.
    pub diagnostics: String,
    /// The object's size in bytes, or why there is none. It is 0 for an object
    /// that is [`UpToDate`](Origin::UpToDate), which is not looked at again.
    pub result: Result<u64>,
    /// The object itself, if [`Plan::in_memory`](crate::Plan::in_memory) asks
    /// for it and the job went well.
    pub object: Option<Vec<u8>>,
    /// LLVM's own time trace of the compile, a JSON text, if
    /// [`Options::time_trace`](crate::Options::time_trace) asks for it.
    pub time_trace: Option<String>,
    /// Where the object came from. Of a job that failed it says nothing.
    pub origin: Origin,
    /// Whether the object, which was there or in the cache, was compiled all the same and
    /// compared: see [`Options::audit`](crate::Options::audit).
    pub audited: bool,
    /// Why the object had to be built, a sentence for each reason. Empty when
    /// nothing is known of an earlier build.
    pub why: Vec<String>,
    /// The wall time from the start of the job to its end; zero for a job that was
    /// not started.
    pub duration: Duration,
    /// The CPU time that LLVM's ThinLTO backend took of it: import, optimiser
    /// and code generation. Zero for a compile without a summary index.
    pub backend_cpu: Duration,
    /// The reproducer that was written of the compile, if one was: see
    /// [`Options::reproducers`](crate::Options::reproducers).
    pub reproducer: Option<PathBuf>,
    /// What the next build will want to know.
    pub(crate) known: Option<ObjectRecord>,
    /// The keys of the cache's entries that may lead to the object, first the one that
    /// did.
    pub(crate) keys: Vec<Digest>,
}

impl JobReport {
    /// Whether the job was not run, or not to its end, because nobody wanted it any
    /// more: the run was cancelled, or another job had failed.
    pub fn is_cancelled(&self) -> bool {
        matches!(&self.result, Err(e) if e.kind() == Kind::Cancelled)
    }

    /// Makes the report that `run` gives of the job for `module`, or one of its panic: a bug of
    /// ours must not leave a run waiting for a report.
    pub(crate) fn of(module: &Path, run: impl FnOnce() -> JobReport) -> JobReport {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let text = format!("a worker panicked over `{}`", module.display());
            JobReport::not_run(Error::new(Kind::Crash, text))
        })
    }

    /// Makes the report of a job that was not started, because of `error`.
    pub(crate) fn not_run(error: Error) -> JobReport {
        JobReport {
            result: Err(error),
            ..JobReport::done(0)
        }
    }

    /// Makes the report of a job whose object was there.
    pub(crate) fn up_to_date(known: ObjectRecord) -> JobReport {
        JobReport {
            origin: Origin::UpToDate,
            known: Some(known),
            ..JobReport::done(0)
        }
    }

    /// Makes the report of a job that gave an object of `size` bytes.
    pub(crate) fn done(size: u64) -> JobReport {
        JobReport {
            diagnostics: String::new(),
            result: Ok(size),
            object: None,
            time_trace: None,
            origin: Origin::Compiled,
            audited: false,
            why: Vec::new(),
            duration: Duration::ZERO,
            backend_cpu: Duration::ZERO,
            reproducer: None,
            known: None,
            keys: Vec::new(),
        }
    }
}
