//! What is in files now: each is read once, by whoever asks first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::input::{add_missing, is_null_device};

/// The contents of files, as far as they were read. They are read, not mapped:
/// most files are small, and taking down many small mappings costs more than the
/// hash of what is in them.
#[derive(Default)]
pub struct Contents(HashMap<PathBuf, Option<Content>>);

#[derive(Clone, Copy)]
struct Content {
    digest: Digest,
    modified: SystemTime,
}

impl Contents {
    /// Reads those of `paths` that have not been read. It is no error that one
    /// cannot be.
    pub fn read(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        add_missing(&mut self.0, paths, |path| Content::of(path).ok());
    }

    /// The hash of the file at `path`; `None` when it could not be read, or was
    /// not asked for.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        self.get(path).map(|content| content.digest)
    }

    /// When it was modified.
    pub fn modified(&self, path: &Path) -> Option<SystemTime> {
        self.get(path).map(|content| content.modified)
    }

    /// Forgets the files at `paths`, since they are to be written, and returns
    /// what was in those that were there.
    pub fn take(&mut self, paths: impl IntoIterator<Item = PathBuf>) -> Contents {
        let taken = paths
            .into_iter()
            .filter_map(|path| self.0.remove_entry(&path));
        Contents(taken.collect())
    }

    /// Gives each file whose content is as it was `before` its old modification
    /// time again. A failure only makes make do more than it must.
    pub fn keep_times(&mut self, before: &Contents) {
        for (path, old) in &before.0 {
            if let (Some(old), Some(Some(now))) = (old, self.0.get_mut(path))
                && now.digest == old.digest
                && let Ok(file) = File::options().append(true).open(path)
                && file.set_modified(old.modified).is_ok()
            {
                now.modified = old.modified;
            }
        }
    }

    fn get(&self, path: &Path) -> Option<&Content> {
        self.0.get(path)?.as_ref()
    }
}

thread_local! {
    /// What a file is read into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Content {
    fn of(path: &Path) -> io::Result<Content> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() && !is_null_device(&metadata) {
            return Err(io::Error::other("not a regular file"));
        }
        let digest = BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            file.read_to_end(buffer)?;
            io::Result::Ok(Digest::of(buffer))
        })?;
        Ok(Content {
            digest,
            modified: metadata.modified()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_until_it_is_forgotten() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("x");
        let read = |contents: &mut Contents| {
            contents.read([path.clone()]);
            contents.digest(&path)
        };
        std::fs::write(&path, "1").unwrap();
        let mut contents = Contents::default();
        assert_eq!(contents.digest(&path), None);
        assert_eq!(read(&mut contents), Some(Digest::of(b"1")));
        assert!(contents.modified(&path).is_some());
        std::fs::write(&path, "2").unwrap();
        assert_eq!(read(&mut contents), Some(Digest::of(b"1")));
        contents.take([path.clone()]);
        assert_eq!(read(&mut contents), Some(Digest::of(b"2")));
    }

    #[test]
    fn what_is_no_file_has_no_content() {
        let tree = tempfile::tempdir().unwrap();
        let absent = tree.path().join("absent");
        let null = PathBuf::from("/dev/null");
        let mut contents = Contents::default();
        contents.read([tree.path().to_owned(), absent.clone(), null.clone()]);
        assert_eq!(contents.digest(tree.path()), None);
        assert_eq!(contents.digest(&absent), None);
        assert_eq!(contents.digest(&null), Some(Digest::of(b"")));
    }
}
