//! What need not be compiled: jobs whose object is there already, by a record
//! beside it, and jobs whose object the cache has.
//!
//! Both decide by content alone. An object depends on its module, its summary
//! index, the modules it imports from, its flags, the files that assembly pulls
//! in, and the LLVM and backlto that compile it; if all of these are as they
//! were, so is the object.

pub(crate) mod asm;
pub(crate) mod attempt;
pub mod contents;
pub(crate) mod key;
pub mod record;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

use self::asm::{INCLUDE_PATH, Search};
use self::contents::Contents;
use self::record::{JobRecord, Record};
use crate::digest::Digest;
use crate::error::Result;
use crate::flags::MappedFlags;
use crate::plan::{Job, Plan};

/// What a job needs.
pub(crate) enum Verdict {
    /// Nothing: its object is what it would become.
    UpToDate(Box<JobRecord>),
    /// To be built, for these reasons.
    Stale(Vec<String>),
}

/// Judges every job of `plan` by `record` and by what is in files now.
pub(crate) fn judge(
    plan: &Plan,
    flags: &[std::sync::Arc<MappedFlags>],
    record: &Record,
    contents: &mut Contents,
) -> Vec<Verdict> {
    let known: Vec<Option<JobRecord>> = plan.jobs.iter().map(|job| record.job(job)).collect();
    let pairs = || plan.jobs.iter().zip(&known);
    // Whoever has no record reads no file here.
    contents
        .read(pairs().flat_map(|(job, known)| known.iter().flat_map(|known| files(job, known))));
    let contents = &*contents;
    plan.jobs
        .par_iter()
        .zip(flags)
        .zip(known)
        .map(|((job, flags), known)| {
            let Some(known) = known else {
                return Verdict::Stale(vec!["nothing is known of an earlier build".to_owned()]);
            };
            let reasons = reasons(job, flags, &known, contents);
            match reasons.is_empty() {
                true => {
                    keep_younger(job, contents);
                    Verdict::UpToDate(Box::new(known))
                }
                false => Verdict::Stale(reasons),
            }
        })
        .collect()
}

/// The files that decide whether `job` is what `known` describes, but for those
/// that assembly names: its object and what that was made of.
pub(crate) fn files(job: &Job, known: &JobRecord) -> impl Iterator<Item = PathBuf> {
    let imports = known.imports.iter().map(|(name, _)| job.resolve(name));
    imports
        .chain([job.module_path(), job.output_path()])
        .chain(job.index_path())
}

/// Why `job` is not what `known` describes; nothing when it is. `contents` has
/// its [`files`].
pub(crate) fn reasons(
    job: &Job,
    flags: &MappedFlags,
    known: &JobRecord,
    contents: &Contents,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if known.build != *key::build() {
        reasons.push("backlto or LLVM is another build".to_owned());
    }
    let Some(key) = &flags.key else {
        reasons.push("its flags ask for more than an object".to_owned());
        return reasons;
    };
    if known.flags != key.digest {
        reasons.push("its flags changed".to_owned());
    }
    if known.post != post(job) {
        reasons.push("the program to run on it changed".to_owned());
    }
    let now = |name: &str| contents.digest(&job.resolve(name));
    let mut compare = |what: &str, name: &str, before: &Digest| {
        match now(name) {
            Some(now) if now == *before => {}
            Some(now) => {
                let (before, now) = (short(before), short(&now));
                reasons.push(format!("{what} `{name}` changed from {before} to {now}"));
            }
            None => reasons.push(format!("{what} `{name}` cannot be read")),
        };
    };
    compare("its module", &job.module, &known.module);
    match (&job.index, &known.index) {
        (Some(index), Some(before)) => compare("its summary index", index, before),
        (None, None) => {}
        _ => reasons.push("it is compiled with a summary index now, or no longer".to_owned()),
    }
    for (name, before) in &known.imports {
        if now(name) != Some(*before) {
            reasons.push(format!("`{name}`, from which it imports, changed"));
        }
    }
    let search = Search {
        directory: &job.directory,
        include: &key.include,
    };
    for (name, before) in &known.asm {
        if search.is_as(name, before) {
            continue;
        }
        reasons.push(match name.as_str() {
            INCLUDE_PATH => "the include path of its assembly changed".to_owned(),
            name => format!("`{name}`, which its assembly names, changed"),
        });
    }
    match contents.digest(&job.output_path()) {
        None => reasons.push("the object is not there".to_owned()),
        Some(now) if now != known.object => reasons.push("the object was changed".to_owned()),
        Some(_) => {}
    }
    reasons
}

/// Why `job` would be run, if all that is known of its object is `known`; nothing
/// when it would not.
///
/// # Errors
/// When clang does not accept the flags of `job`.
pub fn why_stale(job: &Job, known: &JobRecord) -> Result<Vec<String>> {
    crate::llvm::start()?;
    let plan = Plan {
        jobs: vec![job.clone()],
        ..Plan::default()
    };
    let flags = crate::flags::map(&plan)?;
    let mut contents = Contents::default();
    contents.read(files(job, known));
    Ok(reasons(job, &flags[0], known, &contents))
}

/// The program to run on the object of `job`: its words, and the content of the
/// files that they name, itself first of all.
pub(crate) fn post(job: &Job) -> Option<Vec<String>> {
    let command = job.post.as_deref()?;
    let mut words = command.to_vec();
    for (number, word) in command.iter().enumerate() {
        let path = match number == 0 && !word.contains('/') {
            true => which::which(word).ok(),
            false => Some(job.resolve(word)),
        };
        let content = path
            .filter(|path| path.is_file())
            .and_then(|path| std::fs::read(path).ok());
        words.extend(content.map(|content| Digest::of(&content).to_string()));
    }
    Some(words)
}

/// Enough of a digest for a person to tell two apart.
fn short(digest: &Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(12);
    text
}

/// make goes by times: an object must not look older than what it is made of,
/// which may have been written again without a change.
fn keep_younger(job: &Job, contents: &Contents) {
    let newest = [Some(job.module_path()), job.index_path()]
        .into_iter()
        .flatten()
        .filter_map(|path| contents.modified(&path))
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
