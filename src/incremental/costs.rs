//! How long jobs will take, by how long they took.

use std::time::Duration;

use super::record::Record;
use crate::prepare::Task;

/// How long LLVM takes for an instruction that the summary counts, imports and all, in
/// microseconds: 57 for a kernel (-Os, 919 modules). Other programs
/// take other times, so what is derived from it is an order of magnitude.
const TIME_OF_INSTRUCTION: u64 = 50;

/// Replaces the estimates of `tasks` by what `record` knows of earlier compiles, so that
/// the longest go first.
pub(crate) fn learn(tasks: &mut [Task], record: &Record) {
    let jobs: Vec<(u64, Option<u64>)> = tasks
        .iter()
        .map(|task| {
            let known = record.object(&task.job.output_path());
            let took = known.and_then(|known| known.compile_time());
            let microseconds = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            (task.cost, microseconds)
        })
        .collect();
    let unit = match jobs.iter().any(|(_, time)| time.is_some()) {
        true => 1,
        false => TIME_OF_INSTRUCTION,
    };
    for (task, cost) in tasks.iter_mut().zip(comparable(&jobs)) {
        task.cost = cost;
        task.time = Duration::from_micros(cost.saturating_mul(unit));
    }
}

/// The costs of `jobs`, of which the instructions are known, and of some of them the
/// time. What is not known is estimated by the others.
fn comparable(jobs: &[(u64, Option<u64>)]) -> Vec<u64> {
    let known = jobs.iter().filter_map(|&(cost, time)| Some((cost, time?)));
    let (instructions, microseconds) = known
        .fold((0u128, 0u128), |(costs, times), (cost, time)| {
            (costs + u128::from(cost), times + u128::from(time))
        });
    if instructions == 0 {
        return jobs.iter().map(|&(cost, _)| cost).collect();
    }
    let estimate = |cost: u64| u128::from(cost) * microseconds / instructions;
    jobs.iter()
        .map(|&(cost, time)| time.unwrap_or(u64::try_from(estimate(cost)).unwrap_or(u64::MAX)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_replaces_estimates_and_scales_the_others() {
        assert_eq!(comparable(&[(5, None), (7, None)]), [5, 7]);
        assert_eq!(comparable(&[(10, Some(400)), (5, None)]), [400, 200]);
        // A short module may take long.
        assert_eq!(comparable(&[(10, Some(100)), (30, Some(20))]), [100, 20]);
        assert_eq!(comparable(&[(0, Some(3)), (9, None)]), [0, 9]);
        assert_eq!(comparable(&[]), [0; 0]);
    }
}
