//! The files of a cache directory, and how each is read and written.
//!
//! ```text
//!   CACHEDIR.TAG        backup tools leave such a directory out
//!   v1/actions/ab/…     an entry, named by its key
//!   v1/objects/ab/…     an object, named by the hash of its content
//!   v1/running/…        one locked file for each running build (running.rs)
//!   v1/pruned           when the cache was last pruned (prune.rs)
//!   v1/stats            what builds have counted (counters.rs)
//! ```
//!
//! Nothing here trusts a file that it finds: it may be cut short by a power
//! failure (nothing is fsynced), damaged, or put there by somebody else. Who
//! may write to the directory can forge an entry, though: a checksum is no
//! signature.
//!
//! Files may vanish at any time, directories too.

use std::fs::{DirBuilder, File, FileTimes, Metadata, ReadDir};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use super::publish;
use crate::digest::{Digest, Hasher};
use crate::emit;
use crate::error::{Error, Kind, Result};

/// Tells the two kinds of files that are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Actions,
    Objects,
}

impl Shelf {
    pub(super) fn name(self) -> &'static str {
        match self {
            Shelf::Actions => "actions",
            Shelf::Objects => "objects",
        }
    }
}

/// Describes a file found on a shelf.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) shelf: Shelf,
    pub(super) name: Digest,
    pub(super) size: u64,
    /// When it was last used: its modification time.
    pub(super) used: SystemTime,
}

/// Says why a file gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("not there")]
    Missing,
    #[error("damaged")]
    Damaged,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Looks after a cache directory, whoever uses it.
///
/// [`survey`](Store::survey) counts, [`verify`](Store::verify) checks,
/// [`prune`](Store::prune) and [`clear`](Store::clear) remove. Builds may use the
/// cache at the same time.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    /// Who may write to its directories: nobody else, or whom the umask says.
    mode: u32,
}

const VERSION: &str = "v1";
const TAG: &str = "CACHEDIR.TAG";
const TAG_TEXT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55
# This directory holds what backlto can compile again.
# See https://bford.info/cachedir/
";
/// Has the mode of cached files, which are replaced, never changed.
const READ_ONLY: u32 = 0o444;
/// Starts every entry; then come its key, a checksum, the content.
const MAGIC: &[u8; 16] = b"backlto entry 1\n";
const HEADER: usize = MAGIC.len() + 32 + 32;
/// Bounds the bytes of an entry; what is longer would only fill the memory.
const LONGEST_ENTRY: u64 = 64 << 20;

impl Store {
    /// Names the cache in `directory`, which need not exist.
    ///
    /// # Errors
    /// [`Kind::Environment`] when the working directory is needed to resolve it and is gone.
    pub fn at(directory: &Path) -> Result<Store> {
        // Workers change their working directories.
        let directory = std::path::absolute(directory).map_err(|e| {
            Error::new(
                Kind::Environment,
                format!("cannot resolve `{}`", directory.display()),
            )
            .because(e)
        })?;
        Ok(Store {
            directory,
            mode: 0o755,
        })
    }

    /// Makes new directories as the umask says, for those who share the cache.
    pub(super) fn shared(self) -> Store {
        Store {
            mode: 0o777,
            ..self
        }
    }

    /// Creates `directory` and those that lead to it, if need be.
    pub(super) fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(self.mode).create(directory)
    }

    /// Gives the cache's directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives the directory of the format version.
    pub(super) fn version(&self) -> PathBuf {
        self.directory.join(VERSION)
    }

    /// Gives the path of a file or directory of the format version.
    pub(super) fn part(&self, name: &str) -> PathBuf {
        self.version().join(name)
    }

    pub(super) fn path(&self, shelf: Shelf, name: &Digest) -> PathBuf {
        let name = name.to_string();
        // 256 directories, so that none gets too long.
        let (first, rest) = name.split_at(2);
        let mut path = self.part(shelf.name());
        path.extend([first, rest]);
        path
    }

    /// Creates the directory, if need be.
    pub(super) fn create(&self) -> io::Result<()> {
        let version = self.version();
        if version.is_dir() {
            return Ok(());
        }
        // A directory that holds something else is in no need of our tag: it
        // might be somebody's home, and be backed up.
        let is_new = match std::fs::read_dir(&self.directory) {
            Ok(mut found) => found.next().is_none(),
            Err(_) => true,
        };
        self.create_directory(&version)?;
        if is_new {
            let tag = self.directory.join(TAG);
            publish::create(&tag, 0o666, |mut file| file.write_all(TAG_TEXT))?;
        }
        Ok(())
    }

    /// Removes the tag and the directory of the format version, if nothing else
    /// is in there.
    pub(super) fn remove_frame(&self) -> io::Result<()> {
        for shelf in [Shelf::Actions, Shelf::Objects] {
            remove_if_empty(&self.part(shelf.name()))?;
        }
        remove_if_empty(&self.version())?;
        let tag = self.directory.join(TAG);
        match crate::files::read(&tag).is_ok_and(|text| text == TAG_TEXT) {
            true => remove(&tag),
            false => Ok(()),
        }
    }

    /// Opens a cached file, if it is there.
    pub(super) fn open(
        &self,
        shelf: Shelf,
        name: &Digest,
    ) -> std::result::Result<(File, Metadata), Unread> {
        // Not even a pipe that somebody put there makes it wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::open(self.path(shelf, name), flags, Mode::empty());
        let file = match opened.map_err(io::Error::from) {
            Ok(file) => File::from(file),
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Unread::Missing),
            Err(e) => return Err(e.into()),
        };
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok((file, metadata)),
            false => Err(Unread::Damaged),
        }
    }

    /// Reads the content of the entry `key` out of its open file.
    pub(super) fn read_entry(
        &self,
        key: &Digest,
        file: &File,
    ) -> std::result::Result<Vec<u8>, Unread> {
        let mut bytes = Vec::new();
        file.take(LONGEST_ENTRY).read_to_end(&mut bytes)?;
        let Some((header, content)) = bytes.split_at_checked(HEADER) else {
            return Err(Unread::Damaged);
        };
        if header != entry_header(key, content) {
            return Err(Unread::Damaged);
        }
        bytes.drain(..HEADER);
        Ok(bytes)
    }

    pub(super) fn write_entry(
        &self,
        key: &Digest,
        content: &[u8],
        used: SystemTime,
    ) -> io::Result<()> {
        if content.len() as u64 + HEADER as u64 > LONGEST_ENTRY {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let header = entry_header(key, content);
        self.write(&self.path(Shelf::Actions, key), &[&header, content], used)
    }

    pub(super) fn write_object(
        &self,
        name: &Digest,
        content: &[u8],
        used: SystemTime,
    ) -> io::Result<()> {
        self.write(&self.path(Shelf::Objects, name), &[content], used)
    }

    fn write(&self, path: &Path, parts: &[&[u8]], used: SystemTime) -> io::Result<()> {
        let write = || {
            publish::create(path, READ_ONLY, |mut file| {
                parts.iter().try_for_each(|part| file.write_all(part))?;
                set_used(file, used)
            })
        };
        match write() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                path.parent()
                    .map_or(Ok(()), |parent| self.create_directory(parent))?;
                write()
            }
            result => result,
        }
    }

    /// Removes a cached file. That it is gone already is fine.
    pub(super) fn remove(&self, shelf: Shelf, name: &Digest) -> io::Result<()> {
        remove(&self.path(shelf, name))
    }

    /// Finds every file of `shelf` that has the right kind of name.
    pub(super) fn files(&self, shelf: Shelf) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        self.visit(shelf, |directory, name, metadata| {
            if let Ok(name) = format!("{directory}{name}").parse() {
                found.push(Stored {
                    shelf,
                    name,
                    size: metadata.len(),
                    used: metadata.modified()?,
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Removes temporary files that have not changed since `time`: nobody writes to
    /// them any more.
    pub(super) fn remove_leftovers(&self, shelf: Shelf, time: SystemTime) -> io::Result<()> {
        let mut found = Vec::new();
        self.visit(shelf, |directory, name, metadata| {
            if emit::is_temporary(name) && metadata.modified()? <= time {
                found.push(self.part(shelf.name()).join(directory).join(name));
            }
            Ok(())
        })?;
        found.iter().try_for_each(|path| remove(path))
    }

    /// Removes the directories of `shelf` that hold nothing.
    pub(super) fn remove_empty_directories(&self, shelf: Shelf) -> io::Result<()> {
        for entry in entries(&self.part(shelf.name()))?.into_iter().flatten() {
            let entry = entry?;
            if is_first_part(&entry.file_name().to_string_lossy()) {
                remove_if_empty(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with the directory's name, the name and the metadata of
    /// each regular file of `shelf`.
    fn visit(
        &self,
        shelf: Shelf,
        mut visit: impl FnMut(&str, &str, &Metadata) -> io::Result<()>,
    ) -> io::Result<()> {
        for directory in entries(&self.part(shelf.name()))?.into_iter().flatten() {
            let directory = directory?;
            let first = directory.file_name();
            let first = first.to_string_lossy();
            if !is_first_part(&first) {
                continue;
            }
            for entry in entries(&directory.path())?.into_iter().flatten() {
                let entry = entry?;
                match entry.metadata() {
                    Ok(metadata) if metadata.is_file() => {
                        visit(&first, &entry.file_name().to_string_lossy(), &metadata)?;
                    }
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}

/// Reads the whole content of the open object `name`.
pub(super) fn read_object(
    mut file: &File,
    name: &Digest,
    size: u64,
) -> std::result::Result<Vec<u8>, Unread> {
    file.rewind()?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == size && Digest::of(&bytes) == *name {
        true => Ok(bytes),
        false => Err(Unread::Damaged),
    }
}

/// Notes when `file` was last used.
pub(super) fn set_used(file: &File, used: SystemTime) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(used))
}

/// Makes what stands before the content of an entry. The key is part of it, so that
/// a file under another entry's name is no entry.
fn entry_header(key: &Digest, content: &[u8]) -> Vec<u8> {
    let mut checksum = Hasher::new();
    checksum
        .field("key", key.as_bytes())
        .field("content", content);
    let checksum = checksum.digest();
    [MAGIC.as_slice(), key.as_bytes(), checksum.as_bytes()].concat()
}

/// Whether a directory of this name is one of the 256.
fn is_first_part(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lists what is in `directory`, if it is there.
pub(super) fn entries(directory: &Path) -> io::Result<Option<ReadDir>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes a directory that may be gone already, unless something is in it.
pub(super) fn remove_if_empty(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        result => result,
    }
}
