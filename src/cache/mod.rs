//! Keeps objects of earlier builds on disk for builds to come.
//!
//! [`Options::cache`](crate::Options::cache) has an engine use a cache, and
//! [`Engine::finish`](crate::Engine::finish) gives its [`Summary`]. What tools do
//! with one between builds is up to [`Store`].
//!
//! An *entry* says what a key stands for; the engine decides what keys and
//! entries are. An *object* is a file's content, named by its hash. What is
//! found is checked before it is used, so a cache can make a build slower and
//! never wrong: whatever is missing, damaged or cannot be read is compiled.
//!
//! ```text
//!   lookup ─ entry ─ place ──── the object is there under its own name
//!      └ nothing      └ false ─ compile ─ insert ─ store
//! ```

mod counters;
mod policy;
mod prune;
mod publish;
mod running;
mod store;
#[cfg(test)]
mod tests;
mod trust;
mod upkeep;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

pub(crate) use counters::Hit;
pub use counters::Totals;
pub use policy::Policy;
pub use prune::Pruned;
pub use store::Store;
pub use upkeep::{Cleared, Problem, Survey, Verified};

use crate::digest::Digest;
use crate::emit;
use crate::error::{Error, Kind, Result};
use counters::Counters;
use running::Running;
use store::{Shelf, Unread};

/// The cache as one build uses it, from any thread.
pub(crate) struct Cache {
    store: Store,
    policy: Policy,
    /// The mark of this build; `None` when the directory cannot be written to.
    running: Option<Running>,
    /// Why nothing is stored, if nothing is.
    read_only: Option<String>,
    /// When the build started: what it uses must not look older.
    started: SystemTime,
    counters: Counters,
    /// Devices that have refused to share blocks with the cache.
    no_clones: Mutex<HashSet<u64>>,
}

/// Says what a placed file may share with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// It shares nothing: the user may write to it, and its time is that of the build.
    Own,
    /// It shares the inode, if possible: for files that are read and soon removed. It is
    /// read-only, its modification time is the cache's and may change.
    Transient,
}

/// Says how a build ended for its cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// What this build has counted.
    pub totals: Totals,
    /// Why the first of the counted errors happened.
    pub first_error: Option<String>,
    /// What was removed, if it was time to.
    pub pruned: Option<Pruned>,
}

impl Cache {
    /// Opens the cache in `directory` for a build, and creates it if need be. A
    /// directory that cannot be written to gives what it holds.
    ///
    /// # Errors
    /// When there is no such directory and it cannot be created, and when others can
    /// write to it, unless it is `shared`.
    pub(crate) fn open(directory: &Path, policy: Policy, shared: bool) -> Result<Cache> {
        let mut store = Store::at(directory)?;
        match shared {
            true => store = store.shared(),
            false => trust::check(&store).map_err(|reason| refused(directory, reason))?,
        }
        let now = SystemTime::now();
        let marks = store.part("running");
        let running = store
            .create()
            .and_then(|()| store.create_directory(&marks))
            .and_then(|()| Running::begin(&marks, now));
        let (running, read_only) = match running {
            Ok(running) => (Some(running), None),
            Err(e) if store.directory().is_dir() => (None, Some(e.to_string())),
            Err(e) => {
                return Err(Error::new(
                    Kind::Environment,
                    format!("cannot create the cache `{}`", directory.display()),
                )
                .because(e));
            }
        };
        Ok(Cache {
            store,
            policy,
            started: running.as_ref().map_or(now, |running| running.started),
            running,
            read_only,
            counters: Counters::default(),
            no_clones: Mutex::default(),
        })
    }

    /// Gives `$BACKLTO_CACHE_DIR`, else the place where users' caches are.
    pub(crate) fn default_directory() -> Option<PathBuf> {
        default_directory(|name| std::env::var_os(name))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.store.directory()
    }

    /// Says why nothing is stored, if nothing is.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Reads the content of the entry `key`.
    pub(crate) fn lookup(&self, key: &Digest) -> Option<Vec<u8>> {
        let found = self
            .store
            .open(Shelf::Actions, key)
            .and_then(|(file, metadata)| {
                let content = self.store.read_entry(key, &file)?;
                self.touch(&file, &metadata);
                Ok(content)
            });
        self.settle(Shelf::Actions, key, found)
    }

    /// Whether there is an entry `key`, whatever it says.
    pub(crate) fn has(&self, key: &Digest) -> bool {
        self.store.path(Shelf::Actions, key).exists()
    }

    /// Makes `entry` the content of the entry `key`, if it can.
    pub(crate) fn store(&self, key: &Digest, entry: &[u8]) {
        if self.read_only.is_some() {
            return;
        }
        match self.store.write_entry(key, entry, self.time_of_use()) {
            Ok(()) => self.counters.stored_entry(),
            Err(e) => self.cannot("write to", &e),
        }
    }

    /// Takes the entry `key` out, if it is there. False when that cannot be done.
    pub(crate) fn forget(&self, key: &Digest) -> bool {
        self.store.remove(Shelf::Actions, key).is_ok()
    }

    /// Adds an object. Gives `None` when it could not be stored: no entry should name
    /// it then.
    pub(crate) fn insert(&self, object: &[u8]) -> Option<Digest> {
        if self.read_only.is_some() {
            return None;
        }
        let digest = Digest::of(object);
        if let Ok((file, metadata)) = self.store.open(Shelf::Objects, &digest) {
            // Should it be damaged in another way, whoever places it removes it.
            if metadata.len() == object.len() as u64 && self.touch(&file, &metadata) {
                return Some(digest);
            }
        }
        match self.store.write_object(&digest, object, self.time_of_use()) {
            Ok(()) => {
                self.counters.stored_object(object.len() as u64);
                Some(digest)
            }
            Err(e) => {
                self.cannot("write to", &e);
                None
            }
        }
    }

    /// Puts the object `digest` of `size` bytes whole under the name `to`, in
    /// place of the file that has it now. False when there is no such object or
    /// it is damaged, and when `to` cannot be written: then it is as it was, and
    /// writing the object in another way will say why.
    ///
    /// What is checked is what is placed: the bytes in memory, the clone before
    /// it gets its name, or for a hard link the open inode. Only the last could
    /// change in between, if somebody makes the read-only file writable, or
    /// root writes to it; and whoever does the same to the placed name later
    /// changes the cached object, which is then found to be damaged.
    pub(crate) fn place(&self, digest: &Digest, size: u64, to: &Path, how: Placement) -> bool {
        let placed = self
            .store
            .open(Shelf::Objects, digest)
            .and_then(|(file, metadata)| {
                // First, since a hard link shares the time.
                self.touch(&file, &metadata);
                self.place_open(&file, (digest, size), to, how)
            });
        let placed = self.settle(Shelf::Objects, digest, placed).unwrap_or(false);
        if placed {
            self.counters.served(size);
        }
        placed
    }

    /// Reads the object `digest` of `size` bytes. `None` when there is no such object
    /// or it is damaged.
    pub(crate) fn read(&self, digest: &Digest, size: u64) -> Option<Vec<u8>> {
        let read = self
            .store
            .open(Shelf::Objects, digest)
            .and_then(|(file, metadata)| {
                self.touch(&file, &metadata);
                store::read_object(&file, digest, size)
            });
        let object = self.settle(Shelf::Objects, digest, read)?;
        self.counters.served(size);
        Some(object)
    }

    fn place_open(
        &self,
        file: &File,
        (digest, size): (&Digest, u64),
        to: &Path,
        how: Placement,
    ) -> std::result::Result<bool, Unread> {
        let replaceable = emit::is_replaceable(to);
        let mut bytes = None;
        if replaceable && how == Placement::Transient {
            bytes = Some(store::read_object(file, digest, size)?);
            if publish::link(file, to).is_ok() {
                return Ok(true);
            }
        }
        if replaceable && self.place_clone(file, (digest, size), to)? {
            return Ok(true);
        }
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => store::read_object(file, digest, size)?,
        };
        Ok(emit::write(to, &bytes).is_ok())
    }

    /// Makes `to` a file that shares the blocks of `file` for as long as nobody
    /// writes to either. False where file systems cannot do that.
    fn place_clone(
        &self,
        file: &File,
        (digest, size): (&Digest, u64),
        to: &Path,
    ) -> std::result::Result<bool, Unread> {
        let no_clones = || {
            self.no_clones
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let device = to.parent().and_then(|parent| parent.metadata().ok());
        let device = device.map_or(0, |metadata| metadata.dev());
        if no_clones().contains(&device) {
            return Ok(false);
        }
        let is_damaged = std::cell::Cell::new(false);
        let cloned = publish::create(to, 0o666, |clone| {
            rustix::fs::ioctl_ficlone(clone, file)?;
            match store::read_object(clone, digest, size) {
                Ok(_) => Ok(()),
                Err(Unread::Failed(e)) => Err(e),
                Err(reason) => {
                    is_damaged.set(true);
                    Err(std::io::Error::other(reason))
                }
            }
        });
        match cloned {
            Ok(()) => Ok(true),
            Err(_) if is_damaged.get() => Err(Unread::Damaged),
            Err(e) => {
                let refused = [
                    Errno::OPNOTSUPP,
                    Errno::XDEV,
                    Errno::INVAL,
                    Errno::NOTTY,
                    Errno::NOSYS,
                ];
                if Errno::from_io_error(&e).is_some_and(|e| refused.contains(&e)) {
                    no_clones().insert(device);
                }
                Ok(false)
            }
        }
    }

    /// Counts an object that was found, and what its compile had taken.
    pub(crate) fn count_hit(&self, hit: Hit, saved: Duration) {
        self.counters.hit(hit, saved);
    }

    /// Counts an object that had to be compiled.
    pub(crate) fn count_miss(&self) {
        self.counters.miss();
    }

    /// Adds up what this build has counted so far.
    #[cfg(test)]
    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Ends the build for its cache: adds up what was counted, and prunes when
    /// it is time to.
    pub(crate) fn finish(mut self) -> Summary {
        let writable = self.running.is_some();
        // What it has used need not be kept any longer.
        self.running = None;
        let mut pruned = None;
        if writable {
            match self.store.prune_at(&self.policy, SystemTime::now(), false) {
                Ok(done) => pruned = done,
                Err(e) => self.cannot("prune", &e),
            }
            if let Err(e) = counters::accumulate(&self.store, &self.counters.totals()) {
                self.cannot("write to", &e);
            }
        }
        Summary {
            totals: self.counters.totals(),
            first_error: self.counters.first_error().map(str::to_owned),
            pruned,
        }
    }

    /// Makes `file` look used by this build, so that it stays until the build
    /// has ended. False if that cannot be had.
    fn touch(&self, file: &File, metadata: &Metadata) -> bool {
        let used = metadata.modified().is_ok_and(|used| used >= self.started);
        used || store::set_used(file, self.time_of_use()).is_ok()
    }

    /// Gives the present time, or the build's start if the clock was set back.
    fn time_of_use(&self) -> SystemTime {
        SystemTime::now().max(self.started)
    }

    /// Takes what was found; removes the file when it is damaged.
    fn settle<T>(
        &self,
        shelf: Shelf,
        name: &Digest,
        found: std::result::Result<T, Unread>,
    ) -> Option<T> {
        match found {
            Ok(content) => return Some(content),
            Err(Unread::Missing) => {}
            Err(Unread::Damaged) => {
                let path = self.store.path(shelf, name);
                self.counters
                    .error(|| format!("`{}` was damaged", path.display()));
                // A read-only cache keeps it, and does not use it.
                let _ = self.store.remove(shelf, name);
            }
            Err(Unread::Failed(e)) => self.cannot("read", &e),
        }
        None
    }

    fn cannot(&self, what: &str, reason: &std::io::Error) {
        self.counters.error(|| {
            format!(
                "cannot {what} the cache `{}`: {reason}",
                self.directory().display()
            )
        });
    }
}

/// Says why the cache in `directory` is not used.
fn refused(directory: &Path, reason: trust::Untrusted) -> Error {
    let culprit = reason.directory.display().to_string();
    let text = format!("the cache `{}` is not used", directory.display());
    Error::new(Kind::Environment, text)
        .because(reason)
        .hint(format!(
            "who can write to a cache decides what its users link: `chmod go-w {culprit}` if that \
             is nobody's business, or say that it is shared (--cache-shared, \
             BACKLTO_CACHE_SHARED=1)"
        ))
}

fn default_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    path("BACKLTO_CACHE_DIR")
        .or_else(|| {
            // The XDG specification has relative paths ignored.
            path("XDG_CACHE_HOME")
                .filter(|path| path.is_absolute())
                .map(|path| path.join("backlto"))
        })
        .or_else(|| path("HOME").map(|path| path.join(".cache/backlto")))
}
