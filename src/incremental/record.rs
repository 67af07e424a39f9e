//! The record that a build leaves beside its objects: what each was made of. It
//! says what a rerun can skip and, to people, why something was built.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asm::Files;
use crate::digest::Digest;
use crate::error::Result;
use crate::plan::Job;
use crate::report::Origin;

/// What an object was made of.
#[derive(Clone, Debug)]
pub struct JobRecord {
    pub build: Digest,
    pub flags: Digest,
    /// The flags, for people.
    pub words: Vec<String>,
    pub module: Digest,
    pub index: Option<Digest>,
    /// By name, sorted.
    pub imports: Vec<(String, Digest)>,
    pub asm: Files,
    pub post: Option<Vec<String>>,
    /// The object as it is on disk.
    pub object: Digest,
    pub how: Origin,
    pub duration: Duration,
    /// Why it was built.
    pub why: Vec<String>,
}

/// A step that is not a compile: what it read and wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Command and content of everything that it reads.
    pub inputs: Digest,
    /// Names and content of what it writes.
    pub outputs: Digest,
}

/// What another program said, which it would say again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question, and names and content of `files`.
    pub inputs: Digest,
    /// What it has read.
    pub files: Vec<String>,
    pub text: String,
}

/// The record of one tree.
#[derive(Debug, Default)]
pub struct Record {
    jobs: BTreeMap<String, JobRecord>,
    steps: BTreeMap<String, Step>,
    /// Of the one program that is asked.
    pub answer: Option<Answer>,
    base: PathBuf,
}

impl Record {
    /// Reads the record at `path`; an empty one when there is none that can be
    /// understood.
    pub fn read(path: &Path) -> Record {
        let stored = std::fs::read(path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Stored>(&text).ok())
            .filter(|stored| stored.format == FORMAT);
        let mut record = stored.and_then(Stored::load).unwrap_or_default();
        record.base = path.parent().unwrap_or(Path::new("")).to_owned();
        record
    }

    /// What is known of the object that `job` writes.
    pub fn job(&self, job: &Job) -> Option<JobRecord> {
        self.object(&job.output_path())
    }

    /// What is known of the object at `path`.
    pub fn object(&self, path: &Path) -> Option<JobRecord> {
        self.jobs.get(&self.name(path)).cloned()
    }

    /// Remembers how the object of `job` was made; `None` forgets it.
    pub fn set_job(&mut self, job: &Job, known: Option<JobRecord>) {
        let name = self.name(&job.output_path());
        match known {
            Some(known) => self.jobs.insert(name, known),
            None => self.jobs.remove(&name),
        };
    }

    /// Forgets the objects of all jobs but `jobs`.
    pub fn keep_jobs<'a>(&mut self, jobs: impl Iterator<Item = &'a Job>) {
        let names: std::collections::HashSet<String> =
            jobs.map(|job| self.name(&job.output_path())).collect();
        self.jobs.retain(|name, _| names.contains(name));
    }

    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.get(name)
    }

    pub fn set_step(&mut self, name: &str, step: Option<Step>) {
        match step {
            Some(step) => self.steps.insert(name.to_owned(), step),
            None => self.steps.remove(name),
        };
    }

    /// A tree that moves as a whole keeps its record.
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
        crate::emit::write(path, &text)
    }
}

const FORMAT: u32 = 1;

/// The file's content. Imports of different jobs are mostly the same files, so
/// those stand in a table.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    builds: Vec<Digest>,
    flags: Vec<(Digest, Vec<String>)>,
    files: Vec<(String, Digest)>,
    jobs: BTreeMap<String, StoredJob>,
    steps: BTreeMap<String, Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

#[derive(Serialize, Deserialize)]
struct StoredJob {
    build: usize,
    flags: usize,
    module: Digest,
    index: Option<Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    imports: Vec<usize>,
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    asm: Files,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    post: Option<Vec<String>>,
    object: Digest,
    how: Origin,
    microseconds: u64,
    why: Vec<String>,
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
        let mut builds = Table::new();
        let mut flags = Table::new();
        let mut files = Table::new();
        let jobs = record
            .jobs
            .iter()
            .map(|(name, job)| {
                let stored = StoredJob {
                    build: builds.number(&job.build),
                    flags: flags.number(&(job.flags, job.words.clone())),
                    module: job.module,
                    index: job.index,
                    imports: job.imports.iter().map(|file| files.number(file)).collect(),
                    asm: job.asm.clone(),
                    post: job.post.clone(),
                    object: job.object,
                    how: job.how,
                    microseconds: u64::try_from(job.duration.as_micros()).unwrap_or(u64::MAX),
                    why: job.why.clone(),
                };
                (name.clone(), stored)
            })
            .collect();
        Stored {
            format: FORMAT,
            builds: builds.0,
            flags: flags.0,
            files: files.0,
            jobs,
            steps: record.steps.clone(),
            answer: record.answer.clone(),
        }
    }

    /// `None` when the tables lack something.
    fn load(self) -> Option<Record> {
        let mut jobs = BTreeMap::new();
        for (name, job) in self.jobs {
            let (flags, words) = self.flags.get(job.flags)?.clone();
            let imports = job.imports.iter().map(|number| self.files.get(*number));
            let known = JobRecord {
                build: *self.builds.get(job.build)?,
                flags,
                words,
                module: job.module,
                index: job.index,
                imports: imports.map(Option::<&_>::cloned).collect::<Option<_>>()?,
                asm: job.asm,
                post: job.post,
                object: job.object,
                how: job.how,
                duration: Duration::from_micros(job.microseconds),
                why: job.why,
            };
            jobs.insert(name, known);
        }
        Some(Record {
            jobs,
            steps: self.steps,
            answer: self.answer,
            base: PathBuf::new(),
        })
    }
}
