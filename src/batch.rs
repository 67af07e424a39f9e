//! The tasks of a run that wait, and whose turn it is with each: a worker's here, an
//! engine's elsewhere, or both at once.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam::channel::Sender;

use crate::error::{Error, Kind};
use crate::execute::Outcome;
use crate::hands::Hands;
use crate::prepare::Task;
use crate::report::JobReport;

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

/// Whose turn it is with a task.
struct Turn(AtomicU8);

/// Nobody has it.
const WAITS: u8 = 0;
/// A worker here has it.
const HERE: u8 = 1;
/// It is with an engine.
const AWAY: u8 = 2;
/// It is with an engine, and a worker here has begun it as well.
const BOTH: u8 = 3;
/// One of the two has won: the other's work is dropped.
const DONE: u8 = 4;

impl Turn {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    /// Changes it by the one of `changes` that starts where it is; false if none does.
    fn change(&self, changes: &[(u8, u8)]) -> bool {
        let to = |from| changes.iter().find(|change| change.0 == from);
        let next = |from| to(from).map(|change| change.1);
        let (order, otherwise) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.fetch_update(order, otherwise, next).is_ok()
    }

    /// A worker here begins.
    fn begin(&self) -> bool {
        self.change(&[(WAITS, HERE)])
    }

    /// A worker here begins although it is elsewhere.
    fn race(&self) -> bool {
        self.change(&[(AWAY, BOTH)])
    }

    /// A worker here has come to an end.
    fn end_here(&self) -> bool {
        self.change(&[(HERE, DONE), (BOTH, DONE)])
    }

    /// It goes elsewhere.
    fn leave(&self) -> bool {
        self.change(&[(WAITS, AWAY)])
    }

    /// An engine has come to an end.
    fn deliver(&self) -> bool {
        self.change(&[(AWAY, DONE), (BOTH, DONE)])
    }

    /// Nobody is to have it, unless a worker here has begun; true when nobody has.
    fn give_up(&self) -> bool {
        let is_over = self.change(&[(AWAY, DONE)]);
        let _ = self.change(&[(BOTH, HERE)]);
        is_over
    }

    /// It is left to the workers here.
    fn come_home(&self) {
        let _ = self.change(&[(AWAY, WAITS), (BOTH, HERE)]);
    }
}

/// A task, and whose turn it is.
pub(crate) struct Queued {
    pub(crate) task: Task,
    turn: Turn,
    away: Mutex<Away>,
}

/// What is known of a task's stay elsewhere.
#[derive(Default)]
struct Away {
    /// When it should be back.
    due: Option<Instant>,
    /// What it came back with, for a worker to look at.
    brought: Option<Outcome>,
}

impl Queued {
    fn new(task: Task) -> Queued {
        Queued {
            task,
            turn: Turn(AtomicU8::new(WAITS)),
            away: Mutex::default(),
        }
    }

    fn away(&self) -> MutexGuard<'_, Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has it.
    pub(crate) fn waits(&self) -> bool {
        self.turn.get() == WAITS
    }

    /// Whether it is elsewhere, and nobody here has begun it or made it needless.
    pub(crate) fn is_away(&self) -> bool {
        self.turn.get() == AWAY
    }

    /// Whether there is an end of it.
    pub(crate) fn is_done(&self) -> bool {
        self.turn.get() == DONE
    }

    /// Whether somebody still waits for what an engine makes of it.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.turn.get(), AWAY | BOTH)
    }

    /// A worker here begins it; false when that is not its turn.
    fn begin(&self) -> bool {
        self.turn.begin()
    }

    /// A worker here begins it although it is elsewhere, if it would be done before it is
    /// `due` back, or should be back by now.
    fn race(&self, now: Instant) -> bool {
        self.may_race(now) && self.turn.race()
    }

    fn may_race(&self, now: Instant) -> bool {
        let due = self.away().due;
        let here = now.checked_add(self.task.time);
        let is_sooner = |due| now >= due || here.is_some_and(|here| here < due);
        self.is_away() && due.is_none_or(is_sooner)
    }

    /// A worker here has an end of it; false when the engine was first.
    pub(crate) fn end_here(&self) -> bool {
        self.turn.end_here()
    }

    /// It goes elsewhere, and should be back when it is `due`; false when somebody has it.
    pub(crate) fn leave(&self, due: Instant) -> bool {
        let leaves = self.turn.leave();
        if leaves {
            self.away().due = Some(due);
        }
        leaves
    }

    /// An engine has its object; false when a worker here was first.
    pub(crate) fn deliver(&self) -> bool {
        self.turn.deliver()
    }

    /// Nobody is to have it, unless a worker here has begun it.
    pub(crate) fn give_up(&self) -> bool {
        self.turn.give_up()
    }

    /// Whether it has been elsewhere.
    pub(crate) fn has_left(&self) -> bool {
        self.away().due.is_some()
    }

    /// It is left to the workers here, with what it has `brought`, if that is to be looked
    /// at by them.
    pub(crate) fn come_home(&self, brought: Option<Outcome>) {
        self.away().brought = brought;
        self.turn.come_home();
    }

    /// Takes what it has brought home.
    pub(crate) fn brought(&self) -> Option<Outcome> {
        self.away().brought.take()
    }
}

/// Tasks of one run.
pub(crate) struct Batch {
    /// Long tasks go before all others, whatever run they belong to.
    pub(crate) long: bool,
    /// Those that no worker has come across yet.
    tasks: Hands<Arc<Queued>>,
    /// Those that were elsewhere when a worker came across them.
    aside: Mutex<Vec<Arc<Queued>>>,
    /// All of them, longest first, if some may go elsewhere.
    pub(crate) order: Vec<Arc<Queued>>,
    /// How many are elsewhere.
    pub(crate) away: AtomicUsize,
    events: Sender<Event>,
    pub(crate) stop: Arc<Stop>,
}

impl Batch {
    /// A batch of `tasks`, longest first, for so many `workers`, of which some go
    /// elsewhere if they `may_leave`.
    pub(crate) fn new(
        long: bool,
        tasks: Vec<Task>,
        workers: NonZeroUsize,
        may_leave: bool,
        events: &Sender<Event>,
        stop: &Arc<Stop>,
    ) -> Batch {
        let tasks: Vec<Arc<Queued>> = tasks
            .into_iter()
            .map(|task| Arc::new(Queued::new(task)))
            .collect();
        Batch {
            long,
            order: match may_leave {
                true => tasks.clone(),
                false => Vec::new(),
            },
            tasks: Hands::deal(tasks, workers),
            aside: Mutex::default(),
            away: AtomicUsize::new(0),
            events: events.clone(),
            stop: Arc::clone(stop),
        }
    }

    fn aside(&self) -> MutexGuard<'_, Vec<Arc<Queued>>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tasks no worker has come across.
    pub(crate) fn left(&self) -> usize {
        self.tasks.left()
    }

    /// Whether some are elsewhere.
    pub(crate) fn has_away(&self) -> bool {
        self.away.load(Ordering::Acquire) > 0
    }

    /// Whether there may be something to do for a worker, now or later.
    pub(crate) fn is_open(&self) -> bool {
        self.left() > 0 || self.has_away() || !self.aside().is_empty()
    }

    /// Whether there may be something to do for a worker now.
    pub(crate) fn is_left(&self) -> bool {
        let now = Instant::now();
        let may_begin = |queued: &Arc<Queued>| queued.waits() || queued.may_race(now);
        self.left() > 0 || self.aside().iter().any(may_begin)
    }

    /// The next task of `worker`, which it has begun with that.
    pub(crate) fn next(&self, worker: usize) -> Option<Arc<Queued>> {
        while let Some(queued) = self.tasks.next(worker) {
            if queued.begin() {
                return Some(queued);
            }
            if queued.is_wanted() || queued.waits() {
                self.aside().push(queued);
            }
        }
        let now = Instant::now();
        let mut aside = self.aside();
        aside.retain(|queued| queued.is_wanted() || queued.waits());
        // One that has come home before one that may still come.
        let at = aside
            .iter()
            .position(|queued| queued.begin())
            .or_else(|| aside.iter().position(|queued| queued.race(now)))?;
        Some(aside.remove(at))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(at: u8) -> Turn {
        Turn(AtomicU8::new(at))
    }

    #[test]
    fn of_a_worker_and_an_engine_one_wins() {
        for engine_first in [false, true] {
            let turn = turn(WAITS);
            assert!(turn.leave() && !turn.begin() && turn.race());
            assert!(!turn.race() && !turn.leave());
            match engine_first {
                true => assert!(turn.deliver() && !turn.end_here()),
                false => assert!(turn.end_here() && !turn.deliver()),
            }
            assert!(!turn.begin() && !turn.give_up());
        }
    }

    #[test]
    fn what_comes_home_is_somebodys_once() {
        let waits = turn(AWAY);
        waits.come_home();
        assert!(waits.begin() && waits.end_here());
        let raced = turn(BOTH);
        raced.come_home();
        assert!(!raced.begin() && raced.end_here());
        // What nobody wants any more is reported once: here, or by who is at work.
        assert!(turn(AWAY).give_up());
        let at_work = turn(BOTH);
        assert!(!at_work.give_up() && at_work.end_here());
    }
}
