//! Finding ld.lld by name. A module of both programs: `ld.backlto` must start
//! without LLVM, so nothing here uses the library.

use std::path::PathBuf;

/// What is tried when no linker was chosen, best first.
pub(crate) const LLD_NAMES: [&str; 2] = [concat!("ld.lld-", env!("BACKLTO_LLVM_MAJOR")), "ld.lld"];

/// Those of [`LLD_NAMES`] that are on PATH, best first.
pub(crate) fn on_path() -> impl Iterator<Item = PathBuf> {
    LLD_NAMES.iter().filter_map(|name| which::which(name).ok())
}
