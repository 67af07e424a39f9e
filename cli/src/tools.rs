//! Finding the programs that backlto calls. A module of both programs:
//! `ld.backlto` must start without LLVM, so nothing here uses the library.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The compiler of the LLVM that backlto is built with. Its backends are what
/// backlto runs, so commands and LLD are given its name.
pub(crate) const CLANG: &str = concat!(env!("BACKLTO_LLVM_BINDIR"), "/clang");

/// The names of ld.lld that are tried when none was chosen, best first.
pub(crate) const LLD_NAMES: [&str; 2] = [concat!("ld.lld-", env!("BACKLTO_LLVM_MAJOR")), "ld.lld"];

/// The variable that names the ld.lld for `ld.backlto` to use.
pub(crate) const LLD_VARIABLE: &str = "BACKLTO_LD";

/// The variable that says to an `ld.backlto` who has started it. Whatever names and
/// links lead to it, it then neither calls itself nor waits for its own caller.
pub(crate) const STARTED_BY: &str = "BACKLTO_STARTED_BY";

/// The value of [`STARTED_BY`] by which `backlto`, which does the backends itself,
/// asks for ld.lld and nothing else.
pub(crate) const STARTED_BY_BACKLTO: &str = "backlto";

/// The programs called [`LLD_NAMES`] that are on PATH, best first, without this very one:
/// where a build takes no linker by another name, `ld.backlto` stands there by LLD's.
pub(crate) fn on_path() -> impl Iterator<Item = PathBuf> {
    let own = std::env::current_exe().ok().and_then(|own| identity(&own));
    LLD_NAMES
        .iter()
        .filter_map(|name| which::which_all(name).ok())
        .flatten()
        .filter(move |program| own.is_none() || identity(program) != own)
}

/// What tells the file at `path` from others, whatever links lead to it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The ld.lld that the user has named for `ld.backlto`, as a path where a program
/// of that name is on PATH.
pub(crate) fn chosen_lld() -> Option<PathBuf> {
    let chosen = std::env::var_os(LLD_VARIABLE).filter(|name| !name.is_empty())?;
    Some(on_path_or_as_is(chosen.as_ref()))
}

/// The version in `text`, what a linker prints for `--version`; `None` when it is
/// not LLD.
pub(crate) fn lld_version(text: &str) -> Option<&str> {
    // "LLD 22.1.8 (...)", with a vendor's name before it on some systems.
    text.split_whitespace()
        .skip_while(|word| *word != "LLD")
        .nth(1)
}

/// The file that `program` stands for, as the system finds it.
pub(crate) fn on_path_or_as_is(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    which::which(program).unwrap_or_else(|_| program.to_owned())
}
