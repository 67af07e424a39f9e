//! Keeps the cache within its policy.
//!
//! As LLVM's `pruneCache`, with two differences: what a running build may use
//! stays, and times in the future are set right.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Serialize;

use super::policy::Policy;
use super::running;
use super::store::{self, Shelf, Store, Stored, Unread};

/// Says what pruning removed and left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// How many entries were removed.
    pub removed_entries: u64,
    /// How many objects were removed.
    pub removed_objects: u64,
    /// The bytes that those entries and objects took.
    pub removed_bytes: u64,
    /// How many entries are left.
    pub entries: u64,
    /// How many objects are left.
    pub objects: u64,
    /// The bytes that what is left takes.
    pub bytes: u64,
    /// Whether the cache is larger than it should be, because running builds use
    /// it.
    pub kept_for_builds: bool,
}

/// Names the file whose modification time says when the cache was last pruned.
pub(super) const TIMESTAMP: &str = "pruned";

/// Bounds the time for which a build writes one file.
const LONGEST_WRITE: Duration = Duration::from_secs(3600);

impl Store {
    /// Removes what `policy` does not allow for, least recently used first,
    /// whenever the cache was last pruned. Gives `None` when the policy limits
    /// nothing and when there is no cache.
    ///
    /// A build that asks for a file in the very moment in which it is removed
    /// does not find it. All else that a running build has used, or written,
    /// stays.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::error::Kind::Environment) when the cache cannot
    /// be read or a file cannot be removed.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// use backlto::cache::{Policy, Store};
    ///
    /// let policy: Policy = "prune_after=7d:cache_size_bytes=20g".parse()?;
    /// let store = Store::at(&directory.path().join("cache"))?;
    /// match store.prune(&policy)? {
    ///     Some(pruned) => println!("{} bytes are free", pruned.removed_bytes),
    ///     None => println!("there was nothing to do"),
    /// }
    /// # Ok::<(), backlto::Error>(())
    /// ```
    pub fn prune(&self, policy: &Policy) -> crate::Result<Option<Pruned>> {
        self.prune_at(policy, SystemTime::now(), true)
            .map_err(|e| self.cannot("prune", e))
    }

    /// Prunes as if it were `now`. Without `force` this happens once in the
    /// policy's interval, and not while another process does it; `None` says that
    /// it did not happen.
    pub(super) fn prune_at(
        &self,
        policy: &Policy,
        now: SystemTime,
        force: bool,
    ) -> io::Result<Option<Pruned>> {
        if !policy.limits_something() || !self.part("").is_dir() {
            return Ok(None);
        }
        let Some(_turn) = self.take_turn(policy, now, force)? else {
            return Ok(None);
        };
        let builds = running::builds(&self.part("running"), now)?;
        let mut files = Vec::new();
        for shelf in [Shelf::Actions, Shelf::Objects] {
            let long_ago = now.checked_sub(LONGEST_WRITE);
            self.remove_leftovers(shelf, long_ago.unwrap_or(SystemTime::UNIX_EPOCH))?;
            files.extend(self.files(shelf)?);
        }
        // The clock was wrong when these were used, or is now. As they are,
        // they would outlive all others.
        let latest = builds.iter().copied().fold(now, SystemTime::max);
        for file in files.iter_mut().filter(|file| file.used > latest) {
            file.used = latest;
            // Others may own it. It goes on as it was, then.
            let _ = self.change_use(file, latest);
        }
        // An entry before the object it names, as a build uses them.
        files.sort_by_key(|file| (file.used, file.shelf != Shelf::Actions));
        self.remove_surplus(policy, now, &files, builds.into_iter().min())
            .map(Some)
    }

    /// Removes from `files`, oldest first, but nothing that was used since
    /// `oldest_build`.
    fn remove_surplus(
        &self,
        policy: &Policy,
        now: SystemTime,
        files: &[Stored],
        oldest_build: Option<SystemTime>,
    ) -> io::Result<Pruned> {
        let mut pruned = Pruned::default();
        for file in files {
            *pruned.count_of(file) += 1;
            pruned.bytes += file.size;
        }
        let disk = rustix::fs::statvfs(self.directory())?;
        let free = disk.f_bfree.saturating_mul(disk.f_frsize);
        let byte_limit = policy.byte_limit(pruned.bytes, free);
        for file in files {
            let is_over =
                pruned.bytes > byte_limit || (policy.files > 0 && pruned.objects > policy.files);
            if !is_over && !policy.has_expired(file.used, now) {
                break;
            }
            if oldest_build.is_some_and(|start| file.used >= start) {
                pruned.kept_for_builds = is_over;
                break;
            }
            if self.remove_unless_used(file)? {
                *pruned.count_of(file) -= 1;
                pruned.bytes -= file.size;
                pruned.removed_bytes += file.size;
                match file.shelf {
                    Shelf::Actions => pruned.removed_entries += 1,
                    Shelf::Objects => pruned.removed_objects += 1,
                }
            }
        }
        Ok(pruned)
    }

    /// Removes `file`, unless it was used since it was found.
    fn remove_unless_used(&self, file: &Stored) -> io::Result<bool> {
        match std::fs::symlink_metadata(self.path(file.shelf, &file.name)) {
            Ok(metadata) if metadata.modified()? > file.used => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(e),
        }
        self.remove(file.shelf, &file.name)?;
        Ok(true)
    }

    fn change_use(&self, file: &Stored, used: SystemTime) -> Result<(), Unread> {
        let (open, _) = self.open(file.shelf, &file.name)?;
        Ok(store::set_used(&open, used)?)
    }

    /// The locked timestamp, when the time has come and nobody else prunes.
    fn take_turn(&self, policy: &Policy, now: SystemTime, force: bool) -> io::Result<Option<File>> {
        let path = self.part(TIMESTAMP);
        let (file, is_first) = match File::create_new(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                (OpenOptions::new().write(true).open(&path)?, false)
            }
            created => (created?, true),
        };
        let operation = match force {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        // Without locks, two may prune at once: each finds less to remove.
        if rustix::fs::flock(&file, operation) == Err(Errno::WOULDBLOCK) {
            return Ok(None);
        }
        // A time in the future says that the clock was wrong, and nothing else.
        let age = now.duration_since(file.metadata()?.modified()?).ok();
        if !force && !is_first && age.is_some_and(|age| age <= policy.interval) {
            return Ok(None);
        }
        store::set_used(&file, now)?;
        Ok(Some(file))
    }
}

impl Pruned {
    fn count_of(&mut self, file: &Stored) -> &mut u64 {
        match file.shelf {
            Shelf::Actions => &mut self.entries,
            Shelf::Objects => &mut self.objects,
        }
    }
}
