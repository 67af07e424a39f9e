//! One task becomes an object, on disk or in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crate::compile::{Compiled, Failure, Watch};
use crate::digest::Digest;
use crate::emit;
use crate::error::{Error, Kind, Result};
use crate::execute::{CompileJob, Executor, Input};
use crate::files::InputFile;
use crate::flag_key;
use crate::incremental::attempt::{Attempt, Found};
use crate::origin::Origin;
use crate::prepare::Task;
use crate::report::JobReport;
use crate::reproducer::Case;

/// Has `executor` compile `task` and writes its object, unless the cache has it.
pub(crate) fn run(task: &Task, executor: &mut dyn Executor) -> JobReport {
    let start = Instant::now();
    let mut report = match ScratchObject::of(task) {
        Ok(None) => run_to(task, task, executor),
        Ok(Some(scratch)) => run_to(task, &scratch.task, executor),
        Err(e) => JobReport::not_run(e),
    };
    // Of a compile elsewhere, that is how long it took there.
    if report.origin != Origin::Executed {
        report.duration = start.elapsed();
    }
    if let Some(known) = &mut report.known {
        known.duration = report.duration;
    }
    report.diagnostics.insert_str(0, &task.flags.messages);
    report
}

/// A place on disk for an object that is to end up in memory, for the caches and
/// for a program that finishes it.
struct ScratchObject {
    task: Task,
    _directory: tempfile::TempDir,
}

impl ScratchObject {
    fn of(task: &Task) -> Result<Option<ScratchObject>> {
        let needs_place =
            task.cache.is_some() || task.elsewhere.is_some() || task.job.post.is_some();
        if !task.in_memory || !needs_place {
            return Ok(None);
        }
        let directory = tempfile::tempdir().map_err(|e| {
            Error::new(Kind::Output, "cannot make a temporary directory").because(e)
        })?;
        let mut task = task.clone();
        task.job.output = directory.path().join("object").display().to_string();
        Ok(Some(ScratchObject {
            task,
            _directory: directory,
        }))
    }
}

/// Makes the object of `task` and puts it where that of `placed` belongs: the
/// two differ in nothing else.
fn run_to(task: &Task, placed: &Task, executor: &mut dyn Executor) -> JobReport {
    let mut attempt = Attempt::new(placed);
    let mut report = match attempt.look_up() {
        Some(found) => from_cache(found),
        None => compile(task, placed, &mut attempt, executor),
    };
    report.keys = attempt.keys(report.origin);
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

/// What an executor needs of `task`, if nobody has a use for more than its object.
pub(crate) fn job_of(task: &Task) -> CompileJob {
    let input = |name: &str, file: &Arc<InputFile>| Input {
        name: name.to_owned(),
        content: file.clone(),
    };
    CompileJob {
        flags: Arc::clone(&task.flags),
        files: task.files.clone(),
        directory: task.job.directory.clone(),
        module: input(&task.job.module, &task.module),
        index: task
            .index
            .as_ref()
            .map(|file| input(task.job.index.as_deref().unwrap_or_default(), file)),
        imports: task
            .imports
            .iter()
            .map(|(name, file)| input(name, file))
            .collect(),
        output: task.job.output.clone(),
        time_trace: task.time_trace || task.flags.time_trace.is_some(),
        wants_functions: false,
        wants_imported: false,
        gives_back: task.memory_is_short,
    }
}

fn compile(
    task: &Task,
    placed: &Task,
    attempt: &mut Attempt<'_>,
    executor: &mut dyn Executor,
) -> JobReport {
    let start = Instant::now();
    let job = Arc::new(CompileJob {
        wants_functions: attempt.wants_functions(),
        wants_imported: attempt.wants_imported(),
        ..job_of(task)
    });
    let compiled = executor.compile(&job, attempt);
    // Others may still import from it, but most of it was for this job.
    task.module.release_memory();
    // What was found counts only if the compile ended there, and well.
    if let Ok(None) = compiled.object
        && let Some(found) = attempt.place_found()
    {
        return found.map_or_else(JobReport::not_run, from_cache);
    }
    let reproducer = save(task, &job, attempt, &compiled);
    let took = compiled.took_elsewhere.unwrap_or_else(|| start.elapsed());
    let origin = match compiled.took_elsewhere {
        None => Origin::Compiled,
        Some(_) => Origin::Executed,
    };
    let mut diagnostics = compiled.diagnostics;
    // Wrong input beats every other error: it may well be the cause of it.
    let object = task
        .files()
        .try_for_each(|file| file.check_unchanged())
        .and_then(|()| {
            let ended = |object: Option<Vec<u8>>| {
                let nothing = || Failure::Reported("it ended without an object".to_owned());
                object.ok_or_else(nothing)
            };
            let object = compiled.object.and_then(ended);
            object.map_err(|failure| explain(task, failure, &reproducer))
        });
    let written = object.and_then(|object| {
        if let (true, Some(Err(e))) = (task.is_to_be_saved, &reproducer) {
            return Err(e.clone());
        }
        if let (Some(name), Some(trace)) = (&task.flags.time_trace, &compiled.time_trace) {
            emit::write(&task.job.resolve(name), trace.as_bytes())?;
        }
        let functions = compiled.functions;
        attempt.count_miss();
        let files_held = attempt.files_held();
        if files_held && !compiled.has_printed {
            attempt.keep(&object, &diagnostics, functions, took);
        }
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
        let known = attempt.known(Digest::of(&object), object.len() as u64, origin);
        Ok((object, known.filter(|_| files_held)))
    });
    let (result, object, known) = match written {
        Ok((object, known)) => (Ok(object.len() as u64), Some(object), known),
        Err(e) => (Err(e), None, None),
    };
    diagnostics.extend(compiled.warning);
    JobReport {
        diagnostics,
        result,
        object: object.filter(|_| task.in_memory),
        known,
        backend_cpu: compiled.backend_cpu,
        time_trace: compiled.time_trace.filter(|_| task.time_trace),
        reproducer: reproducer.and_then(Result::ok),
        origin,
        duration: took,
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
        .current_dir(&task.job.directory)
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

/// Writes a reproducer if there is to be one of `compiled`, which came of `job`.
fn save(
    task: &Task,
    job: &CompileJob,
    attempt: &Attempt<'_>,
    compiled: &Compiled,
) -> Option<Result<PathBuf>> {
    let reproducers = task.reproducers.as_ref()?;
    let failure = compiled.object.as_ref().err();
    let is_wanted = || failure.is_some_and(Failure::is_crash) && reproducers.takes_crash();
    if !task.is_to_be_saved && !is_wanted() {
        return None;
    }
    let case = Case {
        job,
        command: task.job.command_line(),
        named: named_files(task, attempt),
        failure: failure.map(what_happened),
    };
    Some(reproducers.write(&case))
}

/// The files that the flags of `task` name, and its assembly as far as LLVM has shown
/// it.
fn named_files(task: &Task, attempt: &Attempt<'_>) -> Vec<(String, Arc<InputFile>)> {
    let by_flags = task.flags.key.iter().flat_map(|key| &key.dependencies);
    let by_assembly = attempt.files().into_iter().flatten();
    let known = by_flags.chain(by_assembly).map(|file| file.name.clone());
    let by_command = flag_key::files_of_command(&task.job);
    known
        .chain(by_command)
        .filter_map(|name| {
            let file = task.files.get(&task.job.resolve(&name)).ok()?;
            Some((name, file))
        })
        .collect()
}

/// How LLVM came to give no object.
fn what_happened(failure: &Failure) -> String {
    match failure {
        Failure::Fatal(reason) => format!("LLVM gave up: {reason}"),
        Failure::Crash(signal) => format!("LLVM crashed (signal {signal})"),
        Failure::Lost(how) => format!("the process that compiled it ended: {how}"),
        Failure::Reported(reason) => format!("it failed: {reason}"),
        _ => "it was not compiled".to_owned(),
    }
}

fn explain(task: &Task, failure: Failure, reproducer: &Option<Result<PathBuf>>) -> Error {
    let message = format!("failed to compile `{}`", task.module.path().display());
    let crash = |cause: String| Error::new(Kind::Crash, message.clone()).because(cause);
    let environment = |cause: &str| Error::new(Kind::Environment, message.clone()).because(cause);
    let bug = "if clang crashes on this command too, it is a bug of LLVM or the bitcode is \
               damaged";
    let advice = match reproducer {
        Some(Ok(path)) => {
            let path = path.display();
            format!("`backlto repro {path}` repeats it, with `--clang` by clang; {bug}")
        }
        Some(Err(e)) => format!("{e}; {bug}; `-v` prints the command"),
        None => format!("{bug}; `-v` prints the command"),
    };
    match failure {
        Failure::Reported(reason) => Error::new(Kind::Codegen, message).because(reason),
        Failure::Fatal(_) | Failure::Crash(_) => crash(what_happened(&failure)).hint(advice),
        Failure::Lost(_) => crash(what_happened(&failure)),
        Failure::Options(words) => {
            let options = task.flags.llvm_options.join(" -mllvm ");
            Error::new(Kind::Flags, format!("cannot set `-mllvm {options}`"))
                .said_by_compiler(words)
        }
        Failure::Directory(reason) => {
            let directory = task.job.directory.display();
            let text = format!("cannot enter directory `{directory}`");
            Error::new(Kind::Environment, text).because(reason)
        }
        Failure::Unsafe => crash("LLVM has crashed in this process over another module".to_owned())
            .hint("start a new process, or give `Options::helper` for those that are left"),
        Failure::OtherOptions => environment(
            "this process has other options of LLVM (`-mllvm`) in force, which last for its life",
        )
        .hint("give `Options::helper`, or compile it in another process"),
        Failure::Cancelled => Error::new(Kind::Cancelled, "cancelled"),
        Failure::TimedOut(limit) => {
            let seconds = limit.as_secs_f64();
            let reason = format!("it was given up after {seconds} s, the limit for one object");
            Error::new(Kind::TimedOut, message)
                .because(reason)
                .hint("allow more time, or see with `-v` where clang's time goes")
        }
        Failure::NoProcess(reason) => environment(&reason),
    }
}
