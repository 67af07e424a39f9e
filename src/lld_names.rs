//! The names of ld.lld. Also a module of `src/bin/ld-backlto.rs`, which must not
//! be linked to LLVM and so cannot use the library.

/// What is tried when no linker was chosen, best first.
pub(crate) const LLD_NAMES: [&str; 2] = [concat!("ld.lld-", env!("BACKLTO_LLVM_MAJOR")), "ld.lld"];
