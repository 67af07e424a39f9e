//! What was compiled on another machine, as if it were compiled now.

use std::sync::Arc;
use std::time::Duration;

use super::{CompileJob, Executor, Shown};
use crate::compile::{Compiled, Watch};

/// What came of a compile on another machine.
pub(crate) struct Outcome {
    pub(crate) object: Vec<u8>,
    /// What a [`Watch`] would have been shown.
    pub(crate) shown: Shown,
    /// CPU time of import, optimiser and code generation there.
    pub(crate) backend_cpu: Duration,
    /// The wall time of the compile there.
    pub(crate) time: Duration,
}

/// Gives what has come for the first compile, and has another executor do all others.
pub(crate) struct Delivered<'a> {
    outcome: Option<Outcome>,
    then: &'a mut dyn Executor,
}

impl<'a> Delivered<'a> {
    /// Takes `outcome` for the first compile, if there is one; `then` does the others.
    pub(crate) fn first(outcome: Option<Outcome>, then: &'a mut dyn Executor) -> Delivered<'a> {
        Delivered { outcome, then }
    }
}

impl Executor for Delivered<'_> {
    fn compile(&mut self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Compiled {
        let Some(outcome) = self.outcome.take() else {
            return self.then.compile(job, watch);
        };
        Compiled {
            object: Ok(outcome.shown.to(watch).then_some(outcome.object)),
            diagnostics: String::new(),
            warning: None,
            backend_cpu: outcome.backend_cpu,
            time_trace: None,
            functions: None,
            has_printed: false,
            took_elsewhere: Some(outcome.time),
        }
    }
}
