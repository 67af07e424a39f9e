//! `backlto cc`: clang's own command line. One backend compile is done here, with the
//! caches; all else is done by the clang whose name was given, which takes this process.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::console;
use crate::report::Verbosity;
use crate::response;
use crate::session::{Failure, Outcome, Settings, absolute, finish_caches, say_reproducers, start};
use crate::text::shell_words;
use crate::tools::CLANG;
use backlto::error::{Error, Errors, Kind, Result};
use backlto::{BUILT_VERSION, Job, Options, Plan, Silent};

/// The backend compile that `args` ask for, which are clang's, with or without the
/// compiler's name in front. If they ask for anything else, clang takes this process,
/// which must be as it was when it started.
///
/// # Errors
/// When clang cannot be run, and when there is no working directory.
pub(crate) fn backend_or_clang(args: &[OsString], verbosity: Verbosity) -> Result<Job> {
    let (program, words) = match args.split_first() {
        Some((first, words)) if is_program(first) => (first.as_os_str(), words),
        _ => (OsStr::new(CLANG), args),
    };
    match backend(program, words)? {
        Ok(job) => Ok(job),
        Err(reason) => {
            if verbosity == Verbosity::Verbose {
                let program = Path::new(program).display();
                console::note(&format!("`{program}` does it itself: {reason}"));
            }
            // Returns only when it fails.
            let error = Command::new(program).args(words).exec();
            let text = format!("cannot run `{}`", Path::new(program).display());
            Err(Error::new(Kind::Environment, text)
                .because(error)
                .hint("name the clang to use, as `backlto cc clang ...`"))
        }
    }
}

/// How long the end waits for the upload of the object, if nobody says.
const LINGER: Duration = Duration::from_secs(1);

/// Compiles `job`, with the caches that there are.
///
/// # Errors
/// As clang, and where clang is silent about an index or import that it cannot
/// load.
pub(crate) fn run(job: Job, settings: &Settings) -> Outcome {
    if settings.verbosity == Verbosity::Verbose {
        console::bare(&shell_words(&job.command_line()));
    }
    let plan = Plan {
        jobs: vec![job],
        ..Plan::default()
    };
    let mut options = Options {
        workers: Some(NonZeroUsize::MIN),
        ..settings.options.clone()
    };
    if let Some(remote) = &mut options.remote {
        // A part of one compile would be too short for its object to get there.
        remote.linger.get_or_insert(LINGER);
    }
    let engine = start(&Settings {
        options,
        // It is in clang's place, which needs no cache.
        cache_is_optional: true,
        remote_is_optional: true,
        ..settings.clone()
    })?;
    let reports = engine.run(&plan, &Silent).map_err(as_clang_would)?;
    finish_caches(engine);
    say_reproducers(&reports);
    for job in reports {
        console::compiler_messages(&job.diagnostics);
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

/// Words, or starts of words, that clang's driver answers at once or that ask for more
/// than a compile in this process can give.
const FOR_CLANG: [&str; 20] = [
    "-###",
    "-cc1",
    "-dump",
    "--dump",
    "-print",
    "--print",
    "--version",
    "--help",
    "-help",
    "--autocomplete",
    "-save-temps",
    "--save-temps",
    "-ftime-report",
    "-fdriver-only",
    "--verbose",
    "-ast-",
    "-emit-llvm-only",
    "-emit-codegen-only",
    "-load",
    // The driver itself writes a file there, each time that it is asked.
    "-gen-cdb-fragment-path",
];

/// Variables by which clang's main, before any driver, changes what it does.
const OF_CLANGS_MAIN: [&str; 6] = [
    "CCC_OVERRIDE_OPTIONS",
    "CC_PRINT_OPTIONS",
    "CC_PRINT_HEADERS",
    "CC_LOG_DIAGNOSTICS",
    "CC_PRINT_PROC_STAT",
    "CC_PRINT_INTERNAL_STAT",
];

/// The one backend compile that `program` would do when given `words`, or why it is left
/// to that.
///
/// # Errors
/// When there is no working directory.
fn backend(program: &OsStr, words: &[OsString]) -> Result<std::result::Result<Job, String>> {
    let expanded = response::expand(words);
    let expanded: Vec<&str> = expanded.iter().filter_map(|word| word.to_str()).collect();
    let has = |holds: &dyn Fn(&str) -> bool| expanded.iter().find(|word| holds(word));
    // Most calls of a compiler are none of ours: they should not wait.
    if has(&|word| word.starts_with("-fthinlto-index=") || word == "ir" || word == "-xir").is_none()
    {
        return Ok(Err("it is no backend compile".to_owned()));
    }
    // What LLVM is told has names of its own.
    let told = |at: usize| {
        at.checked_sub(1)
            .is_some_and(|before| expanded[before] == "-mllvm")
    };
    let is_for_clang = |word: &str| word == "-v" || FOR_CLANG.iter().any(|w| word.starts_with(w));
    let mut words_for_clang = (0..expanded.len()).filter(|at| is_for_clang(expanded[*at]));
    if let Some(word) = words_for_clang.find(|at| !told(*at)).map(|at| expanded[at]) {
        return Ok(Err(format!("`{word}` is for it")));
    }
    let is_set = |name: &&&str| std::env::var_os(name).is_some();
    if let Some(variable) = OF_CLANGS_MAIN.iter().find(is_set) {
        return Ok(Err(format!("{variable} is set")));
    }
    let all = std::iter::once(program).chain(words.iter().map(OsString::as_os_str));
    let Some(line) = all.map(|word| word.to_str().map(str::to_owned)).collect() else {
        return Ok(Err("its command line is not UTF-8".to_owned()));
    };
    let mut line: Vec<String> = line;
    let directory = absolute(Path::new("."))?;
    Ok(clang_behind(program, words).and_then(|behind| {
        if let Some(clang) = behind {
            line[0] = clang;
        }
        let job = backlto::job_from_command_line(&line, directory);
        job.map_err(|e| e.to_string().trim_end().to_owned())
    }))
}

/// Whether `word`, the first one, names the compiler. It need not be called clang: build
/// systems have wrappers.
fn is_program(word: &OsStr) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default();
    let is_flag = word.as_encoded_bytes().starts_with(b"-");
    !is_flag && (name.to_string_lossy().contains("clang") || which::which(word).is_ok())
}

/// Checks that `program` would do with `words` what this LLVM does. A wrapper may add some
/// of its own: it is good for those with which it does what the clang behind it would do
/// without it, whose path is returned. A program that is nowhere to be found is taken at its
/// word.
///
/// # Errors
/// With what is the matter, when it is another clang or none, or does something else.
fn clang_behind(
    program: &OsStr,
    words: &[OsString],
) -> std::result::Result<Option<String>, String> {
    let Ok(found) = which::which(program) else {
        return Ok(None);
    };
    let is = |one: &Path, other: &Path| {
        let [one, other] = [one, other].map(Path::canonicalize);
        one.is_ok_and(|one| other.is_ok_and(|other| one == other))
    };
    if is(&found, Path::new(CLANG)) {
        return Ok(None);
    }
    let plan = plan_of(&found, words)?;
    let said = String::from_utf8_lossy(&plan.stderr);
    if !said.contains(&format!("clang version {BUILT_VERSION}")) {
        return Err(format!("it is not of LLVM {BUILT_VERSION}"));
    }
    let mut starts = said.lines().filter_map(|line| line.strip_prefix(" \""));
    let Some((clang, _)) = starts.next_back().and_then(|line| line.split_once('"')) else {
        return Err("it starts no compiler".to_owned());
    };
    if is(&found, Path::new(clang)) {
        return Ok(None);
    }
    match plan_of(Path::new(clang), words)? == plan {
        true => Ok(Some(clang.to_owned())),
        false => Err(format!("it does not do what `{clang}` does")),
    }
}

/// What `compiler` prints of what it would do with `words`.
///
/// # Errors
/// When it cannot be run.
fn plan_of(compiler: &Path, words: &[OsString]) -> std::result::Result<Output, String> {
    let mut command = Command::new(compiler);
    // Behind `--`, it would be a file.
    let output = command.arg("-###").args(words).output();
    output.map_err(|e| format!("`{}` cannot be asked what it does: {e}", compiler.display()))
}

/// Prints `errors` in clang's own way when they are all of clang's driver; others
/// are left to the caller.
fn as_clang_would(errors: Errors) -> Failure {
    let messages: Option<Vec<&str>> = errors.iter().map(Error::compiler_message).collect();
    match messages {
        Some(messages) => {
            messages
                .iter()
                .copied()
                .for_each(console::compiler_messages);
            Failure::Reported
        }
        None => Failure::Errors(errors),
    }
}
