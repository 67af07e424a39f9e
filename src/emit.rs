//! Objects reach the disk whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Kind, Result};
use crate::sys;

/// Writes `bytes` to `path`: to a temporary file in the same directory, which
/// then takes the name. What was there before stays until that moment.
///
/// Mode bits follow the umask.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_finished(path, bytes, |_| Ok(()))
}

/// The same; before the file takes its name, `finish` may look at it and change
/// it under a temporary one. When that fails, nothing is left of it.
pub fn write_finished(
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
    let named = temporary(path, 0o666, |file| fill(file, bytes))?;
    finish(&named)?;
    named.persist(path)?;
    Ok(())
}

/// How the name of every temporary file ends: it says whose it is.
const SUFFIX: &str = ".backlto-tmp";

/// Whether `name` is one that a killed process may have left behind.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// Creates a file with what `fill` writes, beside `path` under a temporary name.
/// The umask takes its bits off `mode`.
pub fn temporary(
    path: &Path,
    mode: u32,
    fill: impl Fn(&File) -> io::Result<()>,
) -> io::Result<TempPath> {
    let names = Names::beside(path)?;
    // Without a name at first, nothing stays behind when the process is killed.
    // Not every file system can.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(names.directory, flags, Mode::from(mode)) {
        let file = File::from(file);
        fill(&file)?;
        if let Ok(named) = names.link(&file) {
            return Ok(named);
        }
    }
    let named = names.create(mode)?;
    fill(named.as_file())?;
    Ok(named.into_temp_path())
}

/// Gives the open `file` a temporary name beside `path`. Fails across file
/// systems, and when `file` had names and has lost the last of them.
///
/// link(2) replaces no file, rename(2) does: so a name for the moment between.
pub fn temporary_name(file: &File, path: &Path) -> io::Result<TempPath> {
    Names::beside(path)?.link(file)
}

/// Temporary names beside a file's own.
struct Names<'a> {
    directory: &'a Path,
    /// Hidden, like make's and lld's own temporaries.
    prefix: OsString,
}

impl<'a> Names<'a> {
    fn beside(path: &'a Path) -> io::Result<Names<'a>> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?;
        let prefix = [".".as_ref(), name].into_iter().collect();
        Ok(Names { directory, prefix })
    }

    /// A new file that has one from the start. `open(2)` takes the umask off
    /// `mode`.
    fn create(&self, mode: u32) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(&self.prefix)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(self.directory)
    }

    /// One for the open `file`.
    fn link(&self, file: &File) -> io::Result<TempPath> {
        // By descriptor: what has the file's old name by now may be another file.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let linked = tempfile::Builder::new()
            .prefix(&self.prefix)
            .suffix(SUFFIX)
            .make_in(self.directory, |temporary| {
                rustix::fs::linkat(CWD, &source, CWD, temporary, AtFlags::SYMLINK_FOLLOW)
                    .map_err(io::Error::from)
            })?;
        Ok(linked.into_temp_path())
    }
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
