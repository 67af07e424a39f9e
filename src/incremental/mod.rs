//! What need not be compiled: jobs whose object is there already, by a record
//! beside it, and jobs whose object the cache has.
//!
//! Both decide by content alone: an object is what its [`Dependency`] list makes of
//! it, so if that is as it was, so is the object.

pub(crate) mod ahead;
pub(crate) mod attempt;
pub(crate) mod costs;
pub(crate) mod entry;
mod keys;
pub(crate) mod record;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

pub use self::record::{ObjectRecord, Record, Sizes};
use crate::asm::Search;
use crate::audit::Audit;
use crate::compile::Imported;
use crate::dependency::{self, Dependency, Part};
use crate::digest::Digest;
use crate::error::Result;
use crate::files::Files;
use crate::flag_key::FlagsKey;
use crate::flags::MappedFlags;
use crate::identity;
use crate::llvm;
use crate::plan::{Job, Plan};
use crate::prepare::Task;

/// What a job needs.
pub(crate) enum Verdict {
    /// Nothing: its object is what it would become.
    UpToDate(Box<ObjectRecord>),
    /// Nothing, but it is compiled to see whether that is true.
    Audited(Box<ObjectRecord>),
    /// To be built, for these reasons.
    Stale(Vec<String>),
}

impl Verdict {
    /// Has the job run for the reason `why` if there is no other.
    pub(crate) fn make_stale(&mut self, why: &str) {
        if let Verdict::UpToDate(_) = self {
            *self = Verdict::Stale(vec![why.to_owned()]);
        }
    }

    /// Has `audit` look at the object if it is up to date and drawn.
    pub(crate) fn audit(&mut self, audit: &Audit) {
        if let Verdict::UpToDate(known) = self {
            let module = known.made_of.iter().find(|one| one.part == Part::Module);
            if module
                .and_then(|module| module.digest)
                .is_some_and(|digest| audit.draws(&digest))
            {
                *self = Verdict::Audited(known.clone());
            }
        }
    }

    /// What the object is made of, if it is to be audited.
    pub(crate) fn audited(&self) -> Option<&[Dependency]> {
        match self {
            Verdict::Audited(known) => Some(&known.made_of),
            _ => None,
        }
    }
}

/// Compares every job of `plan` with what `record` knows of its object, by what is
/// in `files` now.
pub(crate) fn compare(
    plan: &Plan,
    flags: &[std::sync::Arc<MappedFlags>],
    record: &Record,
    files: &Files,
) -> Vec<Verdict> {
    plan.jobs
        .par_iter()
        .zip(flags)
        .map(|(job, flags)| {
            // Whoever has no record reads no file here.
            let Some(known) = record.object(&job.output_path()) else {
                return Verdict::Stale(vec!["nothing is known of an earlier build".to_owned()]);
            };
            let reasons = reasons(job, flags.key.as_ref(), known, files);
            match reasons.is_empty() {
                true => {
                    keep_younger(job, files);
                    Verdict::UpToDate(Box::new(known.clone()))
                }
                false => Verdict::Stale(reasons),
            }
        })
        .collect()
}

/// The numbers of the jobs that are to be run by `verdicts`.
pub(crate) fn to_run(verdicts: &[Verdict]) -> Vec<usize> {
    let is_run = |number: &usize| !matches!(verdicts[*number], Verdict::UpToDate(_));
    (0..verdicts.len()).filter(is_run).collect()
}

/// Why `job` would be run, if all that is known of its object is `known`; nothing
/// when it would not.
///
/// # Errors
/// When clang does not accept the flags of `job`.
pub fn why_stale(job: &Job, known: &ObjectRecord) -> Result<Vec<String>> {
    llvm::start()?;
    let files = Files::default();
    let flags = crate::flags::map_one(job, &files)?;
    Ok(reasons(job, flags.key.as_ref(), known, &files))
}

/// Why the object of `job` is not what `known` says; nothing when it is.
fn reasons(
    job: &Job,
    flags: Option<&FlagsKey>,
    known: &ObjectRecord,
    files: &Files,
) -> Vec<String> {
    let Some(flags) = flags else {
        return vec!["its flags ask for more than an object".to_owned()];
    };
    let of_part = |part: Part| known.made_of.iter().filter(move |known| known.part == part);
    let imports: Vec<&str> = of_part(Part::Import).map(|known| &*known.name).collect();
    let mut now = dependencies(job, flags, &imports, files);
    let search = Search {
        directory: &job.directory,
        include: &flags.include,
        files,
    };
    let by_assembly = of_part(Part::IncludePath).chain(of_part(Part::AsmFile));
    now.extend(by_assembly.map(|known| search.now(known)));
    let mut reasons = dependency::differences(&known.made_of, &now);
    match files.digest(&job.output_path()) {
        None => reasons.push("the object is not there".to_owned()),
        Some(now) if now != known.object => reasons.push("the object was changed".to_owned()),
        Some(_) => {}
    }
    reasons
}

/// What decides the object of `job`, all of it but the files that its assembly
/// names. `imports` are the modules it imports from, by their names in its index.
///
/// The directory and the names of index and object are no part of it.
pub(crate) fn dependencies(
    job: &Job,
    flags: &FlagsKey,
    imports: &[&str],
    files: &Files,
) -> Vec<Dependency> {
    let content = |name: &str| files.get(&job.resolve(name)).ok().map(|file| file.digest());
    let mut list = compiler_and_flags(flags);
    list.push(Dependency::new(
        Part::Module,
        &job.module,
        content(&job.module),
    ));
    if let Some(index) = &job.index {
        list.push(Dependency::new(Part::Index, "", content(index)));
    }
    for import in imports {
        list.push(Dependency::new(Part::Import, import, content(import)));
    }
    if let Some(command) = &job.post {
        let digest = |path: &Path| files.digest(path);
        list.extend(dependency::of_command(command, &job.directory, digest));
    }
    list
}

/// What decides the object of `task`, as [`dependencies`] has it, but for the names of
/// modules: of these only the order counts, in which LLVM imports. `None` when the
/// index cannot be read.
pub(crate) fn dependencies_without_names(task: &Task, flags: &FlagsKey) -> Option<Vec<Dependency>> {
    let mut list = compiler_and_flags(flags);
    list.push(Dependency::new(Part::Module, "", task.module.digest()));
    let index = llvm::index_without_names(task.index.as_ref()?.bytes())?;
    list.push(Dependency::new(Part::Index, "", Digest::of(&index)));
    let mut imports: Vec<_> = task.imports.iter().collect();
    imports.sort_unstable_by_key(|(name, _)| name);
    for (number, (_, file)) in imports.into_iter().enumerate() {
        let import = Dependency::new(Part::Import, &number.to_string(), file.digest());
        list.push(import);
    }
    Some(list)
}

/// What decides an object once its module has everything that it imports, all of it
/// but the files that its assembly names. `without_block_list` leaves out the file that
/// lists basic blocks.
pub(crate) fn dependencies_after_import(
    flags: &FlagsKey,
    imported: Imported,
    without_block_list: bool,
) -> Vec<Dependency> {
    let mut list = match without_block_list {
        true => with_compiler(flags.without_block_list()),
        false => compiler_and_flags(flags),
    };
    list.push(Dependency::new(Part::ImportedModule, "", imported.module));
    list.push(Dependency::new(Part::IndexAfterImport, "", imported.index));
    list
}

/// What every object depends on, whatever it is compiled from.
fn compiler_and_flags(flags: &FlagsKey) -> Vec<Dependency> {
    with_compiler(&flags.dependencies)
}

fn with_compiler<'a>(flags: impl IntoIterator<Item = &'a Dependency>) -> Vec<Dependency> {
    let mut list = vec![Dependency::new(Part::Compiler, "", *identity::of_process())];
    list.extend(flags.into_iter().cloned());
    list
}

/// Sees to it that the object of `job` does not look older than its inputs, which
/// may have been written again without a change: make goes by times.
fn keep_younger(job: &Job, files: &Files) {
    let inputs: [Option<PathBuf>; 2] = [Some(job.module_path()), job.index_path()];
    let newest = inputs
        .into_iter()
        .flatten()
        .filter_map(|path| files.modified(&path))
        .max();
    make_younger(&job.output_path(), newest);
}

/// Gives the file at `path` the present time if it is older than `newest`, or
/// that one's if it is of the future. That it cannot be done only makes make do
/// more than it must.
pub fn make_younger(path: &Path, newest: Option<SystemTime>) {
    let modified = std::fs::metadata(path).and_then(|m| m.modified());
    if let (Ok(modified), Some(newest)) = (modified, newest)
        && modified < newest
        && let Ok(file) = std::fs::File::options().append(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now().max(newest));
    }
}
