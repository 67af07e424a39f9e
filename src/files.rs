//! What is in files. A file is opened once in a run, by whoever asks first, and
//! gives its bytes, their digest and its time to everybody: so what was hashed is
//! what is compiled. A plan may bring some files in memory.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::sys::Mapping;

/// A file that was opened, as it was then.
pub(crate) struct InputFile {
    path: PathBuf,
    content: Content,
    /// What is read instead of the content, see [`InputFile::repair`].
    repaired: OnceLock<Vec<u8>>,
    digest: OnceLock<Digest>,
    /// What told this version of the file from others; none for one in memory.
    stamp: Option<Mutex<Stamp>>,
}

/// Where the bytes of a file are.
enum Content {
    /// In a mapping. The file may still be changed under it, which
    /// [`InputFile::check_unchanged`] finds.
    Mapped(Mapping),
    /// In memory, where they cannot change.
    Memory(Arc<[u8]>),
    /// Nowhere: they were hashed and not kept.
    Hashed,
}

/// Files of this many bytes and more are mapped, smaller ones read: making and
/// taking down a mapping costs more than copying them, and a process may have only
/// some 65,000 mappings (`vm.max_map_count`).
const MAPPED_FROM: usize = 16 << 10;

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: SystemTime,
}

impl Stamp {
    fn of(metadata: &Metadata) -> io::Result<Stamp> {
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified()?,
        })
    }
}

thread_local! {
    /// What a file is read into that is only hashed.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl InputFile {
    /// Opens the file at `path` for its bytes; for its digest alone when `keep` is
    /// false.
    fn open(path: &Path, keep: bool) -> Result<InputFile> {
        InputFile::try_open(path, keep).map_err(|e| {
            Error::new(Kind::Input, format!("cannot read `{}`", path.display())).because(e)
        })
    }

    fn try_open(path: &Path, keep: bool) -> io::Result<InputFile> {
        let (mut file, metadata) = open_regular(path)?;
        let digest = OnceLock::new();
        let content = if is_null_device(&metadata) {
            // The usual way to say "an empty index".
            Content::Memory(Arc::default())
        } else if !keep {
            let hash = BUFFER.with_borrow_mut(|buffer| {
                buffer.clear();
                file.read_to_end(buffer)?;
                io::Result::Ok(Digest::of(buffer))
            })?;
            let _ = digest.set(hash);
            Content::Hashed
        } else if metadata.len() >= MAPPED_FROM as u64
            && let Ok(mapping) = Mapping::new(&file)
        {
            Content::Mapped(mapping)
        } else {
            // A small one, or one on a file system that maps none (FUSE, with direct I/O).
            let mut bytes = Vec::with_capacity(MAPPED_FROM);
            file.read_to_end(&mut bytes)?;
            Content::Memory(bytes.into())
        };
        Ok(InputFile {
            path: path.to_owned(),
            content,
            repaired: OnceLock::new(),
            digest,
            stamp: Some(Mutex::new(Stamp::of(&metadata)?)),
        })
    }

    fn in_memory(path: &Path, bytes: &Arc<[u8]>) -> InputFile {
        InputFile {
            path: path.to_owned(),
            content: Content::Memory(Arc::clone(bytes)),
            repaired: OnceLock::new(),
            digest: OnceLock::new(),
            stamp: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The content of the file, as it is to be read.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self.repaired.get() {
            Some(repaired) => repaired,
            None => self.found(),
        }
    }

    /// Has the file read as what `repair` makes of its bytes, if it makes anything of
    /// them. Its digest stays that of the bytes on disk.
    pub(crate) fn repair(&self, repair: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        if self.repaired.get().is_none()
            && let Some(repaired) = repair(self.found())
        {
            let _ = self.repaired.set(repaired);
        }
    }

    /// The bytes as they were found.
    fn found(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map.bytes(),
            Content::Memory(bytes) => bytes,
            Content::Hashed => unreachable!("`Files::get` gives no file without its bytes"),
        }
    }

    /// The hash of the content.
    pub(crate) fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let digest = Digest::of(self.found());
            self.release_memory();
            digest
        })
    }

    /// The hash of the content as it is to be read.
    pub(crate) fn digest_as_read(&self) -> Digest {
        match self.repaired.get() {
            Some(repaired) => Digest::of(repaired),
            None => self.digest(),
        }
    }

    /// Gives back the memory behind the content until it is read again. A run over
    /// many files would otherwise keep all of them in memory.
    pub(crate) fn release_memory(&self) {
        if let Content::Mapped(map) = &self.content {
            map.release_pages();
        }
    }

    fn stamp(&self) -> Option<MutexGuard<'_, Stamp>> {
        let stamp = self.stamp.as_ref()?;
        Some(stamp.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the file on disk is still the one that was opened.
    pub(crate) fn is_unchanged(&self) -> bool {
        if let Content::Mapped(map) = &self.content
            && map.was_truncated()
        {
            return false;
        }
        self.stamp().is_none_or(|stamp| {
            let now = std::fs::metadata(&self.path).and_then(|metadata| Stamp::of(&metadata));
            now.is_ok_and(|now| now == *stamp)
        })
    }

    /// Fails when the bytes may no longer be those that were hashed: what was made
    /// of them cannot be trusted then.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        if !matches!(self.content, Content::Mapped(_)) || self.is_unchanged() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Input,
            format!("`{}` changed while it was being read", self.path.display()),
        )
        .hint("another process writes to it; run again when that is done"))
    }
}

/// Opens the file at `path`, which must be a regular one, or /dev/null. Another kind
/// may never end, and a pipe need not even begin.
fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    match metadata.is_file() || is_null_device(&metadata) {
        true => Ok((file, metadata)),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Reads all of a file that describes work or remembers it, not of an object's
/// input: those are in a [`Files`].
///
/// # Errors
/// When it cannot be read, or is neither a regular file nor /dev/null: another kind
/// may never end.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says whether the file at `path` is a regular one that begins with `magic`. No more
/// of it is read.
pub fn starts_with<const N: usize>(path: &Path, magic: &[u8; N]) -> bool {
    let mut start = [0; N];
    let read = open_regular(path).and_then(|(mut file, _)| file.read_exact(&mut start));
    read.is_ok() && start == *magic
}

/// Reads a text as [`read()`] reads bytes.
///
/// # Errors
/// As there, and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Whether there is something at `path` that is neither a file nor a directory, nor the
/// usual way to say "an empty file": what is read there tells nothing of what will be.
pub(crate) fn is_odd(path: &Path) -> bool {
    let is_odd = |metadata: Metadata| {
        !metadata.is_file() && !metadata.is_dir() && !is_null_device(&metadata)
    };
    path.metadata().is_ok_and(is_odd)
}

/// Whether it is /dev/null, by whatever name: character device 1:3 on Linux.
fn is_null_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3)
}

/// The files of a run, from any thread. Clones are the same store.
#[derive(Clone, Default)]
pub struct Files(Arc<Mutex<HashMap<PathBuf, Slot>>>);

/// One file: opened by the first who asks, while others wait.
type Slot = Arc<OnceLock<Result<Arc<InputFile>>>>;

impl Files {
    /// The slot of `path`, which is a new one if `is_good` refuses what is there.
    fn slot(&self, path: &Path, is_good: impl Fn(&Slot) -> bool) -> Slot {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(path).filter(|slot| is_good(slot)) {
            Some(slot) => Arc::clone(slot),
            None => {
                let slot = Slot::default();
                known.insert(path.to_owned(), Arc::clone(&slot));
                slot
            }
        }
    }

    /// The file at `path`, with its bytes.
    ///
    /// # Errors
    /// When it cannot be opened or is no regular file; the same error whenever it
    /// is asked for.
    pub(crate) fn get(&self, path: &Path) -> Result<Arc<InputFile>> {
        let has_bytes = |slot: &Slot| match slot.get() {
            Some(Ok(file)) => !matches!(file.content, Content::Hashed),
            Some(Err(_)) | None => true,
        };
        let open = |slot: Slot| {
            let opened = || InputFile::open(path, true).map(Arc::new);
            slot.get_or_init(opened).clone()
        };
        loop {
            let file = open(self.slot(path, has_bytes))?;
            // Somebody else may have been about to open it for its digest alone.
            if !matches!(file.content, Content::Hashed) {
                return Ok(file);
            }
        }
    }

    /// Opens each of `paths`, several at a time, and hashes it, for those who will
    /// ask. It is no error here that one cannot be read.
    pub fn read(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        paths.into_par_iter().for_each(|path| {
            if let Ok(file) = self.get(&path) {
                file.digest();
            }
        });
    }

    /// The digest of the file at `path`; `None` when it cannot be read. The bytes
    /// are not kept if nobody has asked for them before.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        Some(self.hashed(path).ok()?.digest())
    }

    /// When the file at `path` was modified; `None` when it cannot be read.
    pub fn modified(&self, path: &Path) -> Option<SystemTime> {
        let file = self.hashed(path).ok()?;
        let modified = file.stamp()?.modified;
        Some(modified)
    }

    fn hashed(&self, path: &Path) -> Result<Arc<InputFile>> {
        let slot = self.slot(path, |_| true);
        let opened = || InputFile::open(path, false).map(Arc::new);
        slot.get_or_init(opened).clone()
    }

    /// Has the files that `plan` brings in memory stand before those on disk.
    pub(crate) fn add_in_memory(&self, plan: &Plan) {
        let directories: BTreeSet<&Path> = plan.jobs.iter().map(|job| &*job.directory).collect();
        for (name, bytes) in &plan.files {
            for directory in &directories {
                let path = directory.join(name);
                let slot = self.slot(&path, |_| false);
                let _ = slot.set(Ok(Arc::new(InputFile::in_memory(&path, bytes))));
            }
        }
    }

    /// Forgets the files at `paths`, since they are to be written, and returns
    /// what was in those that were there.
    pub fn take(&self, paths: impl IntoIterator<Item = PathBuf>) -> Files {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = paths
            .into_iter()
            .filter_map(|path| known.remove_entry(&path));
        Files(Arc::new(Mutex::new(taken.collect())))
    }

    /// Gives each file whose content is as it was `before` its old modification
    /// time again. A failure only makes make do more than it must.
    pub fn keep_times(&self, before: &Files) {
        let before = before.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, old) in before.iter() {
            let (Some(Ok(old)), Ok(now)) = (old.get(), self.hashed(path)) else {
                continue;
            };
            let (Some(old_stamp), Some(mut stamp)) = (old.stamp(), now.stamp()) else {
                continue;
            };
            if now.digest() == old.digest()
                && let Ok(file) = File::options().append(true).open(path)
                && file.set_modified(old_stamp.modified).is_ok()
            {
                stamp.modified = old_stamp.modified;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_once_until_it_is_forgotten() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("x");
        std::fs::write(&path, "1").unwrap();
        let files = Files::default();
        assert_eq!(files.digest(&path), Some(Digest::of(b"1")));
        assert!(files.modified(&path).is_some());
        std::fs::write(&path, "2").unwrap();
        assert_eq!(files.digest(&path), Some(Digest::of(b"1")));
        files.take([path.clone()]);
        assert_eq!(files.get(&path).unwrap().bytes(), b"2");
        std::fs::write(&path, "3").unwrap();
        assert_eq!(files.digest(&path), Some(Digest::of(b"2")));
        assert!(!files.get(&path).unwrap().is_unchanged());
    }

    #[test]
    fn bytes_can_be_had_of_what_was_only_hashed() {
        let tree = tempfile::tempdir().unwrap();
        let files = Files::default();
        for size in [0, 1, MAPPED_FROM - 1, MAPPED_FROM] {
            let path = tree.path().join(size.to_string());
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            let digest = files.digest(&path).unwrap();
            let file = files.get(&path).unwrap();
            assert_eq!(file.bytes().len(), size);
            assert_eq!(file.digest(), digest);
            assert!(file.check_unchanged().is_ok());
        }
    }

    #[test]
    fn what_is_no_file_has_no_content() {
        let tree = tempfile::tempdir().unwrap();
        let absent = tree.path().join("absent");
        let files = Files::default();
        assert_eq!(files.digest(tree.path()), None);
        assert_eq!(files.digest(&absent), None);
        assert_eq!(files.digest(Path::new("/dev/null")), Some(Digest::of(b"")));
        assert!(files.get(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_time_that_was_put_back_is_no_change() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("x");
        std::fs::write(&path, vec![b'x'; MAPPED_FROM]).unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        let files = Files::default();
        files.read([path.clone()]);
        let before = files.take([path.clone()]);
        file.set_modified(SystemTime::now()).unwrap();
        let again = files.get(&path).unwrap();
        files.keep_times(&before);
        assert_eq!(files.modified(&path), Some(old));
        assert!(again.check_unchanged().is_ok());
    }
}
