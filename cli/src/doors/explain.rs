//! `backlto explain`: why an object was built, and whether it would be now.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::records;
use crate::console;
use crate::linker::native_name;
use crate::session::{Outcome, absolute};
use crate::text::shell_words;
use backlto::dependency::{Dependency, Part};
use backlto::error::{Error, Kind};
use backlto::incremental::ObjectRecord;
use backlto::{Job, incremental};

/// Prints what is known of `object`: an object, the module that it is made of, or the
/// source of that; with `json`, as JSON.
///
/// # Errors
/// When no record knows it.
pub(crate) fn run(object: &Path, json: bool) -> Outcome {
    let object = absolute(object)?;
    let names = names_of(&object);
    let mut nearest = None;
    for found in object.parent().into_iter().flat_map(records::above) {
        let known = names
            .iter()
            .find_map(|name| Some((name, found.record.object(name)?)));
        let Some((name, known)) = known else {
            nearest.get_or_insert(found.base);
            continue;
        };
        let job = found.job_of(name)?;
        let shown = name.strip_prefix(&found.base).unwrap_or(name);
        let text = match json {
            true => format!("{}\n", as_json(shown, known, job.as_ref())),
            false => describe(shown, known, job.as_ref()),
        };
        console::text(&text);
        return Ok(());
    }
    let Some(nearest) = nearest else {
        return Err(no_record(&object).into());
    };
    Err(Error::new(
        Kind::Input,
        format!("nothing is known of `{}`", object.display()),
    )
    .because(format!("it was not built in `{}`", nearest.display()))
    .hint("objects are recorded once backlto has built them there")
    .into())
}

/// The objects that somebody may mean by `object`: itself, that of a module, or that of
/// the module of a source.
fn names_of(object: &Path) -> [PathBuf; 3] {
    let native = |module: &Path| PathBuf::from(native_name(&module.to_string_lossy()));
    [
        object.to_owned(),
        native(object),
        native(&object.with_extension("o")),
    ]
}

/// An error that says that no directory above `object` has a record.
fn no_record(object: &Path) -> Error {
    Error::new(
        Kind::Input,
        format!("nothing is known of `{}`", object.display()),
    )
    .because("no directory above it has a record of a build")
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

/// What [`describe`] prints, as JSON.
fn as_json(name: &Path, known: &ObjectRecord, job: Option<&Job>) -> serde_json::Value {
    let now = job.map(|job| match incremental::why_stale(job, known) {
        Ok(reasons) => json!({"stale": reasons, "error": null}),
        Err(e) => json!({"stale": null, "error": e.to_string()}),
    });
    json!({
        "object": name.to_string_lossy(), "digest": known.object, "how": known.how.as_str(),
        "job_seconds": known.duration.as_secs_f64(), "why": known.why,
        "made_of": known.made_of, "flags": known.flags, "now": now,
    })
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
