//! Counts what builds do: in memory while they run, added up in the cache after.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::publish;
use super::store::Store;

/// Says which of its keys found an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// The first key, before anything was read but hashes.
    Primary,
    /// The second key, of the module as it is after its imports.
    AfterImport,
}

/// Adds up what one build has counted, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Totals {
    /// How many builds have ended.
    pub builds: u64,
    /// How many objects were found by the content of their jobs' inputs.
    pub hits_primary: u64,
    /// How many objects were found by the content of their modules after LLVM had
    /// imported into them.
    pub hits_after_import: u64,
    /// How many objects were looked for and not found.
    pub misses: u64,
    /// How many entries were written.
    pub stores: u64,
    /// The bytes of objects that were added, since they were not there yet.
    pub bytes_stored: u64,
    /// The bytes of objects that were found.
    pub bytes_served: u64,
    /// The wall time in seconds that the compiles took whose objects were found.
    pub seconds_saved: f64,
    /// How many files could not be read or written.
    pub errors: u64,
}

impl Totals {
    /// Counts the objects that were found, by whichever key.
    pub fn hits(&self) -> u64 {
        self.hits_primary.saturating_add(self.hits_after_import)
    }

    fn add(&mut self, other: &Totals) {
        for (sum, more) in [
            (&mut self.builds, other.builds),
            (&mut self.hits_primary, other.hits_primary),
            (&mut self.hits_after_import, other.hits_after_import),
            (&mut self.misses, other.misses),
            (&mut self.stores, other.stores),
            (&mut self.bytes_stored, other.bytes_stored),
            (&mut self.bytes_served, other.bytes_served),
            (&mut self.errors, other.errors),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.seconds_saved += other.seconds_saved;
    }
}

/// Counts for the build that runs, from any thread.
#[derive(Default)]
pub(super) struct Counters {
    hits_primary: AtomicU64,
    hits_after_import: AtomicU64,
    misses: AtomicU64,
    stores: AtomicU64,
    bytes_stored: AtomicU64,
    bytes_served: AtomicU64,
    microseconds_saved: AtomicU64,
    errors: AtomicU64,
    first_error: OnceLock<String>,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn hit(&self, hit: Hit, saved: Duration) {
        match hit {
            Hit::Primary => add(&self.hits_primary, 1),
            Hit::AfterImport => add(&self.hits_after_import, 1),
        }
        let saved = u64::try_from(saved.as_micros()).unwrap_or_default();
        add(&self.microseconds_saved, saved);
    }

    pub(super) fn miss(&self) {
        add(&self.misses, 1);
    }

    pub(super) fn stored_entry(&self) {
        add(&self.stores, 1);
    }

    pub(super) fn stored_object(&self, bytes: u64) {
        add(&self.bytes_stored, bytes);
    }

    pub(super) fn served(&self, bytes: u64) {
        add(&self.bytes_served, bytes);
    }

    pub(super) fn error(&self, reason: impl FnOnce() -> String) {
        add(&self.errors, 1);
        self.first_error.get_or_init(reason);
    }

    pub(super) fn first_error(&self) -> Option<&str> {
        self.first_error.get().map(String::as_str)
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            builds: 1,
            hits_primary: read(&self.hits_primary),
            hits_after_import: read(&self.hits_after_import),
            misses: read(&self.misses),
            stores: read(&self.stores),
            bytes_stored: read(&self.bytes_stored),
            bytes_served: read(&self.bytes_served),
            seconds_saved: Duration::from_micros(read(&self.microseconds_saved)).as_secs_f64(),
            errors: read(&self.errors),
        }
    }
}

/// Names the file that has the sums.
pub(super) const FILE: &str = "stats";

/// Reads what all builds have counted. A damaged file counts nothing.
pub(super) fn read(store: &Store) -> io::Result<Totals> {
    match crate::files::read(&store.part(FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Totals::default()),
        Err(e) => Err(e),
    }
}

/// Adds `more` to what all builds have counted.
pub(super) fn accumulate(store: &Store, more: &Totals) -> io::Result<()> {
    // The file itself is replaced, so the lock is on its directory. Where
    // directories have no locks, two builds that end at once may lose a count.
    let directory = File::open(store.part(""))?;
    let _ = rustix::fs::flock(&directory, FlockOperation::LockExclusive);
    let mut totals = read(store)?;
    totals.add(more);
    let text = serde_json::to_string_pretty(&totals)?;
    publish::create(&store.part(FILE), 0o666, |mut file| {
        writeln!(file, "{text}")
    })
}
