//! `backlto repro`: the compile of a reproducer, once more.

use std::path::Path;
use std::process::Command;

use crate::console;
use crate::report::Verbosity;
use crate::session::{Failure, Outcome, Settings};
use crate::text::shell_words;
use backlto::error::{Error, Kind, Result};
use backlto::reproducer::Reproducer;
use backlto::{Engine, Options, Silent};

/// Compiles what `archive` holds, or the directory that it was unpacked to: with the
/// program `clang`, else itself. Copies the object to `output`.
///
/// # Errors
/// As the compile, and when the archive is not one.
pub(crate) fn run(
    archive: &Path,
    clang: Option<&Path>,
    output: Option<&Path>,
    settings: &Settings,
) -> Outcome {
    let directory = tempfile::tempdir().map_err(|e| {
        Error::new(Kind::Environment, "cannot make a temporary directory").because(e)
    })?;
    let reproducer = match archive.is_dir() {
        true => Reproducer::open(archive)?,
        false => Reproducer::unpack(archive, directory.path())?,
    };
    if settings.verbosity != Verbosity::Quiet {
        console::line(&reproducer.summary());
    }
    match clang {
        None => by_backlto(&reproducer, settings)?,
        Some(clang) => by_clang(&reproducer, clang, settings)?,
    }
    let object = reproducer.output();
    let size = copy(&object, output)?;
    if settings.verbosity != Verbosity::Quiet {
        console::line(&format!("compiled: {size} bytes"));
    }
    Ok(())
}

/// Copies `object` to `output`, if that is given; returns its size in bytes.
fn copy(object: &Path, output: Option<&Path>) -> Result<usize> {
    let bytes = backlto::files::read(object).map_err(|e| {
        let text = format!("cannot read the object `{}`", object.display());
        Error::new(Kind::Output, text).because(e)
    })?;
    if let Some(output) = output {
        backlto::emit::write(output, &bytes)?;
    }
    Ok(bytes.len())
}

fn by_backlto(reproducer: &Reproducer, settings: &Settings) -> Outcome {
    show(reproducer.command_line(), settings);
    let engine = Engine::new(&Options {
        // Only a compile shows what happens, and this is the reproducer.
        cache: None,
        remote: None,
        reproducers: None,
        ..settings.options.clone()
    })?;
    for job in engine.run(&reproducer.plan()?, &Silent)? {
        console::compiler_messages(&job.diagnostics);
        job.result?;
    }
    Ok(())
}

/// Has the program `clang` do it. Its messages and its crashes are its own.
fn by_clang(reproducer: &Reproducer, clang: &Path, settings: &Settings) -> Outcome {
    let elsewhere = reproducer.missing_for_clang();
    if let Some((name, copy)) = elsewhere.first() {
        let text = format!("clang needs `{}` as `{}`", copy.display(), name.display());
        let reason = "the summary index knows a module by that name";
        let advice = "put it there, or have backlto repeat the compile";
        return Err(Error::new(Kind::Input, text)
            .because(reason)
            .hint(advice)
            .into());
    }
    let mut words = reproducer.command_line().to_vec();
    // An archive may come from anybody; a plugin is a program.
    backlto::job_from_command_line(&words, reproducer.directory())?;
    if let Some(compiler) = words.first_mut() {
        *compiler = clang.display().to_string();
    }
    show(&words, settings);
    let status = Command::new(clang)
        .args(&words[1..])
        .current_dir(reproducer.directory())
        .status()
        .map_err(|e| {
            Error::new(
                Kind::Environment,
                format!("cannot run `{}`", clang.display()),
            )
            .because(e)
        })?;
    if status.success() {
        return Ok(());
    }
    console::line(&format!("clang: {status}"));
    Err(Failure::Reported)
}

/// Prints the command line `words` if everything is to be said.
fn show(words: &[String], settings: &Settings) {
    if settings.verbosity == Verbosity::Verbose {
        console::bare(&shell_words(words));
    }
}
