//! The front doors: thin, each turns what a build has on disk into a plan and
//! runs the stages around it.

pub mod cc;
pub mod kbuild;
pub mod programs;

use std::path::Path;

use crate::error::{Error, Result};
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
    pub linker: Option<std::path::PathBuf>,
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
fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(
            crate::error::Kind::Environment,
            format!("cannot resolve `{}`", path.display()),
        )
        .because(e)
    })
}
