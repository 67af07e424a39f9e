//! The front doors: thin, each turns what a build has on disk into a plan and
//! runs the stages around it.

pub mod cc;
pub mod kbuild;
pub mod programs;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::link::Linker;
use crate::report::{self, Reporter, Verbosity};
use crate::{Job, Options, Plan};

/// What every door takes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How to run the backends.
    pub options: Options,
    /// How much to say.
    pub verbosity: Verbosity,
    /// The linker chosen by the user.
    pub linker: Option<PathBuf>,
}

impl Settings {
    /// Finds the linker, and says when its version does not fit.
    fn find_linker(&self) -> Result<Linker> {
        let linker = Linker::find(self.linker.as_deref())?;
        if let Some(text) = linker.mismatch() {
            report::warning(&text);
        }
        Ok(linker)
    }

    /// Runs the backends of `plan` and reports on them.
    fn run_backends(&self, plan: &Plan, label: fn(&Job) -> String) -> Outcome {
        let reporter = Reporter::new(self.verbosity, plan.jobs.len(), label);
        let reports = crate::run(plan, &self.options, &reporter).map_err(Failure::Unsaid)?;
        reporter.finish();
        let failed = reports.iter().filter(|r| r.result.is_err()).count();
        if failed > 0 {
            return Err(Failure::Said);
        }
        Ok(())
    }
}

/// Waits until no other backlto works in any of `directories`, and keeps others
/// out until the result is dropped: two thin links at once would write the same
/// indexes. The lock is on the directory itself, so it leaves no file behind.
fn lock<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Result<Vec<File>> {
    // Everybody locks in one order, so that nobody waits in a circle.
    let ordered: BTreeSet<PathBuf> = directories
        .into_iter()
        .map(|directory| directory.canonicalize().unwrap_or(directory.to_owned()))
        .collect();
    ordered
        .iter()
        .map(|directory| lock_one(directory))
        .collect()
}

fn lock_one(directory: &Path) -> Result<File> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::new(
            Kind::Input,
            format!("cannot work in `{}`", directory.display()),
        )
        .because(e)
    };
    let file = File::open(directory).map_err(|e| failed(&e))?;
    // A file system without locks answers otherwise: then nobody can be waited
    // for.
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    {
        report::warning(&format!(
            "waiting for another backlto in `{}`",
            directory.display()
        ));
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| failed(&e))?;
    }
    Ok(file)
}

/// How a door ended.
pub type Outcome = std::result::Result<(), Failure>;

/// Why a door did not reach its goal.
#[derive(Debug)]
pub enum Failure {
    /// The user has already been told.
    Said,
    /// The user must be told this.
    Unsaid(Vec<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Unsaid(vec![error])
    }
}

/// `path` made absolute, with an error that names it.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(
            Kind::Environment,
            format!("cannot resolve `{}`", path.display()),
        )
        .because(e)
    })
}
