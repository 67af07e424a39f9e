//! Runs a task that is drawn by the audit: what would be taken is compiled too.
//!
//! ```text
//!   in the record ─ the object on disk ─────────┐
//!   else: as ever, to memory ─ from a cache ────┤ compiled by the same flags and inputs,
//!                            └ compiled: done   │ with the caches out of sight
//!                                               └ the same? as without an audit
//!                                                 else: an error; both are kept
//! ```

use std::sync::Arc;

use crate::audit::{Audit, Difference, Found};
use crate::cache::Cache;
use crate::codegen;
use crate::dependency::Dependency;
use crate::digest::Digest;
use crate::emit;
use crate::error::{Error, Result};
use crate::execute::Executor;
use crate::incremental::Verdict;
use crate::origin::Origin;
use crate::prepare::{CacheUse, Task};
use crate::report::JobReport;

/// Has `audit` look at `task`, which is run as `verdict` says, if it is drawn and may
/// be taken; from another machine, too, if one is to be asked (`asks_elsewhere`).
pub(crate) fn draw(audit: &Arc<Audit>, task: &mut Task, verdict: &Verdict, asks_elsewhere: bool) {
    task.recorded = verdict.audited().map(<[_]>::to_vec);
    let may_be_taken = task.recorded.is_some() || task.cache.is_some() || asks_elsewhere;
    // What is more than an object is not done twice.
    let is_object = task.flags.key.is_some();
    if may_be_taken && is_object && audit.draws(&task.module.digest()) {
        task.audit = Some(Arc::clone(audit));
    }
}

/// Has `executor` make the object of `task`, twice if that is to be audited.
pub(crate) fn run(task: &Task, executor: &mut dyn Executor) -> JobReport {
    let Some(audit) = &task.audit else {
        return codegen::run(task, executor);
    };
    let in_memory = Task {
        in_memory: true,
        ..task.clone()
    };
    match &task.recorded {
        Some(made_of) => recorded(audit, task, made_of, &in_memory, executor),
        None => cached(audit, task, &in_memory, executor),
    }
}

/// Compiles an object that is up to date by the record, where it is `made_of` that, and
/// leaves the one on disk.
fn recorded(
    audit: &Arc<Audit>,
    task: &Task,
    made_of: &[Dependency],
    in_memory: &Task,
    executor: &mut dyn Executor,
) -> JobReport {
    let taken = Taken {
        place: Place::Record,
        object: std::fs::read(task.job.output_path()).unwrap_or_default(),
        messages: None,
        keys: Vec::new(),
        made_of,
    };
    let compiled = compile_again(in_memory, executor);
    let (duration, backend_cpu) = (compiled.duration, compiled.backend_cpu);
    let report = match compare(audit, task, &taken, compiled) {
        Ok(()) => JobReport::done(0),
        Err(e) => JobReport::not_run(e),
    };
    JobReport {
        origin: Origin::UpToDate,
        audited: true,
        duration,
        backend_cpu,
        ..report
    }
}

/// Makes the object as ever, and compiles it too if a cache had it.
fn cached(
    audit: &Arc<Audit>,
    task: &Task,
    in_memory: &Task,
    executor: &mut dyn Executor,
) -> JobReport {
    let mut report = codegen::run(in_memory, executor);
    if report.result.is_err() {
        return report;
    }
    let object = report.object.take().unwrap_or_default();
    let place = match report.origin {
        Origin::Cached | Origin::CachedAfterImport => Some(Place::Cache),
        Origin::Remote | Origin::RemoteAfterImport => Some(Place::RemoteCache),
        Origin::Executed => Some(Place::Engine),
        Origin::Compiled | Origin::UpToDate => None,
    };
    if let (Some(place), Some(known)) = (place, &report.known) {
        report.audited = true;
        let taken = Taken {
            place,
            object: object.clone(),
            messages: Some(&report.diagnostics),
            keys: report.keys.clone(),
            made_of: &known.made_of,
        };
        let compiled = compile_again(in_memory, executor);
        report.duration += compiled.duration;
        report.backend_cpu += compiled.backend_cpu;
        if let Err(e) = compare(audit, task, &taken, compiled) {
            report.known = None;
            report.result = Err(e);
            return report;
        }
    }
    match task.in_memory {
        true => report.object = Some(object),
        false => {
            if let Err(e) = emit::write(&task.job.output_path(), &object) {
                report.known = None;
                report.result = Err(e);
            }
        }
    }
    report
}

/// Compiles `task` without a look at what the cache has.
fn compile_again(task: &Task, executor: &mut dyn Executor) -> JobReport {
    let apart = Task {
        cache_use: CacheUse::KeysOnly,
        ..task.clone()
    };
    codegen::run(&apart, executor)
}

/// Where an object would be taken from.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Record,
    Cache,
    RemoteCache,
    /// The one that has compiled it in this run.
    Engine,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Record => "record",
            Place::Cache => "cache",
            Place::RemoteCache => "remote cache",
            Place::Engine => "remote engine",
        }
    }
}

/// An object as it would be taken.
struct Taken<'a> {
    place: Place,
    object: Vec<u8>,
    /// What clang has said of it; `None` where nobody would be told.
    messages: Option<&'a str>,
    /// The keys that it may be found by.
    keys: Vec<Digest>,
    made_of: &'a [Dependency],
}

/// Compares `taken` with what was `compiled` in its stead.
///
/// # Errors
/// When they differ, and when it could not be compiled.
fn compare(audit: &Audit, task: &Task, taken: &Taken<'_>, compiled: JobReport) -> Result<()> {
    if compiled.is_cancelled() {
        return compiled.result.map(|_| ());
    }
    compiled.result.map_err(|e| {
        let text = format!("cannot audit `{}`", task.job.output);
        Error::new(e.kind(), text)
            .because(format!("{e}\n{}", compiled.diagnostics))
            .hint("the object that is there was not compared with any")
    })?;
    let object = compiled.object.unwrap_or_default();
    let messages = taken.messages.unwrap_or(&compiled.diagnostics);
    if object == taken.object && messages == compiled.diagnostics {
        return Ok(());
    }
    let mut keys = taken.keys.clone();
    keys.extend(compiled.keys.iter().filter(|key| !taken.keys.contains(key)));
    let forget = |cache: &Arc<Cache>| keys.iter().all(|key| cache.forget(key));
    let taken_out = task.cache.as_ref().is_none_or(forget);
    let is_elsewhere = [Place::RemoteCache, Place::Engine].contains(&taken.place);
    if is_elsewhere && let Some(elsewhere) = &task.elsewhere {
        elsewhere.refuse("an object is not what its inputs compile to");
    }
    Err(audit.error(&Difference {
        taken: &taken.object,
        compiled: &object,
        entry: match taken_out {
            _ if is_elsewhere => {
                "the engine still has it: have it forget the object, or build without --remote"
            }
            true => "it will not be taken again",
            false => "the cache cannot be written to, so it still has it",
        },
        found: Found {
            module: &task.job.module,
            output: &task.job.output,
            place: taken.place.name(),
            keys: &keys,
            seed: audit.seed(),
            taken: Digest::of(&taken.object),
            compiled: Digest::of(&object),
            messages_taken: messages,
            messages_compiled: &compiled.diagnostics,
            directory: &task.job.directory,
            command: &task.job.command_line(),
            made_of: taken.made_of,
        },
    }))
}
