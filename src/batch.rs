//! The tasks of a run, in rows, and what the run hears of them.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;

use crate::error::{Error, Kind};
use crate::prepare::Task;
use crate::report::JobReport;
use crate::row::{self, Row, Work};

/// What becomes of a task, told to the run that it belongs to.
pub(crate) enum Event {
    Started {
        number: usize,
        worker: usize,
    },
    Finished {
        number: usize,
        worker: usize,
        report: Box<JobReport>,
    },
}

/// What leaves out tasks of a run that have not started.
pub(crate) struct Stop {
    /// Set when the caller of the engine wants nothing more.
    cancelled: Arc<AtomicBool>,
    /// Whether a task that fails leaves out the others.
    at_failure: bool,
    failed: AtomicBool,
}

impl Stop {
    /// A run is stopped once `cancelled` is set and, unless it is to `keep_going`,
    /// once a task has failed.
    pub(crate) fn new(cancelled: &Arc<AtomicBool>, keep_going: bool) -> Stop {
        Stop {
            cancelled: Arc::clone(cancelled),
            at_failure: !keep_going,
            failed: AtomicBool::new(false),
        }
    }

    /// Why nothing more is to start, if so.
    pub(crate) fn reason(&self) -> Option<Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some(Error::new(Kind::Cancelled, "cancelled"));
        }
        let failed = self.at_failure && self.failed.load(Ordering::Relaxed);
        failed.then(|| Error::new(Kind::Cancelled, "not run, since another job has failed"))
    }
}

/// A task, and whose turn it is.
pub(crate) type Queued = row::Queued<Task>;

impl Work for Task {
    fn time(&self) -> Duration {
        self.time
    }
}

/// A row of tasks of one run.
pub(crate) struct Batch {
    row: Row<Task>,
    events: Sender<Event>,
    pub(crate) stop: Arc<Stop>,
}

impl Deref for Batch {
    type Target = Row<Task>;

    fn deref(&self) -> &Row<Task> {
        &self.row
    }
}

impl Batch {
    /// Has the tasks of `row`, of a run that `stop` ends, tell `events` what becomes of them.
    pub(crate) fn new(row: Row<Task>, events: &Sender<Event>, stop: &Arc<Stop>) -> Batch {
        Batch {
            row,
            events: events.clone(),
            stop: Arc::clone(stop),
        }
    }

    /// Tells the run that task `number` has started on `worker`.
    pub(crate) fn start(&self, number: usize, worker: usize) {
        let _ = self.events.send(Event::Started { number, worker });
    }

    /// Tells the run how task `number` ended.
    pub(crate) fn finish(&self, number: usize, worker: usize, report: JobReport) {
        if report.result.is_err() {
            self.stop.failed.store(true, Ordering::Relaxed);
        }
        // Nobody listens any more when the caller of the run has panicked.
        let _ = self.events.send(Event::Finished {
            number,
            worker,
            report: Box::new(report),
        });
    }
}
