//! What a simulated engine comes to.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{EngineModel, Prediction, RecordedJob, simulate, with_engine};
use crate::digest::Digest;

fn number(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A module of so many bytes.
fn module(number: u64, bytes: u64) -> (Digest, u64) {
    (Digest::of(&number.to_le_bytes()), bytes)
}

/// Jobs as of a C++ program: each reads its module and the two that follow.
fn jobs(count: u64) -> Vec<RecordedJob> {
    let job = |n: u64| RecordedJob {
        reads: (n..n + 3).map(|n| module(n % count, 100_000)).collect(),
        object: 50_000,
        ..RecordedJob::new(ms(500 + n * 7919 % 4000))
    };
    (0..count).map(job).collect()
}

/// An engine with so many machines, without a program to send.
fn engine(machines: usize) -> EngineModel {
    EngineModel::new(number(machines))
}

/// What two workers do beside `engine`.
fn beside(jobs: &[RecordedJob], engine: &EngineModel) -> Prediction {
    let told = with_engine(jobs, number(2), engine);
    assert_eq!(told.here + told.there, jobs.len());
    told
}

fn alone(jobs: &[RecordedJob]) -> Duration {
    let times: Vec<Duration> = jobs.iter().map(|job| job.time).collect();
    simulate(&times, number(2)).ours
}

#[test]
fn an_engine_that_does_not_pay_changes_nothing() {
    let jobs = jobs(200);
    let far = EngineModel {
        round_trip: Duration::from_secs(1000),
        ..engine(100)
    };
    let narrow = EngineModel {
        bandwidth: 100.0,
        program: 1_000_000,
        uploads: false,
        ..engine(100)
    };
    for engine in [far, narrow] {
        let told = beside(&jobs, &engine);
        assert_eq!(
            (told.there, told.lots, told.received),
            (0, 0, 0),
            "{told:?}"
        );
        assert_eq!((told.wall, told.here), (alone(&jobs), jobs.len()));
    }
    assert_eq!(beside(&[], &engine(2)).wall, Duration::ZERO);
}

#[test]
fn machines_do_what_as_many_workers_would() {
    let jobs = jobs(400);
    let times: Vec<Duration> = jobs.iter().map(|job| job.time).collect();
    for machines in [2, 8, 32] {
        let told = beside(&jobs, &engine(machines));
        let all = simulate(&times, number(2 + machines)).ours;
        assert!(told.wall >= all, "{machines}: {told:?}");
        // A call and a quarter of a second for each action of some seconds.
        assert!(told.wall < all * 5 / 4, "{machines}: {told:?}, {all:?}");
        assert!(told.efficiency > 0.75 && told.efficiency <= 1.0, "{told:?}");
    }
}

#[test]
fn an_engine_never_costs_time() {
    let long = jobs(300);
    let short: Vec<RecordedJob> = long
        .iter()
        .map(|job| RecordedJob {
            time: job.time / 50,
            ..job.clone()
        })
        .collect();
    for jobs in [long, short] {
        for (machines, round_trip, bandwidth) in [
            (2, 0, 1e9),
            (2, 50, 2.5e6),
            (100, 10, 1e6),
            (2000, 1, 1e9),
            (2000, 200, 1e5),
        ] {
            let engine = EngineModel {
                round_trip: ms(round_trip),
                bandwidth,
                program: 20_000_000,
                ..engine(machines)
            };
            let told = beside(&jobs, &engine);
            assert!(told.wall <= alone(&jobs), "{engine:?}: {told:?}");
        }
    }
}

#[test]
fn everything_travels_once() {
    let jobs = jobs(300);
    let line = EngineModel {
        program: 7_000_000,
        uploads: false,
        ..engine(64)
    };
    let told = beside(&jobs, &line);
    assert!(told.there > 200, "{told:?}");
    // All modules, the program with the piece that is tried first, a few words for each.
    let all = 300 * 100_000 + 7_000_000 + (256 << 10);
    let words = told.sent - all;
    assert!(words > 0 && words <= 300 * 4096, "{told:?}");
    assert!(told.received >= told.there as u64 * 50_000, "{told:?}");
    // Those that are made here may travel, too.
    let uploads = beside(
        &jobs,
        &EngineModel {
            uploads: true,
            ..line
        },
    );
    assert!(uploads.sent > told.sent, "{told:?} {uploads:?}");
}

#[test]
fn short_jobs_go_together_and_those_of_other_options_apart() {
    let mut jobs = vec![RecordedJob::new(ms(20)); 1000];
    let told = beside(&jobs, &engine(4));
    assert!(told.there >= 5 * told.lots && told.there > 100, "{told:?}");
    for (number, job) in jobs.iter_mut().enumerate() {
        job.options = vec![number.to_string()];
    }
    let apart = beside(&jobs, &engine(4));
    assert_eq!(apart.there, apart.lots, "{apart:?}");
}

#[test]
fn what_is_late_is_begun_here() {
    // Actions take ten times as long as the engine is taken to need.
    let slow = EngineModel {
        overhead: Duration::from_secs(20),
        ..engine(2)
    };
    let jobs = jobs(12);
    let told = beside(&jobs, &slow);
    assert!(told.raced > 0, "{told:?}");
    assert!(
        told.wall < alone(&jobs) + Duration::from_secs(20),
        "{told:?}"
    );
}
