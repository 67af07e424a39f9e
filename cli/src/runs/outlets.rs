//! Where what happened in a run goes when it has ended: beside the records of what was
//! built, and into a report if one is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::data::Run;
use super::keep;
use super::page::Report;
use crate::console;
use backlto::{JobReport, Origin};

/// How many characters of the name of what was built, each of at most four bytes, fit into
/// the name of a file.
const LONGEST_NAME: usize = 50;

/// Where a run goes.
pub(crate) struct Outlets {
    /// The report's file, or a directory that gets one.
    report: Option<PathBuf>,
    /// The files that are to keep the run.
    kept: Mutex<Vec<PathBuf>>,
}

impl Outlets {
    /// For a run that goes into `report` if that is given: a file, or a directory that is
    /// there.
    pub(crate) fn new(report: Option<PathBuf>) -> Outlets {
        Outlets {
            report,
            kept: Mutex::default(),
        }
    }

    /// Has the run kept beside `record`, if there is one, where jobs have ended as `reports`
    /// say. Returns whether anybody wants to know of these jobs.
    ///
    /// Where nothing was run, there is more to see in the run before.
    pub(crate) fn open(&self, record: Option<&Path>, reports: &[JobReport]) -> bool {
        let has_run = reports
            .iter()
            .any(|report| report.origin != Origin::UpToDate || report.audited);
        let kept = record.map(keep::beside);
        let kept = kept.filter(|path| has_run || !path.exists());
        let is_wanted = self.report.is_some() || kept.is_some();
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(kept);
        is_wanted
    }

    /// Writes the run that `happened` gives to where it goes. A report that cannot be
    /// written is an error; that nothing can be kept is worth a warning.
    pub(crate) fn write(self, happened: impl FnOnce() -> Run) {
        let kept = self.kept.into_inner();
        let kept = kept.unwrap_or_else(PoisonError::into_inner);
        if self.report.is_none() && kept.is_empty() {
            return;
        }
        let run = happened();
        for path in kept {
            if let Err(e) = keep::write(&run, &path) {
                console::warning(&format!("there will be no report of this run: {e}"));
            }
        }
        if let Some(path) = self.report {
            let path = place_of(&path, &run);
            if let Err(e) = Report::of(run, None).write(&path) {
                console::lost_output(&e);
            }
        }
    }
}

/// The file for the report of `run` that is to go to `path`.
fn place_of(path: &Path, run: &Run) -> PathBuf {
    match path.is_dir() {
        true => path.join(name_of(run)),
        false => path.to_owned(),
    }
}

/// A name for the report of `run` among those of others.
fn name_of(run: &Run) -> String {
    let directory = Path::new(&run.directory).file_name().unwrap_or_default();
    let built = match &run.link {
        Some(output) => output.clone(),
        None => directory.to_string_lossy().into_owned(),
    };
    let words = built.split('/').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let name = words.join("-");
    // The end tells more than the start.
    let too_many = name.chars().count().saturating_sub(LONGEST_NAME);
    let name: String = name.chars().skip(too_many).collect();
    format!("backlto-{name}.html")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::data::VERSION;

    fn run(link: Option<&str>) -> Run {
        Run {
            version: VERSION,
            workers: 1,
            directory: "/home/x/out".to_owned(),
            link: link.map(str::to_owned),
            places: vec![String::new()],
            ..Run::default()
        }
    }

    #[test]
    fn reports_in_a_directory_are_called_by_what_was_built() {
        let directory = tempfile::tempdir().unwrap();
        let place = |link| place_of(directory.path(), &run(link));
        assert!(place(Some("a/lib.so")).ends_with("backlto-a-lib.so.html"));
        assert!(place(Some("/a/lib.so")).ends_with("backlto-a-lib.so.html"));
        assert!(place(None).ends_with("backlto-out.html"));
        let file = directory.path().join("x.html");
        assert_eq!(place_of(&file, &run(None)), file);
        assert!(name_of(&run(Some(&"ü/".repeat(300)))).len() < 255);
    }

    #[test]
    fn a_run_in_which_nothing_was_run_does_not_replace_another() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("record");
        let kept = keep::beside(&record);
        let ends = || {
            let outlets = Outlets::new(None);
            let wanted = outlets.open(Some(&record), &[]);
            outlets.write(|| run(None));
            wanted
        };
        assert!(ends());
        assert_eq!(keep::read(&kept).unwrap(), run(None));
        std::fs::write(&kept, "the run before").unwrap();
        assert!(!ends());
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "the run before");
        assert!(!Outlets::new(None).open(None, &[]));
        assert!(Outlets::new(Some("x".into())).open(None, &[]));
    }
}
