//! The choice between this process and others.

use std::path::PathBuf;
use std::sync::Arc;

use super::local::Attempted;
use super::{Children, CompileJob, Executor, Limits, Local};
use crate::compile::{Compiled, Failure, Watch};

/// Compiles in this process as long as that is sound, and in worker processes
/// from there on: once LLVM has crashed here, and for jobs that need other
/// `-mllvm` options than those in force. Where time is limited, all jobs go there,
/// since a process can be ended and a thread cannot.
pub(crate) struct Dispatch {
    local: Option<Local>,
    children: Option<Children>,
}

impl Dispatch {
    /// `helper` is the program of worker processes, if there is one; `limits` hold
    /// for every compile.
    pub(crate) fn new(helper: Option<PathBuf>, limits: &Limits) -> std::io::Result<Dispatch> {
        let local = match limits.timeout {
            None => Local::start(limits)?,
            Some(_) => None,
        };
        Ok(Dispatch {
            local,
            children: helper.map(|program| Children::new(program, limits.clone())),
        })
    }

    /// Compiles a job that may not run here, for the reason `why`.
    fn elsewhere(&mut self, job: &CompileJob, watch: &mut dyn Watch, why: Failure) -> Compiled {
        match &mut self.children {
            Some(children) => children.compile(job, watch),
            None => why.into(),
        }
    }
}

impl Executor for Dispatch {
    fn compile(&mut self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Compiled {
        let attempted = match &self.local {
            Some(local) => local.compile(job, watch),
            None => Attempted::Unsafe,
        };
        match attempted {
            Attempted::Done(compiled) => *compiled,
            Attempted::OtherOptions => self.elsewhere(job, watch, Failure::OtherOptions),
            Attempted::Unsafe => {
                self.local = None;
                self.elsewhere(job, watch, Failure::Unsafe)
            }
            Attempted::LeftBehind => {
                self.local = None;
                Failure::Cancelled.into()
            }
            Attempted::Crashed(failure) => {
                self.local = None;
                let what = crash_text(&failure);
                // Alone: a worker process has one job at a time, and this one has
                // had none before.
                if let Some(children) = &mut self.children {
                    children.forget(&job.flags.llvm_options);
                }
                let mut compiled = self.elsewhere(job, watch, failure);
                if compiled.object.is_ok() {
                    compiled.warning = Some(format!(
                        "warning: LLVM crashed over '{}' ({what}); it did not when the module \
                         was compiled again in a process of its own\n",
                        job.module.name
                    ));
                }
                compiled
            }
        }
    }
}

fn crash_text(failure: &Failure) -> String {
    match failure {
        Failure::Crash(signal) => format!("signal {signal}"),
        Failure::Fatal(text) => text.clone(),
        _ => String::new(),
    }
}
