//! Files get their names when they are whole.
//!
//! As in `emit.rs`; here the content may also be another file's, and mode bits
//! differ.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// How the name of every temporary file ends.
const SUFFIX: &str = ".backlto-tmp";

/// Whether `name` is one that a killed process may have left behind.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// Creates a file with what `fill` writes and gives it the name `path`, which
/// another file may have had before. The umask takes its bits off `mode`.
pub(super) fn create(
    path: &Path,
    mode: u32,
    fill: impl Fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    // Without a name nothing stays behind when the process is killed. Not every
    // file system can.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(directory_of(path), flags, Mode::from(mode)) {
        let file = File::from(file);
        fill(&file)?;
        if link(&file, path).is_ok() {
            return Ok(());
        }
    }
    let named = tempfile::Builder::new()
        .prefix(&prefix(path))
        .suffix(SUFFIX)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory_of(path))?;
    fill(named.as_file())?;
    named.persist(path)?;
    Ok(())
}

/// Makes `path` a name of the open `file`. Fails across file systems, and when
/// `file` had names and has lost the last of them.
pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
    // By descriptor: what has the file's old name by now may be another file.
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    // link(2) replaces no file, rename(2) does: so a name for the moment between.
    let linked = tempfile::Builder::new()
        .prefix(&prefix(path))
        .suffix(SUFFIX)
        .make_in(directory_of(path), |temporary| {
            rustix::fs::linkat(CWD, &source, CWD, temporary, AtFlags::SYMLINK_FOLLOW)
                .map_err(io::Error::from)
        })?
        .into_temp_path();
    // Two names of one file: rename(2) then does nothing and succeeds. Dropping
    // `linked` removes the name that stays; in all other cases it is gone.
    std::fs::rename(&linked, path)
}

/// Hidden, like make's and lld's own temporaries.
fn prefix(path: &Path) -> OsString {
    let name = path.file_name().unwrap_or_default();
    [".".as_ref(), name].into_iter().collect()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
