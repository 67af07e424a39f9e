//! Who can write to a cache: whoever can, decides what its users link.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::store::{Shelf, Store, entries};

/// Mode bits of a directory.
const WRITE_OF_GROUP: u32 = 0o020;
const WRITE_OF_OTHERS: u32 = 0o002;
/// Only owners may remove and rename what is there.
const STICKY: u32 = 0o1000;

/// A directory by which others can change what is in a cache.
#[derive(Debug, thiserror::Error)]
#[error("{who} can write to `{}`", .directory.display())]
pub(super) struct Untrusted {
    pub(super) directory: PathBuf,
    who: String,
}

/// Finds out whether anybody but this user, and root, can put something into the
/// cache of `store`: into one of its directories, or in place of one that leads to
/// it. What is not there yet will be this user's own.
pub(super) fn check(store: &Store) -> Result<(), Untrusted> {
    let directory = store.directory();
    // Links on the way are in the directories of the one path, what they lead to is
    // in those of the other.
    let resolved = directory
        .ancestors()
        .find_map(|way| way.canonicalize().ok());
    directory
        .ancestors()
        .skip(1)
        .chain(resolved.iter().flat_map(|way| way.ancestors()))
        .try_for_each(|above| check_one(above, Some(STICKY)))?;
    let own = [directory.to_owned(), store.version()];
    let shelves = [Shelf::Actions, Shelf::Objects].map(|shelf| store.part(shelf.name()));
    own.iter()
        .chain(&shelves)
        .try_for_each(|own| check_one(own, None))?;
    for shelf in &shelves {
        // One that cannot be listed gives nothing either.
        let listed = entries(shelf).ok().flatten().into_iter().flatten();
        listed
            .flatten()
            .try_for_each(|entry| check_one(&entry.path(), None))?;
    }
    Ok(())
}

/// Checks `directory`, where others may write if it has the mode bit `unless`.
fn check_one(directory: &Path, unless: Option<u32>) -> Result<(), Untrusted> {
    let untrusted = |who: String| Untrusted {
        directory: directory.to_owned(),
        who,
    };
    // What cannot be looked at cannot be used either, which is said elsewhere.
    let Ok(metadata) = directory.metadata() else {
        return Ok(());
    };
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        return Err(untrusted(format!("user {}", metadata.uid())));
    }
    if unless.is_some_and(|bit| metadata.mode() & bit != 0) {
        return Ok(());
    }
    if metadata.mode() & WRITE_OF_OTHERS != 0 {
        return Err(untrusted("everybody".to_owned()));
    }
    if metadata.mode() & WRITE_OF_GROUP != 0 {
        return Err(untrusted(format!("group {}", metadata.gid())));
    }
    Ok(())
}
