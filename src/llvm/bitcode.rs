//! Reading bitcode files and summary indexes; writing thin archives.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::ffi;
use super::ffi::{Buffer, RawStatus};
use super::sink::{CStrings, Collector, ListCollector, collect, collect_entry};

/// The SHA-1 that LLVM's writer puts into a ThinLTO module and its index.
pub(crate) type ModuleHash = [u32; 5];

/// LLVM's name for the architecture of `triple`, such as "aarch64".
pub(crate) fn arch_name(triple: &str) -> String {
    let mut name = Collector::default();
    // SAFETY: both arguments outlive the call.
    unsafe { ffi::BackltoArchName(ffi::Slice::new(triple.as_bytes()), collect, name.context()) };
    name.into_text()
}

/// What a bitcode file says of itself.
pub(crate) struct ModuleInfo {
    /// Who wrote it, such as "LLVM22.1.8".
    pub(crate) producer: String,
    /// Its target triple.
    pub(crate) triple: String,
    /// The hash that its ThinLTO module carries, if any.
    pub(crate) hash: Option<ModuleHash>,
    /// False when the module's content no longer has that hash.
    pub(crate) intact: bool,
}

/// Reads the headers of bitcode file `bytes`; the error is LLVM's.
pub(crate) fn read_module_info(name: &str, bytes: &[u8]) -> Result<ModuleInfo, String> {
    let buffer = Buffer::new(name, bytes);
    let mut info = ffi::ModuleInfo::default();
    let (mut producer, mut triple, mut error) = Default::default();
    let status = {
        let (producer, triple, error): (&mut Collector, &mut Collector, &mut Collector) =
            (&mut producer, &mut triple, &mut error);
        // SAFETY: all pointers are to locals that outlive the call.
        unsafe {
            ffi::BackltoReadModuleInfo(
                &raw const buffer,
                &raw mut info,
                collect,
                producer.context(),
                collect,
                triple.context(),
                collect,
                error.context(),
            )
        }
    };
    if status != RawStatus::OK {
        return Err(error.into_text());
    }
    Ok(ModuleInfo {
        producer: producer.into_text(),
        triple: triple.into_text(),
        hash: info.has_hash.then_some(info.hash),
        intact: !info.has_hash || info.hash_matches,
    })
}

/// A parsed summary index.
pub(crate) struct SummaryIndex(NonNull<ffi::Index>);

/// Collects what an index names; `ctx` of [`visit_module`].
type Modules = Vec<(String, ModuleHash)>;

/// # Safety
/// `ctx` must point to a [`Modules`] that nobody else uses, `path` must be
/// readable for `len` bytes and `hash` for five words.
unsafe extern "C" fn visit_module(ctx: *mut c_void, path: *const u8, len: usize, hash: *const u32) {
    // SAFETY: promised by the caller.
    let (modules, path, hash) = unsafe {
        (
            &mut *ctx.cast::<Modules>(),
            std::slice::from_raw_parts(path, len),
            *hash.cast::<ModuleHash>(),
        )
    };
    modules.push((String::from_utf8_lossy(path).into_owned(), hash));
}

impl SummaryIndex {
    /// Parses `bytes`; the error is LLVM's.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<SummaryIndex, String> {
        let buffer = Buffer::new(name, bytes);
        let mut error = Collector::default();
        // SAFETY: all pointers are to locals that outlive the call; LLVM copies
        // what it keeps.
        let index = unsafe { ffi::BackltoReadIndex(&raw const buffer, collect, error.context()) };
        NonNull::new(index)
            .map(SummaryIndex)
            .ok_or_else(|| error.into_text())
    }

    /// Whether it says that the final link needs nothing of its module.
    pub(crate) fn skips_module(&self) -> bool {
        // SAFETY: the index is alive.
        unsafe { ffi::BackltoIndexSkipsModule(self.0.as_ptr()) }
    }

    /// How many IR instructions its module's functions, and those to import,
    /// had when they were summarised: an estimate of the work.
    pub(crate) fn instructions(&self) -> u64 {
        // SAFETY: the index is alive.
        unsafe { ffi::BackltoIndexInstructions(self.0.as_ptr()) }
    }

    /// The modules it names (the one it is for, and those imported from),
    /// sorted by path.
    pub(crate) fn modules(&self) -> Vec<(String, ModuleHash)> {
        let mut modules = Modules::new();
        // SAFETY: `modules` outlives the call.
        unsafe {
            ffi::BackltoIndexModules(
                self.0.as_ptr(),
                visit_module,
                std::ptr::from_mut(&mut modules).cast(),
            );
        }
        modules.sort();
        modules
    }
}

/// Summary index `index` with the paths of `modules` as they are, where LLVM has
/// spoilt those that are not ASCII; `None` if nothing is to be repaired.
pub(crate) fn repair_index(index: &[u8], modules: &[(&str, ModuleHash)]) -> Option<Vec<u8>> {
    let buffer = Buffer::new("index", index);
    let modules: Vec<ffi::NamedModule> = modules
        .iter()
        .map(|(path, hash)| ffi::NamedModule {
            path: ffi::Slice::new(path.as_bytes()),
            hash: *hash,
        })
        .collect();
    let mut repaired = Collector::default();
    let mut error = Collector::default();
    // SAFETY: all pointers are to locals that outlive the call.
    let status = unsafe {
        ffi::BackltoRepairIndex(
            &raw const buffer,
            modules.as_ptr(),
            modules.len(),
            collect,
            repaired.context(),
            collect,
            error.context(),
        )
    };
    let repaired = repaired.into_bytes();
    (status == RawStatus::OK && !repaired.is_empty()).then_some(repaired)
}

/// All that summary index `index` says, but for the names of modules, of which only
/// the order counts. `None` when it cannot be read.
pub(crate) fn index_without_names(index: &[u8]) -> Option<Vec<u8>> {
    let buffer = Buffer::new("index", index);
    let mut rest = Collector::default();
    let mut error = Collector::default();
    // SAFETY: all pointers are to locals that outlive the call.
    let status = unsafe {
        ffi::BackltoIndexWithoutNames(
            &raw const buffer,
            collect,
            rest.context(),
            collect,
            error.context(),
        )
    };
    (status == RawStatus::OK).then(|| rest.into_bytes())
}

impl Drop for SummaryIndex {
    fn drop(&mut self) {
        // SAFETY: made by BackltoReadIndex and freed only here.
        unsafe { ffi::BackltoFreeIndex(self.0.as_ptr()) }
    }
}

/// The names of the symbols that bitcode file `bytes` defines.
pub(crate) fn defined_symbols(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
    let buffer = Buffer::new(name, bytes);
    let mut symbols = ListCollector::default();
    let mut error = Collector::default();
    // SAFETY: all pointers are to locals that outlive the call.
    let status = unsafe {
        ffi::BackltoDefinedSymbols(
            &raw const buffer,
            collect_entry,
            symbols.context(),
            collect,
            error.context(),
        )
    };
    match status {
        RawStatus::OK => Ok(symbols.into_vec()),
        _ => Err(error.into_text()),
    }
}

/// Has `ask`, which gets a place for the answer and a context for [`collect`], answer a
/// question; the error is LLVM's.
fn answered(ask: impl FnOnce(*mut bool, *mut c_void) -> RawStatus) -> Result<bool, String> {
    let (mut answer, mut error) = (false, Collector::default());
    match ask(&raw mut answer, error.context()) {
        RawStatus::OK => Ok(answer),
        _ => Err(error.into_text()),
    }
}

/// Whether the front end wanted position-independent code of the module in
/// bitcode file `bytes`; the error is LLVM's.
pub(crate) fn is_position_independent(name: &str, bytes: &[u8]) -> Result<bool, String> {
    let buffer = Buffer::new(name, bytes);
    answered(|answer, error| {
        // SAFETY: the buffer, and what `answered` gives, outlive the call.
        unsafe { ffi::BackltoIsPositionIndependent(&raw const buffer, answer, collect, error) }
    })
}

/// Whether a variable of `module`, a name and a bitcode file, that is local and not
/// constant is not local in `index`, its summary index; the error is LLVM's.
pub(crate) fn promotes_variable(module: (&str, &[u8]), index: &[u8]) -> Result<bool, String> {
    let (module, index) = (Buffer::new(module.0, module.1), Buffer::new("index", index));
    answered(|answer, error| {
        // SAFETY: the buffers, and what `answered` gives, outlive the call.
        unsafe {
            ffi::BackltoPromotesVariable(
                &raw const module,
                &raw const index,
                answer,
                collect,
                error,
            )
        }
    })
}

/// Writes a thin archive of `members` to `path`, without a symbol table, as
/// `llvm-ar cDPrS --thin` does. Paths are relative to the current directory.
pub(crate) fn write_thin_archive(path: &Path, members: &[PathBuf]) -> Result<(), String> {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_owned();
    let paths = CStrings::new(&[bytes(path)])?;
    let members: Vec<Vec<u8>> = members.iter().map(|member| bytes(member)).collect();
    let members = CStrings::new(&members)?;
    let mut error = Collector::default();
    // SAFETY: `paths` holds exactly one pointer; all strings outlive the call.
    let status = unsafe {
        ffi::BackltoWriteThinArchive(
            *paths.as_ptr(),
            members.as_ptr(),
            members.len(),
            collect,
            error.context(),
        )
    };
    match status {
        RawStatus::OK => Ok(()),
        _ => Err(error.into_text()),
    }
}
