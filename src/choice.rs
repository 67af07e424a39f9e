//! Which of the tasks that wait leave, to be compiled on other machines.
//!
//! A task leaves if it should be back before a worker here, who comes to it later, would
//! be done with it.
//! What a task is, where it goes and what time it is, is for those to know who ask.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::price::Cost;
use crate::row::{Queued, Row, Work};

/// Where nothing has to wait for so long, no engine is bothered.
const WORTH_A_LOOK: Duration = Duration::from_millis(50);
/// How many tasks leave together, at most.
const TOGETHER: usize = 64;
/// For how many lots it is looked at a time whether they pay with their bytes.
const TRIES: usize = 4;
/// Tasks leave together until the work is so many times what it costs to send them.
const WORTH: u32 = 4;

/// Where tasks `T` may go.
pub(crate) trait Place<T> {
    /// What it costs at present to send something; `None` when nothing is to be sent.
    fn cost(&self) -> Option<Cost>;

    /// Whether it is right to send `task` there.
    fn may_have(&self, task: &Queued<T>) -> bool;

    /// Whether one process there can do `task` after `first`.
    fn go_together(&self, first: &T, task: &T) -> bool;

    /// How many bytes of `tasks` are not there yet, as far as is known.
    fn bytes_to_send(&self, tasks: &[&T]) -> u64;
}

/// A task, and the row that it is of, by what the caller calls that.
pub(crate) type Member<K, T> = (K, Arc<Queued<T>>);

/// Tasks that are to leave together.
pub(crate) struct Choice<K, T> {
    pub(crate) members: Vec<Member<K, T>>,
    /// How long they take on a core here.
    pub(crate) time: Duration,
    /// When they should be back; or, if that is sooner, when a worker would have come to
    /// begin them: then one that has nothing else to do does so, and nothing is lost by an
    /// engine that is slower than was expected.
    pub(crate) due: Instant,
}

/// A task that waits.
struct Waits<'a, K, T> {
    row: &'a K,
    queued: &'a Arc<Queued<T>>,
    /// How long it takes until a worker comes to begin it.
    begin: Duration,
}

impl<K, T: Work> Waits<'_, K, T> {
    /// How long it takes until that worker is done with it.
    fn end(&self) -> Duration {
        self.begin.saturating_add(self.queued.task.time())
    }
}

/// Chooses which tasks of `rows` leave for `place` `now`: the longest of those that should be
/// back before one of so many `workers` would be done with them, with some that follow if
/// they are short. Workers come to the rows one after the other.
pub(crate) fn choose<'a, K: Clone + 'a, T: Work + 'a>(
    rows: impl Iterator<Item = (&'a K, &'a Row<T>)>,
    workers: NonZeroUsize,
    now: Instant,
    place: &impl Place<T>,
) -> Option<Choice<K, T>> {
    let rows: Vec<_> = rows.collect();
    let waiting = waiting(&rows, workers, now);
    let last = waiting.last()?.begin;
    if last < WORTH_A_LOOK {
        return None;
    }
    let cost = place.cost()?;
    let mut least = cost.of(Duration::ZERO, 0);
    // Towards the end, lots become smaller. What they queue for is not theirs: it would be no
    // less for larger ones.
    let worth = (cost.lot * WORTH).min(last.checked_sub(least)? / 2);
    let mut tries = TRIES;
    let candidates: Vec<_> = waiting
        .into_iter()
        .filter(|waits| place.may_have(waits.queued))
        .collect();
    for (at, first) in candidates.iter().enumerate() {
        let alone = cost.of(first.queued.task.time().max(worth), 0);
        if first.begin < least || first.end() < alone {
            continue;
        }
        let (members, time) = together(&candidates[at..], worth, place);
        let tasks: Vec<&T> = members.iter().map(|waits| &waits.queued.task).collect();
        let bytes = place.bytes_to_send(&tasks);
        let away = cost.of(time, bytes);
        if away <= first.end() {
            let member = |waits: &Waits<'_, K, T>| (waits.row.clone(), Arc::clone(waits.queued));
            return Some(Choice {
                members: members.into_iter().map(member).collect(),
                time,
                due: now.checked_add(away.min(first.begin))?,
            });
        }
        tries -= 1;
        if tries == 0 {
            break;
        }
        // The bytes of those that follow are not known, but hardly fewer.
        least = cost.of(Duration::ZERO, bytes);
    }
    None
}

/// The tasks of `rows` that wait `now`, in the order in which `workers` come to them, when
/// they are done with what they have begun.
fn waiting<'a, K, T: Work>(
    rows: &[(&'a K, &'a Row<T>)],
    workers: NonZeroUsize,
    now: Instant,
) -> Vec<Waits<'a, K, T>> {
    let all = || {
        rows.iter()
            .flat_map(|(row, tasks)| tasks.order.iter().map(move |one| (*row, one)))
    };
    let begun = all().filter_map(|(_, queued)| queued.remains(now));
    let idle = std::iter::repeat(Duration::ZERO);
    let mut free: BinaryHeap<_> = begun.chain(idle).take(workers.get()).map(Reverse).collect();
    let mut waiting = Vec::new();
    for (row, queued) in all().filter(|(_, queued)| queued.waits()) {
        let Reverse(begin) = free.pop().unwrap_or_default();
        let waits = Waits { row, queued, begin };
        free.push(Reverse(waits.end()));
        waiting.push(waits);
    }
    waiting
}

/// As many of `candidates`, in their order, as can be compiled by one process and are
/// worth to be sent together; and how long they take.
fn together<'c, 'a, K, T: Work>(
    candidates: &'c [Waits<'a, K, T>],
    worth: Duration,
    place: &impl Place<T>,
) -> (Vec<&'c Waits<'a, K, T>>, Duration) {
    let mut members: Vec<&Waits<'_, K, T>> = Vec::new();
    let mut time = Duration::ZERO;
    for waits in candidates {
        let task = &waits.queued.task;
        let is_enough = !members.is_empty() && time.saturating_add(task.time()) > worth;
        if members.len() == TOGETHER || is_enough {
            break;
        }
        let fits = |first: &&Waits<'_, K, T>| place.go_together(&first.queued.task, task);
        if members.first().is_none_or(fits) {
            members.push(waits);
            time = time.saturating_add(task.time());
        }
    }
    (members, time)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A task that takes so many milliseconds.
    #[derive(Clone, Copy)]
    struct Task {
        number: usize,
        ms: u64,
        bytes: u64,
        options: u32,
        may_leave: bool,
    }

    impl Work for Task {
        fn time(&self) -> Duration {
            Duration::from_millis(self.ms)
        }
    }

    /// So many tasks for each of these numbers of milliseconds.
    fn tasks(times: &[(usize, u64)]) -> Vec<Task> {
        let each = times.iter().flat_map(|(count, ms)| vec![*ms; *count]);
        let task = |(number, ms)| Task {
            number,
            ms,
            bytes: 0,
            options: 0,
            may_leave: true,
        };
        each.enumerate().map(task).collect()
    }

    /// A place where an action costs so many milliseconds, and bytes travel at 1 MB/s.
    struct There {
        lot: u64,
        queue: u64,
        slowness: f64,
        is_open: bool,
    }

    const THERE: There = There {
        lot: 100,
        queue: 0,
        slowness: 1.0,
        is_open: true,
    };

    impl Place<Task> for There {
        fn cost(&self) -> Option<Cost> {
            self.is_open.then(|| Cost {
                lot: Duration::from_millis(self.lot),
                queue: Duration::from_millis(self.queue),
                byte: Duration::from_micros(1),
                slowness: self.slowness,
            })
        }

        fn may_have(&self, task: &Queued<Task>) -> bool {
            task.task.may_leave
        }

        fn go_together(&self, first: &Task, task: &Task) -> bool {
            first.options == task.options
        }

        fn bytes_to_send(&self, tasks: &[&Task]) -> u64 {
            tasks.iter().map(|task| task.bytes).sum()
        }
    }

    fn workers(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    fn row(tasks: &[Task]) -> Row<Task> {
        Row::new(true, tasks.to_vec(), workers(1), true)
    }

    /// What leaves `rows` for `place`, `now`.
    fn choice(
        rows: &[Row<Task>],
        count: usize,
        now: Instant,
        place: &There,
    ) -> Option<Choice<(), Task>> {
        let rows = rows.iter().map(|row| (&(), row));
        choose(rows, workers(count), now, place)
    }

    /// The numbers of those that leave `rows` for `place`, if some do.
    fn from_rows(rows: &[Row<Task>], count: usize, now: Instant, place: &There) -> Vec<usize> {
        let members = choice(rows, count, now, place).map_or(Vec::new(), |choice| choice.members);
        members.iter().map(|(_, one)| one.task.number).collect()
    }

    fn chosen(tasks: &[Task], place: &There) -> Vec<usize> {
        from_rows(&[row(tasks)], 1, Instant::now(), place)
    }

    const NONE: [usize; 0] = [];

    /// Tasks to which one worker comes after 0, 1000, 1900, 2700 and 3400 ms.
    fn falling() -> Vec<Task> {
        tasks(&[(1, 1000), (1, 900), (1, 800), (1, 700), (1, 600)])
    }

    #[test]
    fn nothing_leaves_that_a_worker_is_done_with_first() {
        assert_eq!(chosen(&[], &THERE), NONE);
        assert_eq!(chosen(&tasks(&[(1, 100_000)]), &THERE), NONE);
        // The second would be done after 198 ms here, and after 199 there.
        assert_eq!(chosen(&tasks(&[(2, 99)]), &THERE), NONE);
        assert_eq!(chosen(&tasks(&[(2, 100)]), &THERE), [1]);
        // Nobody is bothered for so little, however cheap it would be.
        let cheap = There { lot: 1, ..THERE };
        assert_eq!(chosen(&tasks(&[(3, 20)]), &cheap), NONE);
        let (many, now) = ([row(&tasks(&[(9, 1000)]))], Instant::now());
        assert_eq!(from_rows(&many, 8, now, &THERE), [8]);
        assert_eq!(from_rows(&many, 9, now, &THERE), NONE);
    }

    #[test]
    fn the_longest_leaves_first_that_is_back_in_time() {
        for (lot, queue, slowness, first) in [
            (100, 0, 1.0, Some(1)),
            (400, 0, 1.0, Some(1)),
            (500, 0, 1.0, Some(2)),
            (100, 901, 1.0, Some(2)),
            (100, 0, 2.0, Some(1)),
            (100, 0, 2.5, Some(2)),
            (100, 0, 4.0, Some(3)),
            (3500, 0, 1.0, None),
            (100, 3500, 1.0, None),
        ] {
            let place = There {
                lot,
                queue,
                slowness,
                is_open: true,
            };
            let chosen = chosen(&falling(), &place);
            assert_eq!(chosen.first().copied(), first, "{lot} {queue} {slowness}");
        }
    }

    #[test]
    fn what_leaves_is_due_when_a_worker_would_come_at_the_latest() {
        let (row, now) = ([row(&falling())], Instant::now());
        let due = |place: &There| choice(&row, 1, now, place).map(|choice| choice.due - now);
        // Back after 100 + 900 ms, and after 100 + 4 * 700.
        assert_eq!(due(&THERE), Some(Duration::from_millis(1000)));
        let slow = There {
            slowness: 4.0,
            ..THERE
        };
        assert_eq!(due(&slow), Some(Duration::from_millis(2700)));
    }

    #[test]
    fn what_is_nothing_for_an_engine_stays() {
        let mut falling = falling();
        falling[1].may_leave = false;
        assert_eq!(chosen(&falling, &THERE), [2]);
        falling.iter_mut().for_each(|task| task.may_leave = false);
        assert_eq!(chosen(&falling, &THERE), NONE);
        let closed = There {
            is_open: false,
            ..THERE
        };
        assert_eq!(chosen(&tasks(&[(5, 1000)]), &closed), NONE);
    }

    #[test]
    fn short_ones_leave_together_until_they_are_worth_it() {
        // Four times the 100 ms that it costs.
        let short = tasks(&[(1, 2000), (20, 50)]);
        assert_eq!(chosen(&short, &THERE), (1..=8).collect::<Vec<_>>());
        // Towards the end half of what is left: (450 - 100) / 2 ms.
        let last = tasks(&[(10, 50)]);
        assert_eq!(chosen(&last, &THERE), [5, 6, 7]);
        // However long they wait on the way.
        let queue = There {
            queue: 1500,
            ..THERE
        };
        assert_eq!(chosen(&short, &queue), (1..=8).collect::<Vec<_>>());
        let tiny = tasks(&[(1, 2000), (500, 1)]);
        assert_eq!(chosen(&tiny, &THERE).len(), TOGETHER);
    }

    #[test]
    fn one_process_has_one_set_of_options() {
        let mut short = tasks(&[(1, 2000), (20, 50)]);
        for task in &mut short {
            task.options = u32::from(task.number % 3 == 0);
        }
        assert_eq!(chosen(&short, &THERE), [1, 2, 4, 5, 7, 8, 10, 11]);
    }

    #[test]
    fn bytes_that_have_to_travel_count_and_others_do_not() {
        let mut falling = falling();
        falling[1].bytes = 900_001;
        assert_eq!(chosen(&falling, &THERE), [2]);
        falling[2].bytes = 1_800_001;
        assert_eq!(chosen(&falling, &THERE), [3]);
        falling.iter_mut().for_each(|task| task.bytes = 100_000_000);
        assert_eq!(chosen(&falling, &THERE), NONE);
    }

    #[test]
    fn what_a_worker_has_begun_is_in_the_way_of_what_waits() {
        let rows = [row(&tasks(&[(1, 1000)])), row(&tasks(&[(2, 300)]))];
        let now = Instant::now();
        assert_eq!(from_rows(&rows, 1, now, &THERE), [0]);
        assert!(rows[0].next(0, now).is_some());
        assert_eq!(from_rows(&rows, 1, now, &THERE), [0]);
        // By then the next one is begun sooner than it could be back.
        let later = now + Duration::from_millis(950);
        assert_eq!(from_rows(&rows, 1, later, &THERE), [1]);
        assert_eq!(from_rows(&rows, 2, now, &THERE), [1]);
        // What is away is in nobody's way.
        let same = row(&tasks(&[(3, 1000)]));
        assert!(same.leaves(&same.order[1], now));
        assert_eq!(from_rows(&[same], 1, now, &THERE), [2]);
    }
}
