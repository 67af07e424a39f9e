//! The backends of a kernel link that ld.lld runs (`ld.backlto` in a kernel
//! tree): as `backlto distribute`, but with the flags that kbuild compiled each
//! object with. LLD knows only few of them; the code model is not among them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::flags::BackendFlags;
use super::running::RunningRecipe;
use crate::dtlto::LinkJobs;
use crate::session::{Outcome, Settings, absolute};
use backlto::error::Result;

/// Compiles the jobs that the file at `path` describes. The working directory
/// is the kernel's object tree.
///
/// # Errors
/// When it cannot be read, no record tells the flags of an object, or a job
/// fails.
pub(crate) fn run(path: &Path, settings: &Settings) -> Outcome {
    let link = LinkJobs::read(path)?;
    let objtree = absolute(Path::new("."))?;
    let running = RunningRecipe::current();
    // What the linker decided on, as it does for its own backends: kbuild has
    // one answer for all objects, made for links without LTO.
    let sections: Vec<&String> = link
        .common_args()
        .iter()
        .filter(|arg| ["-ffunction-sections", "-fdata-sections"].contains(&arg.as_str()))
        .collect();
    let mut sets = HashMap::<Vec<String>, Arc<[String]>>::new();
    let jobs = link
        .jobs
        .iter()
        .map(|job| {
            let recorded = match running.as_ref().and_then(|r| r.compile_of(job.module())) {
                Some(words) => BackendFlags::from_compile(&words, job.module())?,
                None => BackendFlags::read(&objtree, job.module())?,
            };
            let mut flags = recorded.for_clang.to_vec();
            flags.extend(sections.iter().map(|&flag| flag.clone()));
            let shared = sets
                .entry(flags)
                .or_insert_with_key(|flags| Arc::from(flags.as_slice()));
            Ok(job.with_flags(Arc::clone(shared), &objtree))
        })
        .collect::<Result<Vec<_>>>()?;
    link.compile(jobs, settings)
}
