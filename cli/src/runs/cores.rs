//! What other numbers of workers would make of a run, by the scheduler itself.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::data::rounded;

/// The numbers of workers that are told of.
const WORKERS: [usize; 13] = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256];
/// How much longer than without end of workers a time is that is as good.
const AS_GOOD: f64 = 1.02;

/// How long jobs take on each number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cores {
    /// What each number of workers comes to; the fewest first.
    pub(crate) rows: Vec<Row>,
    /// From how many on more change nothing.
    pub(crate) enough: usize,
    /// The number of the module that takes longest, which is the bound then.
    pub(crate) longest: usize,
    /// How long that one takes, in seconds.
    pub(crate) longest_seconds: f64,
}

/// One number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// How many.
    pub(crate) workers: usize,
    /// From the start of the first job to the end of the last, in seconds.
    pub(crate) seconds: f64,
    /// What no order of the jobs could beat, in seconds.
    pub(crate) bound: f64,
}

impl Cores {
    /// How long `jobs` would take, of each the module's number and how long it takes in
    /// seconds, on other numbers of workers than `workers`, and on that. `None` without
    /// a job.
    pub(crate) fn of(jobs: &[(usize, f64)], workers: usize) -> Option<Cores> {
        let (longest, longest_seconds) = *jobs.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let together: f64 = jobs.iter().map(|(_, seconds)| seconds).sum();
        let durations: Vec<Duration> = jobs
            .iter()
            .map(|(_, seconds)| Duration::from_secs_f64(*seconds))
            .collect();
        let row = |workers: usize| {
            let simulated = simulate(&durations, workers);
            Row {
                workers,
                seconds: rounded(simulated.ours.as_secs_f64()),
                bound: rounded(simulated.bound.as_secs_f64()),
            }
        };
        // No order could do with fewer.
        let least = (1..=jobs.len())
            .find(|workers| together / *workers as f64 <= longest_seconds * AS_GOOD)
            .unwrap_or(jobs.len());
        let mut counts: Vec<usize> = WORKERS.into_iter().chain([workers.max(1)]).collect();
        counts.sort_unstable();
        counts.dedup();
        Some(Cores {
            rows: counts.into_iter().map(row).collect(),
            enough: enough(least, jobs.len(), longest_seconds, |workers| {
                row(workers).seconds
            }),
            longest,
            longest_seconds,
        })
    }

    /// How long the jobs take on `workers`, if that is one of the rows.
    pub(crate) fn seconds_on(&self, workers: usize) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.workers == workers);
        row.map(|row| row.seconds)
    }
}

/// The fewest workers, from `least` to `most`, on which it takes `longest` seconds or
/// hardly more.
fn enough(least: usize, most: usize, longest: f64, seconds: impl Fn(usize) -> f64) -> usize {
    let is_enough = |workers: usize| seconds(workers) <= longest * AS_GOOD;
    // As a rule the least is nearly enough, and many workers take long to simulate.
    let (mut low, mut high) = (least, least);
    while high < most && !is_enough(high) {
        low = high + 1;
        high = most.min(high + high / 8 + 1);
    }
    while low < high {
        let middle = low.midpoint(high);
        match is_enough(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    low
}

/// How long jobs of `durations` take on `workers`.
pub(crate) fn simulate(durations: &[Duration], workers: usize) -> backlto::Simulation {
    let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
    backlto::simulate(durations, workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_enough_workers_the_longest_module_is_the_bound() {
        // 8 s together, of which one takes 2 s: four workers are enough.
        let jobs: Vec<(usize, f64)> = (0..7)
            .map(|n| (n, if n == 3 { 2.0 } else { 1.0 }))
            .collect();
        let cores = Cores::of(&jobs, 3).expect("jobs");
        assert_eq!(
            (cores.longest, cores.longest_seconds, cores.enough),
            (3, 2.0, 4)
        );
        assert_eq!(cores.seconds_on(1), Some(8.0));
        assert_eq!(cores.seconds_on(3), Some(3.0));
        assert_eq!(cores.seconds_on(256), Some(2.0));
        assert_eq!(cores.seconds_on(5), None);
        assert!(Cores::of(&[], 4).is_none());
    }
}
