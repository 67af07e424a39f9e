//! Collects what happens in a run, while it runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::data::{CacheUse, Function, Module, Pass, Run, Span, Step, VERSION, rounded};
use super::hot::Hot;
use crate::resources;
use backlto::dependency::Part;
use backlto::incremental::Record;
use backlto::{BUILT_VERSION, Job, JobReport, Origin, Plan};

/// How long to wait before memory is looked at again, in seconds.
const LOOK_AGAIN: f64 = 0.05;

/// What has happened so far.
pub(crate) struct Collector {
    began: SystemTime,
    memory: Vec<(f64, u64)>,
    steps: Vec<(PathBuf, Step)>,
    modules: Vec<(PathBuf, Module)>,
    link: Option<String>,
    hot: Hot<PathBuf>,
    /// By its object, where each module is in `modules`.
    numbers: HashMap<PathBuf, usize>,
}

/// What is only known when a run has ended.
pub(crate) struct Totals {
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// The CPU time that the process has used, in seconds.
    pub(crate) cpu_seconds: f64,
    /// How many backends could run at a time.
    pub(crate) workers: usize,
    /// What was had from the cache.
    pub(crate) cache: Option<CacheUse>,
    /// What was had from the cache of another machine.
    pub(crate) remote: Option<CacheUse>,
}

impl Collector {
    /// A collector for a run that begins now.
    pub(crate) fn new() -> Collector {
        Collector {
            began: SystemTime::now(),
            memory: Vec::new(),
            steps: Vec::new(),
            modules: Vec::new(),
            link: None,
            hot: Hot::new(),
            numbers: HashMap::new(),
        }
    }

    /// Looks at the memory that the process has, at the time `now`, in seconds since the
    /// start, unless that was done a moment ago.
    pub(crate) fn look_at_memory(&mut self, now: f64) {
        let is_due = |(last, _): &(f64, u64)| now - last >= LOOK_AGAIN;
        if self.memory.last().is_none_or(is_due)
            && let Some(memory) = resources::memory()
        {
            self.memory.push((rounded(now), memory));
        }
    }

    /// Adds LLVM's time trace of `job`, if there is one.
    pub(crate) fn add_trace(&mut self, job: &Job, report: &JobReport) {
        if let Some(trace) = &report.time_trace {
            self.hot.add(&job.output_path(), trace);
        }
    }

    /// Adds the step `name`, which was done in `directory` from `begin` to `end`, in
    /// seconds since the start.
    pub(crate) fn add_step(&mut self, name: &str, directory: &Path, begin: f64, end: f64) {
        let step = Step {
            name: name.to_owned(),
            place: 0,
            begin: rounded(begin),
            seconds: rounded(end - begin),
        };
        self.steps.push((directory.to_owned(), step));
    }

    /// Adds the jobs of `plan`, which have ended as `reports` say. Those that have run did so
    /// as `spans` say, by their numbers. `record` knows what they are made of; `link` is
    /// what the link writes that they belong to, if they do.
    pub(crate) fn add_plan(
        &mut self,
        plan: &Plan,
        reports: &[JobReport],
        spans: &HashMap<usize, Span>,
        record: &Record,
        link: Option<&str>,
    ) {
        let first = self.modules.len();
        let known_as = |(number, job): (usize, &Job)| {
            let key = (job.directory.clone(), job.module.clone());
            (key, first + number)
        };
        let numbers: HashMap<(PathBuf, String), usize> =
            plan.jobs.iter().enumerate().map(known_as).collect();
        for (number, (job, report)) in plan.jobs.iter().zip(reports).enumerate() {
            let mut module = module_of(job, report, record);
            module.span = spans.get(&number).copied();
            // What is imported from is a module of the same plan, or nothing that could be
            // shown.
            let imports = imports_of(job, record).filter_map(|name| {
                let key = (job.directory.clone(), name.to_owned());
                numbers.get(&key).copied()
            });
            module.imports = imports.collect();
            self.numbers.insert(job.output_path(), first + number);
            self.modules.push((job.directory.clone(), module));
        }
        self.link = link.map(str::to_owned);
    }

    /// Gives what has happened, now that `totals` are known.
    pub(crate) fn into_run(self, totals: Totals) -> Run {
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH);
        let modules = self.modules.iter().map(|(directory, _)| directory);
        let mut places = Places::of(modules.chain(self.steps.iter().map(|(d, _)| d)));
        let functions = self.hot.functions().iter();
        let functions = functions.filter_map(|(microseconds, name, object)| {
            Some(Function {
                name: name.clone(),
                module: *self.numbers.get(object)?,
                seconds: seconds(*microseconds),
            })
        });
        let functions = functions.collect();
        let passes = self.hot.passes().into_iter();
        let passes = passes.map(|(microseconds, name)| Pass {
            name,
            seconds: seconds(microseconds),
        });
        let modules = self.modules.into_iter().map(|(directory, mut module)| {
            module.place = places.number(&directory);
            module
        });
        let modules: Vec<Module> = modules.collect();
        let steps = self.steps.into_iter().map(|(directory, mut step)| {
            step.place = places.number(&directory);
            step
        });
        let last_worker = modules
            .iter()
            .filter_map(|module| Some(module.span?.worker));
        let seen = last_worker.max().map_or(1, |last| last + 1);
        Run {
            version: VERSION,
            backlto: env!("CARGO_PKG_VERSION").to_owned(),
            llvm: BUILT_VERSION.to_owned(),
            link: self.link,
            began: began.map_or(0, |since| since.as_secs()),
            seconds: rounded(totals.seconds),
            workers: totals.workers.max(seen),
            cpu_seconds: rounded(totals.cpu_seconds),
            peak_memory: resources::peak_memory(),
            memory: self.memory,
            steps: steps.collect(),
            modules,
            functions,
            passes: passes.collect(),
            cache: totals.cache,
            remote: totals.remote,
            directory: places.common.display().to_string(),
            places: places.names,
        }
    }
}

/// The module of `job`, which has ended as `report` says, but for when it ran and what it
/// imports.
fn module_of(job: &Job, report: &JobReport, record: &Record) -> Module {
    let known = record.object(&job.output_path());
    let has_compiled = report.origin == Origin::Compiled && report.result.is_ok();
    let compile = match has_compiled {
        true => Some(report.duration),
        false => known.and_then(|known| known.compile_time()),
    };
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    // One that is up to date has not been looked at.
    let object_bytes = match report.result {
        Ok(0) => size(job.output_path()),
        Ok(bytes) => bytes,
        Err(_) => 0,
    };
    let error = report.result.as_ref().err();
    Module {
        name: job.module.clone(),
        place: 0,
        how: report.result.is_ok().then_some(report.origin),
        error: error
            .filter(|_| !report.is_cancelled())
            .map(ToString::to_string),
        why: report.why.clone(),
        audited: report.audited,
        span: None,
        cpu_seconds: in_seconds(report.backend_cpu),
        compile_seconds: compile.map(in_seconds),
        bytes: size(job.module_path()),
        object_bytes,
        imports: Vec::new(),
    }
}

/// The modules that `job` imports from, by the names that its index has for them.
fn imports_of<'a>(job: &Job, record: &'a Record) -> impl Iterator<Item = &'a str> {
    let known = record.object(&job.output_path());
    let made_of = known.map_or(&[][..], |known| &known.made_of);
    let imports = made_of.iter().filter(|one| one.part == Part::Import);
    imports.map(|one| &*one.name)
}

fn in_seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

fn seconds(microseconds: u64) -> f64 {
    in_seconds(Duration::from_micros(microseconds))
}

/// The directories of a run, by what tells them apart.
struct Places {
    /// What all are in or below.
    common: PathBuf,
    names: Vec<String>,
    numbers: HashMap<PathBuf, usize>,
}

impl Places {
    fn of<'a>(directories: impl Iterator<Item = &'a PathBuf>) -> Places {
        let common = directories.cloned().reduce(|mut common, other| {
            while !other.starts_with(&common) {
                common.pop();
            }
            common
        });
        // Without the dots that people write: `build/.`
        let common: Option<PathBuf> = common.map(|common| common.components().collect());
        Places {
            common: common.unwrap_or_default(),
            // There is a place for all that has none.
            names: vec![String::new()],
            numbers: HashMap::new(),
        }
    }

    fn number(&mut self, directory: &Path) -> usize {
        if let Some(number) = self.numbers.get(directory) {
            return *number;
        }
        let name = directory.strip_prefix(&self.common).unwrap_or(directory);
        let number = match name.as_os_str().is_empty() {
            true => 0,
            false => {
                self.names.push(name.display().to_string());
                self.names.len() - 1
            }
        };
        self.numbers.insert(directory.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_apart_by_what_they_do_not_share() {
        let all = ["/out/x86", "/out/arm64", "/out/x86"].map(PathBuf::from);
        let mut places = Places::of(all.iter());
        let numbers = all.each_ref().map(|directory| places.number(directory));
        assert_eq!(numbers, [1, 2, 1]);
        assert_eq!(places.common, Path::new("/out"));
        assert_eq!(places.names, ["", "x86", "arm64"]);

        let one = [PathBuf::from("/out/.")];
        let mut places = Places::of(one.iter());
        assert_eq!(places.number(&one[0]), 0);
        assert_eq!(places.names, [""]);
        assert_eq!(places.common.to_str(), Some("/out"));
    }

    #[test]
    fn steps_and_totals_are_in_the_run() {
        let mut collector = Collector::new();
        collector.look_at_memory(0.0);
        collector.look_at_memory(0.01);
        collector.add_step("the thin link", Path::new("/out"), 0.5, 1.75);
        let run = collector.into_run(Totals {
            seconds: 2.0,
            cpu_seconds: 1.5,
            workers: 4,
            cache: None,
            remote: None,
        });
        assert_eq!(run.memory.len(), 1);
        assert_eq!((run.version, run.workers, run.seconds), (VERSION, 4, 2.0));
        let step = &run.steps[0];
        assert_eq!((step.begin, step.seconds, step.place), (0.5, 1.25, 0));
        assert_eq!(run.directory, "/out");
        assert!(run.is_sound() && run.began > 1_600_000_000);
    }
}
