//! What a record holds of compiles, for a simulation.

use std::collections::HashSet;
use std::time::Duration;

use crate::digest::Digest;
use crate::incremental::{ObjectRecord, Record};

/// A compile that was recorded.
///
/// More fields may come: write `..RecordedJob::new(time)`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedJob {
    /// How long it took.
    pub time: Duration,
    /// What it reads: each content once, with its size in bytes.
    pub reads: Vec<(Digest, u64)>,
    /// The bytes of its object.
    pub object: u64,
    /// LLVM's own options: one process has one set of them.
    pub options: Vec<String>,
}

impl RecordedJob {
    /// A compile that took `time` and reads nothing, which makes an empty object.
    pub fn new(time: Duration) -> RecordedJob {
        RecordedJob {
            time,
            reads: Vec::new(),
            object: 0,
            options: Vec::new(),
        }
    }

    /// The compile of an object that is `known`; `None` if it was not compiled when that
    /// was recorded.
    fn of(known: &ObjectRecord) -> Option<RecordedJob> {
        let mut job = RecordedJob::new(known.compile_time()?);
        if let Some(sizes) = &known.sizes {
            let mut seen = HashSet::new();
            let sized = known.made_of.iter().zip(&sizes.made_of);
            let sized = sized.filter_map(|(one, size)| Some((one.digest?, *size)));
            job.reads = sized
                .filter(|(content, size)| *size > 0 && seen.insert(*content))
                .collect();
            job.object = sizes.object;
        }
        let words = known.flags.windows(2).filter(|words| words[0] == "-mllvm");
        job.options = words.map(|words| words[1].clone()).collect();
        Some(job)
    }
}

/// What a record holds of compiles.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recorded {
    /// All of which the time is known.
    pub jobs: Vec<RecordedJob>,
    /// How many of these have no sizes: they read and write as much as the others do on
    /// average.
    pub without_sizes: usize,
    /// How many objects there are of whose compile no time is known.
    pub without_times: usize,
}

impl Recorded {
    /// Reads `record`.
    pub fn of(record: &Record) -> Recorded {
        let known: Vec<&ObjectRecord> = record.objects().collect();
        let timed: Vec<_> = known
            .iter()
            .filter_map(|known| Some((known.sizes.is_some(), RecordedJob::of(known)?)))
            .collect();
        let sized = timed.iter().filter(|(is_sized, _)| *is_sized);
        let (count, read, made) = sized.fold((0u64, 0, 0), |(count, read, made), (_, job)| {
            let reads: u64 = job.reads.iter().map(|(_, bytes)| bytes).sum();
            (count + 1, read + reads, made + job.object)
        });
        let mut recorded = Recorded {
            jobs: Vec::with_capacity(timed.len()),
            without_sizes: 0,
            without_times: known.len() - timed.len(),
        };
        for (number, (is_sized, mut job)) in timed.into_iter().enumerate() {
            if !is_sized {
                recorded.without_sizes += 1;
                let content = Digest::of(&number.to_le_bytes());
                job.reads = vec![(content, read.checked_div(count).unwrap_or_default())];
                job.object = made.checked_div(count).unwrap_or_default();
            }
            recorded.jobs.push(job);
        }
        recorded
    }

    /// Whether nothing is known of what compiles read.
    pub fn has_no_sizes(&self) -> bool {
        self.without_sizes == self.jobs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::{Dependency, Part};
    use crate::incremental::Sizes;
    use crate::origin::Origin;

    fn object(how: Origin, sizes: Option<Sizes>) -> ObjectRecord {
        let content = |part, name: &str| Dependency::new(part, name, Digest::of(name.as_bytes()));
        ObjectRecord {
            made_of: vec![
                content(Part::Flags, ""),
                content(Part::Module, "a"),
                content(Part::Import, "b"),
                content(Part::Import, "a"),
            ],
            flags: ["clang", "-O2", "-mllvm", "-x", "-mllvm", "-y"]
                .map(str::to_owned)
                .to_vec(),
            object: Digest::of(b"object"),
            how,
            duration: Duration::from_secs(3),
            why: Vec::new(),
            sizes,
        }
    }

    #[test]
    fn a_job_reads_each_content_once() {
        let sizes = Sizes {
            made_of: vec![0, 10, 20, 10],
            object: 7,
        };
        let job = RecordedJob::of(&object(Origin::Executed, Some(sizes))).expect("a compile");
        let read = [("a", 10), ("b", 20)].map(|(name, size)| (Digest::of(name.as_bytes()), size));
        assert_eq!(job.reads, read);
        assert_eq!((job.time, job.object), (Duration::from_secs(3), 7));
        assert_eq!(job.options, ["-x", "-y"]);
    }

    #[test]
    fn only_a_compile_is_a_job() {
        assert_eq!(RecordedJob::of(&object(Origin::Cached, None)), None);
        let job = RecordedJob::of(&object(Origin::Compiled, None)).expect("a compile");
        assert_eq!((job.reads.len(), job.object), (0, 0));
    }
}
