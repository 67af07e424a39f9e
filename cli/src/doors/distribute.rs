//! `backlto distribute`: the backends of a link that ld.lld runs itself.

use std::path::Path;

use crate::dtlto::{FlagSets, LinkJobs};
use crate::session::{Outcome, Settings, absolute};
use backlto::error::Result;

/// Compiles the jobs that the file at `path` describes.
///
/// # Errors
/// When it cannot be read, or a job fails.
pub(crate) fn run(path: &Path, settings: &Settings) -> Outcome {
    let link = LinkJobs::read(path)?;
    let directory = absolute(Path::new("."))?;
    let mut sets = FlagSets::default();
    let jobs = link
        .jobs
        .iter()
        .map(|job| sets.job(&link.common, job, &directory))
        .collect::<Result<Vec<_>>>()?;
    link.compile(jobs, settings)
}
