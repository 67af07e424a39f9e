//! The order in which workers take tasks: longest first, dealt out like cards, and
//! stolen from neighbours in the end.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::deque::{Steal, Stealer, Worker};

/// Sorts `tasks` by their `cost`, the longest first, and takes away those that are
/// short: what is left could be what all others wait for in the end.
pub(crate) fn split_short<T>(
    tasks: &mut Vec<T>,
    workers: NonZeroUsize,
    cost: impl Fn(&T) -> u64,
) -> Vec<T> {
    let total: u64 = tasks.iter().map(&cost).sum();
    // A twentieth of a worker's share.
    let bound = total / workers.get() as u64 / 20;
    // Stable: among equals, the first in the plan goes first.
    tasks.sort_by_key(|task| Reverse(cost(task)));
    tasks.split_off(tasks.partition_point(|task| cost(task) > bound))
}

/// Tasks that nobody has taken yet.
pub(crate) struct Hands<T> {
    /// Queues, longest task first. Each worker has one that it looks at first.
    queues: Vec<Stealer<T>>,
    left: AtomicUsize,
}

impl<T> Hands<T> {
    /// Deals `tasks` out like cards: each hand holds its longest task first.
    pub(crate) fn deal(tasks: Vec<T>, workers: NonZeroUsize) -> Hands<T> {
        let left = AtomicUsize::new(tasks.len());
        let count = workers.get().min(tasks.len());
        let hands: Vec<Worker<T>> = (0..count).map(|_| Worker::new_fifo()).collect();
        for (task, hand) in tasks.into_iter().zip(hands.iter().cycle()) {
            hand.push(task);
        }
        let queues = hands.iter().map(Worker::stealer).collect();
        Hands { queues, left }
    }

    /// The next task of `worker`'s own hand, else one of another's.
    pub(crate) fn next(&self, worker: usize) -> Option<T> {
        // Neighbours differ between workers, so that thieves spread out.
        let queues = || {
            self.queues
                .iter()
                .cycle()
                .skip(worker % self.queues.len())
                .take(self.queues.len())
        };
        while self.left() > 0 {
            let stolen: Steal<T> = queues().map(Stealer::steal).collect();
            match stolen {
                Steal::Retry => {}
                Steal::Empty => return None,
                Steal::Success(task) => {
                    self.left.fetch_sub(1, Ordering::Relaxed);
                    return Some(task);
                }
            }
        }
        None
    }

    /// How many tasks nobody has taken.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}
