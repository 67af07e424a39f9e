//! The whole boundary to LLVM: every LLVM type, every LLVM `unsafe`.
//!
//! The rest of the crate sees plain data and the owners re-exported here.
//! `llvm-shims/README.md` states the contract with the C++ side.

mod backend;
mod bitcode;
mod ffi;
mod init;
mod invocation;
mod remainder;
mod sink;
mod thin_link;

pub(crate) use backend::{CompileInput, compile};
pub(crate) use bitcode::{
    ModuleHash, ModuleInfo, SummaryIndex, arch_name, defined_symbols, index_without_names,
    is_position_independent, promotes_variable, read_module_info, repair_index, write_thin_archive,
};
pub(crate) use init::{
    Adopted, adopt_options, contain_crashes, has_crashed, has_options, options_of_host,
    seams_active, start,
};
pub(crate) use invocation::Invocation;
pub(crate) use thin_link::{ThinLink, thin_link, write_thin_lto};

/// The LLVM version that this program was built against, such as "22.1.8".
pub const BUILT_VERSION: &str = env!("BACKLTO_LLVM_VERSION");

/// The directory of that LLVM's clang. The driver library derives the
/// installation from it, as clang does from its own path.
pub(crate) const BINDIR: &str = env!("BACKLTO_LLVM_BINDIR");
