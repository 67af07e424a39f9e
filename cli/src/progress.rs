//! The line that shows what runs, on a terminal, and how long it will take.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line, for all runs of a program.
pub(crate) struct Progress {
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What runs.
    running: Vec<String>,
    work: Work,
}

/// Names a job of a run: the run's number, and the job's in its plan.
pub(crate) type Id = (usize, usize);

impl Progress {
    /// A line of which nothing is known yet.
    pub(crate) fn new() -> Progress {
        let style = ProgressStyle::with_template("[{pos}/{len}] {prefix}  {wide_msg}");
        // Nothing of nothing is not worth a line.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress {
            bar,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are `jobs` more jobs.
    pub(crate) fn expect(&self, jobs: usize) {
        self.bar.inc_length(jobs as u64);
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Of run `run`, these jobs are to be run, each with its estimated work.
    pub(crate) fn plan(&self, run: usize, jobs: &[(usize, u64)]) {
        self.state().work.plan(run, jobs);
    }

    /// The job `id`, which is called `label`, has started.
    pub(crate) fn start(&self, id: Id, label: String) {
        let mut state = self.state();
        state.work.start(id, Instant::now());
        state.running.push(label);
        self.show(&state);
    }

    /// The job `id`, which is called `label`, has ended, whether it was started or not.
    pub(crate) fn end(&self, id: Id, label: &str) {
        let mut state = self.state();
        state.work.end(id);
        state.running.retain(|running| running != label);
        self.bar.inc(1);
        self.show(&state);
    }

    fn show(&self, state: &State) {
        let left = state.work.left(Instant::now()).map(in_words);
        self.bar.set_prefix(left.unwrap_or_default());
        self.bar.set_message(state.running.join(" "));
    }

    /// Runs `print` while the line is away.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// `left` as one line has room for it.
fn in_words(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s left"),
        seconds => format!("{} min left", (seconds + 30) / 60),
    }
}

/// How much there is to do, and how much is done.
#[derive(Default)]
struct Work {
    /// Of each job that has not ended. Runs estimate in units of their own, so here it
    /// is in average jobs of the run.
    left: HashMap<Id, f64>,
    running: Vec<Id>,
    done: f64,
    started: Option<Instant>,
}

impl Work {
    fn plan(&mut self, run: usize, jobs: &[(usize, u64)]) {
        // What is estimated as nothing takes a moment, too.
        let cost = |cost: u64| cost as f64 + 1.0;
        let total: f64 = jobs.iter().map(|&(_, work)| cost(work)).sum();
        let unit = total / jobs.len().max(1) as f64;
        let jobs = jobs.iter();
        self.left
            .extend(jobs.map(|&(number, work)| ((run, number), cost(work) / unit)));
    }

    fn start(&mut self, id: Id, now: Instant) {
        self.started.get_or_insert(now);
        self.running.push(id);
    }

    fn end(&mut self, id: Id) {
        self.running.retain(|running| *running != id);
        self.done += self.left.remove(&id).unwrap_or_default();
    }

    /// How long the rest will take, at the rate so far; `None` before anything is done.
    fn left(&self, now: Instant) -> Option<Duration> {
        let running = self.running.iter().filter_map(|id| self.left.get(id));
        // Some have just begun, some are about to end.
        let half: f64 = running.sum::<f64>() / 2.0;
        let done = self.done + half;
        let left = self.left.values().sum::<f64>() - half;
        let elapsed = now.duration_since(self.started?).as_secs_f64();
        // The first job alone says nothing of a rate.
        let is_known = self.done > 0.0;
        is_known.then(|| Duration::try_from_secs_f64(elapsed * left / done).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_goes_by_work_and_not_by_jobs() {
        let mut work = Work::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // One long job, and nine that are as long together.
        let mut jobs = vec![(0, 899)];
        jobs.extend((1..10).map(|number| (number, 99)));
        work.plan(0, &jobs);
        assert_eq!(work.left(at(0)), None);
        work.start((0, 0), at(0));
        assert_eq!(work.left(at(5)), None, "nothing is done");
        work.end((0, 0));
        // Counting jobs, it would be nine times ten seconds.
        assert_eq!(
            work.left(at(10)).map(|left| left.as_secs_f64().round()),
            Some(10.0)
        );
        for number in 1..10 {
            work.start((0, number), at(10));
            work.end((0, number));
        }
        assert_eq!(work.left(at(20)), Some(Duration::ZERO));
    }

    #[test]
    fn runs_with_other_units_count_alike() {
        let mut work = Work::default();
        let start = Instant::now();
        work.plan(0, &[(0, 1_000_000), (1, 1_000_000)]);
        work.plan(1, &[(0, 0), (1, 0)]);
        for id in [(0, 0), (0, 1), (1, 0)] {
            work.start(id, start);
            work.end(id);
        }
        let left = work.left(start + Duration::from_secs(30));
        assert_eq!(left.map(|left| left.as_secs_f64().round()), Some(10.0));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(in_words(Duration::from_secs(99)), "99 s left");
        assert_eq!(in_words(Duration::from_secs(100)), "2 min left");
        assert_eq!(in_words(Duration::from_millis(300)), "0 s left");
    }
}
