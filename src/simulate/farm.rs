//! An engine that is only simulated: what its calls, bytes and actions take, in the order in
//! which the real one is used.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::recorded::RecordedJob;
use crate::choice::Place;
use crate::digest::Digest;
use crate::elsewhere::ASKED_AT_A_TIME;
use crate::price::{Cost, PIECE, Price};
use crate::row::{Queued, Work};

/// What an action says of a job beside what that reads: flags, and names of files.
const WORDS: u64 = 2048;
/// What comes back of a job beside its object.
const REPORT: u64 = 256;

/// Describes an engine, and the line that leads to it.
///
/// More fields may come: write `..EngineModel::new(machines)`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EngineModel {
    /// Its machines. Each runs one action at a time, as fast as a core here.
    pub machines: NonZeroUsize,
    /// How long a call takes.
    pub round_trip: Duration,
    /// The bytes in a second that the line carries, in each direction.
    pub bandwidth: f64,
    /// What an action takes beside calls, bytes and compiles: to be handed out, to have its
    /// files put in place, to start the program.
    pub overhead: Duration,
    /// The bytes of the program that has to go there first; 0 if the engine has it.
    pub program: u64,
    /// Whether objects that are compiled here are uploaded.
    pub uploads: bool,
}

impl EngineModel {
    /// An engine with so many `machines` which has the program, a millisecond away at a
    /// gigabit in a second; an action takes it a quarter of a second, as is usual.
    pub fn new(machines: NonZeroUsize) -> EngineModel {
        EngineModel {
            machines,
            round_trip: Duration::from_millis(1),
            bandwidth: 125e6,
            overhead: Duration::from_millis(250),
            program: 0,
            uploads: true,
        }
    }
}

/// A job in its row.
pub(super) struct Sim<'a> {
    pub(super) job: &'a RecordedJob,
    /// When it is known that no cache has its object.
    pub(super) asked: Duration,
}

impl Work for Sim<'_> {
    fn time(&self) -> Duration {
        self.job.time
    }
}

/// What happens with a lot, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is known what of it is not there, and that begins to travel.
    Write,
    /// All of it is there.
    Written,
    /// It is compiled.
    Ended,
    /// What was made is here.
    Back,
}

/// What is to happen with a lot: when, counted from now, and its number.
pub(super) type Planned = (Duration, usize, Step);

/// A line, on which bytes travel one after the other.
#[derive(Default)]
struct Line {
    free: Duration,
    bytes: u64,
}

impl Line {
    /// When so many `bytes` are there that are sent `now`, `rate` of them in a second.
    fn send(&mut self, now: Duration, bytes: u64, rate: f64) -> Duration {
        let travels = Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::MAX);
        self.free = self.free.max(now).saturating_add(travels);
        self.bytes += bytes;
        self.free
    }
}

/// Jobs that are there together.
struct Lot<'a> {
    jobs: Vec<&'a RecordedJob>,
    time: Duration,
    /// What it waits for until that is there, and how many bytes that is.
    waits: (HashSet<Digest>, u64),
    /// How many bytes travel.
    travel: u64,
    /// When that began, then since when all is there.
    since: Duration,
}

/// The engine.
pub(super) struct Farm<'a> {
    engine: EngineModel,
    price: Price,
    /// When it is, for those who ask for a choice.
    pub(super) now: Duration,
    /// From when on it is known whether it has the program.
    ready: Duration,
    /// What stands for the content of the program.
    program: Digest,
    there: HashSet<Digest>,
    /// What lots wait for to be uploaded, as the real engine counts it.
    coming: HashSet<Digest>,
    to: Line,
    from: Line,
    lots: HashMap<usize, Lot<'a>>,
    /// Those that are to upload, one at a time; the first does.
    uploads: VecDeque<usize>,
}

impl<'a> Farm<'a> {
    pub(super) fn new(engine: &EngineModel) -> Farm<'a> {
        let mut farm = Farm {
            engine: *engine,
            price: Price::default(),
            now: Duration::ZERO,
            ready: engine.round_trip,
            program: Digest::of(b"program"),
            there: HashSet::new(),
            coming: HashSet::new(),
            to: Line::default(),
            from: Line::default(),
            lots: HashMap::new(),
            uploads: VecDeque::new(),
        };
        if engine.program > 0 {
            let piece = engine.program.min(PIECE);
            let begin = farm.ready;
            farm.ready = farm.to.send(begin, piece, engine.bandwidth) + engine.round_trip;
            farm.price.learn_rate(piece, farm.ready - begin);
        }
        farm
    }

    /// When it is known of the job of that number, the longest first, that there is no
    /// object of it.
    pub(super) fn asked(&self, number: usize) -> Duration {
        let before = u32::try_from(number / ASKED_AT_A_TIME).unwrap_or(u32::MAX);
        self.engine
            .round_trip
            .saturating_mul(before.saturating_add(1))
    }

    /// How many lots may be there at a time.
    pub(super) fn slots(&self) -> usize {
        self.engine.machines.get()
    }

    /// The bytes that went there.
    pub(super) fn sent(&self) -> u64 {
        self.to.bytes
    }

    /// The bytes that came from there.
    pub(super) fn received(&self) -> u64 {
        self.from.bytes
    }

    /// An object of so many `bytes` that was made here begins to travel `now`, if such do.
    pub(super) fn upload(&mut self, now: Duration, bytes: u64) {
        if self.engine.uploads {
            let _ = self.to.send(now, bytes, self.engine.bandwidth);
        }
    }

    /// What of `jobs` and of the program is not there, without what is `coming`, and how many
    /// bytes that is.
    fn missing<'b>(
        &self,
        jobs: impl Iterator<Item = &'b RecordedJob>,
        coming: &HashSet<Digest>,
    ) -> (HashSet<Digest>, u64) {
        let program = (self.program, self.engine.program);
        let all = std::iter::once(&program).chain(jobs.flat_map(|job| &job.reads));
        let mut missing = HashSet::new();
        let mut bytes = 0;
        for (content, size) in all {
            let is_known = self.there.contains(content) || coming.contains(content);
            if !is_known && missing.insert(*content) {
                bytes += size;
            }
        }
        (missing, bytes)
    }

    /// Waits no more for what a lot `waits` for.
    fn wait_no_more(&mut self, waits: (HashSet<Digest>, u64)) {
        let (contents, bytes) = waits;
        for content in &contents {
            let _ = self.coming.remove(content);
        }
        self.price.wait_no_more(bytes);
    }

    /// Sends the lot of that number: `jobs`, which take `time` together.
    pub(super) fn send(
        &mut self,
        lot: usize,
        jobs: Vec<&'a RecordedJob>,
        time: Duration,
    ) -> Option<Planned> {
        let waits = self.missing(jobs.iter().copied(), &self.coming);
        self.coming.extend(&waits.0);
        self.price.wait(waits.1);
        let sent = Lot {
            jobs,
            time,
            waits,
            travel: 0,
            since: Duration::ZERO,
        };
        let _ = self.lots.insert(lot, sent);
        self.uploads.push_back(lot);
        self.next_upload().filter(|_| self.uploads.len() == 1)
    }

    /// Has the first of those that are to upload ask what is missing.
    fn next_upload(&self) -> Option<Planned> {
        let lot = *self.uploads.front()?;
        Some((self.engine.round_trip, lot, Step::Write))
    }

    /// Gives up the lot of that number.
    pub(super) fn give_up(&mut self, lot: usize) -> Option<Planned> {
        let given_up = self.lots.remove(&lot)?;
        self.wait_no_more(given_up.waits);
        let uploads = self.uploads.front() == Some(&lot);
        self.uploads.retain(|other| *other != lot);
        self.next_upload().filter(|_| uploads)
    }

    /// Does `step` of the lot of that number `now`. Gives what follows: of itself, and of one
    /// that waited for it.
    pub(super) fn go_on(&mut self, now: Duration, lot: usize, step: Step) -> Vec<Planned> {
        let (round_trip, bandwidth) = (self.engine.round_trip, self.engine.bandwidth);
        let Some(mut there) = self.lots.remove(&lot) else {
            return Vec::new();
        };
        let mut planned = Vec::new();
        match step {
            Step::Write => {
                let words = WORDS * there.jobs.len() as u64;
                let missing = self.missing(there.jobs.iter().copied(), &HashSet::new());
                there.travel = missing.1 + words;
                there.since = now;
                let end = self.to.send(now, there.travel, bandwidth);
                planned.push((end - now + round_trip, lot, Step::Written));
            }
            Step::Written => {
                self.price.learn_rate(there.travel, now - there.since);
                self.wait_no_more(std::mem::take(&mut there.waits));
                let _ = self.there.insert(self.program);
                let reads = there.jobs.iter().flat_map(|job| &job.reads);
                self.there.extend(reads.map(|(content, _)| *content));
                there.since = now;
                let takes = self.engine.overhead.saturating_add(there.time);
                planned.push((takes.saturating_add(round_trip), lot, Step::Ended));
                let _ = self.uploads.pop_front();
                planned.extend(self.next_upload());
            }
            Step::Ended => {
                let made = there.jobs.iter().map(|job| job.object + REPORT);
                let end = self.from.send(now, made.sum(), bandwidth);
                planned.push((end - now + round_trip, lot, Step::Back));
            }
            Step::Back => {
                let (elapsed, time) = (now - there.since, there.time);
                self.price.learn_action(elapsed, time, time, round_trip);
                return planned;
            }
        }
        let _ = self.lots.insert(lot, there);
        planned
    }
}

impl Place<Sim<'_>> for Farm<'_> {
    fn cost(&self) -> Option<Cost> {
        let is_ready = self.now >= self.ready;
        is_ready.then(|| self.price.cost(self.engine.round_trip))
    }

    fn may_have(&self, task: &Queued<Sim<'_>>) -> bool {
        // Once is enough.
        self.now >= task.task.asked && !task.has_left()
    }

    fn go_together(&self, first: &Sim<'_>, task: &Sim<'_>) -> bool {
        first.job.options == task.job.options
    }

    fn bytes_to_send(&self, tasks: &[&Sim<'_>]) -> u64 {
        self.missing(tasks.iter().map(|task| task.job), &self.coming)
            .1
    }
}
