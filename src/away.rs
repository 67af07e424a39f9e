//! Tasks that are compiled on other machines beside those that are compiled here.
//!
//! Workers take tasks as ever, the longest first. A dispatcher looks at the same rows
//! from behind: a task leaves if it should be back before a worker here would have come
//! to begin it, so that a build with an engine takes no longer than one without. Short
//! ones leave together. What is away when workers have nothing else to do is begun here
//! as well, if that promises to be sooner: the first object counts.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{collections::HashMap, num::NonZeroUsize};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::batch::{Batch, Queued};
use crate::choice::{self, Member, Place};
use crate::codegen;
use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::elsewhere::Question;
use crate::error::{Error, Kind, Result};
use crate::execute::{CompileJob, Delivered, Executor, Outcome, errand};
use crate::prepare::Task;
use crate::price::Cost;
use crate::report::JobReport;

/// How often the rows are looked at while there is something in them.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Long rows are looked at less often: a pause is so many times as long as a look.
const RARELY: u32 = 50;
/// No pause is longer: who wants nothing any more wakes nobody here.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What comes of jobs that were sent, in their order: `None` for one that is to be
/// compiled here.
pub(crate) type Outcomes = Vec<Option<Outcome>>;

/// A way to have jobs compiled on other machines. All of it may be called from any
/// thread, and returns at once.
pub(crate) trait Workshop: Send + Sync {
    /// How many lots of jobs may be away at a time.
    fn slots(&self) -> NonZeroUsize;

    /// What it costs at present to send something; `None` when nothing is to be sent, or
    /// not yet: what is to be known for that is found out once this was asked.
    fn cost(&self) -> Option<Cost>;

    /// How many bytes of `jobs` are not there yet, as far as is known.
    fn bytes_to_send(&self, jobs: &[Arc<CompileJob>]) -> u64;

    /// Sends `jobs`, which take `time` together on a core here, and has `done` called when
    /// they are back. They are given up when the result is dropped.
    fn send(
        &self,
        jobs: Vec<Arc<CompileJob>>,
        time: Duration,
        done: Box<dyn FnOnce(Outcomes) + Send>,
    ) -> Box<dyn Send>;
}

/// Sends tasks of every run elsewhere, on a thread of its own; it ends when it is
/// dropped.
pub(crate) struct Dispatcher {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    /// There are more tasks.
    Work(Vec<Arc<Batch>>),
    /// The lot of this number is back.
    Back(usize, Outcomes),
    Close,
}

impl Dispatcher {
    /// Starts to send to `workshop` what so many `workers` here would come to begin later.
    ///
    /// # Errors
    /// [`Kind::Environment`] when the system gives no thread.
    pub(crate) fn start(workshop: Arc<dyn Workshop>, workers: NonZeroUsize) -> Result<Dispatcher> {
        let (messages, received) = unbounded();
        let mut desk = Desk {
            workshop,
            workers,
            messages: messages.clone(),
            batches: Vec::new(),
            lots: HashMap::new(),
            sent: 0,
        };
        let thread = std::thread::Builder::new()
            .name("dispatcher".to_owned())
            .spawn(move || desk.serve(&received))
            .map_err(|e| {
                let text = "cannot start a thread that sends jobs elsewhere";
                Error::new(Kind::Environment, text).because(e)
            })?;
        Ok(Dispatcher {
            messages,
            thread: Some(thread),
        })
    }

    /// Adds the tasks of a run, for which there are workers.
    pub(crate) fn add(&self, batches: &[Arc<Batch>]) {
        let _ = self.messages.send(Message::Work(batches.to_vec()));
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Close);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported on its thread.
            let _ = thread.join();
        }
    }
}

/// Tasks that are away together.
struct Lot {
    members: Vec<Member<Arc<Batch>, Task>>,
    /// Gives them up when it is dropped.
    #[allow(dead_code, reason = "it is there to be dropped")]
    errand: Box<dyn Send>,
}

/// Where it is decided what leaves.
struct Desk {
    workshop: Arc<dyn Workshop>,
    workers: NonZeroUsize,
    messages: Sender<Message>,
    /// Those whose tasks are not all done, long ones first, else in order of arrival.
    batches: Vec<Arc<Batch>>,
    lots: HashMap<usize, Lot>,
    /// How many lots have left.
    sent: usize,
}

impl Desk {
    fn serve(&mut self, messages: &Receiver<Message>) {
        let mut pause = LOOK_AGAIN;
        loop {
            let message = match self.batches.is_empty() {
                true => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => messages.recv_timeout(pause),
            };
            match message {
                Ok(Message::Work(batches)) => {
                    self.batches.extend(batches);
                    // Stable: arrival decides among equals.
                    self.batches.sort_by_key(|batch| !batch.long);
                }
                Ok(Message::Back(number, outcomes)) => self.take_in(number, outcomes),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let begin = Instant::now();
            self.give_up();
            self.batches
                .retain(|batch| batch.is_open() || !batch.is_over());
            while self.lots.len() < self.workshop.slots().get() && self.send_some() {}
            pause = pause_after(begin.elapsed());
        }
    }

    /// Finishes what came of the lot `number`.
    fn take_in(&mut self, number: usize, outcomes: Outcomes) {
        let Some(lot) = self.lots.remove(&number) else {
            return;
        };
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(|| None));
        for ((batch, queued), outcome) in lot.members.iter().zip(outcomes) {
            match outcome {
                Some(outcome) if queued.task.audit.is_none() => {
                    finish(batch, queued, outcome, self.workers);
                }
                // An audit compiles it, too, which takes a worker.
                outcome => queued.come_home(outcome),
            }
            batch.is_back();
        }
    }

    /// Gives up what is away and not wanted any more.
    fn give_up(&mut self) {
        for lot in self.lots.values() {
            for (batch, queued) in &lot.members {
                if let Some(error) = batch.stop.reason()
                    && queued.give_up()
                {
                    ask_no_more(queued);
                    let report = JobReport::not_run(error);
                    batch.finish(queued.task.number, self.workers.get(), report);
                }
            }
        }
        self.lots.retain(|_, lot| {
            let wanted = lot.members.iter().any(|(_, queued)| queued.is_wanted());
            if !wanted {
                for (batch, _) in &lot.members {
                    batch.is_back();
                }
            }
            wanted
        });
    }

    /// Sends a lot, if there is one for which that pays.
    fn send_some(&mut self) -> bool {
        let rows = self.batches.iter();
        let rows = rows.filter(|batch| batch.stop.reason().is_none());
        let rows = rows.map(|batch| (batch, &***batch));
        let Some(choice) = choice::choose(rows, self.workers, Instant::now(), self) else {
            return false;
        };
        // A worker may have come across some of them meanwhile.
        let mut members = choice.members;
        members.retain(|(batch, queued)| batch.leaves(queued, choice.due));
        if members.is_empty() {
            return false;
        }
        self.sent += 1;
        let (number, messages) = (self.sent, self.messages.clone());
        let back = move |outcomes| {
            let _ = messages.send(Message::Back(number, outcomes));
        };
        let jobs = members.iter().map(|(_, queued)| job_of(&queued.task));
        let errand = self
            .workshop
            .send(jobs.collect(), choice.time, Box::new(back));
        let _ = self.lots.insert(number, Lot { members, errand });
        true
    }
}

/// How long the rows are left alone after a look that took `elapsed`.
fn pause_after(elapsed: Duration) -> Duration {
    let pause = elapsed.saturating_mul(RARELY);
    pause.clamp(LOOK_AGAIN, LONGEST_PAUSE)
}

impl Place<Task> for Desk {
    fn cost(&self) -> Option<Cost> {
        self.workshop.cost()
    }

    fn may_have(&self, task: &Queued) -> bool {
        may_leave(task)
    }

    fn go_together(&self, first: &Task, task: &Task) -> bool {
        first.flags.llvm_options == task.flags.llvm_options
    }

    fn bytes_to_send(&self, tasks: &[&Task]) -> u64 {
        let jobs: Vec<_> = tasks.iter().map(|task| job_of(task)).collect();
        self.workshop.bytes_to_send(&jobs)
    }
}

/// Whether the task of `queued` may be compiled elsewhere: its object depends on content
/// that is known, and no cache has it.
fn may_leave(queued: &Queued) -> bool {
    let task = &queued.task;
    let is_known = |asked: &Arc<Question>| asked.is_in_vain();
    task.asked.as_ref().is_some_and(is_known)
        && errand::may_leave(&task.flags)
        && !task.time_trace
        // Once is enough.
        && !queued.has_left()
}

/// Has nobody look any more for the object of `queued`, which is there or not wanted.
pub(crate) fn ask_no_more(queued: &Queued) {
    if let Some(asked) = &queued.task.asked {
        asked.close();
    }
}

fn job_of(task: &Task) -> Arc<CompileJob> {
    Arc::new(codegen::job_of(task))
}

/// Puts the object of `queued` in its place, if no worker was first. `workers` is the
/// number of the worker that is said to have done it.
fn finish(batch: &Batch, queued: &Queued, outcome: Outcome, workers: NonZeroUsize) {
    if !queued.deliver() {
        return;
    }
    // The one thread that sends does not wait for what is here.
    ask_no_more(queued);
    let (number, worker) = (queued.task.number, workers.get());
    batch.start(number, worker);
    let report = JobReport::of(queued.task.module.path(), || {
        let mut nobody = Nobody;
        let mut delivered = Delivered::first(Some(outcome), &mut nobody);
        codegen::run(&queued.task, &mut delivered)
    });
    batch.finish(number, worker, report);
}

/// Compiles nothing.
struct Nobody;

impl Executor for Nobody {
    fn compile(&mut self, _: &Arc<CompileJob>, _: &mut dyn Watch) -> Compiled {
        Failure::Cancelled.into()
    }
}

/// Compiles a task that may be elsewhere as well.
pub(crate) struct Racing<'a> {
    executor: &'a mut dyn Executor,
    queued: &'a Queued,
    has_won: bool,
}

impl<'a> Racing<'a> {
    /// Has `executor` compile the task of `queued`, unless an engine is faster.
    pub(crate) fn new(executor: &'a mut dyn Executor, queued: &'a Queued) -> Racing<'a> {
        Racing {
            executor,
            queued,
            has_won: false,
        }
    }

    /// Whether a compile here was first.
    pub(crate) fn has_won(&self) -> bool {
        self.has_won
    }
}

impl Executor for Racing<'_> {
    fn compile(&mut self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Compiled {
        let mut watch = Wanted {
            watch,
            queued: self.queued,
            has_won: self.has_won,
        };
        let compiled = self.executor.compile(job, &mut watch);
        self.has_won = self.has_won || self.queued.end_here();
        match self.has_won {
            true => compiled,
            false => Failure::Cancelled.into(),
        }
    }
}

/// Ends a compile at its imports whose object has come from elsewhere.
struct Wanted<'a> {
    watch: &'a mut dyn Watch,
    queued: &'a Queued,
    has_won: bool,
}

impl Watch for Wanted<'_> {
    fn wants_imported(&self) -> bool {
        self.watch.wants_imported()
    }

    fn assembly(&mut self, text: &[u8]) {
        self.watch.assembly(text);
    }

    fn imported(&mut self, imported: Option<Imported>) -> bool {
        (self.has_won || !self.queued.is_done()) && self.watch.imported(imported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_are_looked_at_rarely_and_yet_within_a_moment() {
        let ms = Duration::from_millis;
        assert_eq!(pause_after(Duration::ZERO), LOOK_AGAIN);
        assert_eq!(pause_after(ms(2)), ms(100));
        assert_eq!(pause_after(ms(200)), LONGEST_PAUSE);
        assert_eq!(pause_after(Duration::MAX), LONGEST_PAUSE);
    }
}
