//! The backends of a kernel link that ld.lld runs (`ld.backlto`, started by
//! kbuild): as `backlto distribute`, but with the flags that kbuild compiled each
//! object with. LLD knows only few of them; the code model is not among them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::cmdfile;
use super::flags::BackendFlags;
use super::running::RunningRecipes;
use crate::console;
use crate::dtlto::{LinkJob, LinkJobs, LinkersFlags};
use crate::session::{Outcome, Settings, absolute};
use backlto::bitcode;
use backlto::error::{Error, Kind, Result};
use backlto::files::Files;

/// What kbuild calls the link of all that is built in.
const BUILT_IN: &str = "vmlinux.o";
/// What has debug information go to a file beside the object. LLD's own backends write
/// none, and nobody would find one beside an object that has a name for a moment.
const SPLIT_DWARF: &str = "-gsplit-dwarf";
/// A warning of LLD's own backends ends no link, whatever the front end was told; unless
/// the linker says so, which comes behind this.
const NO_WERROR: &str = "-Wno-error";
const WERROR: &str = "-Werror";
/// What LLD's own backends always do, whatever the front end was told.
const SECTIONS: [&str; 2] = ["-ffunction-sections", "-fdata-sections"];

/// Compiles the jobs that the file at `path` describes, with what kbuild recorded and
/// `asked`, what the linker was asked to tell the compiler. The working directory is
/// where kbuild runs: the kernel's object tree, or that of modules outside of it.
/// `keep_objects` says that LLD will not remove the objects.
///
/// # Errors
/// When the file cannot be read, or a job fails.
pub(crate) fn run(
    path: &Path,
    asked: &[String],
    keep_objects: bool,
    settings: &Settings,
) -> Outcome {
    let link = LinkJobs::read(path, keep_objects)?;
    let directory = absolute(Path::new("."))?;
    let recipes = RunningRecipes::current();
    let files = Files::default();
    let recorded: Vec<Result<Vec<String>>> = link
        .jobs
        .par_iter()
        .map(|job| {
            let mut flags = flags_of_kbuild(job, &directory, &recipes)?;
            flags.retain(|flag| !flag.starts_with(SPLIT_DWARF));
            flags.extend(sections(&link, job, &directory, &files)?);
            // Where it means nothing, objects have the key that they have elsewhere.
            if flags.iter().any(|flag| flag == WERROR) {
                flags.push(NO_WERROR.to_owned());
            }
            flags.extend_from_slice(asked);
            Ok(flags)
        })
        .collect();
    let mut linkers = LinkersFlags::new(&link.common, true, &directory, &files);
    let mut sets = HashMap::<Vec<String>, Arc<[String]>>::new();
    let mut unknown = Vec::new();
    let mut jobs = Vec::with_capacity(link.jobs.len());
    for (job, flags) in link.jobs.iter().zip(recorded) {
        jobs.push(match flags {
            Ok(flags) => {
                let shared = sets
                    .entry(flags)
                    .or_insert_with_key(|flags| Arc::from(flags.as_slice()));
                job.with_flags(Arc::clone(shared), &directory)
            }
            Err(why) => {
                unknown.push((job, why));
                linkers.job(job)?
            }
        });
    }
    warn_of(&unknown);
    warn_of_contradiction(sets.keys(), asked);
    link.compile(jobs, &files, settings)
}

/// Says that for these jobs there is nothing better than what ld.lld's own backends
/// do, and why.
fn warn_of(unknown: &[(&LinkJob, Error)]) {
    let [(job, why), others @ ..] = unknown else {
        return;
    };
    let others = match others.len() {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    console::warning(&format!(
        "`{}`{others} is compiled with the flags of ld.lld's own backends, as nobody tells \
         kbuild's: {why}",
        job.module()
    ));
}

/// Says that of two choices the linker's is taken. `sets` are the flags of jobs, which
/// end with `asked`.
fn warn_of_contradiction<'a>(mut sets: impl Iterator<Item = &'a Vec<String>>, asked: &[String]) {
    let found = sets.find_map(|flags| {
        let recorded = flags.strip_suffix(asked)?;
        contradiction(recorded, asked)
    });
    if let Some((recorded, wins)) = found {
        console::warning(&format!(
            "the linker was told `{wins}`, which is taken instead of kbuild's `{recorded}`"
        ));
    }
}

/// What `recorded` says to something that `asked` answers in another way, and that.
fn contradiction<'a>(recorded: &'a [String], asked: &'a [String]) -> Option<(&'a str, &'a str)> {
    asked.iter().find_map(|wins| {
        let name = choice(wins)?;
        let last = recorded.iter().rfind(|word| choice(word) == Some(name))?;
        (last != wins).then_some((last.as_str(), wins.as_str()))
    })
}

/// What the option `word` is a choice of, if it is one.
fn choice(word: &str) -> Option<&str> {
    const LEVEL: &str = "-O";
    const WARNING: &str = "-W";
    if word.starts_with(LEVEL) {
        return Some(LEVEL);
    }
    // `-Wno-error=` of one warning says nothing of another.
    if word.starts_with(WARNING) {
        return None;
    }
    let (name, _) = word.split_once('=')?;
    name.starts_with('-').then_some(name)
}

/// The flags that kbuild compiles the module of `job` with: from the recipe that is
/// running, else from what it recorded.
///
/// # Errors
/// When neither tells.
fn flags_of_kbuild(
    job: &LinkJob,
    directory: &Path,
    recipes: &RunningRecipes,
) -> Result<Vec<String>> {
    // kbuild's name for what stands in its working directory has no "./".
    let module = job.module();
    let module = module.strip_prefix("./").unwrap_or(module);
    if let Some(words) = recipes.compile_of(module) {
        return Ok(BackendFlags::from_compile(&words, module)?
            .for_clang
            .to_vec());
    }
    let flags = BackendFlags::read(directory, module)?;
    // kbuild writes it once the object is there.
    let written = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let record = cmdfile::path_of(directory, module);
    if written(&record) < written(&directory.join(module)) {
        let text = format!("`{}` is older than `{module}`", record.display());
        return Err(Error::new(Kind::Input, text).hint("it tells of the build before"));
    }
    Ok(flags.for_clang.to_vec())
}

/// What sections `job` of `link` asks for beside those that kbuild's flags mean.
///
/// LLD's own backends have one for each function and each datum. In a module it does
/// not matter, and code is as from ld.lld. In [`BUILT_IN`], LLD would match more than
/// a hundred thousand with each of the initcalls' patterns, for minutes. kbuild's flags
/// have none, and are meant for a kernel without LTO; but modpost trusts a variable by
/// its name (`secref_whitelist` in scripts/mod/modpost.c) or by a section that it does
/// not know, and the backend gives another name to one that other modules use.
fn sections(
    link: &LinkJobs,
    job: &LinkJob,
    directory: &Path,
    files: &Files,
) -> Result<Vec<String>> {
    let wanted = if link.output() != BUILT_IN {
        &SECTIONS[..]
    } else {
        let promotes = |index| {
            let module = directory.join(job.module());
            bitcode::promotes_variable(&module, &directory.join(index), files)
        };
        match job.index().map(promotes).transpose()? {
            Some(true) => &SECTIONS[1..],
            _ => &[],
        }
    };
    Ok(wanted.iter().map(|&flag| flag.to_owned()).collect())
}
