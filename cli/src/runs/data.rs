//! The data of a report: what is known of a run. docs/report.schema.json says the same
//! of the JSON that it becomes.
//!
//! Times are in seconds, from the start of the run; sizes are in bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use backlto::Origin;

/// The version of this data: another one when a program that reads it must be changed.
pub(crate) const VERSION: u32 = 1;

/// A run of one program: the backends of one plan or several, and what went on beside them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// The version of backlto that ran.
    pub(crate) backlto: String,
    /// The version of LLVM that compiled.
    pub(crate) llvm: String,
    /// The directory that all of it was built in or below.
    pub(crate) directory: String,
    /// What the link writes that ld.lld runs itself, if the run was a part of one.
    pub(crate) link: Option<String>,
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// How many backends could run at a time.
    pub(crate) workers: usize,
    /// The CPU time that the process has used.
    pub(crate) cpu_seconds: f64,
    /// The most memory that it had.
    pub(crate) peak_memory: Option<u64>,
    /// The memory that it had at some times.
    pub(crate) memory: Vec<(f64, u64)>,
    /// What was done beside backends.
    pub(crate) steps: Vec<Step>,
    /// The directories that names of modules start in, below `directory`.
    pub(crate) places: Vec<String>,
    /// All modules, also those that were up to date.
    pub(crate) modules: Vec<Module>,
    /// The functions that LLVM was at longest, if it traced its time.
    pub(crate) functions: Vec<Function>,
    /// What LLVM did longest, if it traced its time.
    pub(crate) passes: Vec<Pass>,
    /// What was had from the cache, if there is one.
    pub(crate) cache: Option<CacheUse>,
    /// What was had from a cache on another machine, if there is one.
    pub(crate) remote: Option<CacheUse>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What it is.
    pub(crate) name: String,
    /// The number of its directory in [`Run::places`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) place: usize,
    /// When it began.
    pub(crate) begin: f64,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// A module, and how its object came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Module {
    /// Its name within its directory.
    pub(crate) name: String,
    /// The number of its directory in [`Run::places`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) place: usize,
    /// Where the object came from; `None` when there is none, since it failed or was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<Origin>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Why it was run, a sentence for each reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) why: Vec<String>,
    /// Whether it was compiled to be compared with an object that was there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) audited: bool,
    /// Which worker ran it, and when; `None` when nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) span: Option<Span>,
    /// The CPU time of LLVM's backend.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(crate) cpu_seconds: f64,
    /// How long its last compile took, in this run or an earlier one, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compile_seconds: Option<f64>,
    /// The size of its bitcode.
    pub(crate) bytes: u64,
    /// The size of its object; 0 when there is none.
    pub(crate) object_bytes: u64,
    /// The numbers of the modules that it imports from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) imports: Vec<usize>,
}

/// When a job ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The number of the worker.
    pub(crate) worker: usize,
    /// When it began.
    pub(crate) begin: f64,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// A function that LLVM was at for long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Function {
    /// Its name in LLVM.
    pub(crate) name: String,
    /// The number of the module that it was compiled in.
    pub(crate) module: usize,
    /// How long that took.
    pub(crate) seconds: f64,
}

/// Something that LLVM does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pass {
    /// LLVM's name for it.
    pub(crate) name: String,
    /// How long it took in all modules, less what else was done within.
    pub(crate) seconds: f64,
}

/// What a run had from a cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CacheUse {
    /// Objects that were found by the content of their inputs.
    pub(crate) found: u64,
    /// Objects that were found once LLVM had imported.
    pub(crate) found_after_import: u64,
    /// Objects that were looked for and not found.
    pub(crate) missed: u64,
    /// What came out of it.
    pub(crate) bytes_read: u64,
    /// What went into it.
    pub(crate) bytes_written: u64,
    /// How long the compiles took whose objects were found.
    pub(crate) seconds_saved: f64,
}

impl Run {
    /// What people call the module `number`.
    pub(crate) fn name(&self, number: usize) -> Cow<'_, str> {
        let module = &self.modules[number];
        let place = self.places.get(module.place);
        match place.filter(|place| !place.is_empty()) {
            Some(place) => Cow::Owned(format!("{place}/{}", module.name)),
            None => Cow::Borrowed(&module.name),
        }
    }

    /// The modules that jobs were run for, with when.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, Span)> {
        let modules = self.modules.iter().enumerate();
        modules.filter_map(|(number, module)| Some((number, module.span?)))
    }

    /// From when to when backends ran; `None` when none did.
    pub(crate) fn backends(&self) -> Option<(f64, f64)> {
        let spans = self.spans().map(|(_, span)| (span.begin, span.end()));
        spans.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    /// Whether the tables fit together, and numbers are such as there are: whoever has
    /// changed the file may have left some that lead nowhere.
    pub(crate) fn is_sound(&self) -> bool {
        let is_of_module = |number: &usize| *number < self.modules.len();
        let caches = self.cache.iter().chain(&self.remote);
        self.modules
            .iter()
            .all(|module| self.is_sound_module(module))
            && self.functions.iter().all(|one| is_of_module(&one.module))
            && self.steps.iter().all(|step| {
                step.place < self.places.len() && are_times(&[step.begin, step.seconds])
            })
            && caches
                .flat_map(|used| [used.found, used.found_after_import, used.missed])
                .all(|count| count < MOST_BYTES)
            && are_times(&[self.seconds, self.cpu_seconds])
            && (1..=MOST_WORKERS).contains(&self.workers)
    }

    fn is_sound_module(&self, module: &Module) -> bool {
        let leads_somewhere = |number: &usize| *number < self.modules.len();
        let span = module.span.unwrap_or_default();
        module.place < self.places.len()
            && module.imports.iter().all(leads_somewhere)
            && span.worker < self.workers
            && module.bytes.max(module.object_bytes) < MOST_BYTES
            && are_times(&[
                span.begin,
                span.seconds,
                module.cpu_seconds,
                module.compile_seconds.unwrap_or_default(),
            ])
    }
}

/// More workers than anybody has.
const MOST_WORKERS: usize = 1 << 20;
/// More than a file has.
const MOST_BYTES: u64 = 1 << 40;
/// Longer than anything takes.
pub(crate) const MOST_SECONDS: f64 = 1e7;

/// Whether all of `seconds` are such as something can take.
fn are_times(seconds: &[f64]) -> bool {
    seconds.iter().all(|one| (0.0..=MOST_SECONDS).contains(one))
}

impl Span {
    /// When it ended.
    pub(crate) fn end(self) -> f64 {
        self.begin + self.seconds
    }
}

/// `seconds` to the microsecond: more digits say nothing.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_nothing(seconds: &f64) -> bool {
    *seconds == 0.0
}
