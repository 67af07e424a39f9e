//! `backlto explain`: why an object was built, and whether it would be now.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::kbuild::{RECORD, job_of};
use crate::linker::native_name;
use crate::session::{Outcome, absolute};
use crate::text::shell_words;
use backlto::dependency::{Dependency, Part};
use backlto::error::{Error, Kind};
use backlto::incremental::{ObjectRecord, Record};
use backlto::{Job, incremental};

/// Prints what is known of `object`: an object, or the module that it is made
/// of.
///
/// # Errors
/// When no record knows it.
pub(crate) fn run(object: &Path) -> Outcome {
    let object = absolute(object)?;
    let found = object.parent().and_then(find_record);
    let (base, record) = found.ok_or_else(|| no_record(&object))?;
    let (name, known) = [
        object.clone(),
        PathBuf::from(native_name(&object.to_string_lossy())),
    ]
    .iter()
    .find_map(|path| Some((path.clone(), record.object(path)?)))
    .ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("nothing is known of `{}`", object.display()),
        )
        .because(format!("it was not built in `{}`", base.display()))
        .hint("objects are recorded once backlto has built them there")
    })?;
    let shown = name.strip_prefix(&base).unwrap_or(&name);
    let job = job_of(&base, shown)?;
    let text = describe(shown, known, job.as_ref());
    // Nobody is left to tell when standard output is gone.
    let _ = write!(std::io::stdout(), "{text}");
    Ok(())
}

/// The record of the tree that `directory` is in, and where that tree is.
pub(super) fn find_record(directory: &Path) -> Option<(PathBuf, Record)> {
    directory
        .ancestors()
        .find(|directory| directory.join(RECORD).is_file())
        .map(|base| (base.to_owned(), Record::read(&base.join(RECORD))))
}

/// An error that says that no directory above `object` has a record.
fn no_record(object: &Path) -> Error {
    Error::new(
        Kind::Input,
        format!("nothing is known of `{}`", object.display()),
    )
    .because(format!("no directory above it has a `{RECORD}`"))
    .hint("builds leave one in the directory that they work in")
}

/// What `explain` prints of the object `name`, which was built as `known` says and
/// would be built by `job` now.
fn describe(name: &Path, known: &ObjectRecord, job: Option<&Job>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "{what:<12} {value}");
    };
    line("object", &format!("{} ({})", name.display(), known.object));
    line(
        "built",
        &format!(
            "{} in {:.1} ms",
            known.how,
            known.duration.as_secs_f64() * 1e3
        ),
    );
    known.why.iter().for_each(|why| line("because", why));
    for dependency in &known.made_of {
        // Their words say more than their digest.
        if dependency.part != Part::Flags {
            line(dependency.part.as_str(), &content_of(dependency));
        }
    }
    line("flags", &shell_words(&known.flags));
    let Some(job) = job else {
        return text;
    };
    match incremental::why_stale(job, known) {
        Ok(reasons) if reasons.is_empty() => line("now", "up to date"),
        Ok(reasons) => reasons
            .iter()
            .for_each(|why| line("now", &format!("stale: {why}"))),
        Err(e) => line("now", &format!("cannot be built: {e}")),
    }
    if let backlto::CompilerCommand::Flags(now) = &job.command
        && now[..] != known.flags[..]
    {
        line("flags now", &shell_words(now));
    }
    text
}

/// The name of `dependency`, if it has one, and enough of the digest of its content
/// to tell it from another.
fn content_of(dependency: &Dependency) -> String {
    let content = dependency
        .digest
        .map_or("absent".to_owned(), |digest| digest.short());
    match dependency.name.is_empty() {
        true => content,
        false => format!("{} ({content})", dependency.name),
    }
}
