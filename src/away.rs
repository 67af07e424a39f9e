//! Tasks that are compiled on other machines beside those that are compiled here.
//!
//! Workers take tasks as ever, the longest first. A dispatcher looks at the same rows
//! from behind: a task leaves if it should be back before a worker here would have come
//! to begin it, so that a build with an engine takes no longer than one without. Short
//! ones leave together. What is away when workers have nothing else to do is begun here
//! as well, if that promises to be sooner: the first object counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{collections::HashMap, num::NonZeroUsize};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::batch::{Batch, Queued};
use crate::codegen;
use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::elsewhere::Question;
use crate::error::{Error, Kind, Result};
use crate::execute::{CompileJob, Delivered, Executor, Outcome};
use crate::flag_key::FlagsKey;
use crate::report::JobReport;

/// How often the rows are looked at while there is something in them.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Where nothing has to wait for so long, no engine is bothered.
const WORTH_A_LOOK: Duration = Duration::from_millis(50);
/// How many tasks leave together, at most.
const TOGETHER: usize = 64;
/// For how many lots it is looked at a time whether they pay with their bytes.
const TRIES: usize = 4;
/// Tasks leave together until the work is so many times what it costs to send them.
const WORTH: u32 = 4;

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

/// What it costs to have jobs compiled elsewhere, beside the time of their compiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// For each lot.
    pub(crate) lot: Duration,
    /// For each byte that is not there yet.
    pub(crate) byte: Duration,
    /// How many times as long as was expected compiles take there; at least once.
    pub(crate) slowness: f64,
}

impl Cost {
    /// How long a lot is away whose compiles take `time`, and of which so many `bytes` are
    /// not there yet.
    fn of(&self, time: Duration, bytes: u64) -> Duration {
        let travels = self.byte.as_secs_f64() * bytes as f64;
        let compiles = time.as_secs_f64() * self.slowness;
        // What is too long for a clock never comes back.
        let away = Duration::try_from_secs_f64(travels + compiles).unwrap_or(Duration::MAX);
        self.lot.saturating_add(away)
    }
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

/// A task and the batch that it is of.
type Member = (Arc<Batch>, Arc<Queued>);

/// Tasks that are away together.
struct Lot {
    members: Vec<Member>,
    /// Gives them up when it is dropped.
    #[allow(dead_code, reason = "it is there to be dropped")]
    errand: Box<dyn Send>,
}

/// Where it is decided what leaves.
struct Desk {
    workshop: Arc<dyn Workshop>,
    workers: NonZeroUsize,
    messages: Sender<Message>,
    /// Those with tasks left, long ones first, else in order of arrival.
    batches: Vec<Arc<Batch>>,
    lots: HashMap<usize, Lot>,
    /// How many lots have left.
    sent: usize,
}

impl Desk {
    fn serve(&mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.batches.is_empty() {
                true => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => messages.recv_timeout(LOOK_AGAIN),
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
            self.give_up();
            self.batches.retain(|batch| batch.is_open());
            while self.lots.len() < self.workshop.slots().get() && self.send_some() {}
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
            batch.away.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Gives up what is away and not wanted any more.
    fn give_up(&mut self) {
        for lot in self.lots.values() {
            for (batch, queued) in &lot.members {
                if let Some(error) = batch.stop.reason()
                    && queued.give_up()
                {
                    let report = JobReport::not_run(error);
                    batch.finish(queued.task.number, self.workers.get(), report);
                }
            }
        }
        self.lots.retain(|_, lot| {
            let wanted = lot.members.iter().any(|(_, queued)| queued.is_wanted());
            if !wanted {
                for (batch, _) in &lot.members {
                    batch.away.fetch_sub(1, Ordering::AcqRel);
                }
            }
            wanted
        });
    }

    /// Sends a lot, if there is one for which that pays.
    fn send_some(&mut self) -> bool {
        let waiting = self.waiting();
        let last = waiting.last().map(|(_, begin)| *begin);
        if last.is_none_or(|begin| begin < WORTH_A_LOOK) {
            return false;
        }
        let Some(cost) = self.workshop.cost() else {
            return false;
        };
        let Some(choice) = self.choose(&waiting, cost) else {
            return false;
        };
        let Some(due) = Instant::now().checked_add(choice.away) else {
            return false;
        };
        // A worker may have come across some of them meanwhile.
        let (members, jobs): (Vec<Member>, Vec<_>) = choice
            .members
            .into_iter()
            .filter(|(member, _)| leaves(member, due))
            .unzip();
        if members.is_empty() {
            return false;
        }
        self.sent += 1;
        let (number, messages) = (self.sent, self.messages.clone());
        let back = move |outcomes| {
            let _ = messages.send(Message::Back(number, outcomes));
        };
        let errand = self.workshop.send(jobs, choice.time, Box::new(back));
        let _ = self.lots.insert(number, Lot { members, errand });
        true
    }

    /// The tasks that wait, in the order in which workers come to them, each with the time
    /// until then.
    fn waiting(&self) -> Vec<(Member, Duration)> {
        let mut before = Duration::ZERO;
        let mut waiting = Vec::new();
        for batch in &self.batches {
            if batch.stop.reason().is_some() {
                continue;
            }
            for queued in batch.order.iter().filter(|queued| queued.waits()) {
                let begin = before / u32::try_from(self.workers.get()).unwrap_or(u32::MAX);
                waiting.push(((Arc::clone(batch), Arc::clone(queued)), begin));
                before = before.saturating_add(queued.task.time);
            }
        }
        waiting
    }

    /// The longest of the tasks that may leave and should be back before a worker would
    /// begin them, with some that follow if they are short.
    fn choose(&self, waiting: &[(Member, Duration)], cost: Cost) -> Option<Choice> {
        let last = waiting.last().map(|(_, begin)| *begin)?;
        // Towards the end, lots become smaller.
        let worth = (cost.lot * WORTH).min(last.checked_sub(cost.lot)? / 2);
        let mut least = cost.lot;
        let mut tries = TRIES;
        let candidates: Vec<_> = waiting
            .iter()
            .filter(|((_, queued), _)| may_leave(queued))
            .collect();
        for (at, ((_, first), begin)) in candidates.iter().enumerate() {
            if *begin < least.max(cost.of(first.task.time.max(worth), 0)) {
                continue;
            }
            let (members, time) = together(&candidates[at..], worth);
            let jobs: Vec<_> = members.iter().map(|(_, queued)| job_of(queued)).collect();
            let away = cost.of(time, self.workshop.bytes_to_send(&jobs));
            if away <= *begin {
                let members = members.into_iter().zip(jobs).collect();
                return Some(Choice {
                    members,
                    time,
                    away,
                });
            }
            tries -= 1;
            if tries == 0 {
                break;
            }
            // The bytes of those that follow are not known, but hardly fewer.
            least = away;
        }
        None
    }
}

/// Tasks that are to leave together, with what is to be sent of each.
struct Choice {
    members: Vec<(Member, Arc<CompileJob>)>,
    /// How long they take.
    time: Duration,
    /// How long they are away.
    away: Duration,
}

/// Whether a task leaves, that should be back when it is `due`. It is counted before: a
/// worker that comes across it then knows that it may come back.
fn leaves((batch, queued): &Member, due: Instant) -> bool {
    batch.away.fetch_add(1, Ordering::AcqRel);
    let leaves = queued.leave(due);
    if !leaves {
        batch.away.fetch_sub(1, Ordering::AcqRel);
    }
    leaves
}

/// As many of `candidates`, in their order, as can be compiled by one process and are
/// worth to be sent together; and how long they take.
fn together(candidates: &[&(Member, Duration)], worth: Duration) -> (Vec<Member>, Duration) {
    let mut members: Vec<Member> = Vec::new();
    let mut time = Duration::ZERO;
    let options = |queued: &Queued| queued.task.flags.llvm_options.clone();
    for ((batch, queued), _) in candidates {
        let task = &queued.task;
        if members.len() == TOGETHER || !members.is_empty() && time + task.time > worth {
            break;
        }
        let fits = |first: &Member| options(&first.1) == task.flags.llvm_options;
        if members.first().is_none_or(fits) {
            members.push((Arc::clone(batch), Arc::clone(queued)));
            time += task.time;
        }
    }
    (members, time)
}

/// Whether the task of `queued` may be compiled elsewhere: its object depends on content
/// that is known, and no cache has it.
fn may_leave(queued: &Queued) -> bool {
    let task = &queued.task;
    // Files that flags name have names of this machine.
    let names_files = |key: &FlagsKey| key.dependencies.len() > 1;
    let is_known = |asked: &Arc<Question>| asked.is_in_vain();
    task.asked.as_ref().is_some_and(is_known)
        && task.flags.key.as_ref().is_some_and(|key| !names_files(key))
        && !task.time_trace
        // Once is enough.
        && !queued.has_left()
}

fn job_of(queued: &Queued) -> Arc<CompileJob> {
    Arc::new(codegen::job_of(&queued.task))
}

/// Puts the object of `queued` in its place, if no worker was first. `workers` is the
/// number of the worker that is said to have done it.
fn finish(batch: &Batch, queued: &Queued, outcome: Outcome, workers: NonZeroUsize) {
    if !queued.deliver() {
        return;
    }
    let (number, worker) = (queued.task.number, workers.get());
    batch.start(number, worker);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut nobody = Nobody;
        codegen::run(
            &queued.task,
            &mut Delivered::first(Some(outcome), &mut nobody),
        )
    });
    let report = std::panic::catch_unwind(run).unwrap_or_else(|_| {
        let text = format!("cannot take in `{}`", queued.task.job.output);
        JobReport::not_run(Error::new(Kind::Crash, text))
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
    fn bytes_and_slow_machines_cost_time() {
        let cost = Cost {
            lot: Duration::from_millis(100),
            byte: Duration::from_nanos(10),
            slowness: 2.0,
        };
        let second = Duration::from_secs(1);
        assert_eq!(cost.of(Duration::ZERO, 0), cost.lot);
        assert_eq!(cost.of(second, 0), second * 2 + cost.lot);
        assert_eq!(cost.of(second, 100_000_000), second * 3 + cost.lot);
        assert_eq!(cost.of(Duration::MAX, u64::MAX), Duration::MAX);
    }
}
