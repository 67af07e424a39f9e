//! How long a build would take with other workers than there are: its jobs, by how long
//! each took, go through the order that the pool has, on a clock of its own.

#[cfg(test)]
mod engine_tests;
mod farm;
mod recorded;
mod remote;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::time::Duration;

pub use self::farm::EngineModel;
pub use self::recorded::{Recorded, RecordedJob};
pub use self::remote::{Prediction, with_engine};
use crate::hands::{Hands, split_short};

/// Tells how long a number of workers would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulation {
    /// From the start of the first job to the end of the last, in the order that the
    /// pool has.
    pub ours: Duration,
    /// From the first start to the last end, if each worker took the next job as they come.
    pub as_they_come: Duration,
    /// What no order can beat: each worker's share, or the longest job.
    pub bound: Duration,
}

/// Runs jobs that take `durations` on `workers`, who have nothing else to do.
///
/// ```
/// use std::time::Duration;
///
/// let seconds = [1, 1, 2].map(Duration::from_secs);
/// let two = backlto::simulate(&seconds, 2.try_into()?);
/// assert_eq!(two.ours, Duration::from_secs(2));
/// assert_eq!(two.as_they_come, Duration::from_secs(3));
/// assert_eq!(two.bound, two.ours);
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
pub fn simulate(durations: &[Duration], workers: NonZeroUsize) -> Simulation {
    let microseconds =
        |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let jobs: Vec<u64> = durations.iter().map(microseconds).collect();

    let mut long = jobs.clone();
    let short = split_short(&mut long, workers, |job| *job);
    let batches = [long, short].map(|jobs| Hands::deal(jobs, workers));
    let ours = run(workers, |worker| {
        batches.iter().find_map(|batch| batch.next(worker))
    });

    let mut coming = jobs.iter().copied();
    let as_they_come = run(workers, |_| coming.next());

    let total: u128 = jobs.iter().map(|&job| u128::from(job)).sum();
    let share = total.div_ceil(workers.get() as u128);
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    let longest = jobs.into_iter().max().unwrap_or_default();
    Simulation {
        ours: Duration::from_micros(ours),
        as_they_come: Duration::from_micros(as_they_come),
        bound: Duration::from_micros(share.max(longest)),
    }
}

/// When the last of `workers` is done, if each takes the `next` job when it is free.
fn run(workers: NonZeroUsize, mut next: impl FnMut(usize) -> Option<u64>) -> u64 {
    // Who is free first; of several, the one with the lowest number.
    let mut free: BinaryHeap<Reverse<(u64, usize)>> = (0..workers.get())
        .map(|worker| Reverse((0, worker)))
        .collect();
    let mut end = 0;
    while let Some(Reverse((now, worker))) = free.pop() {
        if let Some(job) = next(worker) {
            let done = now.saturating_add(job);
            end = end.max(done);
            free.push(Reverse((done, worker)));
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths as of a kernel: most jobs short, a few long, and the longest anywhere.
    fn durations(count: u64) -> Vec<Duration> {
        let length = |n: u64| 10_000 + n * 7919 % 40_000 + 600_000 / (1 + n * 31 % 97);
        (0..count)
            .map(|n| Duration::from_micros(length(n)))
            .collect()
    }

    fn workers(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn one_worker_takes_as_long_as_all_jobs_together() {
        let jobs = durations(100);
        let one = simulate(&jobs, workers(1));
        let total: Duration = jobs.iter().sum();
        assert_eq!(
            (one.ours, one.as_they_come, one.bound),
            (total, total, total)
        );
    }

    #[test]
    fn the_pool_is_close_to_what_no_order_can_beat() {
        let jobs = durations(3000);
        for count in [2, 8, 32, 128] {
            let many = simulate(&jobs, workers(count));
            assert!(many.ours >= many.bound && many.as_they_come >= many.bound);
            assert!(many.ours <= many.bound * 105 / 100, "{count}: {many:?}");
        }
        // The longest job is among the last ones.
        let last = [vec![1; 64], vec![8]].concat();
        let last: Vec<Duration> = last.into_iter().map(Duration::from_secs).collect();
        let eight = simulate(&last, workers(8));
        assert_eq!(eight.as_they_come, Duration::from_secs(16));
        assert_eq!(
            (eight.ours, eight.bound),
            (eight.bound, Duration::from_secs(9))
        );
    }

    #[test]
    fn more_workers_than_jobs_wait_for_the_longest() {
        let jobs = durations(5);
        let many = simulate(&jobs, workers(8));
        assert_eq!(Some(&many.ours), jobs.iter().max());
        assert_eq!(simulate(&[], workers(8)).ours, Duration::ZERO);
    }
}
