//! How long a build would take with an engine beside the workers here: jobs by how long each
//! took and how much it reads go through the rows that the pool has, by the rules that the
//! dispatcher has, on a clock of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::farm::{EngineModel, Farm, Sim, Step};
use super::recorded::RecordedJob;
use crate::away::LOOK_AGAIN;
use crate::choice::{self, Member};
use crate::hands::split_short;
use crate::row::{Queued, Row};
use crate::schedule::LOOK_FOR_RETURNED;

/// Tells what a build with an engine comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// From the start of the first job to the end of the last.
    pub wall: Duration,
    /// How many jobs are compiled here.
    pub here: usize,
    /// How many jobs the engine compiles.
    pub there: usize,
    /// How many of all are begun here although they are there.
    pub raced: usize,
    /// How many actions the engine is sent.
    pub lots: usize,
    /// The bytes that go there.
    pub sent: u64,
    /// The bytes that come from there.
    pub received: u64,
    /// Of the time of all workers and machines together, the part in which they compile what
    /// is used: from 0 to 1.
    pub efficiency: f64,
}

/// Runs `jobs` on so many `workers` and `engine`, none of which has anything else to do.
///
/// ```
/// use std::time::Duration;
/// use backlto::simulate::{EngineModel, RecordedJob, with_engine};
///
/// let jobs = vec![RecordedJob::new(Duration::from_secs(10)); 100];
/// let here = 2.try_into()?;
/// let built = with_engine(&jobs, here, &EngineModel::new(98.try_into()?));
/// assert!(built.there > 90 && built.wall < Duration::from_secs(30));
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
pub fn with_engine(
    jobs: &[RecordedJob],
    workers: NonZeroUsize,
    engine: &EngineModel,
) -> Prediction {
    let mut build = Build::new(jobs, workers, engine);
    build.run();
    let together: Duration = jobs.iter().map(|job| job.time).sum();
    let hands = (workers.get() + engine.machines.get()) as f64;
    let all = build.told.wall.as_secs_f64() * hands;
    Prediction {
        sent: build.farm.sent(),
        received: build.farm.received(),
        efficiency: if all > 0.0 {
            together.as_secs_f64() / all
        } else {
            1.0
        },
        ..build.told
    }
}

/// What happens at some time.
enum Event<'a> {
    /// A worker looks for something to do.
    Free(usize),
    /// A worker has come to the end of a job.
    Done(usize, Arc<Queued<Sim<'a>>>),
    /// The dispatcher looks at the rows, for the last time that this was planned.
    Look(usize),
    /// Something happens with the lot of a number.
    Lot(usize, Step),
}

struct Build<'a> {
    workers: NonZeroUsize,
    /// Long jobs, then the others.
    rows: Vec<(usize, Row<Sim<'a>>)>,
    farm: Farm<'a>,
    lots: HashMap<usize, Vec<Member<usize, Sim<'a>>>>,
    /// When it all begins, for those who go by a clock.
    begin: Instant,
    now: Duration,
    /// When what happens, by the number of the event.
    agenda: BinaryHeap<Reverse<(Duration, usize)>>,
    events: HashMap<usize, Event<'a>>,
    planned: usize,
    looks: usize,
    left: usize,
    told: Prediction,
}

impl<'a> Build<'a> {
    fn new(jobs: &'a [RecordedJob], workers: NonZeroUsize, engine: &EngineModel) -> Build<'a> {
        let mut order: Vec<&RecordedJob> = jobs.iter().collect();
        let time = |job: &RecordedJob| u64::try_from(job.time.as_micros()).unwrap_or(u64::MAX);
        order.sort_by_key(|job| Reverse(time(job)));
        let farm = Farm::new(engine);
        let mut long: Vec<Sim<'a>> = order
            .into_iter()
            .enumerate()
            .map(|(number, job)| Sim {
                job,
                asked: farm.asked(number),
            })
            .collect();
        let short = split_short(&mut long, workers, |sim| time(sim.job));
        let rows = [(true, long), (false, short)]
            .map(|(is_long, sims)| Row::new(is_long, sims, workers, true));
        Build {
            workers,
            rows: rows.into_iter().enumerate().collect(),
            farm,
            lots: HashMap::new(),
            begin: Instant::now(),
            now: Duration::ZERO,
            agenda: BinaryHeap::new(),
            events: HashMap::new(),
            planned: 0,
            looks: 0,
            left: jobs.len(),
            told: Prediction::default(),
        }
    }

    fn plan(&mut self, after: Duration, event: Event<'a>) {
        self.planned += 1;
        let at = self.now.saturating_add(after);
        self.agenda.push(Reverse((at, self.planned)));
        let _ = self.events.insert(self.planned, event);
    }

    fn clock(&self) -> Instant {
        // A build that lasts longer than clocks go is as good as one that does not end.
        self.begin.checked_add(self.now).unwrap_or(self.begin)
    }

    fn run(&mut self) {
        for worker in 0..self.workers.get() {
            self.plan(Duration::ZERO, Event::Free(worker));
        }
        self.look_after(Duration::ZERO);
        while self.left > 0 {
            let Some(Reverse((at, number))) = self.agenda.pop() else {
                return;
            };
            self.now = at;
            match self.events.remove(&number) {
                Some(Event::Free(worker)) => self.take(worker),
                Some(Event::Done(worker, queued)) => {
                    if queued.end_here() {
                        self.told.here += 1;
                        self.farm.upload(self.now, queued.task.job.object);
                        self.is_done();
                    }
                    self.take(worker);
                }
                Some(Event::Look(look)) if look == self.looks => self.look(),
                Some(Event::Lot(lot, step)) if self.lots.contains_key(&lot) => {
                    self.go_on(lot, step);
                }
                _ => {}
            }
        }
    }

    fn is_done(&mut self) {
        self.left -= 1;
        self.told.wall = self.now;
    }

    /// Has `worker` begin something, or look again later if there may be something then.
    fn take(&mut self, worker: usize) {
        let now = self.clock();
        let taken = match self.rows.iter().any(|(_, row)| row.is_left(now)) {
            true => self.rows.iter().find_map(|(_, row)| row.next(worker, now)),
            false => None,
        };
        if let Some(queued) = taken {
            self.told.raced += usize::from(queued.has_left());
            self.plan(queued.task.job.time, Event::Done(worker, queued));
        } else if self.rows.iter().any(|(_, row)| row.is_open()) {
            self.plan(LOOK_FOR_RETURNED, Event::Free(worker));
        }
    }

    /// Has the dispatcher look `after` that time, and not before.
    fn look_after(&mut self, after: Duration) {
        self.looks += 1;
        self.plan(after, Event::Look(self.looks));
    }

    /// What the dispatcher does each time.
    fn look(&mut self) {
        self.give_up();
        while self.lots.len() < self.farm.slots() && self.send_some() {}
        if self.rows.iter().any(|(_, row)| row.is_open()) {
            self.look_after(LOOK_AGAIN);
        }
    }

    /// Gives up what is away and not wanted any more.
    fn give_up(&mut self) {
        let is_wanted = |(_, queued): &Member<usize, Sim<'a>>| queued.is_wanted();
        let unwanted = self
            .lots
            .iter()
            .filter(|(_, lot)| !lot.iter().any(is_wanted));
        let unwanted: Vec<usize> = unwanted.map(|(number, _)| *number).collect();
        for number in unwanted {
            for (row, _) in self.lots.remove(&number).into_iter().flatten() {
                self.rows[row].1.is_back();
            }
            let then = self.farm.give_up(number);
            self.plan_steps(then);
        }
    }

    /// Sends a lot, if there is one for which that pays.
    fn send_some(&mut self) -> bool {
        self.farm.now = self.now;
        let rows = self.rows.iter().map(|(number, row)| (number, row));
        let Some(choice) = choice::choose(rows, self.workers, self.clock(), &self.farm) else {
            return false;
        };
        let members = choice.members;
        for (row, queued) in &members {
            let _ = self.rows[*row].1.leaves(queued, choice.due);
        }
        self.told.lots += 1;
        let jobs = members.iter().map(|(_, queued)| queued.task.job);
        let then = self.farm.send(self.told.lots, jobs.collect(), choice.time);
        let _ = self.lots.insert(self.told.lots, members);
        self.plan_steps(then);
        true
    }

    fn plan_steps(&mut self, steps: impl IntoIterator<Item = (Duration, usize, Step)>) {
        for (after, lot, step) in steps {
            self.plan(after, Event::Lot(lot, step));
        }
    }

    /// Does `step` of the lot of that number.
    fn go_on(&mut self, lot: usize, step: Step) {
        let then = self.farm.go_on(self.now, lot, step);
        self.plan_steps(then);
        if step == Step::Back {
            for (row, queued) in self.lots.remove(&lot).into_iter().flatten() {
                if queued.deliver() {
                    self.told.there += 1;
                    self.is_done();
                }
                self.rows[row].1.is_back();
            }
            self.look();
        }
    }
}
