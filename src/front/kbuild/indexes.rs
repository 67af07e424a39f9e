//! Summary indexes that a thin link writes anew without a change keep their
//! modification time, so that make's rules see what changed.

use std::path::Path;

use rayon::prelude::*;

use super::steps::Before;
use crate::link::index_name;

/// The indexes that were there before a thin link.
pub(super) struct Indexes(Vec<Before>);

impl Indexes {
    /// Remembers those of `objects` in `objtree`.
    pub(super) fn before(objtree: &Path, objects: &[String]) -> Indexes {
        let remember = |object: &String| Before::of(objtree.join(index_name(object)));
        Indexes(objects.par_iter().filter_map(remember).collect())
    }

    /// Gives those that have the same content again their old time.
    pub(super) fn keep_times(self) {
        self.0.into_par_iter().for_each(|index| {
            index.keep_time();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_what_stays_the_same_keeps_its_time() {
        let tree = tempfile::tempdir().unwrap();
        let objects = ["same.o", "other.o", "new.o"].map(str::to_owned);
        let path = |name: &str| tree.path().join(index_name(name));
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        for name in ["same.o", "other.o"] {
            std::fs::write(path(name), name).unwrap();
            let file = File::options().write(true).open(path(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        let indexes = Indexes::before(tree.path(), &objects);
        for (name, text) in [("same.o", "same.o"), ("other.o", "changed"), ("new.o", "x")] {
            std::fs::write(path(name), text).unwrap();
        }
        indexes.keep_times();
        let time = |name| path(name).metadata().unwrap().modified().unwrap();
        assert_eq!(time("same.o"), old);
        assert!(time("other.o") > old && time("new.o") > old);
    }
}
