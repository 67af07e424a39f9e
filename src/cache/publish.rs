//! Gives cached files their names when they are whole, as `emit.rs` does with
//! objects; here the content may also be another file's, and mode bits differ.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::emit;

/// Creates a file with what `fill` writes and gives it the name `path`, which
/// another file may have had before. The umask takes its bits off `mode`.
pub(super) fn create(
    path: &Path,
    mode: u32,
    fill: impl Fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    emit::temporary(path, mode, fill)?.persist(path)?;
    Ok(())
}

/// Makes `path` a name of the open `file`. Fails across file systems, and when
/// `file` had names and has lost the last of them.
pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
    let linked = emit::temporary_name(file, path)?;
    // Two names of one file: rename(2) then does nothing and succeeds. Dropping
    // `linked` removes the name that stays; in all other cases it is gone.
    std::fs::rename(&linked, path)
}
