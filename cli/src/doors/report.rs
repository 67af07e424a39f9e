//! `backlto report`: the last run of a tree or plan as a page to look at.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{programs, records};
use crate::browser;
use crate::console;
use crate::runs::data::Run;
use crate::runs::keep;
use crate::runs::page::Report;
use crate::session::{Outcome, absolute};
use backlto::error::{Error, Kind, Result};

/// What is wanted.
pub(crate) struct Request {
    /// The run: a directory in a tree that was built, a plan, a record, or a report.
    pub(crate) run: PathBuf,
    /// The run to compare it with, named likewise.
    pub(crate) against: Option<PathBuf>,
    /// Where the page goes.
    pub(crate) output: PathBuf,
    /// Whether to show it in a browser.
    pub(crate) open: bool,
    /// Print the report as JSON, and write no page.
    pub(crate) json: bool,
}

/// Writes the page that `request` asks for, says what it comes to, and shows it.
///
/// # Errors
/// When nothing is known of a run, the page cannot be written, or no browser starts.
pub(crate) fn run(request: &Request) -> Outcome {
    let run = find(&request.run)?;
    let other = request.against.as_deref().map(find).transpose()?;
    let report = Report::of(run, other.as_ref());
    if request.json {
        console::line(&report.json());
        return Ok(());
    }
    report.write(&request.output)?;
    let findings = &report.findings;
    for text in [&findings.run, &findings.cores, &findings.against] {
        text.iter().for_each(|line| console::line(line));
    }
    console::line(&format!("wrote `{}`", request.output.display()));
    if request.open {
        browser::show(&request.output)?;
    }
    Ok(())
}

/// The run that `path` names.
///
/// # Errors
/// When there is none, or it cannot be understood.
fn find(path: &Path) -> Result<Run> {
    let path = absolute(path)?;
    if path.is_dir() {
        return find_in(&path);
    }
    // A record, a plan with one beside it, or the run itself.
    let record = programs::record_path(&path)?;
    let kept = [keep::beside(&path), keep::beside(&record)];
    match kept.iter().find(|path| path.is_file()) {
        Some(kept) => keep::read(kept),
        None if record.is_file() => Err(nothing_kept(&record)),
        None => keep::read(&path),
    }
}

/// The run of which something is kept in `directory` or the nearest above it.
fn find_in(directory: &Path) -> Result<Run> {
    let mut nearest = None;
    for record in records::paths_above(directory) {
        let kept = keep::beside(&record);
        if kept.is_file() {
            return keep::read(&kept);
        }
        nearest.get_or_insert(record);
    }
    match nearest {
        Some(record) => Err(nothing_kept(&record)),
        None => {
            let text = format!("nothing is known of a run in `{}`", directory.display());
            Err(Error::new(Kind::Input, text)
                .because("neither it nor a directory above it has a record of a build")
                .hint("name a tree or plan that was built; links leave a report where BACKLTO_REPORT says"))
        }
    }
}

/// An error that says that only `record` is there.
fn nothing_kept(record: &Path) -> Error {
    let text = format!(
        "nothing is kept of the run that wrote `{}`",
        record.display()
    );
    let name = record.file_name().unwrap_or(OsStr::new(""));
    let missing = keep::beside(Path::new(name));
    Error::new(Kind::Input, text)
        .because(format!("`{}` is not beside it", missing.display()))
        .hint("build again: each run leaves it")
}
