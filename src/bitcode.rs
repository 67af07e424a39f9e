//! Asks LLVM about files around a thin link, for tools that run one.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::files::Files;
use crate::{llvm, sys};

/// Lists the names of the symbols that the bitcode file `bytes` defines. `name` is for
/// LLVM's messages. LLVM reads the module's assembly for symbols too, and files
/// that it names, relative to `directory`.
///
/// # Errors
/// [`Kind::Input`] with LLVM's reason, when `bytes` are not a bitcode file that it
/// can read.
///
/// ```
/// use std::path::Path;
///
/// let bitcode = backlto::thin_lto_bitcode("f.ll", b"define void @f() { ret void }")?;
/// let symbols = backlto::bitcode::defined_symbols(Path::new("."), "f.o", &bitcode)?;
/// assert_eq!(symbols, ["f"]);
/// # Ok::<(), backlto::Error>(())
/// ```
pub fn defined_symbols(directory: &Path, name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    sys::in_directory(directory, || llvm::defined_symbols(name, bytes))?.map_err(|reason| {
        Error::new(Kind::Input, format!("cannot read the symbols of `{name}`")).because(reason)
    })
}

/// Says whether the front end wanted position-independent code of the bitcode file at
/// `module`, which is read through `files`. ld.lld's own backends go by that in a
/// relocatable link (`-r`).
///
/// # Errors
/// [`Kind::Input`] with the reason, when it cannot be read or has no ThinLTO module.
pub fn is_position_independent(module: &Path, files: &Files) -> Result<bool> {
    let name = module.to_string_lossy();
    let file = files.get(module)?;
    llvm::is_position_independent(&name, file.bytes()).map_err(|reason| {
        let text = format!("cannot read what code `{name}` asks for");
        Error::new(Kind::Input, text).because(reason)
    })
}

/// The target triple of the bitcode file at `module`, which is read through `files`.
///
/// # Errors
/// [`Kind::Input`] with the reason, when it cannot be read.
pub fn target(module: &Path, files: &Files) -> Result<String> {
    let name = module.to_string_lossy();
    let file = files.get(module)?;
    let info = llvm::read_module_info(&name, file.bytes()).map_err(|reason| {
        let text = format!("cannot read what `{name}` was compiled for");
        Error::new(Kind::Input, text).because(reason)
    })?;
    Ok(info.triple)
}

/// Says whether others use a variable that was local to the bitcode file at `module`,
/// by its summary index at `index`, so that the backend gives it a name that no
/// other has (`NAME.llvm.HASH`). Constants do not count. Both are read through
/// `files`.
///
/// # Errors
/// [`Kind::Input`] with the reason, when one of them cannot be read.
pub fn promotes_variable(module: &Path, index: &Path, files: &Files) -> Result<bool> {
    let name = module.to_string_lossy();
    let (bitcode, summary) = (files.get(module)?, files.get(index)?);
    llvm::promotes_variable((&name, bitcode.bytes()), summary.bytes()).map_err(|reason| {
        let text = format!("cannot read which variables of `{name}` others use");
        Error::new(Kind::Input, text).because(reason)
    })
}

/// Writes a thin archive of `members` to `path`, as `llvm-ar cDPrS --thin` does: in
/// their order, without a symbol table, and without times and owners. Paths are
/// absolute or start at the working directory; the archive has those of its
/// members relative to itself.
///
/// # Errors
/// [`Kind::Output`] with LLVM's reason, when a member cannot be read or the archive
/// not be written.
pub fn write_thin_archive(path: &Path, members: &[PathBuf]) -> Result<()> {
    llvm::write_thin_archive(path, members).map_err(|reason| {
        let text = format!("cannot write archive `{}`", path.display());
        Error::new(Kind::Output, text).because(reason)
    })
}
