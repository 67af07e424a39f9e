//! `backlto distribute`: the backends of a link that ld.lld runs itself.

use std::path::Path;

use crate::dtlto::{LinkJobs, LinkersFlags};
use crate::session::{Outcome, Settings, absolute};
use backlto::error::Result;
use backlto::files::Files;

/// Compiles the jobs that the file at `path` describes. `relocatable` says that the
/// link makes an object, `keep_objects` that LLD will not remove those of the jobs.
///
/// # Errors
/// When it cannot be read, or a job fails.
pub(crate) fn run(
    path: &Path,
    relocatable: bool,
    keep_objects: bool,
    settings: &Settings,
) -> Outcome {
    let link = LinkJobs::read(path, keep_objects)?;
    let directory = absolute(Path::new("."))?;
    let files = Files::default();
    let mut flags = LinkersFlags::new(&link.common, relocatable, &directory, &files);
    let jobs = link
        .jobs
        .iter()
        .map(|job| flags.job(job))
        .collect::<Result<Vec<_>>>()?;
    link.compile(jobs, &files, settings)
}
