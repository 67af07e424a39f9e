//! Writes files that reach the disk whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, TryLockError};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Kind, Result};
use crate::sys;

/// Writes `bytes` to `path`: to a temporary file in the same directory, which
/// then takes the name. What was there before stays until that moment.
///
/// A device or a pipe is written to, also where `path` is a symbolic link to one;
/// any other link is replaced. Mode bits follow the umask.
///
/// # Errors
/// [`Kind::Output`] with the system's reason; then the file is as it was.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("a.native.o");
/// backlto::emit::write(&path, b"an object")?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"an object");
/// # Ok::<(), backlto::Error>(())
/// ```
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_finished(path, bytes, |_| Ok(()))
}

/// Writes `bytes` to `path` as [`write()`] does, but to no device and no pipe, whose
/// reader it might wait for: for what only backlto itself is to read.
///
/// # Errors
/// As there, and when there is something else than a file at `path`.
pub fn write_regular(path: &Path, bytes: &[u8]) -> Result<()> {
    match is_replaceable(path) {
        true => write(path, bytes),
        false => {
            let text = format!("cannot write `{}`", path.display());
            Err(Error::new(Kind::Output, text).because("it is not a regular file"))
        }
    }
}

/// Writes `bytes` to `path` as [`write()`] does, and calls `finish` with the
/// temporary file's path before that takes the name: it may look at the file and
/// change it. When `finish` fails, nothing is left. Devices and pipes have no
/// temporary file, so `finish` is not called for them.
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

/// Whether files may still take a name. Held while one does.
static OPEN: RwLock<bool> = RwLock::new(true);

/// Has `write` give a file its name, unless the process is about to end.
fn while_open<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let open = OPEN.read().unwrap_or_else(PoisonError::into_inner);
    match *open {
        true => write(),
        false => Err(io::Error::other("the process is about to end")),
    }
}

/// Writes `bytes` to a file `path` that is not there yet; false when there is one.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    while_open(|| {
        let named = temporary(path, 0o666, |file| fill(file, bytes))?;
        match named.persist_noclobber(path) {
            Ok(()) => Ok(true),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    })
}

/// From now on no file is written by this module: the process is about to end. What
/// is being written is finished first, or gives up its temporary name, but a device
/// that does not answer is not waited for.
pub fn close() {
    const ROUNDS: u32 = 100;
    for _ in 0..ROUNDS {
        match OPEN.try_write() {
            Ok(mut open) => return *open = false,
            Err(TryLockError::Poisoned(open)) => return *open.into_inner() = false,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Looks at a file that has only its temporary name yet, and may change it.
type Finish<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

/// Whether a file may take the name `path`. Devices and pipes, and links to them,
/// are written to instead.
pub(crate) fn is_replaceable(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |m| m.is_file() || m.is_dir())
}

fn write_inner(path: &Path, bytes: &[u8], finish: Finish<'_>) -> io::Result<()> {
    while_open(|| {
        if !is_replaceable(path) {
            return OpenOptions::new().write(true).open(path)?.write_all(bytes);
        }
        let named = temporary(path, 0o666, |file| fill(file, bytes))?;
        finish(&named)?;
        named.persist(path)?;
        Ok(())
    })
}

/// Ends the name of every temporary file: it says whose it is.
const SUFFIX: &str = ".backlto-tmp";

/// The longest file name, in bytes, that is part of its temporary one. With longer
/// ones that might become longer than a file system's names can be.
const LONGEST_PREFIX: usize = 100;

/// Whether `name` is one that a killed process may have left behind.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// Creates a file with what `fill` writes, beside `path` under a temporary name.
/// The umask takes its bits off `mode`.
pub(crate) fn temporary(
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
pub(crate) fn temporary_name(file: &File, path: &Path) -> io::Result<TempPath> {
    Names::beside(path)?.link(file)
}

/// Makes temporary names beside a file's own.
struct Names<'a> {
    directory: &'a Path,
    /// Starts with a dot: such names are hidden, like make's and lld's temporaries.
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
        let mut prefix = OsString::from(".");
        if name.len() <= LONGEST_PREFIX {
            prefix.push(name);
        }
        Ok(Names { directory, prefix })
    }

    /// Creates a file that has a temporary name from the start. `open(2)` takes
    /// the umask off `mode`.
    fn create(&self, mode: u32) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(&self.prefix)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(self.directory)
    }

    /// Gives the open `file` a temporary name.
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

/// Files of so many bytes are mapped. A smaller one takes less time to copy than a
/// mapping and its end, for which all threads of the process are interrupted.
const MAPPED_FROM: usize = 64 << 10;

/// Fills the empty `file`, a large one through a mapping.
///
/// Its blocks are reserved first: a store to a mapped page that finds the disk
/// full would be a SIGBUS, where a failed reservation is an error.
fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() < MAPPED_FROM {
        return file.write_all(bytes);
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes.len() as u64) {
        Ok(()) => {}
        // This file system cannot promise blocks: write(2) reports a full disk.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return file.write_all(bytes),
        Err(e) => return Err(e.into()),
    }
    // Some file systems have files that cannot be mapped (FUSE, with direct I/O).
    sys::copy_through_mapping(file, bytes).or_else(|_| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    /// Names in `directory`, sorted.
    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_longest_names_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        for length in [236, 237, 255] {
            let name = OsString::from("x".repeat(length));
            let path = directory.path().join(&name);
            write(&path, b"object").unwrap_or_else(|e| panic!("{length}: {e}"));
            assert_eq!(std::fs::read(&path).unwrap(), b"object");
            let mut seen = None;
            let finish = |temporary: &Path| {
                seen = temporary.file_name().map(OsString::from);
                Ok(())
            };
            write_finished(&path, b"other", finish).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"other");
            let seen = seen.unwrap();
            assert!(is_temporary(&seen.to_string_lossy()), "{seen:?}");
            assert_eq!(names(directory.path()), [name]);
            std::fs::remove_file(path).unwrap();
        }
        let longer = directory.path().join("x".repeat(256));
        let error = write(&longer, b"object").unwrap_err();
        assert_eq!(error.kind(), Kind::Output);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn files_of_any_size_are_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        for size in [0, 1, MAPPED_FROM - 1, MAPPED_FROM, MAPPED_FROM + 1] {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
            write(&path, &bytes).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{size} bytes");
        }
    }

    #[test]
    fn a_link_to_a_device_is_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("/dev/null", &link).unwrap();
        write(&link, b"object").unwrap();
        assert!(link.is_symlink() && link.metadata().unwrap().file_type().is_char_device());
        std::fs::remove_file(&link).unwrap();
        symlink("/dev/full", &link).unwrap();
        let error = write(&link, b"object").unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(link.is_symlink());
        assert_eq!(names(directory.path()), ["link"]);
    }

    #[test]
    fn a_link_to_a_file_or_to_nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        for exists in [false, true] {
            if exists {
                std::fs::write(&file, "before").unwrap();
            }
            symlink("file", &link).unwrap();
            write(&link, b"object").unwrap();
            assert!(!link.is_symlink() && std::fs::read(&link).unwrap() == b"object");
            std::fs::remove_file(&link).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"before");
    }
}
