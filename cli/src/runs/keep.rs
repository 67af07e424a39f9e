//! What is kept of a run, beside the record of what was built, so that a report can be made
//! afterwards.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::data::{Run, VERSION};
use super::page;
use backlto::error::{Error, Kind, Result};
use backlto::{emit, files};

/// Ends the name of the file of a run, which starts with that of the record.
const SUFFIX: &str = "-run";

/// The file of the run beside the `record` of what was built.
pub(crate) fn beside(record: &Path) -> PathBuf {
    let mut name = OsString::from(record);
    name.push(SUFFIX);
    name.into()
}

/// Writes `run` to `path`.
///
/// # Errors
/// When it cannot be written; what was there before stays.
pub(crate) fn write(run: &Run, path: &Path) -> Result<()> {
    let text = serde_json::to_vec(run).unwrap_or_default();
    emit::write_regular(path, &text)
}

/// Reads the run of which the file at `path` tells: what is kept of it, or a report.
///
/// # Errors
/// When it cannot be read, is neither, is damaged, or is of another version.
pub(crate) fn read(path: &Path) -> Result<Run> {
    let failed = |reason: String| {
        let text = format!("cannot read a run from `{}`", path.display());
        Error::new(Kind::Input, text).because(reason)
    };
    let text = files::read_text(path).map_err(|e| failed(e.to_string()))?;
    let (json, is_page) = match page::data_of(&text) {
        Some(data) => (data, true),
        None => (&*text, false),
    };
    let version: Versioned = serde_json::from_str(json).map_err(|_| {
        failed("it is damaged, or neither a report nor what backlto keeps of a run".to_owned())
            .hint("name a report, a tree or plan that was built, or its record")
    })?;
    if version.version != VERSION {
        let reason = format!(
            "it is of version {}, and this backlto reads version {VERSION}",
            version.version
        );
        return Err(
            failed(reason).hint("build again with this backlto, or use the one that wrote it")
        );
    }
    let run = match is_page {
        true => serde_json::from_str(json).map(|InPage { run }| run),
        false => serde_json::from_str(json),
    };
    let damaged = |reason: String| failed(format!("it is damaged: {reason}")).hint("build again");
    let run: Run = run.map_err(|e| damaged(e.to_string()))?;
    match run.is_sound() {
        true => Ok(run),
        false => Err(damaged("its numbers do not fit together".to_owned())),
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// What of a page is of another run than its own.
#[derive(Deserialize)]
struct InPage {
    run: Run,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::data::Module;
    use crate::runs::page::Report;

    fn run() -> Run {
        Run {
            version: VERSION,
            workers: 2,
            places: vec![String::new()],
            modules: vec![Module {
                name: "</script>ü.o".to_owned(),
                ..Module::default()
            }],
            ..Run::default()
        }
    }

    #[test]
    fn a_run_is_read_back_from_its_file_and_from_a_report() {
        let directory = tempfile::tempdir().unwrap();
        let path = beside(&directory.path().join(".tmp_record"));
        assert!(path.ends_with(".tmp_record-run"));
        write(&run(), &path).unwrap();
        assert_eq!(read(&path).unwrap(), run());
        let page = directory.path().join("page.html");
        Report::of(run(), None).write(&page).unwrap();
        assert_eq!(read(&page).unwrap(), run());
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_refused_with_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run");
        let sound = serde_json::to_string(&run()).unwrap();
        let other = sound.replace("\"version\":1", "\"version\":77");
        let nowhere = sound.replace("\"object_bytes\"", "\"imports\":[9],\"object_bytes\"");
        for (text, reason) in [
            ("", "neither a report"),
            ("no JSON", "neither a report"),
            ("{}", "neither a report"),
            (&*other, "version 77"),
            (r#"{"version":1}"#, "damaged"),
            (&sound[..sound.len() / 2], "neither a report"),
            (&*nowhere, "do not fit together"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        assert!(read(&directory.path().join("missing")).is_err());
    }
}
