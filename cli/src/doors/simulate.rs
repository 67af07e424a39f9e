//! `backlto simulate`: how long a build would take with other workers than there are.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::records;
use crate::session::{Outcome, absolute};
use backlto::error::{Error, Kind};
use backlto::incremental::{ObjectRecord, Record};

/// Prints how long all compiles of `record`, a record or a directory in a tree that has
/// one, would take on each number of `workers`.
///
/// # Errors
/// When nothing is recorded there that was compiled.
pub(crate) fn run(record: &Path, workers: &[NonZeroUsize]) -> Outcome {
    let known = match record.is_dir() {
        true => records::above(&absolute(record)?)
            .next()
            .map(|found| found.record),
        false => Some(Record::read(record)),
    };
    let known = known.unwrap_or_default();
    let count = known.objects().count();
    let durations: Vec<Duration> = known
        .objects()
        .filter_map(ObjectRecord::compile_time)
        .collect();
    if durations.is_empty() {
        let text = format!("nothing is known of compiles in `{}`", record.display());
        let hint = "a build of which not everything comes from the cache records them";
        return Err(Error::new(Kind::Input, text).hint(hint).into());
    }
    let mut text = format!(
        "{} compiles, {:.1} s together",
        durations.len(),
        durations.iter().sum::<Duration>().as_secs_f64()
    );
    if durations.len() < count {
        text += &format!(
            "; of {} objects from the cache no time is known",
            count - durations.len()
        );
    }
    text += "\n workers    seconds  of the bound  as they come\n";
    for &count in workers {
        let simulated = backlto::simulate(&durations, count);
        let bound = simulated.bound.as_secs_f64();
        let (ours, other) = (simulated.ours, simulated.as_they_come);
        text += &format!(
            "{count:>8} {:>10.2} {:>13.3} {:>13.3}\n",
            ours.as_secs_f64(),
            ours.as_secs_f64() / bound,
            other.as_secs_f64() / bound
        );
    }
    // Nobody is left to tell when standard output is gone.
    let _ = write!(std::io::stdout(), "{text}");
    Ok(())
}
