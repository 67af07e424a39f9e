//! One task becomes an object on disk.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::emit;
use crate::error::{Error, Kind, Result};
use crate::llvm::{self, CompileFailure, CompileInput};
use crate::prepare::Task;

/// How one job ended.
#[derive(Debug)]
pub struct JobReport {
    /// What clang would have printed for it.
    pub diagnostics: String,
    /// The object's size in bytes, or why there is none.
    pub result: Result<u64>,
    /// How long it took.
    pub duration: Duration,
    /// The CPU time that LLVM's ThinLTO backend took of it: import, optimiser
    /// and code generation. Zero for a compile without a summary index.
    pub backend_cpu: Duration,
}

impl JobReport {
    /// The report of a job that was never started, because of `error`.
    pub(crate) fn not_run(error: Error) -> JobReport {
        JobReport {
            diagnostics: String::new(),
            result: Err(error),
            duration: Duration::ZERO,
            backend_cpu: Duration::ZERO,
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

/// Compiles `task` and writes its object.
pub(crate) fn run(task: &Task) -> JobReport {
    let start = Instant::now();
    let compiled = llvm::compile(&CompileInput {
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
    });
    // Others may still import from it, but most of it was for this job.
    task.module.rest();
    // Wrong input beats every other error: it may well be the cause of it.
    let mut diagnostics = task.flags.messages.clone() + &compiled.diagnostics;
    let result = task
        .files()
        .try_for_each(|file| file.check_unchanged())
        .and_then(|()| compiled.object.map_err(|failure| explain(task, failure)))
        .and_then(|object| {
            let output = task.job.output_path();
            match &task.job.post {
                None => emit::write(&output, &object)?,
                Some(command) => emit::write_finished(&output, &object, |temporary| {
                    post_process(task, command, temporary, &mut diagnostics)
                })?,
            }
            Ok(object.len() as u64)
        });
    JobReport {
        diagnostics,
        result,
        duration: start.elapsed(),
        backend_cpu: compiled.backend_cpu,
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
