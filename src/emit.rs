//! Objects reach the disk whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::sys;

/// Writes `bytes` to `path`: to a temporary file in the same directory, which
/// then takes the name. What was there before stays until that moment.
///
/// Mode bits follow the umask.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_inner(path, bytes).map_err(|e| {
        let error = Error::new(Kind::Output, format!("cannot write `{}`", path.display()));
        match e.kind() {
            io::ErrorKind::NotFound => error.because("its directory does not exist"),
            _ => error.because(e),
        }
    })
}

fn write_inner(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // /dev/null and pipes are written to, never replaced.
    if std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_file() && !m.is_symlink() && !m.is_dir())
    {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it names no file"))?;
    // Hidden, like make's and lld's own temporaries; the suffix says whose.
    let prefix: OsString = [".".as_ref(), name].into_iter().collect();
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(&prefix)
        .suffix(".backlto-tmp")
        .permissions(umask_permissions());
    write_unnamed(&builder, directory, path, bytes)
        .or_else(|_| write_named(&builder, directory, path, bytes))
}

/// Fills a file that has no name yet, so that nothing stays behind when the
/// process is killed. Not every file system can.
fn write_unnamed(
    builder: &tempfile::Builder<'_, '_>,
    directory: &Path,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from(0o666))?);
    fill(&file, bytes)?;
    // link(2) replaces no file, rename(2) does: so a name for the moment between.
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = builder.make_in(directory, |temporary| {
        rustix::fs::linkat(CWD, &source, CWD, temporary, AtFlags::SYMLINK_FOLLOW)
            .map_err(io::Error::from)
    })?;
    linked.persist(path)?;
    Ok(())
}

fn write_named(
    builder: &tempfile::Builder<'_, '_>,
    directory: &Path,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    let temporary = builder.tempfile_in(directory)?;
    fill(temporary.as_file(), bytes)?;
    temporary.persist(path)?;
    Ok(())
}

/// `open(2)` takes the umask off these.
fn umask_permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// Fills the empty `file` through a mapping.
///
/// The blocks are reserved first: a store to a mapped page that finds the disk
/// full would be a SIGBUS, where a failed reservation is an error.
fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes.len() as u64) {
        Ok(()) => {}
        // This file system cannot promise blocks: write(2) reports a full disk.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return file.write_all(bytes),
        Err(e) => return Err(e.into()),
    }
    sys::copy_through_mapping(file, bytes)
}
