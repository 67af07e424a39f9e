//! One task becomes an object, on disk or in memory.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::digest::Digest;
use crate::emit;
use crate::error::{Error, Kind, Result};
use crate::incremental::attempt::{Attempt, Found};
use crate::llvm::{self, CompileFailure, CompileInput};
use crate::prepare::Task;
use crate::report::{JobReport, Origin};

/// Whether LLVM ever stopped in the middle of a compile in this process.
static CRASHED: AtomicBool = AtomicBool::new(false);

/// Whether LLVM ever stopped in the middle of a compile in this process. It may
/// then hold locks for ever.
pub(crate) fn has_crashed() -> bool {
    CRASHED.load(Ordering::Relaxed)
}

/// Compiles `task` and writes its object, unless the cache has it.
pub(crate) fn run(task: &Task) -> JobReport {
    let start = Instant::now();
    let mut report = match Aside::of(task) {
        Ok(None) => run_to(task, task),
        Ok(Some(aside)) => run_to(task, &aside.task),
        Err(e) => JobReport::not_run(e),
    };
    report.duration = start.elapsed();
    if let Some(known) = &mut report.known {
        known.duration = report.duration;
    }
    report.diagnostics.insert_str(0, &task.flags.messages);
    report
}

/// A place on disk for an object that is to end up in memory, for the cache and
/// for a program that finishes it.
struct Aside {
    task: Task,
    _directory: tempfile::TempDir,
}

impl Aside {
    fn of(task: &Task) -> Result<Option<Aside>> {
        if !task.in_memory || (task.cache.is_none() && task.job.post.is_none()) {
            return Ok(None);
        }
        let directory = tempfile::tempdir().map_err(|e| {
            Error::new(Kind::Output, "cannot make a temporary directory").because(e)
        })?;
        let mut task = task.clone();
        task.job.output = directory.path().join("object").display().to_string();
        // It is read once.
        task.transient = true;
        Ok(Some(Aside {
            task,
            _directory: directory,
        }))
    }
}

/// Makes the object of `task` and puts it where that of `placed` belongs: the
/// two differ in nothing else.
fn run_to(task: &Task, placed: &Task) -> JobReport {
    let mut attempt = Attempt::new(placed);
    let mut report = match attempt.look_up() {
        Some(found) => from_cache(found),
        None => compile(task, placed, &mut attempt),
    };
    if task.in_memory && report.object.is_none() && report.result.is_ok() {
        match read_back(&placed.job.output_path()) {
            Ok(object) => report.object = Some(object),
            Err(e) => report.result = Err(e),
        }
    }
    report
}

fn read_back(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::new(Kind::Output, format!("cannot read `{}`", path.display())).because(e)
    })
}

/// The report on an object that the cache has put in its place.
fn from_cache(found: Found) -> JobReport {
    JobReport {
        diagnostics: found.diagnostics,
        origin: found.how,
        known: found.known,
        ..JobReport::done(found.size)
    }
}

fn compile(task: &Task, placed: &Task, attempt: &mut Attempt<'_>) -> JobReport {
    let start = Instant::now();
    let input = CompileInput {
        invocation: &task.flags.invocation,
        module: (&task.job.module, task.module.bytes()),
        index: task
            .index
            .as_ref()
            .map(|file| (task.job.index.as_deref().unwrap_or_default(), file.bytes())),
        imports: task
            .imports
            .iter()
            .map(|(name, file)| (name.as_str(), file.bytes()))
            .collect(),
        output: &task.job.output,
        time_trace: task.time_trace,
    };
    let compiled = llvm::compile(&input, Some(attempt));
    // Others may still import from it, but most of it was for this job.
    task.module.release_memory();
    if let Some(found) = attempt.found() {
        return from_cache(found);
    }
    let mut diagnostics = compiled.diagnostics;
    // Wrong input beats every other error: it may well be the cause of it.
    let object = task
        .files()
        .try_for_each(|file| file.check_unchanged())
        .and_then(|()| compiled.object.map_err(|failure| explain(task, failure)));
    let written = object.and_then(|object| {
        attempt.keep(&object, &diagnostics, start.elapsed());
        let output = placed.job.output_path();
        let object = match &task.job.post {
            None if task.in_memory => object,
            None => {
                emit::write(&output, &object)?;
                object
            }
            Some(command) => {
                emit::write_finished(&output, &object, |temporary| {
                    post_process(task, command, temporary, &mut diagnostics)
                })?;
                read_back(&output)?
            }
        };
        let known = attempt.known(Digest::of(&object), Origin::Compiled);
        Ok((object, known))
    });
    let (result, object, known) = match written {
        Ok((object, known)) => (Ok(object.len() as u64), Some(object), known),
        Err(e) => (Err(e), None, None),
    };
    JobReport {
        diagnostics,
        result,
        object: object.filter(|_| task.in_memory),
        known,
        backend_cpu: compiled.backend_cpu,
        time_trace: compiled.time_trace,
        ..JobReport::done(0)
    }
}

/// Runs `command` on the object at `path`; what it prints joins `messages`.
fn post_process(task: &Task, command: &[String], path: &Path, messages: &mut String) -> Result<()> {
    let path = path.to_string_lossy();
    let words: Vec<String> = command
        .iter()
        .map(|word| word.replace("{}", &path))
        .collect();
    let failed = |reason: String| {
        Error::new(
            Kind::Post,
            format!("`{}` failed on `{}`", command.join(" "), task.job.output),
        )
        .because(reason)
    };
    let output = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .map_err(|e| failed(format!("cannot run `{}`: {e}", words[0])))?;
    for text in [&output.stdout, &output.stderr] {
        messages.push_str(&String::from_utf8_lossy(text));
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(output.status.to_string())),
    }
}

fn explain(task: &Task, failure: CompileFailure) -> Error {
    let message = format!("failed to compile `{}`", task.module.path().display());
    match failure {
        CompileFailure::Reported(reason) => Error::new(Kind::Codegen, message).because(reason),
        CompileFailure::Fatal(reason) => {
            CRASHED.store(true, Ordering::Relaxed);
            Error::new(Kind::Crash, message).because(format!("LLVM gave up: {reason}"))
        }
        CompileFailure::Crash(reason) => {
            CRASHED.store(true, Ordering::Relaxed);
            Error::new(Kind::Crash, message)
                .because(format!("LLVM crashed ({reason})"))
                .hint(
                    "if clang crashes on this command too, it is a bug of LLVM or the bitcode is \
                     damaged; `-v` prints the command",
                )
        }
    }
}
