//! Programs by name. Also a module of `src/bin/ld-backlto.rs`, which must not be
//! linked to LLVM and so cannot use the library.

use std::path::{Path, PathBuf};

/// The program `name`, where the system would find it on PATH.
pub(crate) fn on_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}
