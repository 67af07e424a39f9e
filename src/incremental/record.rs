//! The record that a build leaves beside its objects: what each was made of. It
//! says what a rerun can skip and, to people, why something was built.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dependency::{self, Dependency};
use crate::digest::Digest;
use crate::error::Result;
use crate::origin::Origin;
use crate::plan::Job;

/// What is known of an object.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ObjectRecord {
    /// What decides it, in the order of [`Part`](crate::dependency::Part)s in which
    /// it was found.
    pub made_of: Vec<Dependency>,
    /// Its flags, the compiler's name first; empty when it was compiled from a
    /// command line that names files.
    pub flags: Vec<String>,
    /// Its content, as it was left on disk.
    pub object: Digest,
    /// How it came to be.
    pub how: Origin,
    /// How long that took.
    pub duration: Duration,
    /// Why it was built; empty when nothing was known of an earlier build.
    pub why: Vec<String>,
    /// How much its compile reads and writes; `None` when it was recorded by a backlto that
    /// did not look.
    pub sizes: Option<Sizes>,
}

/// Tells how much a compile reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// For each of [`ObjectRecord::made_of`] the bytes that the compile reads of it: module,
    /// index and imports have some.
    pub made_of: Vec<u64>,
    /// The bytes of the object.
    pub object: u64,
}

impl ObjectRecord {
    /// Says what the object was made of that `other` was not, and the other way round, a
    /// text for each; nothing when both were made of the same.
    pub fn differences(&self, other: &ObjectRecord) -> Vec<String> {
        let mut texts = dependency::differences(&self.made_of, &other.made_of);
        let words = |one: &ObjectRecord, other: &ObjectRecord| {
            let only = one.flags.iter().filter(|word| !other.flags.contains(word));
            only.cloned().collect::<Vec<_>>().join(" ")
        };
        for (words, which) in [
            (words(self, other), "first"),
            (words(other, self), "second"),
        ] {
            if !words.is_empty() {
                texts.push(format!("flags of the {which} alone: {words}"));
            }
        }
        texts
    }

    /// How long LLVM took to compile the object; `None` when it came from the cache.
    pub fn compile_time(&self) -> Option<Duration> {
        matches!(self.how, Origin::Compiled | Origin::Executed).then_some(self.duration)
    }
}

/// What is known of the objects of one tree, and what a front door has to remember
/// of it.
#[derive(Debug, Default)]
pub struct Record {
    objects: BTreeMap<String, ObjectRecord>,
    notes: BTreeMap<String, serde_json::Value>,
    /// Names are relative to this directory, so that a tree may move.
    base: PathBuf,
}

impl Record {
    /// Reads the record at `path`; an empty one when there is none that can be
    /// understood.
    pub fn read(path: &Path) -> Record {
        let stored = crate::files::read(path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Stored>(&text).ok())
            .filter(|stored| stored.format == FORMAT);
        let mut record = stored.and_then(Stored::load).unwrap_or_default();
        record.base = path.parent().unwrap_or(Path::new("")).to_owned();
        record
    }

    /// What is known of the object at `path`.
    pub fn object(&self, path: &Path) -> Option<&ObjectRecord> {
        self.objects.get(&self.name(path))
    }

    /// All objects, in the order of their names.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRecord> {
        self.objects.values()
    }

    /// Remembers how the object of `job` was made; `None` forgets it.
    pub(crate) fn set_object(&mut self, job: &Job, known: Option<ObjectRecord>) {
        let name = self.name(&job.output_path());
        match known {
            Some(known) => self.objects.insert(name, known),
            None => self.objects.remove(&name),
        };
    }

    /// Forgets the objects of all jobs but `jobs`.
    pub fn keep_jobs<'a>(&mut self, jobs: impl IntoIterator<Item = &'a Job>) {
        let names: HashSet<String> = jobs
            .into_iter()
            .map(|job| self.name(&job.output_path()))
            .collect();
        self.objects.retain(|name, _| names.contains(name));
    }

    /// What was noted under `name`; `None` when nothing was, or nothing that a `T`
    /// can be made of.
    pub fn note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.notes.get(name)?).ok()
    }

    /// Notes `value` under `name`, for runs to come; `None` takes the note away.
    pub fn set_note<T: Serialize>(&mut self, name: &str, value: Option<&T>) {
        match value.and_then(|value| serde_json::to_value(value).ok()) {
            Some(value) => self.notes.insert(name.to_owned(), value),
            None => self.notes.remove(name),
        };
    }

    /// The name that the object at `path` has in the record.
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.base)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    }

    /// Writes the record to `path`, where it was read from.
    ///
    /// # Errors
    /// When it cannot be written; the one before stays.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(&Stored::of(self)).unwrap_or_default();
        crate::emit::write_regular(path, &text)
    }
}

const FORMAT: u32 = 2;

/// The file's content. Most of what one object depends on others depend on too, so
/// that stands in a table.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    flags: Vec<Vec<String>>,
    dependencies: Vec<Dependency>,
    /// The bytes that compiles read of each of `dependencies`, as far as it goes.
    #[serde(default)]
    sizes: Vec<u64>,
    objects: BTreeMap<String, StoredObject>,
    notes: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct StoredObject {
    /// Numbers of `dependencies`.
    made_of: Vec<usize>,
    /// The number of one of `flags`.
    flags: usize,
    object: Digest,
    how: Origin,
    microseconds: u64,
    why: Vec<String>,
    /// How many bytes it has, if the sizes of what it is made of are known, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Numbers equal values.
struct Table<T>(Vec<T>, HashMap<T, usize>);

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn new() -> Table<T> {
        Table(Vec::new(), HashMap::new())
    }

    fn number(&mut self, value: &T) -> usize {
        if let Some(number) = self.1.get(value) {
            return *number;
        }
        self.0.push(value.clone());
        self.1.insert(value.clone(), self.0.len() - 1);
        self.0.len() - 1
    }
}

impl Stored {
    fn of(record: &Record) -> Stored {
        let mut flags = Table::new();
        let mut dependencies = Table::new();
        let mut sizes = Vec::new();
        let objects = record
            .objects
            .iter()
            .map(|(name, known)| {
                let made_of = known.made_of.iter();
                let made_of: Vec<usize> = made_of.map(|one| dependencies.number(one)).collect();
                sizes.resize(dependencies.0.len(), 0);
                for (number, size) in made_of
                    .iter()
                    .zip(known.sizes.iter().flat_map(|sizes| &sizes.made_of))
                {
                    sizes[*number] = *size;
                }
                let stored = StoredObject {
                    made_of,
                    flags: flags.number(&known.flags),
                    object: known.object,
                    how: known.how,
                    microseconds: u64::try_from(known.duration.as_micros()).unwrap_or(u64::MAX),
                    why: known.why.clone(),
                    bytes: known.sizes.as_ref().map(|sizes| sizes.object),
                };
                (name.clone(), stored)
            })
            .collect();
        Stored {
            format: FORMAT,
            flags: flags.0,
            dependencies: dependencies.0,
            sizes,
            objects,
            notes: record.notes.clone(),
        }
    }

    /// `None` when the tables lack something.
    fn load(self) -> Option<Record> {
        let mut objects = BTreeMap::new();
        for (name, stored) in self.objects {
            let numbers = stored.made_of.iter();
            let made_of = numbers.map(|number| self.dependencies.get(*number).cloned());
            let size = |number: &usize| self.sizes.get(*number).copied().unwrap_or_default();
            let sizes = stored.bytes.map(|object| Sizes {
                made_of: stored.made_of.iter().map(size).collect(),
                object,
            });
            let known = ObjectRecord {
                made_of: made_of.collect::<Option<_>>()?,
                flags: self.flags.get(stored.flags)?.clone(),
                object: stored.object,
                how: stored.how,
                duration: Duration::from_micros(stored.microseconds),
                why: stored.why,
                sizes,
            };
            objects.insert(name, known);
        }
        Some(Record {
            objects,
            notes: self.notes,
            base: PathBuf::new(),
        })
    }
}
