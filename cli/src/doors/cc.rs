//! `backlto cc`: one backend compile with clang's own command line.

use std::path::Path;

use crate::report::Verbosity;
use crate::session::{Failure, Outcome, Settings, absolute, engine, say_reproducers};
use crate::text::shell_words;
use backlto::error::{Error, Errors, Kind};
use backlto::{Plan, Silent};

/// Compiles what `args` say, which are clang's, with or without the compiler's
/// name in front.
///
/// # Errors
/// As clang, and where clang is silent about an index or import that it cannot
/// load.
pub(crate) fn run(args: Vec<String>, settings: &Settings) -> Outcome {
    let named = args.first().is_some_and(|first| is_clang(first));
    let mut command_line = args;
    if !named {
        command_line.insert(0, "clang".to_owned());
    }
    if command_line.len() == 1 {
        return Err(Error::new(Kind::Flags, "no clang arguments were given")
            .hint("backlto cc -x ir -fthinlto-index=X.o.thinlto.bc -O2 -c -o X.native.o X.o")
            .into());
    }
    let job =
        backlto::job_from_command_line(&command_line, absolute(Path::new("."))?).map_err(|e| {
            match lost_response_file(&command_line) {
                Some(lost) => lost.into(),
                None => as_clang_would(e.into()),
            }
        })?;
    if settings.verbosity == Verbosity::Verbose {
        eprintln!("{}", shell_words(&job.command_line()));
    }
    let plan = Plan {
        jobs: vec![job],
        ..Plan::default()
    };
    let engine = engine(&settings.options)?;
    let reports = engine.run(&plan, &Silent).map_err(as_clang_would)?;
    say_reproducers(&reports);
    for job in reports {
        eprint!("{}", job.diagnostics);
        match job.result {
            Ok(_) => {}
            // clang would leave it at that too.
            Err(e) if e.leaves_reason_to_compiler() && !job.diagnostics.is_empty() => {
                return Err(Failure::Reported);
            }
            Err(e) => return Err(as_clang_would(e.into())),
        }
    }
    Ok(())
}

/// Prints `errors` in clang's own way when they are all of clang's driver; others
/// are left to the caller.
fn as_clang_would(errors: Errors) -> Failure {
    let messages: Option<Vec<&str>> = errors.iter().map(Error::compiler_message).collect();
    match messages {
        Some(messages) => {
            messages.iter().for_each(|message| eprint!("{message}"));
            Failure::Reported
        }
        None => Failure::Errors(errors),
    }
}

/// What to say of the first response file (`@file`) of `args` that cannot be read:
/// clang takes its name for an input then.
fn lost_response_file(args: &[String]) -> Option<Error> {
    args.iter().find_map(|arg| {
        let name = arg.strip_prefix('@')?;
        let reason = backlto::files::read(name.as_ref()).err()?;
        Some(Error::new(Kind::Input, format!("cannot read response file `{name}`")).because(reason))
    })
}

/// Whether `word` names clang: a command line printed by `-v` can be pasted whole.
fn is_clang(word: &str) -> bool {
    !word.starts_with('-')
        && Path::new(word)
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("clang"))
}
