//! Looks after a cache between builds: counts what is there, checks it, empties it.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rayon::prelude::*;
use serde::Serialize;

use super::counters::{self, Totals};
use super::prune;
use super::running;
use super::store::{self, Shelf, Store, Stored, Unread};
use crate::error::{Error, Kind, Result};

/// Says what a cache holds and has done.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Survey {
    /// The cache's directory, as an absolute path.
    pub directory: PathBuf,
    /// How many keys are known: what stands for a job.
    pub entries: u64,
    /// How many objects are there, which entries share.
    pub objects: u64,
    /// The bytes of entries and objects together.
    pub bytes: u64,
    /// How many builds use the cache at this moment.
    pub running_builds: usize,
    /// What builds have counted since the cache was made or cleared.
    pub counters: Totals,
}

/// Says what [`Store::verify`] has read and found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// How many entries were read, the damaged ones included.
    pub entries: u64,
    /// How many objects were read, the damaged ones included.
    pub objects: u64,
    /// The bytes of both together.
    pub bytes: u64,
    /// The files that are not what they should be.
    pub problems: Vec<Problem>,
}

/// Names a cached file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file's path.
    pub file: PathBuf,
    /// What is wrong with the file, such as "damaged".
    pub reason: String,
    /// Whether the file was removed.
    pub removed: bool,
}

/// Says what [`Store::clear`] removed.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Cleared {
    /// How many entries and objects were removed.
    pub files: u64,
    /// The bytes that they took.
    pub bytes: u64,
}

impl Store {
    /// Counts what is in the cache. A cache that does not exist holds nothing.
    ///
    /// # Errors
    /// [`Kind::Environment`] when a directory cannot be read.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// use backlto::cache::Store;
    /// use backlto::{CacheOptions, Engine, Options};
    ///
    /// let options = Options {
    ///     cache: Some(CacheOptions::new(directory.path())),
    ///     ..Options::default()
    /// };
    /// // A build that compiles nothing.
    /// Engine::new(&options)?.finish();
    ///
    /// let survey = Store::at(directory.path())?.survey()?;
    /// assert_eq!((survey.objects, survey.counters.builds), (0, 1));
    /// # Ok::<(), backlto::Error>(())
    /// ```
    pub fn survey(&self) -> Result<Survey> {
        let look = || -> io::Result<Survey> {
            let entries = self.files(Shelf::Actions)?;
            let objects = self.files(Shelf::Objects)?;
            let builds = running::builds(&self.part("running"), SystemTime::now())?;
            Ok(Survey {
                directory: self.directory().to_owned(),
                entries: entries.len() as u64,
                objects: objects.len() as u64,
                bytes: entries.iter().chain(&objects).map(|file| file.size).sum(),
                running_builds: builds.len(),
                counters: counters::read(self)?,
            })
        };
        look().map_err(|e| self.cannot("read", e))
    }

    /// Forgets what builds have counted. Objects stay.
    ///
    /// # Errors
    /// [`Kind::Environment`] when the counts cannot be removed.
    pub fn zero(&self) -> Result<()> {
        store::remove(&self.part(counters::FILE)).map_err(|e| self.cannot("count anew in", e))
    }

    /// Reads every file and removes those that are damaged.
    ///
    /// # Errors
    /// [`Kind::Environment`] when a directory cannot be read. Damaged files are no
    /// error here.
    pub fn verify(&self) -> Result<Verified> {
        let files = self
            .files(Shelf::Actions)
            .and_then(|entries| Ok([entries, self.files(Shelf::Objects)?].concat()))
            .map_err(|e| self.cannot("read", e))?;
        let mut verified = Verified::default();
        for file in &files {
            match file.shelf {
                Shelf::Actions => verified.entries += 1,
                Shelf::Objects => verified.objects += 1,
            }
            verified.bytes += file.size;
        }
        verified.problems = files
            .par_iter()
            .filter_map(|file| self.check(file))
            .collect();
        Ok(verified)
    }

    fn check(&self, file: &Stored) -> Option<Problem> {
        let read = || {
            let (open, metadata) = self.open(file.shelf, &file.name)?;
            match file.shelf {
                Shelf::Actions => self.read_entry(&file.name, &open),
                Shelf::Objects => store::read_object(&open, &file.name, metadata.len()),
            }
        };
        let reason = match read() {
            Ok(_) | Err(Unread::Missing) => return None,
            Err(reason) => reason,
        };
        let removed =
            matches!(reason, Unread::Damaged) && self.remove(file.shelf, &file.name).is_ok();
        Some(Problem {
            file: self.path(file.shelf, &file.name),
            reason: reason.to_string(),
            removed,
        })
    }

    /// Removes everything that is ours, and no other file. A build that starts
    /// meanwhile finds less, no more than that.
    ///
    /// # Errors
    /// [`Kind::Environment`] when builds are running that use the cache, or a file
    /// cannot be removed.
    pub fn clear(&self) -> Result<Cleared> {
        let now = SystemTime::now();
        let builds = running::builds(&self.part("running"), now);
        let builds = builds.map_err(|e| self.cannot("read", e))?.len();
        if builds > 0 {
            let reason = match builds {
                1 => "a running build uses it".to_owned(),
                many => format!("{many} running builds use it"),
            };
            return Err(self
                .cannot("clear", reason)
                .hint("run again when they have ended"));
        }
        self.remove_everything(now)
            .map_err(|e| self.cannot("clear", e))
    }

    fn remove_everything(&self, now: SystemTime) -> io::Result<Cleared> {
        let mut cleared = Cleared::default();
        for shelf in [Shelf::Actions, Shelf::Objects] {
            for file in self.files(shelf)? {
                self.remove(shelf, &file.name)?;
                cleared.files += 1;
                cleared.bytes += file.size;
            }
            self.remove_leftovers(shelf, now)?;
            self.remove_empty_directories(shelf)?;
        }
        for file in [counters::FILE, prune::TIMESTAMP] {
            store::remove(&self.part(file))?;
        }
        store::remove_if_empty(&self.part("running"))?;
        self.remove_frame()?;
        Ok(cleared)
    }

    pub(super) fn cannot(
        &self,
        what: &str,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let message = format!("cannot {what} the cache `{}`", self.directory().display());
        Error::new(Kind::Environment, message).because(reason)
    }
}
