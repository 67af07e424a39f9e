//! Command lines become compiler invocations: clang's driver library maps each
//! distinct flag set once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Errors, Kind, Result};
use crate::files::Files;
use crate::flag_key::{self, FlagsKey};
use crate::llvm::{self, Invocation};
use crate::plan::{self, CompilerCommand, Job, Plan};
use crate::portable::Portable;
use crate::sys;

/// A flag set as clang understands it.
pub(crate) struct MappedFlags {
    pub(crate) invocation: Invocation,
    /// What clang's driver says of the flags, once for every job.
    pub(crate) messages: String,
    /// The `-mllvm` options that must be in force while a job runs.
    pub(crate) llvm_options: Vec<String>,
    /// LLVM's name for the architecture compiled for.
    pub(crate) arch: String,
    /// Where LLVM's time trace is to go (`-ftime-trace`).
    pub(crate) time_trace: Option<String>,
    /// What they mean for an object; `None` when they ask for more than one.
    pub(crate) key: Option<FlagsKey>,
}

impl MappedFlags {
    /// What they mean on another machine, if that is known.
    pub(crate) fn portable(&self) -> Option<&Portable> {
        self.key.as_ref()?.portable.as_ref()
    }
}

/// The mapped flags of every job, in plan order.
pub(crate) fn map(
    plan: &Plan,
    files: &Files,
) -> std::result::Result<Vec<Arc<MappedFlags>>, Errors> {
    let mut sets = Sets::default();
    let mut mapped = Vec::with_capacity(plan.jobs.len());
    let mut errors = Vec::new();
    for job in &plan.jobs {
        match sets.get(job, files) {
            Ok(flags) => mapped.push(flags),
            Err(Some(e)) => errors.push(e),
            // Said with the first job of this flag set.
            Err(None) => {}
        }
    }
    Errors::of(errors).map_or(Ok(mapped), Err)
}

/// What is known of one distinct flag set.
enum Known {
    Shared(Arc<MappedFlags>),
    /// Some argument is derived from file names: every job has its own.
    PerJob,
    Rejected,
}

#[derive(Default)]
struct Sets<'a>(HashMap<(&'a [String], &'a Path), Known>);

impl<'a> Sets<'a> {
    fn get(
        &mut self,
        job: &'a Job,
        files: &Files,
    ) -> std::result::Result<Arc<MappedFlags>, Option<Error>> {
        let CompilerCommand::Flags(flags) = &job.command else {
            return map_one(job, files).map(Arc::new).map_err(Some);
        };
        let key = (&flags[..], job.directory.as_path());
        let mut error = None;
        let known =
            self.0
                .entry(key)
                .or_insert_with(|| match map_placeholders(flags, job, files) {
                    Ok(Some(mapped)) => Known::Shared(Arc::new(mapped)),
                    Ok(None) => Known::PerJob,
                    Err(e) => {
                        error = Some(e);
                        Known::Rejected
                    }
                });
        match known {
            Known::Shared(mapped) => Ok(Arc::clone(mapped)),
            Known::PerJob => map_one(job, files).map(Arc::new).map_err(Some),
            Known::Rejected => Err(error),
        }
    }
}

/// File names that no flag contains by accident.
const MODULE: &str = "backlto-placeholder-module.o";
const INDEX: &str = "backlto-placeholder-index.thinlto.bc";
const OUTPUT: &str = "backlto-placeholder-output.o";
const COMMON: &str = "backlto-placeholder-";

/// Maps a flag set apart from the names of any job. `None` when the result
/// depends on those names, as that of `-gsplit-dwarf` does.
fn map_placeholders(flags: &[String], job: &Job, files: &Files) -> Result<Option<MappedFlags>> {
    let args = plan::command_line(flags, MODULE, Some(INDEX), OUTPUT);
    let mapped = map_args(&args, job, files)?;
    let is_shared =
        !mapped.invocation.is_kept_in_object() && !depends_on_names(&mapped.invocation.cc1_args());
    Ok(is_shared.then_some(mapped))
}

/// Whether `cc1` has a placeholder anywhere but where each compile puts the name
/// of its job (`llvm-shims/Backend.cpp`).
fn depends_on_names(cc1: &[String]) -> bool {
    let index = format!("-fthinlto-index={INDEX}");
    cc1.iter().enumerate().any(|(at, arg)| {
        let after = at.checked_sub(1).map_or("", |before| &cc1[before]);
        let is_replaced = match after {
            "-o" => arg == OUTPUT,
            "-main-file-name" => arg == MODULE,
            _ => *arg == index || (arg == MODULE && at + 1 == cc1.len()),
        };
        arg.contains(COMMON) && !is_replaced
    })
}

/// The mapped flags of `job` alone.
pub(crate) fn map_one(job: &Job, files: &Files) -> Result<MappedFlags> {
    map_args(&job.command_line(), job, files)
}

fn map_args(args: &[String], job: &Job, files: &Files) -> Result<MappedFlags> {
    let rejected = |messages: String| {
        Error::new(
            Kind::Flags,
            format!(
                "clang does not accept the flags of `{}`",
                plan::display_path(&job.directory, &job.module)
            ),
        )
        .said_by_compiler(messages)
    };
    let (invocation, messages) = map_inside(args, &job.directory)?;
    let Some(invocation) = invocation else {
        return Err(rejected(messages));
    };
    let triple = invocation.triple();
    let arch = llvm::arch_name(&triple);
    if arch == "unknown" {
        // clang finds out only when the compile starts, in every job.
        return Err(rejected(format!(
            "{messages}error: unknown target triple '{triple}'\n"
        )));
    }
    let cc1 = invocation.cc1_args();
    let time_trace = cc1.iter().find_map(|arg| arg.strip_prefix("-ftime-trace="));
    Ok(MappedFlags {
        messages,
        time_trace: time_trace.map(str::to_owned),
        llvm_options: invocation.llvm_options(),
        // What an object holds of its command line is in no key.
        key: match invocation.is_kept_in_object() {
            true => None,
            false => flag_key::of_flags(&cc1, &job.directory, files),
        },
        arch,
        invocation,
    })
}

/// Maps `args` with `directory` for the working directory. clang's driver asks
/// the system itself for some of the files that flags name, such as profiles.
///
/// # Errors
/// When there is no thread for that.
pub(crate) fn map_inside(
    args: &[String],
    directory: &Path,
) -> Result<(Option<Invocation>, String)> {
    match std::env::current_dir() {
        Ok(here) if here == directory => Ok(Invocation::map(args, directory)),
        _ => sys::in_directory(directory, || Invocation::map(args, directory)),
    }
}

/// cc1's words for what a backend can write.
const CODE: [&str; 4] = ["-emit-obj", "-S", "-emit-llvm", "-emit-llvm-bc"];

/// The job that the clang command line `args` (compiler first) stands for,
/// when run in `directory`.
///
/// The names are asked of clang's driver, which knows every spelling.
pub(crate) fn job_from_command_line(args: &[String], directory: PathBuf) -> Result<Job> {
    let (invocation, messages) = map_inside(args, &directory)?;
    let Some(invocation) = invocation else {
        return Err(
            Error::new(Kind::Flags, "clang does not accept this command line")
                .said_by_compiler(messages),
        );
    };
    let cc1 = invocation.cc1_args();
    let after = |option: &str| {
        let at = cc1.iter().position(|arg| arg == option)?;
        cc1.get(at + 1).cloned()
    };
    if after("-x").as_deref() != Some("ir") {
        return Err(
            Error::new(Kind::Flags, "this command line does not compile bitcode")
                .hint("a backend compile has `-x ir` before its one input"),
        );
    }
    if !cc1.iter().any(|arg| CODE.contains(&arg.as_str())) {
        return Err(Error::new(
            Kind::Flags,
            "this command line asks for no code",
        ));
    }
    let (Some(output), Some(module)) = (after("-o"), cc1.last().cloned()) else {
        return Err(Error::new(Kind::Flags, "this command line names no output"));
    };
    if output == "-" || module == "-" {
        return Err(Error::new(
            Kind::Flags,
            "a backend compile reads and writes files, not standard input and output",
        ));
    }
    let index = cc1
        .iter()
        .find_map(|arg| arg.strip_prefix("-fthinlto-index="))
        .filter(|index| !index.is_empty())
        .map(str::to_owned);
    Ok(Job {
        directory,
        module,
        index,
        output,
        command: CompilerCommand::Exact(args.into()),
        post: None,
    })
}
