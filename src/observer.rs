//! Who is told what happens in a run.

use crate::embed::Diagnostic;
use crate::plan::Job;
use crate::report::JobReport;

/// Is told what happens, in the order in which it happens, by the thread that
/// called [`Engine::run`](crate::Engine::run). Nothing is printed but by observers.
///
/// Jobs are numbered in the order of the plan, workers from 0.
///
/// ```
/// use backlto::{Job, JobReport, Observer};
///
/// struct Progress;
///
/// impl Observer for Progress {
///     fn finished(&self, _: usize, _: usize, job: &Job, report: &JobReport) {
///         println!("{}: {}", job.output, report.origin);
///     }
/// }
/// ```
pub trait Observer {
    /// Is told, before any of them starts, which jobs are to be run, and how much work
    /// each is by an estimate, in a unit of this run.
    fn planned(&self, work: &[(usize, u64)]) {
        let _ = work;
    }
    /// Is told that job `number` was given to worker `worker`.
    fn started(&self, number: usize, worker: usize, job: &Job) {
        let _ = (number, worker, job);
    }
    /// Is told what the compiler has to say of job `number`. All messages of a job
    /// come together, just before it is [`finished`](Observer::finished).
    fn diagnostic(&self, number: usize, job: &Job, diagnostic: &Diagnostic) {
        let _ = (number, job, diagnostic);
    }
    /// Is told that job `number` ended, well or not. One whose object was there
    /// already has not been [`started`](Observer::started); nor has a cancelled
    /// one.
    fn finished(&self, number: usize, worker: usize, job: &Job, report: &JobReport) {
        let _ = (number, worker, job, report);
    }
}

/// Ignores all that an [`Observer`] is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
