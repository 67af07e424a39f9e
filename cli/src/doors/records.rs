//! The records that builds leave: where they are, and what they know.

use std::path::{Path, PathBuf};

use super::programs;
use crate::kbuild;
use backlto::Job;
use backlto::error::Result;
use backlto::incremental::Record;

/// A record that was found.
pub(crate) struct Found {
    /// The directory that it is in: names in it start there.
    pub(crate) base: PathBuf,
    /// What it knows.
    pub(crate) record: Record,
    /// The plan that was run; none where it is the record of an object tree.
    plan: Option<PathBuf>,
}

impl Found {
    /// The job that makes `object`, an absolute path, by what the build would do now;
    /// `None` when that cannot be told.
    ///
    /// # Errors
    /// When what it would do cannot be understood.
    pub(crate) fn job_of(&self, object: &Path) -> Result<Option<Job>> {
        match &self.plan {
            Some(plan) => programs::job_of(plan, object),
            None => kbuild::job_of(
                &self.base,
                object.strip_prefix(&self.base).unwrap_or(object),
            ),
        }
    }
}

/// The records in `directory` and those above it, the nearest first.
pub(crate) fn above(directory: &Path) -> impl Iterator<Item = Found> {
    directory.ancestors().flat_map(records_in)
}

/// The files of the records in `directory` and those above it, the nearest first.
pub(crate) fn paths_above(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let all = directory.ancestors().flat_map(files_in);
    all.map(|(path, _)| path)
}

/// The records in `directory` itself.
fn records_in(directory: &Path) -> Vec<Found> {
    let found = files_in(directory).into_iter();
    found
        .map(|(path, plan)| Found {
            base: directory.to_owned(),
            record: Record::read(&path),
            plan,
        })
        .collect()
}

/// The files of the records in `directory`, each with its plan if it is that of one.
fn files_in(directory: &Path) -> Vec<(PathBuf, Option<PathBuf>)> {
    let of_tree = directory.join(kbuild::RECORD);
    let of_plans = std::fs::read_dir(directory).into_iter().flatten();
    let of_plans = of_plans.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let plan = name
            .strip_prefix('.')?
            .strip_suffix(programs::RECORD_SUFFIX)?;
        Some((path.clone(), Some(directory.join(plan))))
    });
    let mut records: Vec<_> = of_plans.collect();
    records.sort();
    records.insert(0, (of_tree, None));
    records.retain(|(path, _)| path.is_file());
    records
}
