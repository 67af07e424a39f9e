//! What is done with a cache between builds: look at it, check it, empty it.

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

/// What a cache holds.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    pub directory: PathBuf,
    pub entries: u64,
    pub objects: u64,
    pub bytes: u64,
    pub running_builds: usize,
    /// What builds have counted since the cache was made or cleared.
    pub counters: Totals,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    pub entries: u64,
    pub objects: u64,
    pub bytes: u64,
    pub problems: Vec<Problem>,
}

/// A cached file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: PathBuf,
    pub reason: String,
    pub removed: bool,
}

/// What [`Store::clear`] removed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cleared {
    pub files: u64,
    pub bytes: u64,
}

impl Store {
    /// Counts what is there.
    ///
    /// # Errors
    /// When a directory cannot be read.
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

    /// Reads every file and removes those that are damaged.
    ///
    /// # Errors
    /// When a directory cannot be read. Damaged files are no error here.
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
    /// When builds are running that use the cache, or a file cannot be removed.
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

    fn cannot(&self, what: &str, reason: impl std::fmt::Display) -> Error {
        let message = format!("cannot {what} the cache `{}`", self.directory().display());
        Error::new(Kind::Environment, message).because(reason)
    }
}
