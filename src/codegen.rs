//! One task becomes an object on disk.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::emit;
use crate::error::{Error, Kind, Result};
use crate::incremental::attempt::{Attempt, Found};
use crate::incremental::record::{How, JobRecord};
use crate::llvm::{self, CompileFailure, CompileInput};
use crate::prepare::Task;

/// How one job ended.
#[derive(Debug)]
pub struct JobReport {
    /// What clang would have printed for it.
    pub diagnostics: String,
    /// The object's size in bytes, or why there is none.
    pub result: Result<u64>,
    /// How the object came to be.
    pub how: How,
    /// Why it had to be built; empty when nothing is known of an earlier build.
    pub why: Vec<String>,
    /// How long it took.
    pub duration: Duration,
    /// The CPU time that LLVM's ThinLTO backend took of it: import, optimiser
    /// and code generation. Zero for a compile without a summary index.
    pub backend_cpu: Duration,
    /// What the next build will want to know.
    pub(crate) known: Option<JobRecord>,
}

impl JobReport {
    /// The report of a job that was not started, because of `error`.
    pub(crate) fn not_run(error: Error) -> JobReport {
        JobReport {
            result: Err(error),
            ..JobReport::done(0)
        }
    }

    /// The report of a job whose object was there.
    pub(crate) fn up_to_date(known: JobRecord) -> JobReport {
        JobReport {
            how: How::UpToDate,
            known: Some(known),
            ..JobReport::done(0)
        }
    }

    /// The report of a job that gave an object of `size` bytes.
    fn done(size: u64) -> JobReport {
        JobReport {
            diagnostics: String::new(),
            result: Ok(size),
            how: How::Compiled,
            why: Vec::new(),
            duration: Duration::ZERO,
            backend_cpu: Duration::ZERO,
            known: None,
        }
    }
}

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
    let mut attempt = Attempt::new(task);
    let mut report = match attempt.look_up() {
        Some(found) => from_cache(found),
        None => compile(task, &mut attempt),
    };
    report.duration = start.elapsed();
    if let Some(known) = &mut report.known {
        known.duration = report.duration;
    }
    report.diagnostics.insert_str(0, &task.flags.messages);
    report
}

/// The report on an object that the cache has put in its place.
fn from_cache(found: Found) -> JobReport {
    JobReport {
        diagnostics: found.diagnostics,
        how: found.how,
        known: found.known,
        ..JobReport::done(found.size)
    }
}

fn compile(task: &Task, attempt: &mut Attempt<'_>) -> JobReport {
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
    };
    let compiled = llvm::compile(&input, Some(attempt));
    // Others may still import from it, but most of it was for this job.
    task.module.rest();
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
        let output = task.job.output_path();
        let digest = match &task.job.post {
            None => {
                emit::write(&output, &object)?;
                Digest::of(&object)
            }
            Some(command) => {
                emit::write_finished(&output, &object, |temporary| {
                    post_process(task, command, temporary, &mut diagnostics)
                })?;
                Digest::of(&std::fs::read(&output).unwrap_or_default())
            }
        };
        Ok((object.len() as u64, attempt.known(digest, How::Compiled)))
    });
    let (result, known) = match written {
        Ok((size, known)) => (Ok(size), known),
        Err(e) => (Err(e), None),
    };
    JobReport {
        diagnostics,
        result,
        known,
        backend_cpu: compiled.backend_cpu,
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
    let failed = |reason: &dyn std::fmt::Display| {
        Error::new(
            Kind::Post,
            format!("`{}` failed on `{}`", command.join(" "), task.job.output),
        )
        .because(reason)
    };
    let output = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .map_err(|e| failed(&format!("cannot run `{}`: {e}", words[0])))?;
    for text in [&output.stdout, &output.stderr] {
        messages.push_str(&String::from_utf8_lossy(text));
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(&output.status)),
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
