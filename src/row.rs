//! A row of tasks that wait, and whose turn it is with each: a worker's here, an
//! engine's elsewhere, or both at once.
//!
//! What a task is does not count: a build has compiles, a simulation has times. Nor does
//! anybody look at a clock here.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::execute::Outcome;
use crate::hands::Hands;

/// A task, as far as it counts for whose turn it is.
pub(crate) trait Work {
    /// How long its compile should take on a core here.
    fn time(&self) -> Duration;
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
pub(crate) struct Queued<T> {
    pub(crate) task: T,
    turn: Turn,
    away: Mutex<Away>,
}

/// What is known of where a task is.
#[derive(Default)]
struct Away {
    /// When a worker here began it.
    begun: Option<Instant>,
    /// When it should be back.
    due: Option<Instant>,
    /// What it came back with, for a worker to look at.
    brought: Option<Outcome>,
}

impl<T: Work> Queued<T> {
    pub(crate) fn new(task: T) -> Queued<T> {
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

    /// A worker here begins it `now`; false when that is not its turn.
    fn begin(&self, now: Instant) -> bool {
        let begins = self.turn.begin();
        if begins {
            self.away().begun = Some(now);
        }
        begins
    }

    /// How long a worker here that has begun it should have to do with it, `now`; `None` when
    /// none has.
    pub(crate) fn remains(&self, now: Instant) -> Option<Duration> {
        if !matches!(self.turn.get(), HERE | BOTH) {
            return None;
        }
        let begun = self.away().begun?;
        let worked = now.saturating_duration_since(begun);
        Some(self.task.time().saturating_sub(worked))
    }

    /// A worker here begins it although it is elsewhere, if it would be done before it is
    /// `due` back, or should be back by now.
    fn race(&self, now: Instant) -> bool {
        let races = self.may_race(now) && self.turn.race();
        if races {
            self.away().begun = Some(now);
        }
        races
    }

    fn may_race(&self, now: Instant) -> bool {
        let due = self.away().due;
        let here = now.checked_add(self.task.time());
        let is_sooner = |due| now >= due || here.is_some_and(|here| here < due);
        self.is_away() && due.is_none_or(is_sooner)
    }

    /// A worker here has an end of it; false when the engine was first.
    pub(crate) fn end_here(&self) -> bool {
        self.turn.end_here()
    }

    /// It goes elsewhere, and should be back when it is `due`; false when somebody has it.
    fn leave(&self, due: Instant) -> bool {
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

/// Tasks that are taken from one row, the longest first.
pub(crate) struct Row<T> {
    /// Long tasks go before all others, whatever run they belong to.
    pub(crate) long: bool,
    /// Those that no worker has come across yet.
    tasks: Hands<Arc<Queued<T>>>,
    /// Those that were elsewhere when a worker came across them.
    aside: Mutex<Vec<Arc<Queued<T>>>>,
    /// All of them, longest first, if some may go elsewhere.
    pub(crate) order: Vec<Arc<Queued<T>>>,
    /// How many are elsewhere.
    away: AtomicUsize,
}

impl<T: Work> Row<T> {
    /// A row of `tasks`, longest first, for so many `workers`, of which some go elsewhere
    /// if they `may_leave`.
    pub(crate) fn new(long: bool, tasks: Vec<T>, workers: NonZeroUsize, may_leave: bool) -> Row<T> {
        let tasks: Vec<Arc<Queued<T>>> = tasks
            .into_iter()
            .map(|task| Arc::new(Queued::new(task)))
            .collect();
        Row {
            long,
            order: match may_leave {
                true => tasks.clone(),
                false => Vec::new(),
            },
            tasks: Hands::deal(tasks, workers),
            aside: Mutex::default(),
            away: AtomicUsize::new(0),
        }
    }

    fn aside(&self) -> MutexGuard<'_, Vec<Arc<Queued<T>>>> {
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

    /// Whether all is done of what may go elsewhere. Until then, what has begun is in the way
    /// of what waits.
    pub(crate) fn is_over(&self) -> bool {
        self.order.iter().all(|queued| queued.is_done())
    }

    /// Whether there may be something to do for a worker `now`.
    pub(crate) fn is_left(&self, now: Instant) -> bool {
        let may_begin = |queued: &Arc<Queued<T>>| queued.waits() || queued.may_race(now);
        self.left() > 0 || self.aside().iter().any(may_begin)
    }

    /// The next task of `worker`, which it has begun with that, `now`.
    pub(crate) fn next(&self, worker: usize, now: Instant) -> Option<Arc<Queued<T>>> {
        while let Some(queued) = self.tasks.next(worker) {
            if queued.begin(now) {
                return Some(queued);
            }
            if queued.is_wanted() || queued.waits() {
                self.aside().push(queued);
            }
        }
        let mut aside = self.aside();
        aside.retain(|queued| queued.is_wanted() || queued.waits());
        // One that has come home before one that may still come.
        let at = aside
            .iter()
            .position(|queued| queued.begin(now))
            .or_else(|| aside.iter().position(|queued| queued.race(now)))?;
        Some(aside.remove(at))
    }

    /// Whether `queued`, a task of this row, leaves, that should be back when it is `due`.
    /// It is counted before: a worker that comes across it then knows that it may come back.
    pub(crate) fn leaves(&self, queued: &Queued<T>, due: Instant) -> bool {
        self.away.fetch_add(1, Ordering::AcqRel);
        let leaves = queued.leave(due);
        if !leaves {
            self.is_back();
        }
        leaves
    }

    /// Notes that one is elsewhere no more.
    pub(crate) fn is_back(&self) {
        self.away.fetch_sub(1, Ordering::AcqRel);
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

    impl Work for u64 {
        fn time(&self) -> Duration {
            Duration::from_secs(*self)
        }
    }

    fn row(times: &[u64]) -> Row<u64> {
        Row::new(true, times.to_vec(), NonZeroUsize::MIN, true)
    }

    #[test]
    fn what_is_away_is_begun_here_if_that_is_sooner_or_it_is_late() {
        let second = Duration::from_secs(1);
        let row = row(&[3]);
        let begin = Instant::now();
        assert!(row.leaves(&row.order[0], begin + second * 5));
        assert!(row.has_away() && row.order[0].has_left());
        // Here it would be done after 3 s, there after 5, 3 and 1.
        assert!(row.order[0].may_race(begin));
        assert!(!row.order[0].may_race(begin + second * 2));
        assert!(row.next(0, begin + second * 4).is_none());
        assert!(!row.is_left(begin + second * 4) && row.is_open());
        assert!(row.is_left(begin + second * 5));
        assert!(row.next(0, begin + second * 5).is_some());
        // Nobody begins it twice.
        assert!(row.next(0, begin + second * 9).is_none());
    }

    #[test]
    fn what_has_come_home_goes_first() {
        let row = row(&[3, 2]);
        let now = Instant::now();
        assert!(row.order.iter().all(|queued| row.leaves(queued, now)));
        assert!(row.next(1, now).is_some_and(|queued| queued.task == 3));
        row.order[1].come_home(None);
        row.is_back();
        assert!(row.next(0, now).is_some_and(|queued| queued.task == 2));
        assert!(row.next(0, now).is_none() && !row.is_left(now));
    }
}
