//! Where a compile runs. A job and its inputs go in, an object and messages come
//! out; neither the scheduler nor the cache can tell which [`Executor`] it was.
//!
//! [`local`] compiles in this process, [`child`] in a process of its own.
//! [`Dispatch`] chooses. What another machine has compiled comes in as [`Delivered`];
//! [`errand`] is how it gets there and back.

mod child;
mod delivered;
mod dispatch;
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "nothing is sent elsewhere then")
)]
pub(crate) mod errand;
mod local;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use child::Children;
pub(crate) use delivered::{Delivered, Outcome};
pub(crate) use dispatch::Dispatch;
pub(crate) use local::{Local, has_left_behind, leave_cancelled_behind, wake};

use crate::compile::{Compiled, Imported, Watch};
use crate::digest::Digest;
use crate::files::{Files, InputFile};
use crate::flags::MappedFlags;

/// LLVM recurses deeply on large functions. clang runs on the main thread's
/// 8 MiB; address space that is not touched costs nothing.
pub(crate) const STACK_SIZE: usize = 64 << 20;
const SMALL_STACK_SIZE: usize = 8 << 20;

/// Bytes that a compile reads, alive for as long as somebody holds them.
pub(crate) trait Content: Send + Sync {
    fn bytes(&self) -> &[u8];

    /// The digest of the bytes.
    fn digest(&self) -> Digest;
}

impl Content for InputFile {
    fn bytes(&self) -> &[u8] {
        InputFile::bytes(self)
    }

    fn digest(&self) -> Digest {
        InputFile::digest_as_read(self)
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
    /// Those of the run: a file has one content in it, whoever asks.
    pub(crate) files: Files,
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
    /// Whether to tell which functions the code generator gets.
    pub(crate) wants_functions: bool,
    /// Whether the [`Watch`] has a use for what decides the object.
    pub(crate) wants_imported: bool,
    /// Whether memory is short, so that what the compile took should not stay with
    /// the thread that ran it.
    pub(crate) gives_back: bool,
}

impl CompileJob {
    /// Everything that it reads, but for what assembly pulls in.
    #[cfg(feature = "remote")]
    pub(crate) fn contents(&self) -> impl Iterator<Item = &dyn Content> {
        let inputs = std::iter::once(&self.module)
            .chain(&self.index)
            .chain(&self.imports);
        let portable = self.flags.portable().into_iter();
        let named = portable.flat_map(|portable| &portable.files);
        let named = named.map(|(_, file)| &**file as &dyn Content);
        inputs.map(|input| &*input.content).chain(named)
    }
}

/// What a [`Watch`] is shown, on its way between threads or processes.
pub(crate) struct Shown {
    pub(crate) assembly: Vec<Vec<u8>>,
    pub(crate) imported: Option<Imported>,
}

impl Shown {
    /// Shows it to `watch`; false when the object is not needed.
    fn to(&self, watch: &mut dyn Watch) -> bool {
        for text in &self.assembly {
            watch.assembly(text);
        }
        watch.imported(self.imported)
    }
}

/// What ends compiles early.
#[derive(Clone)]
pub(crate) struct Limits {
    /// Set when nobody wants anything any more.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// How long one compile may take.
    pub(crate) timeout: Option<Duration>,
}

impl Limits {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What runs compiles, one after the other. Each worker of a pool has its own.
pub(crate) trait Executor: Send {
    /// Compiles `job`, and shows `watch` what it imports, if it comes so far.
    fn compile(&mut self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Compiled;
}
