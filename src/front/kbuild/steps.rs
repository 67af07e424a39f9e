//! Steps that are not compiles, left out when content proves that they would
//! write what is there. Times are kept as make wants them: nothing looks older
//! than what it is made of.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::incremental;
use crate::sys::Mapping;

/// A digest of `words` and of the names and contents of `files`, which are
/// relative to `directory`; `None` when one cannot be read.
pub(super) fn digest(directory: &Path, words: &[&str], files: &[String]) -> Option<Digest> {
    let contents = files
        .par_iter()
        .map(|name| {
            let file = std::fs::File::open(directory.join(name)).ok()?;
            Some(Digest::of(Mapping::new(&file).ok()?.bytes()))
        })
        .collect::<Option<Vec<Digest>>>()?;
    let mut hasher = Hasher::new();
    for word in words {
        hasher.field("word", word.as_bytes());
    }
    for (name, content) in files.iter().zip(contents) {
        hasher
            .field("file", name.as_bytes())
            .field("content", content.as_bytes());
    }
    Some(hasher.digest())
}

/// A file that was written, or would not have changed.
pub(super) struct Written<'a> {
    name: &'a str,
    pub(super) changed: bool,
}

/// Has `write` write the file `name`. When that does not change it, its time
/// does not change either.
pub(super) fn written<'a>(
    directory: &Path,
    name: &'a str,
    write: impl FnOnce(&str) -> Result<()>,
) -> Result<Written<'a>> {
    let before = Before::of(directory.join(name));
    write(name)?;
    let changed = !before.is_some_and(Before::keep_time);
    Ok(Written { name, changed })
}

/// A file as it was before something writes it.
pub(super) struct Before {
    path: PathBuf,
    bytes: Vec<u8>,
    modified: SystemTime,
}

impl Before {
    /// The file at `path`, if it is there.
    pub(super) fn of(path: PathBuf) -> Option<Before> {
        Some(Before {
            modified: path.metadata().ok()?.modified().ok()?,
            bytes: std::fs::read(&path).ok()?,
            path,
        })
    }

    /// Gives the file its old time again if it has its old content. Returns
    /// whether it has.
    pub(super) fn keep_time(self) -> bool {
        let same = std::fs::read(&self.path).is_ok_and(|now| now == self.bytes);
        if same && let Ok(file) = std::fs::File::options().append(true).open(&self.path) {
            // Else make does more than it must.
            let _ = file.set_modified(self.modified);
        }
        same
    }
}

impl Written<'_> {
    /// Sees to it that it does not look older than `inputs`.
    pub(super) fn younger_than(&self, directory: &Path, inputs: &[String]) {
        make_younger(directory, self.name, inputs);
    }
}

/// Sees to it that the file `name` does not look older than `inputs`.
pub(super) fn make_younger(directory: &Path, name: &str, inputs: &[String]) {
    let newest = inputs
        .iter()
        .filter_map(|input| directory.join(input).metadata().ok()?.modified().ok())
        .max();
    incremental::make_younger(&directory.join(name), newest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_count() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(tree.path().join(name), text).unwrap();
        write("a", "1");
        write("b", "1");
        let of = |words: &[&str], files: &[&str]| {
            let files: Vec<String> = files.iter().map(|name| (*name).to_owned()).collect();
            digest(tree.path(), words, &files)
        };
        let first = of(&["x"], &["a"]).unwrap();
        assert_ne!(of(&["x"], &["b"]), Some(first));
        assert_ne!(of(&["y"], &["a"]), Some(first));
        assert_eq!(of(&["x"], &["a", "absent"]), None);
        write("a", "2");
        assert_ne!(of(&["x"], &["a"]), Some(first));
        write("a", "1");
        assert_eq!(of(&["x"], &["a"]), Some(first));
    }

    #[test]
    fn only_a_change_is_dated() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("x");
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let write = |text: &'static str| {
            written(tree.path(), "x", |_| {
                std::fs::write(&path, text).unwrap();
                Ok(())
            })
            .unwrap()
        };
        assert!(write("a").changed);
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        assert!(!write("a").changed);
        let time = || path.metadata().unwrap().modified().unwrap();
        assert_eq!(time(), old);
        std::fs::write(tree.path().join("input"), "").unwrap();
        make_younger(tree.path(), "x", &["input".to_owned()]);
        assert!(time() > old);
        assert!(write("b").changed);
    }
}
