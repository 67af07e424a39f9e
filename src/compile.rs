//! What comes of one compile, wherever it runs, and who looks at it meanwhile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What decides an object, beside the flags, once its module has everything that it
/// imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Imported {
    /// The digest of the module, as bitcode with the order of uses, and without the
    /// places in the sources that only messages name.
    pub(crate) module: Digest,
    /// The digest of what later stages can read of the summary index.
    pub(crate) index: Digest,
    /// The digest of those places. They decide no object, but what is said of it.
    pub(crate) places: Digest,
}

/// Looks at a compile once its module has everything that it imports.
pub(crate) trait Watch {
    /// Whether [`Watch::imported`] has a use for what decides the object.
    fn wants_imported(&self) -> bool;
    /// A text of assembly in the module.
    fn assembly(&mut self, text: &[u8]);
    /// What the optimiser is about to get; `None` when it cannot be told what
    /// decides the object, or something has been said already. False when the
    /// object is not needed. Called once in a compile, after all assembly.
    fn imported(&mut self, imported: Option<Imported>) -> bool;
}

/// How one compile ended.
pub(crate) struct Compiled {
    /// The object, or why there is none; `Ok(None)` when [`Watch::imported`] did
    /// not want it.
    pub(crate) object: Result<Option<Vec<u8>>, Failure>,
    /// Everything clang would have printed.
    pub(crate) diagnostics: String,
    /// Whether LLVM has printed something meanwhile, of this job or of one beside it, that
    /// is not among the diagnostics: nobody could repeat it.
    pub(crate) has_printed: bool,
    /// What the user should know of where the job ran. It is said of this run
    /// alone, not of the object.
    pub(crate) warning: Option<String>,
    /// CPU time of import, optimiser and code generation.
    pub(crate) backend_cpu: Duration,
    /// LLVM's time trace, a JSON text, if one was asked for.
    pub(crate) time_trace: Option<String>,
    /// The names of the functions that the code generator got, if they were asked for
    /// and it came so far.
    pub(crate) functions: Option<Vec<String>>,
    /// How long it took on another machine, if it ran there.
    pub(crate) took_elsewhere: Option<Duration>,
}

impl From<Failure> for Compiled {
    fn from(failure: Failure) -> Compiled {
        Compiled {
            object: Err(failure),
            diagnostics: String::new(),
            has_printed: false,
            warning: None,
            backend_cpu: Duration::ZERO,
            time_trace: None,
            functions: None,
            took_elsewhere: None,
        }
    }
}

/// Why a compile gave no object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// clang's messages say it, or the text does when it is not empty.
    Reported(String),
    /// LLVM called `report_fatal_error`.
    Fatal(String),
    /// LLVM crashed on this signal.
    Crash(i32),
    /// The process that compiled it ended, in this way.
    Lost(String),
    /// LLVM does not accept the `-mllvm` options, in its own words.
    Options(String),
    /// The job's directory cannot be entered.
    Directory(String),
    /// Another job has crashed this process, and there is no other to go to.
    Unsafe,
    /// Another set of `-mllvm` options is in force for good, and there is no
    /// other process to go to.
    OtherOptions,
    /// The caller has asked to stop.
    Cancelled,
    /// It was not done after so long, the limit for one object.
    TimedOut(Duration),
    /// No worker process can be started, or no thread in one.
    NoProcess(String),
}

impl Failure {
    /// Whether LLVM was left in the middle of something.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(self, Failure::Fatal(_) | Failure::Crash(_))
    }
}
