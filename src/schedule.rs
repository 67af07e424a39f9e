//! The pool: workers that take tasks of every run, longest first.
//!
//! Where a task is compiled is its worker's [`Executor`]'s business.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use jobserver::{Acquired, Client};

use crate::away::{self, Dispatcher, Racing, Workshop};
use crate::batch::{Batch, Event, Queued, Stop};
use crate::error::{Error, Kind};
use crate::execute::{Delivered, Executor};
use crate::hands::split_short;
use crate::memory::{Memory, Room};
use crate::prepare::Task;
use crate::recheck;
use crate::report::JobReport;
use crate::row::Row;
use crate::sys;

/// How soon to ask a jobserver again that had nothing to give.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How soon to look again whether the machine's load has gone down.
const ASK_FOR_LOAD: Duration = Duration::from_millis(200);

/// How soon to look again whether a task has come back from elsewhere, or is late.
pub(crate) const LOOK_FOR_RETURNED: Duration = Duration::from_millis(20);

/// Whether the load of the machine is `limit` or more; not where that cannot be told
/// (`proc_loadavg(5)`).
fn is_loaded(limit: f64) -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text
        .split_whitespace()
        .next()
        .and_then(|load| load.parse().ok());
    load.is_some_and(|load: f64| load >= limit)
}

/// The batches that have tasks left: long ones first, else in order of arrival.
/// Never changed, only replaced.
type Queue = Arc<[Arc<Batch>]>;

/// Makes the executor of a new worker.
pub(crate) type Hire = Box<dyn Fn() -> std::io::Result<Box<dyn Executor>> + Send + Sync>;

/// Worker threads and what they have to do.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    hire: Hire,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Who sends tasks elsewhere.
    dispatcher: Option<Dispatcher>,
}

struct Shared {
    workers: NonZeroUsize,
    /// Where each worker but the first gets leave to work, when a make or cargo
    /// above us counts its jobs.
    jobserver: Option<Client>,
    /// Held by the worker that asks the jobserver, so that one at a time does.
    asking: Mutex<()>,
    queue: Mutex<Queue>,
    /// Counts replacements of the queue by which there is more to do. A worker
    /// looks at its own copy, without a lock, until this changes.
    version: AtomicUsize,
    /// Signalled then, and when the pool closes.
    changed: Condvar,
    closed: AtomicBool,
    /// Workers that have a task.
    busy: AtomicUsize,
    memory: Memory,
    /// The load of the machine from which on only the first worker starts tasks.
    load_limit: Option<f64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of at most `workers`, which start when there are tasks for them, and
    /// run tasks as far as `memory` has room.
    /// From the load `load_limit` on, one runs at a time.
    pub(crate) fn new(
        workers: NonZeroUsize,
        memory: Memory,
        load_limit: Option<f64>,
        hire: Hire,
    ) -> Pool {
        Pool {
            shared: Arc::new(Shared {
                workers,
                jobserver: sys::jobserver(),
                asking: Mutex::default(),
                queue: Mutex::new(Arc::new([])),
                version: AtomicUsize::new(0),
                changed: Condvar::new(),
                closed: AtomicBool::new(false),
                busy: AtomicUsize::new(0),
                memory,
                load_limit,
            }),
            hire,
            threads: Mutex::default(),
            dispatcher: None,
        }
    }

    /// How many tasks may run at a time.
    pub(crate) fn workers(&self) -> NonZeroUsize {
        self.shared.workers
    }

    /// Has tasks compiled in `workshop` too, where that pays.
    ///
    /// # Errors
    /// [`Kind::Environment`] when the system gives no thread.
    pub(crate) fn use_workshop(&mut self, workshop: Arc<dyn Workshop>) -> crate::error::Result<()> {
        let workers = self.shared.workers;
        self.dispatcher = Some(Dispatcher::start(workshop, workers)?);
        Ok(())
    }

    /// Gives up what is away, and sends nothing more there.
    pub(crate) fn leave_workshop(&mut self) {
        drop(self.dispatcher.take());
    }

    /// Whether a worker has a task.
    pub(crate) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::Relaxed) > 0
    }

    /// Adds the tasks of one run. Each tells `events` when it starts and ends; those
    /// that `stop` leaves out end without being run.
    ///
    /// Long tasks of any run go first. The others go run by run, so that what
    /// follows the backends of one run overlaps with the backends of the next.
    pub(crate) fn submit(&self, mut tasks: Vec<Task>, events: &Sender<Event>, stop: Stop) {
        let workers = self.shared.workers;
        let short = split_short(&mut tasks, workers, |task| task.cost);
        let stop = Arc::new(stop);
        self.shared.memory.measure();
        let may_leave = self.dispatcher.is_some();
        let batches = [(true, tasks), (false, short)].map(|(long, tasks)| {
            let row = Row::new(long, tasks, workers, may_leave);
            Arc::new(Batch::new(row, events, &stop))
        });
        let waiting = self.shared.add(&batches);
        if let Err(error) = self.start_workers(waiting) {
            for batch in &batches {
                while let Some(queued) = batch.next(0, Instant::now()) {
                    let report = JobReport::not_run(error.clone());
                    batch.finish(queued.task.number, 0, report);
                }
            }
        } else if let Some(dispatcher) = &self.dispatcher {
            dispatcher.add(&batches);
        }
    }

    /// Starts workers for `waiting` tasks beside those that are there, as far as
    /// there may be more. What the system does not give is done without, unless it
    /// gives none.
    fn start_workers(&self, waiting: usize) -> crate::error::Result<()> {
        let mut threads = lock(&self.threads);
        let wanted = self.shared.busy.load(Ordering::Relaxed) + waiting;
        while threads.len() < wanted.min(self.shared.workers.get()) {
            match self.start_worker(threads.len()) {
                Ok(thread) => threads.push(thread),
                Err(_) if !threads.is_empty() => break,
                Err(e) => {
                    let text = "cannot start a worker thread";
                    return Err(Error::new(Kind::Environment, text).because(e));
                }
            }
        }
        Ok(())
    }

    fn start_worker(&self, number: usize) -> std::io::Result<JoinHandle<()>> {
        let mut executor = (self.hire)()?;
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || shared.work(number, &mut *executor))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.dispatcher.take());
        {
            let _queue = lock(&self.shared.queue);
            self.shared.closed.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        let threads = self.threads.get_mut();
        for thread in threads.unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Panics are caught where jobs run.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Puts `new` in line and wakes workers. Returns how many tasks wait.
    fn add(&self, new: &[Arc<Batch>]) -> usize {
        let mut queue = lock(&self.queue);
        let mut all: Vec<Arc<Batch>> = queue
            .iter()
            .chain(new)
            .filter(|batch| batch.is_open())
            .cloned()
            .collect();
        // Stable: arrival decides among equals.
        all.sort_by_key(|batch| !batch.long);
        let waiting = all.iter().map(|batch| batch.left()).sum();
        *queue = all.into();
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
        waiting
    }

    fn work(&self, worker: usize, executor: &mut dyn Executor) {
        let mut seen = 0;
        let mut queue: Queue = Arc::new([]);
        while !self.closed.load(Ordering::Relaxed) {
            if self.version.load(Ordering::Acquire) != seen {
                let current = lock(&self.queue);
                seen = self.version.load(Ordering::Acquire);
                queue = Arc::clone(&current);
            }
            let now = Instant::now();
            // Before what is left is looked at: what comes back after that is seen there.
            let were_away = queue.iter().any(|batch| batch.has_away());
            if !queue.iter().any(|batch| batch.is_left(now)) {
                let returns = were_away || queue.iter().any(|batch| batch.has_away());
                // Nothing of a run is held on to while there is nothing to do.
                queue = match returns {
                    true => queue,
                    false => Arc::new([]),
                };
                match returns {
                    true => self.wait_a_while(LOOK_FOR_RETURNED),
                    false => self.wait(seen),
                }
                continue;
            }
            let Some(_leave) = self.leave(worker, &queue, seen) else {
                continue;
            };
            // From here on the worker counts as one that is not to be had.
            self.busy.fetch_add(1, Ordering::Relaxed);
            if let Some((batch, queued)) = queue
                .iter()
                .find_map(|batch| Some((batch, batch.next(worker, Instant::now())?)))
            {
                self.run(batch, &queued, worker, executor);
                away::ask_no_more(&queued);
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Runs the task of `queued`, of `batch`, once there is room for it, unless it is left
    /// out by then.
    fn run(&self, batch: &Batch, queued: &Queued, worker: usize, executor: &mut dyn Executor) {
        let number = queued.task.number;
        let left_out = || batch.stop.reason();
        let room = match left_out() {
            None => Some(self.memory.room_for(queued.task.memory)),
            Some(_) => None,
        };
        if let Some(error) = left_out() {
            if queued.end_here() {
                batch.finish(number, worker, JobReport::not_run(error));
            }
            return;
        }
        // While it waited for room, the engine may have been done.
        if queued.is_done() {
            return;
        }
        let mut task = queued.task.clone();
        task.memory_is_short = room.as_ref().is_some_and(Room::is_short);
        batch.start(number, worker);
        let brought = queued.brought();
        if brought.is_some() {
            away::ask_no_more(queued);
        }
        let mut delivered = Delivered::first(brought, executor);
        let mut racing = Racing::new(&mut delivered, queued);
        let report = JobReport::of(task.module.path(), || recheck::run(&task, &mut racing));
        let has_won = racing.has_won() || queued.end_here();
        drop(task);
        if has_won {
            batch.finish(number, worker, report);
        }
        drop(room);
    }

    /// Waits for as long as `time`, unless the pool closes.
    fn wait_a_while(&self, time: Duration) {
        let queue = lock(&self.queue);
        if !self.closed.load(Ordering::Relaxed) {
            drop(self.changed.wait_timeout(queue, time));
        }
    }

    /// Waits until there is more than there was at version `seen`.
    fn wait(&self, seen: usize) {
        let mut queue = lock(&self.queue);
        if queue.iter().all(|batch| !batch.is_open()) {
            *queue = Arc::new([]);
        }
        while self.version.load(Ordering::Relaxed) == seen && !self.closed.load(Ordering::Relaxed) {
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Leave to run one task: `Some(None)` for a worker that needs none, `None`
    /// when there is nothing left to ask for, or something new to look at.
    fn leave(&self, worker: usize, queue: &Queue, seen: usize) -> Option<Option<Acquired>> {
        if worker > 0 && self.load_limit.is_some_and(is_loaded) {
            self.wait_a_while(ASK_FOR_LOAD);
            return None;
        }
        // The process itself was started with leave for one.
        let Some(client) = self.jobserver.as_ref().filter(|_| worker > 0) else {
            return Some(None);
        };
        let turn = lock(&self.asking);
        while !self.closed.load(Ordering::Relaxed)
            && self.version.load(Ordering::Acquire) == seen
            && queue.iter().any(|batch| batch.is_left(Instant::now()))
        {
            match client.try_acquire() {
                Ok(Some(leave)) => return Some(Some(leave)),
                Ok(None) => std::thread::sleep(ASK_AGAIN),
                // A jobserver that has gone gives no more leave: the first worker
                // does what is left.
                Err(_) => {
                    drop(turn);
                    self.wait(seen);
                    return None;
                }
            }
        }
        None
    }
}
