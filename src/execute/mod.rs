//! Where a compile runs. A job and its inputs go in, an object and messages come
//! out; neither the scheduler nor the cache can tell which [`Executor`] it was.
//!
//! [`local`] compiles in this process, [`child`] in a process of its own.
//! [`Dispatch`] chooses.

mod child;
mod dispatch;
mod local;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use child::Children;
pub(crate) use dispatch::Dispatch;
pub(crate) use local::Local;

use crate::files::InputFile;
use crate::flags::MappedFlags;

/// LLVM recurses deeply on large functions. clang runs on the main thread's
/// 8 MiB; address space that is not touched costs nothing.
pub(crate) const STACK_SIZE: usize = 64 << 20;
const SMALL_STACK_SIZE: usize = 8 << 20;

/// Bytes that a compile reads, alive for as long as somebody holds them.
pub(crate) trait Content: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl Content for InputFile {
    fn bytes(&self) -> &[u8] {
        InputFile::bytes(self)
    }
}

/// A file that a compile reads, under the name by which the thin link knows it.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) content: Arc<dyn Content>,
}

impl Input {
    /// Name and bytes, borrowed.
    pub(crate) fn parts(&self) -> (&str, &[u8]) {
        (&self.name, self.content.bytes())
    }
}

/// One compile, with everything that it reads. It owns all of that, since an
/// executor may have to leave a compile behind that never ends.
pub(crate) struct CompileJob {
    pub(crate) flags: Arc<MappedFlags>,
    /// Where relative names start.
    pub(crate) directory: PathBuf,
    pub(crate) module: Input,
    /// None when the command line has no `-fthinlto-index=`.
    pub(crate) index: Option<Input>,
    pub(crate) imports: Vec<Input>,
    /// The object's path, for names that LLVM derives from it.
    pub(crate) output: String,
    /// Whether LLVM is to keep a time trace.
    pub(crate) time_trace: bool,
    /// Whether the [`Watch`] has a use for the imported module.
    pub(crate) wants_bitcode: bool,
}

/// Looks at a compile once its module has everything that it imports.
pub(crate) trait Watch {
    /// Whether [`Watch::imported`] has a use for the bitcode.
    fn wants_bitcode(&self) -> bool;
    /// A text of assembly in the module.
    fn assembly(&mut self, text: &[u8]);
    /// What the optimiser is about to get, as bitcode; `None` when the module
    /// and the flags do not decide alone what comes of it. False when the
    /// object is not needed. Called once in a compile, after all assembly.
    fn imported(&mut self, bitcode: Option<&[u8]>) -> bool;
}

/// What a [`Watch`] is shown, on its way between threads or processes.
pub(crate) struct Shown {
    pub(crate) assembly: Vec<Vec<u8>>,
    pub(crate) bitcode: Option<Vec<u8>>,
}

impl Shown {
    /// Shows it to `watch`; false when the object is not needed.
    fn to(&self, watch: &mut dyn Watch) -> bool {
        for text in &self.assembly {
            watch.assembly(text);
        }
        watch.imported(self.bitcode.as_deref())
    }
}

/// How one compile ended.
pub(crate) struct Compiled {
    /// The object, or why there is none; `Ok(None)` when [`Watch::imported`] did
    /// not want it.
    pub(crate) object: Result<Option<Vec<u8>>, Failure>,
    /// Everything clang would have printed.
    pub(crate) diagnostics: String,
    /// What the user should know of where the job ran. It is said of this run
    /// alone, not of the object.
    pub(crate) warning: Option<String>,
    /// CPU time of import, optimiser and code generation.
    pub(crate) backend_cpu: Duration,
    /// LLVM's time trace, a JSON text, if one was asked for.
    pub(crate) time_trace: Option<String>,
}

impl From<Failure> for Compiled {
    fn from(failure: Failure) -> Compiled {
        Compiled {
            object: Err(failure),
            diagnostics: String::new(),
            warning: None,
            backend_cpu: Duration::ZERO,
            time_trace: None,
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
    /// No worker process can be started.
    NoProcess(String),
}

impl Failure {
    /// Whether LLVM was left in the middle of something.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(self, Failure::Fatal(_) | Failure::Crash(_))
    }
}

/// What runs compiles, one after the other. Each worker of a pool has its own.
pub(crate) trait Executor: Send {
    /// Compiles `job`, and shows `watch` what it imports, if it comes so far.
    fn compile(&mut self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Compiled;
}
