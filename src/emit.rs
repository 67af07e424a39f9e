//! Objects reach the disk whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::error::{Error, Kind, Result};
use crate::sys;

/// Writes `bytes` to `path`: to a temporary file in the same directory, which
/// then takes the name. What was there before stays until that moment.
///
/// Mode bits follow the umask.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_finished(path, bytes, |_| Ok(()))
}

/// The same; before the file takes its name, `finish` may look at it and change
/// it under a temporary one. When that fails, nothing is left of it.
pub(crate) fn write_finished(
    path: &Path,
    bytes: &[u8],
    mut finish: impl FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let mut refused = None;
    let written = write_inner(path, bytes, &mut |temporary| {
        finish(temporary).map_err(|e| {
            refused = Some(e);
            io::Error::other("not finished")
        })
    });
    written.map_err(|e| {
        if let Some(error) = refused {
            return error;
        }
        let error = Error::new(Kind::Output, format!("cannot write `{}`", path.display()));
        match e.kind() {
            io::ErrorKind::NotFound => error.because("its directory does not exist"),
            _ => error.because(e),
        }
    })
}

/// What is done to a file that has only its temporary name yet.
type Finish<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

fn write_inner(path: &Path, bytes: &[u8], finish: Finish<'_>) -> io::Result<()> {
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
    let named = match unnamed(&builder, directory, bytes) {
        Ok(named) => named,
        Err(_) => named_from_start(&builder, directory, bytes)?,
    };
    finish(&named)?;
    named.persist(path)?;
    Ok(())
}

/// Fills a file that has no name yet, so that nothing stays behind when the
/// process is killed. Not every file system can.
fn unnamed(
    builder: &tempfile::Builder<'_, '_>,
    directory: &Path,
    bytes: &[u8],
) -> io::Result<TempPath> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from(0o666))?);
    fill(&file, bytes)?;
    // link(2) replaces no file, rename(2) does: so a name for the moment between.
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = builder.make_in(directory, |temporary| {
        rustix::fs::linkat(CWD, &source, CWD, temporary, AtFlags::SYMLINK_FOLLOW)
            .map_err(io::Error::from)
    })?;
    Ok(linked.into_temp_path())
}

fn named_from_start(
    builder: &tempfile::Builder<'_, '_>,
    directory: &Path,
    bytes: &[u8],
) -> io::Result<TempPath> {
    let temporary = builder.tempfile_in(directory)?;
    fill(temporary.as_file(), bytes)?;
    Ok(temporary.into_temp_path())
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
