//! The pool: workers that take tasks of every run of the process, longest
//! first, and never two at once that need different process-wide state.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
use crossbeam::deque::{Steal, Stealer, Worker};
use jobserver::{Acquired, Client};

use crate::codegen;
use crate::error::{Error, Kind, Result};
use crate::llvm;
use crate::prepare::Task;
use crate::report::JobReport;
use crate::sys;

/// LLVM recurses deeply on large functions. clang runs on the main thread's
/// 8 MiB; address space that is not touched costs nothing.
const STACK_SIZE: usize = 64 << 20;

/// How soon to ask a jobserver again that had nothing to give.
const ASK_AGAIN: Duration = Duration::from_millis(5);

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

/// What all running tasks of the process have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    /// `-mllvm` options are global to the process.
    llvm_options: Vec<String>,
    /// The working directory, where threads cannot have their own.
    directory: Option<PathBuf>,
}

/// Tasks of one run that can run at the same time.
struct Batch {
    common: Common,
    /// Long tasks go before all others, whatever run they belong to.
    long: bool,
    /// One queue for each worker, longest task first.
    hands: Vec<Stealer<Task>>,
    events: Sender<Event>,
    cancelled: Arc<AtomicBool>,
}

impl Batch {
    /// Deals `tasks` out like cards: each hand holds its longest task first.
    fn deal(tasks: Vec<Task>, workers: usize) -> Vec<Stealer<Task>> {
        let hands: Vec<Worker<Task>> = (0..workers).map(|_| Worker::new_fifo()).collect();
        for (task, hand) in tasks.into_iter().zip(hands.iter().cycle()) {
            hand.push(task);
        }
        hands.iter().map(Worker::stealer).collect()
    }

    /// The next task of `worker`'s own hand, else one of another's.
    fn next(&self, worker: usize) -> Option<Task> {
        // Neighbours differ between workers, so that thieves spread out.
        let hands = || {
            self.hands
                .iter()
                .cycle()
                .skip(worker)
                .take(self.hands.len())
        };
        loop {
            let stolen: Steal<Task> = hands().map(Stealer::steal).collect();
            if !stolen.is_retry() {
                return stolen.success();
            }
        }
    }

    /// Ends every task that is left with `error`.
    fn fail(&self, error: &Error) {
        while let Some(task) = self.next(0) {
            self.finish(task.number, 0, JobReport::not_run(error.clone()));
        }
    }

    fn finish(&self, number: usize, worker: usize, report: JobReport) {
        // Nobody listens any more when the caller of the run has panicked.
        let _ = self.events.send(Event::Finished {
            number,
            worker,
            report: Box::new(report),
        });
    }
}

/// What is in force in the process, for all pools.
struct InForce {
    common: Option<Common>,
    /// Tasks that rely on it now.
    running: usize,
}

static IN_FORCE: Mutex<InForce> = Mutex::new(InForce {
    common: None,
    running: 0,
});

/// Signalled when there may be something to do for a waiting worker.
static CHANGED: Condvar = Condvar::new();

fn in_force() -> MutexGuard<'static, InForce> {
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InForce {
    /// Reserves the process for a task with `common`; false when others that
    /// need something else still run.
    fn enter(&mut self, common: &Common) -> Result<bool> {
        if self.common.as_ref() != Some(common) {
            if self.running > 0 {
                return Ok(false);
            }
            self.common = None;
            llvm::set_llvm_options(&common.llvm_options)?;
            if let Some(directory) = &common.directory {
                enter_directory(directory)?;
            }
            self.common = Some(common.clone());
        }
        self.running += 1;
        Ok(true)
    }
}

fn enter_directory(directory: &Path) -> Result<()> {
    sys::enter(directory).map_err(|e| {
        Error::new(
            Kind::Environment,
            format!("cannot enter directory `{}`", directory.display()),
        )
        .because(e)
    })
}

/// Worker threads and what they have to do.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    workers: usize,
    /// Whether each worker has a working directory of its own.
    own_directories: bool,
    /// Where each worker but the first gets leave to work, when a make or cargo
    /// above us counts its jobs.
    jobserver: Option<Client>,
    /// Long batches first, else in order of arrival.
    batches: Mutex<Vec<Arc<Batch>>>,
    closed: AtomicBool,
}

impl Pool {
    pub(crate) fn new(workers: NonZeroUsize) -> Result<Pool> {
        let shared = Arc::new(Shared {
            workers: workers.get(),
            own_directories: threads_can_have_directories(),
            jobserver: sys::jobserver(),
            batches: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let mut pool = Pool {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for number in 0..workers.get() {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("backend-{number}"))
                .stack_size(STACK_SIZE)
                .spawn(move || shared.work(number))
                .map_err(|e| {
                    Error::new(Kind::Environment, "cannot start a worker thread").because(e)
                })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Adds the tasks of one run. Each tells `events` when it starts and ends. Once `cancelled` is set, tasks that
    /// have not started end without being run.
    ///
    /// Long tasks of any run go first. The others go run by run, so that what
    /// follows the backends of one run overlaps with the backends of the next.
    pub(crate) fn submit(
        &self,
        tasks: Vec<Task>,
        events: &Sender<Event>,
        cancelled: &Arc<AtomicBool>,
    ) {
        let total: u64 = tasks.iter().map(|task| task.cost).sum();
        // A task that would take a twentieth of a worker's share, or longer,
        // could be the one that all others wait for.
        let long = total / self.shared.workers as u64 / 20;
        let mut batches = BTreeMap::<(bool, Common), Vec<Task>>::new();
        for task in tasks {
            let common = Common {
                llvm_options: task.flags.llvm_options.clone(),
                directory: (!self.shared.own_directories).then(|| task.job.directory.clone()),
            };
            let short = task.cost <= long;
            batches.entry((short, common)).or_default().push(task);
        }
        {
            let _changing = in_force();
            let mut queue = self.shared.batches();
            for ((short, common), mut tasks) in batches {
                tasks.sort_by_key(|task| (std::cmp::Reverse(task.cost), task.number));
                queue.push(Arc::new(Batch {
                    common,
                    long: !short,
                    hands: Batch::deal(tasks, self.shared.workers),
                    events: events.clone(),
                    cancelled: Arc::clone(cancelled),
                }));
            }
            // Stable: arrival decides among equals.
            queue.sort_by_key(|batch| !batch.long);
        }
        CHANGED.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _changing = in_force();
            self.shared.closed.store(true, Ordering::Relaxed);
        }
        CHANGED.notify_all();
        for thread in self.threads.drain(..) {
            // Panics are caught where jobs run.
            let _ = thread.join();
        }
    }
}

/// Asked on a thread of its own, which gives up what it shares.
fn threads_can_have_directories() -> bool {
    std::thread::spawn(|| sys::own_working_directory().is_ok())
        .join()
        .unwrap_or(false)
}

/// A bug of ours must not leave a run waiting for a report.
fn compile(task: &Task) -> JobReport {
    std::panic::catch_unwind(AssertUnwindSafe(|| codegen::run(task))).unwrap_or_else(|_| {
        let text = format!("a worker panicked over `{}`", task.module.path().display());
        JobReport::not_run(Error::new(Kind::Crash, text))
    })
}

/// A task that may run now.
struct Turn {
    task: Task,
    batch: Arc<Batch>,
    /// Goes back to the jobserver with the turn.
    _leave: Option<Acquired>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let last = {
            let mut state = in_force();
            state.running -= 1;
            state.running == 0
        };
        // Others may wait for options of their own.
        if last {
            CHANGED.notify_all();
        }
    }
}

impl Shared {
    fn batches(&self) -> MutexGuard<'_, Vec<Arc<Batch>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, worker: usize) {
        // Tried on another thread before: it works here too.
        if self.own_directories && sys::own_working_directory().is_err() {
            return;
        }
        while let Some(Turn { task, batch, .. }) = self.next(worker).as_ref() {
            let number = task.number;
            if batch.cancelled.load(Ordering::Relaxed) {
                let error = Error::new(Kind::Cancelled, "cancelled");
                batch.finish(number, worker, JobReport::not_run(error));
                continue;
            }
            let _ = batch.events.send(Event::Started { number, worker });
            let entered = match self.own_directories {
                true => enter_directory(&task.job.directory),
                false => Ok(()),
            };
            let report = match entered {
                Ok(()) => compile(task),
                Err(e) => JobReport::not_run(e),
            };
            batch.finish(number, worker, report);
        }
    }

    /// Waits for a task; `None` when the pool closes.
    fn next(&self, worker: usize) -> Option<Turn> {
        let mut state = in_force();
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            if !self.batches().is_empty() {
                match self.leave(worker) {
                    Some(leave) => {
                        if let Some(turn) = self.take(worker, leave, &mut state) {
                            return Some(turn);
                        }
                    }
                    None => {
                        state = CHANGED
                            .wait_timeout(state, ASK_AGAIN)
                            .map_or_else(|e| e.into_inner().0, |(state, _)| state);
                        continue;
                    }
                }
            }
            state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Leave to run one task: `Some(None)` for a worker that needs none, `None`
    /// when there is none to be had now.
    fn leave(&self, worker: usize) -> Option<Option<Acquired>> {
        match &self.jobserver {
            // The process itself was started with leave for one.
            Some(client) if worker > 0 => client.try_acquire().ok()?.map(Some),
            _ => Some(None),
        }
    }

    fn take(&self, worker: usize, leave: Option<Acquired>, state: &mut InForce) -> Option<Turn> {
        let mut batches = self.batches();
        let mut at = 0;
        while let Some(batch) = batches.get(at) {
            match state.enter(&batch.common) {
                Ok(true) => match batch.next(worker) {
                    Some(task) => {
                        let batch = Arc::clone(batch);
                        return Some(Turn {
                            task,
                            batch,
                            _leave: leave,
                        });
                    }
                    None => {
                        state.running -= 1;
                        batches.remove(at);
                    }
                },
                Ok(false) => at += 1,
                Err(e) => {
                    batch.fail(&e);
                    batches.remove(at);
                }
            }
        }
        None
    }
}
