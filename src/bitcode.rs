//! Asks LLVM about files around a thin link, for tools that run one.

use std::path::Path;

use crate::error::{Error, Kind, Result};
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
    sys::in_directory(directory, || llvm::defined_symbols(name, bytes)).map_err(|reason| {
        Error::new(Kind::Input, format!("cannot read the symbols of `{name}`")).because(reason)
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
pub fn write_thin_archive(path: &str, members: &[String]) -> Result<()> {
    llvm::write_thin_archive(path, members).map_err(|reason| {
        Error::new(Kind::Output, format!("cannot write archive `{path}`")).because(reason)
    })
}
