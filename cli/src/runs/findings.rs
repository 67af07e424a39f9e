//! What a report says in words: what each of its parts comes to, for people who have to
//! decide something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::against::Difference;
use super::cores::Cores;
use super::data::{CacheUse, Run};
use super::review::Review;

/// A part of the run in which workers had nothing to do is worth a word from here on, as
/// a share of the time of backends.
const WORTH_A_WORD: f64 = 0.05;

/// Sentences for the parts of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// What was run, and where the time went.
    pub(crate) run: Vec<String>,
    /// What more workers would bring.
    pub(crate) cores: Vec<String>,
    /// What is imported most, and what that means.
    pub(crate) imports: Vec<String>,
    /// What was had from caches.
    pub(crate) caches: Vec<String>,
    /// What differs from the other run.
    pub(crate) against: Vec<String>,
}

/// What there is to say of `review`.
pub(crate) fn of(review: &Review) -> Findings {
    let run = &review.run;
    Findings {
        run: [
            Some(objects(run)),
            Some(times(run)),
            busy(run),
            idle(run),
            waits(run),
        ]
        .into_iter()
        .flatten()
        .collect(),
        cores: [
            review.cores.as_ref().map(|cores| more_cores(run, cores)),
            review.cores_of_all.as_ref().map(|cores| all(run, cores)),
            critical(review),
        ]
        .into_iter()
        .flatten()
        .collect(),
        imports: imports(review),
        caches: caches(run),
        against: review
            .against
            .as_ref()
            .map(|difference| against(run, difference))
            .unwrap_or_default(),
    }
}

/// How many objects there are, by how they came to be.
fn objects(run: &Run) -> String {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    const WORDS: [&str; 9] = [
        "compiled",
        "up to date",
        "from the cache",
        "from the cache after their imports",
        "from the remote cache",
        "from the remote cache after their imports",
        "by the remote engine",
        "FAILED",
        "not run",
    ];
    for module in &run.modules {
        use backlto::Origin::{
            Cached, CachedAfterImport, Compiled, Executed, Remote, RemoteAfterImport, UpToDate,
        };
        let word = match (module.how, &module.error) {
            (Some(Compiled), _) => 0,
            (Some(UpToDate), _) => 1,
            (Some(Cached), _) => 2,
            (Some(CachedAfterImport), _) => 3,
            (Some(Remote), _) => 4,
            (Some(RemoteAfterImport), _) => 5,
            (Some(Executed), _) => 6,
            (None, Some(_)) => 7,
            _ => 8,
        };
        *counts.entry(word).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(word, count)| format!("{count} {}", WORDS[word]))
        .collect();
    let what = plural(run.modules.len(), "module");
    match parts.is_empty() {
        true => format!("{what}."),
        false => format!("{what}: {}.", parts.join(", ")),
    }
}

/// Where the time went.
fn times(run: &Run) -> String {
    let mut parts: Vec<String> = run
        .steps
        .iter()
        .map(|step| {
            let place = run.places.get(step.place).filter(|place| !place.is_empty());
            let of = place
                .map(|place| format!(" of {place}"))
                .unwrap_or_default();
            format!("{}{of} {}", step.name, time(step.seconds))
        })
        .collect();
    if let Some((begin, end)) = run.backends() {
        parts.push(format!("the backends {}", time(end - begin)));
    }
    let mut text = format!("It took {}", time(run.seconds));
    if !parts.is_empty() {
        text += &format!(" ({})", parts.join(", "));
    }
    text += &format!(", with {} of CPU", time(run.cpu_seconds));
    if let Some(peak) = run.peak_memory {
        text += &format!(" and a peak memory of {}", size(peak));
    }
    text + "."
}

/// How busy workers were.
fn busy(run: &Run) -> Option<String> {
    let (begin, end) = run.backends()?;
    let worked: f64 = run.spans().map(|(_, span)| span.seconds).sum();
    let there = (end - begin) * run.workers as f64;
    let workers = plural(run.workers, "worker");
    let were = if run.workers == 1 { "was" } else { "were" };
    (there > 0.0).then(|| {
        format!(
            "{workers} {were} busy {:.0} % of the {} of backends.",
            (100.0 * worked / there).min(100.0),
            time(end - begin)
        )
    })
}

/// What others waited for in the end, if it was worth a word.
fn idle(run: &Run) -> Option<String> {
    let (begin, end) = run.backends()?;
    let mut ends = vec![begin; run.workers];
    for (_, span) in run.spans() {
        ends[span.worker] = ends[span.worker].max(span.end());
    }
    let first = ends.into_iter().min_by(f64::total_cmp)?;
    let (last, _) = run
        .spans()
        .max_by(|one, other| one.1.end().total_cmp(&other.1.end()))?;
    (end - first > (end - begin) * WORTH_A_WORD && run.workers > 1).then(|| {
        format!(
            "The first worker ran out of jobs {} before the end; `{}` ended last.",
            time(end - first),
            run.name(last)
        )
    })
}

/// How much of the time LLVM did not get, if it was worth a word.
fn waits(run: &Run) -> Option<String> {
    let compiled = || {
        run.spans()
            .filter(|(number, _)| run.modules[*number].cpu_seconds > 0.0)
    };
    let wall: f64 = compiled().map(|(_, span)| span.seconds).sum();
    let cpu: f64 = compiled()
        .map(|(number, _)| run.modules[number].cpu_seconds)
        .sum();
    // Reading, hashing and writing are a part of each job too.
    (wall > 1.0 && cpu < wall * 0.8).then(|| {
        format!(
            "LLVM had a core for only {:.0} % of the time of its jobs: the machine had other \
             work, or fewer cores than workers.",
            100.0 * cpu / wall
        )
    })
}

/// What more workers would bring.
fn more_cores(run: &Run, cores: &Cores) -> String {
    let longest = format!(
        "the longest module, `{}` ({}), is the bound",
        run.name(cores.longest),
        time(cores.longest_seconds)
    );
    if run.workers >= cores.enough {
        return format!(
            "More than {} would bring nothing: {longest}.",
            plural(cores.enough, "worker")
        );
    }
    let better: Vec<String> = [2, 4]
        .map(|times| run.workers.saturating_mul(times))
        .into_iter()
        .filter(|workers| *workers < cores.enough)
        .filter_map(|workers| {
            Some(format!(
                "{workers} workers {}",
                time(cores.seconds_on(workers)?)
            ))
        })
        .collect();
    let now = cores.seconds_on(run.workers).unwrap_or_default();
    let mut text = format!(
        "By the scheduler, the backends of this run take {} on {}",
        time(now),
        plural(run.workers, "worker")
    );
    for part in better {
        text += &format!(", on {part}");
    }
    text + &format!("; from {} on, {longest}.", cores.enough)
}

/// What a build of everything would take.
fn all(run: &Run, cores: &Cores) -> String {
    let now = cores.seconds_on(run.workers).unwrap_or_default();
    format!(
        "To compile everything takes {} on {}; more than {} bring nothing, since `{}` takes {}.",
        time(now),
        plural(run.workers, "worker"),
        cores.enough,
        run.name(cores.longest),
        time(cores.longest_seconds)
    )
}

/// What no number of workers could make shorter.
fn critical(review: &Review) -> Option<String> {
    let parts = &review.critical;
    let together: f64 = parts.iter().map(|part| part.seconds).sum();
    let listed: Vec<String> = parts
        .iter()
        .map(|part| format!("{} ({})", part.name, time(part.seconds)))
        .collect();
    (parts.len() > 1).then(|| {
        format!(
            "However many workers there are, it takes {}: {}, one after the other.",
            time(together),
            listed.join(", ")
        )
    })
}

/// What is imported most, and what an edit costs.
fn imports(review: &Review) -> Vec<String> {
    let run = &review.run;
    let costliest = review
        .edits
        .iter()
        .enumerate()
        .max_by(|one, other| one.1.together.total_cmp(&other.1.together));
    let Some((number, edit)) = costliest.filter(|(_, edit)| edit.backends > 1) else {
        return Vec::new();
    };
    let verb = if edit.backends == 2 {
        "imports"
    } else {
        "import"
    };
    let mut text = vec![format!(
        "An edit of `{}` costs most: {} {verb} from it, so {} are to be looked at, {} together, \
         {} on {}, if what they import changed.",
        run.name(number),
        plural(edit.backends - 1, "module"),
        plural(edit.backends, "backend"),
        time(edit.together),
        time(edit.seconds),
        plural(run.workers, "worker")
    )];
    if review.estimated > 0 {
        text.push(format!(
            "Of {} no compile was seen here: their times are estimated by their size.",
            plural(review.estimated, "module")
        ));
    }
    text
}

/// What was had from caches.
fn caches(run: &Run) -> Vec<String> {
    let say = |what: &str, used: &CacheUse| {
        let found = used.found + used.found_after_import;
        format!(
            "{what}: {found} of {} found ({} of them after their imports), {} read, {} written, {} \
             of compiling saved.",
            found + used.missed,
            used.found_after_import,
            size(used.bytes_read),
            size(used.bytes_written),
            time(used.seconds_saved)
        )
    };
    [("The cache", &run.cache), ("The remote cache", &run.remote)]
        .into_iter()
        .filter_map(|(what, used)| Some(say(what, used.as_ref()?)))
        .collect()
}

/// What differs from the other run.
fn against(run: &Run, difference: &Difference) -> Vec<String> {
    let other = &difference.other;
    let mut text = vec![format!(
        "It took {}, the other run {} ({:+.0} %).",
        time(run.seconds),
        time(other.seconds),
        100.0 * (run.seconds - other.seconds) / other.seconds.max(1e-6)
    )];
    for (count, what) in [
        (
            difference.compiled.len(),
            "compiled that was not compiled there",
        ),
        (difference.spared, "not compiled that was compiled there"),
        (difference.slower.len(), "slower to compile"),
        (difference.faster.len(), "faster to compile"),
        (difference.added.len(), "new"),
        (difference.gone.len(), "gone"),
    ] {
        if count > 0 {
            text.push(format!("{}: {what}.", plural(count, "module")));
        }
    }
    let bytes: u64 = run.modules.iter().map(|module| module.object_bytes).sum();
    if bytes != other.object_bytes {
        text.push(format!(
            "All objects have {}, there {}.",
            size(bytes),
            size(other.object_bytes)
        ));
    }
    if (&run.backlto, &run.llvm) != (&other.backlto, &other.llvm) {
        text.push(format!(
            "This was backlto {} with LLVM {}, the other one {} with LLVM {}.",
            run.backlto, run.llvm, other.backlto, other.llvm
        ));
    }
    text
}

/// `count` things that are called `what`.
fn plural(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// `seconds` in words.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

/// `bytes` in words.
fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1000 => format!("{b} bytes"),
        b if b < 1_000_000 => format!("{:.0} kB", b as f64 / 1e3),
        b if b < 1_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b => format!("{:.1} GB", b as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::data::{Module, Span};
    use backlto::Origin;

    fn module(name: &str, worker: usize, begin: f64, seconds: f64, imports: &[usize]) -> Module {
        Module {
            name: name.to_owned(),
            how: Some(Origin::Compiled),
            span: Some(Span {
                worker,
                begin,
                seconds,
            }),
            compile_seconds: Some(seconds),
            imports: imports.to_vec(),
            object_bytes: 1000,
            ..Module::default()
        }
    }

    fn run() -> Run {
        Run {
            workers: 2,
            seconds: 12.0,
            cpu_seconds: 15.0,
            peak_memory: Some(5_000_000),
            places: vec![String::new()],
            modules: vec![
                module("long.o", 0, 0.0, 10.0, &[]),
                module("a.o", 1, 0.0, 2.0, &[0]),
                module("b.o", 1, 2.0, 2.0, &[0]),
                Module {
                    name: "same.o".to_owned(),
                    how: Some(Origin::UpToDate),
                    ..Module::default()
                },
            ],
            ..Run::default()
        }
    }

    #[test]
    fn sentences_say_what_a_run_came_to() {
        let findings = of(&Review::of(run(), None));
        assert_eq!(
            findings.run,
            [
                "4 modules: 3 compiled, 1 up to date.",
                "It took 12 s (the backends 10 s), with 15 s of CPU and a peak memory of 5.0 MB.",
                "2 workers were busy 70 % of the 10 s of backends.",
                "The first worker ran out of jobs 6.0 s before the end; `long.o` ended last.",
            ]
        );
        assert_eq!(
            findings.cores[0],
            "More than 2 workers would bring nothing: the longest module, `long.o` (10 s), is \
             the bound."
        );
        assert_eq!(
            findings.imports[0],
            "An edit of `long.o` costs most: 2 modules import from it, so 3 backends are to be \
             looked at, 14 s together, 10 s on 2 workers, if what they import changed."
        );
        assert!(findings.caches.is_empty() && findings.against.is_empty());
    }

    #[test]
    fn what_more_workers_bring_is_said_up_to_where_they_bring_nothing() {
        let mut run = run();
        run.modules = (0..40)
            .map(|n| module(&format!("{n}.o"), n % 2, 0.0, 1.0, &[]))
            .collect();
        let findings = of(&Review::of(run, None));
        assert_eq!(
            findings.cores[0],
            "By the scheduler, the backends of this run take 20 s on 2 workers, on 4 workers \
             10 s, on 8 workers 5.0 s; from 40 on, the longest module, `39.o` (1.0 s), is the \
             bound."
        );
        assert!(findings.imports.is_empty());
    }

    #[test]
    fn an_empty_run_is_no_trouble() {
        let findings = of(&Review::of(Run::default(), Some(&Run::default())));
        assert_eq!(findings.run[0], "0 modules.");
        assert_eq!(findings.against.len(), 1);
    }

    #[test]
    fn times_and_sizes_have_the_digits_that_say_something() {
        let times = [0.0004, 0.012, 0.0996, 1.26, 9.96, 61.0, 125.9].map(time);
        assert_eq!(
            times,
            [
                "0 ms",
                "12 ms",
                "100 ms",
                "1.3 s",
                "10 s",
                "61 s",
                "2 min 5 s"
            ]
        );
        let sizes = [0, 999, 1500, 2_340_000, 5_100_000_000].map(size);
        assert_eq!(sizes, ["0 bytes", "999 bytes", "2 kB", "2.3 MB", "5.1 GB"]);
    }
}
