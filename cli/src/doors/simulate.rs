//! `backlto simulate`: how long a build would take with other workers than there are, and
//! with an engine beside them.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::records;
use crate::console;
use crate::limits::{self, Limit};
use crate::session::{Outcome, absolute};
use backlto::Simulation;
use backlto::error::{Error, Kind, Result};
use backlto::incremental::Record;
use backlto::simulate::{EngineModel, Prediction, Recorded, with_engine};

/// What is to be simulated.
#[derive(Args)]
pub(crate) struct Request {
    /// The record of a build, or a directory in the tree that was built
    record: PathBuf,
    /// How many workers, for a line each
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values = ["8", "32", "128"]
    )]
    workers: Vec<NonZeroUsize>,
    /// How many machines of an engine beside them, for a line each; a machine runs one action
    /// at a time, as fast as a core here
    #[arg(long, value_name = "M", value_delimiter = ',')]
    remote_workers: Vec<NonZeroUsize>,
    /// How long a call to the engine takes, in milliseconds
    #[arg(long, value_name = "MS", default_value = "1", value_parser = limits::milliseconds)]
    rtt: Duration,
    /// What the line to the engine carries in each direction, in megabits a second
    #[arg(long, value_name = "MBIT", default_value = "1000", value_parser = limits::megabits)]
    bandwidth: f64,
    /// What an action takes the engine beside calls, bytes and compiles, in milliseconds
    #[arg(long, value_name = "MS", default_value = "250", value_parser = limits::milliseconds)]
    overhead: Duration,
    /// The size of the program that goes there first, as 20M; 0 if the engine has it
    /// [default: that of this one]
    #[arg(long, value_name = "SIZE", value_parser = limits::bytes)]
    program: Option<Limit<u64>>,
}

impl Request {
    /// The engine with so many `machines`.
    fn engine(&self, machines: NonZeroUsize) -> EngineModel {
        let own = || std::env::current_exe().and_then(std::fs::metadata);
        let program = match self.program {
            Some(size) => size.into_inner().unwrap_or_default(),
            None => own().map_or(0, |metadata| metadata.len()),
        };
        let mut engine = EngineModel::new(machines);
        engine.round_trip = self.rtt;
        // A megabit has 125,000 bytes.
        engine.bandwidth = self.bandwidth * 125e3;
        engine.overhead = self.overhead;
        engine.program = program;
        engine
    }
}

/// What came of it, for each number of workers: alone, and with each number of machines.
struct Row {
    workers: NonZeroUsize,
    alone: Simulation,
    beside: Vec<(NonZeroUsize, Prediction)>,
}

/// Prints how long all compiles of a record would take as `request` says; with `json`, as
/// JSON.
///
/// # Errors
/// When nothing is recorded there that was compiled.
pub(crate) fn run(request: &Request, json: bool) -> Outcome {
    let recorded = Recorded::of(&read(&request.record)?);
    if recorded.jobs.is_empty() {
        let text = format!(
            "nothing is known of compiles in `{}`",
            request.record.display()
        );
        let hint = "a build of which not everything comes from the cache records them";
        return Err(Error::new(Kind::Input, text).hint(hint).into());
    }
    if recorded.has_no_sizes() && !request.remote_workers.is_empty() {
        let text = format!(
            "`{}` does not say how much its compiles read",
            request.record.display()
        );
        let hint = "it was left by an earlier backlto: build once more, \
                    with --cache-dir '' and without the objects, and it will";
        return Err(Error::new(Kind::Input, text).hint(hint).into());
    }
    let rows: Vec<Row> = request
        .workers
        .iter()
        .map(|workers| row(request, &recorded, *workers))
        .collect();
    let text = match json {
        true => format!("{}\n", as_json(request, &recorded, &rows)),
        false => describe(request, &recorded, &rows),
    };
    console::text(&text);
    Ok(())
}

/// The record at `place`, or the nearest one above it.
fn read(place: &Path) -> Result<Record> {
    Ok(match place.is_dir() {
        true => {
            let found = records::above(&absolute(place)?).next();
            found.map(|found| found.record).unwrap_or_default()
        }
        false => Record::read(place),
    })
}

fn row(request: &Request, recorded: &Recorded, workers: NonZeroUsize) -> Row {
    let times: Vec<Duration> = recorded.jobs.iter().map(|job| job.time).collect();
    let beside = request.remote_workers.iter().map(|machines| {
        let engine = request.engine(*machines);
        (*machines, with_engine(&recorded.jobs, workers, &engine))
    });
    Row {
        workers,
        alone: backlto::simulate(&times, workers),
        beside: beside.collect(),
    }
}

fn together(recorded: &Recorded) -> f64 {
    let times = recorded.jobs.iter().map(|job| job.time);
    times.sum::<Duration>().as_secs_f64()
}

/// How much is lost on the way to `bound`, the least that is possible.
fn times(one: Duration, bound: Duration) -> f64 {
    match bound.is_zero() {
        true => 1.0,
        false => one.as_secs_f64() / bound.as_secs_f64(),
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn describe(request: &Request, recorded: &Recorded, rows: &[Row]) -> String {
    let mut text = format!(
        "{} compiles, {:.1} s together",
        recorded.jobs.len(),
        together(recorded)
    );
    if recorded.without_times > 0 {
        let count = recorded.without_times;
        let _ = write!(text, "; of {count} objects from the cache no time is known");
    }
    text += "\n workers    seconds  of the bound  as they come\n";
    for Row { workers, alone, .. } in rows {
        let _ = writeln!(
            text,
            "{workers:>8} {:>10.2} {:>13.3} {:>13.3}",
            alone.ours.as_secs_f64(),
            times(alone.ours, alone.bound),
            times(alone.as_they_come, alone.bound)
        );
    }
    if !request.remote_workers.is_empty() {
        text += &describe_engine(request, recorded);
        for row in rows {
            row.beside
                .iter()
                .for_each(|(machines, told)| text += &describe_beside(row, *machines, told));
        }
    }
    text
}

fn describe_engine(request: &Request, recorded: &Recorded) -> String {
    let program = request.engine(NonZeroUsize::MIN).program;
    let mut text = format!(
        "\nwith an engine {} ms away at {} Mbit/s, where an action takes {} ms beside its \
         compiles\n",
        request.rtt.as_secs_f64() * 1e3,
        request.bandwidth,
        request.overhead.as_secs_f64() * 1e3,
    );
    if program > 0 {
        let _ = writeln!(
            text,
            "the program goes there first: {:.1} MB",
            megabytes(program)
        );
    }
    if recorded.without_sizes > 0 {
        let count = recorded.without_sizes;
        let _ = writeln!(
            text,
            "of {count} compiles it is not known how much they read: as much as others"
        );
    }
    text + " workers  remote    seconds  times as fast  efficiency    here   there  actions  \
            MB there  MB back\n"
}

fn describe_beside(row: &Row, machines: NonZeroUsize, told: &Prediction) -> String {
    format!(
        "{:>8} {machines:>7} {:>10.2} {:>14.2} {:>11.3} {:>7} {:>7} {:>8} {:>9.1} {:>8.1}\n",
        row.workers,
        told.wall.as_secs_f64(),
        times(row.alone.ours, told.wall),
        told.efficiency,
        told.here,
        told.there,
        told.lots,
        megabytes(told.sent),
        megabytes(told.received)
    )
}

fn as_json(request: &Request, recorded: &Recorded, rows: &[Row]) -> Value {
    let engine = request.engine(NonZeroUsize::MIN);
    let has_engine = !request.remote_workers.is_empty();
    json!({
        "compiles": recorded.jobs.len(),
        "seconds": together(recorded),
        "without_times": recorded.without_times,
        "without_sizes": recorded.without_sizes,
        "engine": has_engine.then(|| json!({
            "round_trip_seconds": engine.round_trip.as_secs_f64(),
            "bytes_per_second": engine.bandwidth,
            "overhead_seconds": engine.overhead.as_secs_f64(),
            "program_bytes": engine.program,
        })),
        "rows": rows.iter().map(|row| json!({
            "workers": row.workers,
            "seconds": row.alone.ours.as_secs_f64(),
            "bound": row.alone.bound.as_secs_f64(),
            "as_they_come": row.alone.as_they_come.as_secs_f64(),
            "remote": row.beside.iter().map(beside_as_json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn beside_as_json((machines, told): &(NonZeroUsize, Prediction)) -> Value {
    json!({
        "workers": machines,
        "seconds": told.wall.as_secs_f64(),
        "efficiency": told.efficiency,
        "here": told.here,
        "there": told.there,
        "raced": told.raced,
        "actions": told.lots,
        "bytes_sent": told.sent,
        "bytes_received": told.received,
    })
}
