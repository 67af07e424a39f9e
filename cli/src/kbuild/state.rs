//! What backlto knows of an object tree: its record, and its files now. Steps
//! that are not compiles are left out when content proves that they would write
//! what is there. Times are kept as make wants them: what is written anew
//! without a change keeps its own, and nothing looks older than what it is made
//! of.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::session::keep_record;
use backlto::digest::{Digest, Hasher};
use backlto::error::Result;
use backlto::files::{self, Files};
use backlto::incremental;
use backlto::incremental::Record;

/// The file of a tree that holds its record, of what the objects are made of;
/// `make clean` removes files of such names.
pub(crate) const RECORD: &str = ".tmp_backlto";

/// What is known of a tree: from earlier builds, and of its files now.
pub(crate) struct TreeState<'a> {
    objtree: &'a Path,
    /// What earlier builds recorded.
    pub(crate) record: Record,
    /// The files that were read in this run.
    pub(crate) files: Files,
}

/// What a step that is not a compile has read and written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    /// Command and content of everything that it reads.
    inputs: Digest,
    /// Names and content of what it writes.
    outputs: Digest,
}

/// What make said, and would say again to the same question while the makefiles
/// are the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MakeAnswer {
    /// The question, and names and content of `makefiles`.
    pub(crate) inputs: Digest,
    /// The makefiles that make has read.
    pub(crate) makefiles: Vec<String>,
    /// What make printed.
    pub(crate) text: String,
}

/// The name that the record has for make's answer.
const MAKE_ANSWER: &str = "make";

/// Names the files that a step has written, if it has.
pub(crate) type Outputs<'a> = &'a dyn Fn() -> Option<Vec<String>>;

impl<'a> TreeState<'a> {
    /// Reads the record of the tree at `objtree`.
    pub(crate) fn read(objtree: &'a Path) -> TreeState<'a> {
        TreeState {
            objtree,
            record: Record::read(&objtree.join(RECORD)),
            files: Files::default(),
        }
    }

    /// Leaves the record for the next run.
    pub(crate) fn keep(&self) {
        keep_record(&self.record, &self.record_path());
    }

    /// The file of the record.
    pub(crate) fn record_path(&self) -> PathBuf {
        self.objtree.join(RECORD)
    }

    /// What make answered in an earlier run, whatever it was asked.
    pub(crate) fn make_answer(&self) -> Option<MakeAnswer> {
        self.record.note(MAKE_ANSWER)
    }

    /// Remembers what make has answered; `None` forgets it.
    pub(crate) fn set_make_answer(&mut self, answer: Option<&MakeAnswer>) {
        self.record.set_note(MAKE_ANSWER, answer);
    }

    /// A digest of `words` and of the names and contents of `files`, which are
    /// relative to the tree; `None` when one cannot be read.
    pub(crate) fn digest(&mut self, words: &[&str], files: &[String]) -> Option<Digest> {
        let paths = self.paths(files);
        self.files.read(paths.iter().cloned());
        let mut hasher = Hasher::new();
        for word in words {
            hasher.field("word", word.as_bytes());
        }
        for (name, path) in files.iter().zip(&paths) {
            hasher
                .field("file", name.as_bytes())
                .field("content", self.files.digest(path)?.as_bytes());
        }
        Some(hasher.digest())
    }

    /// Has `files` read anew when they are asked for.
    pub(crate) fn forget(&mut self, files: &[String]) {
        let paths = self.paths(files);
        self.files.take(paths);
    }

    fn paths(&self, files: &[String]) -> Vec<PathBuf> {
        files.iter().map(|name| self.objtree.join(name)).collect()
    }

    /// Has `run` write `outputs`, unless the step `name` has written them as they
    /// are from the same `inputs`, which are all that it depends on. Without
    /// `inputs` it always runs.
    ///
    /// Outputs that stay the same keep their time, but for the file `name`: by
    /// that make sees that the step was done.
    ///
    /// # Errors
    /// When `run` fails. The step is then due again.
    pub(crate) fn step(
        &mut self,
        name: &str,
        inputs: Option<Digest>,
        outputs: Outputs<'_>,
        run: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let files = outputs();
        let now = files.as_ref().and_then(|files| self.digest(&[], files));
        let note = format!("step {name}");
        let known: Option<Step> = self.record.note(&note);
        if known.is_some_and(|step| inputs == Some(step.inputs) && now == Some(step.outputs)) {
            return Ok(());
        }
        self.record.set_note(&note, None::<&Step>);
        let paths = self.paths(&files.unwrap_or_default());
        let before = self.files.take(paths);
        before.take([self.objtree.join(name)]);
        run()?;
        let files = outputs();
        let now = files.as_ref().and_then(|files| self.digest(&[], files));
        self.files.keep_times(&before);
        if let (Some(inputs), Some(outputs)) = (inputs, now) {
            self.record.set_note(&note, Some(&Step { inputs, outputs }));
        }
        Ok(())
    }
}

/// Sees to it that the file `name` of `directory` does not look older than
/// `inputs`, which are files there too.
pub(crate) fn date_after(directory: &Path, name: &str, inputs: &[String]) {
    let newest = inputs
        .iter()
        .filter_map(|input| directory.join(input).metadata().ok()?.modified().ok())
        .max();
    incremental::make_younger(&directory.join(name), newest);
}

/// Gives the file at `path` the present time.
pub(crate) fn date_now(path: &Path) {
    incremental::make_younger(path, Some(SystemTime::now()));
}

/// Writes `text` to the file at `path`, which is left alone when it has that text.
///
/// # Errors
/// When the file cannot be written; what was there before stays.
pub(crate) fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if files::read(path).is_ok_and(|before| before == text.as_bytes()) {
        return Ok(());
    }
    backlto::emit::write_regular(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write_file(tree: &Path, name: &str, text: &str) {
        std::fs::write(tree.join(name), text).unwrap();
    }

    #[test]
    fn names_and_contents_count() {
        let tree = tempfile::tempdir().unwrap();
        write_file(tree.path(), "a", "1");
        write_file(tree.path(), "b", "1");
        let of = |words: &[&str], files: &[&str]| {
            let files: Vec<String> = files.iter().map(|name| (*name).to_owned()).collect();
            TreeState::read(tree.path()).digest(words, &files)
        };
        let first = of(&["x"], &["a"]).unwrap();
        assert_ne!(of(&["x"], &["b"]), Some(first));
        assert_ne!(of(&["y"], &["a"]), Some(first));
        assert_eq!(of(&["x"], &["a", "absent"]), None);
        write_file(tree.path(), "a", "2");
        assert_ne!(of(&["x"], &["a"]), Some(first));
        write_file(tree.path(), "a", "1");
        assert_eq!(of(&["x"], &["a"]), Some(first));
    }

    #[test]
    fn a_step_runs_when_its_inputs_or_outputs_are_others() {
        let tree = tempfile::tempdir().unwrap();
        let mut state = TreeState::read(tree.path());
        // A new run sees files anew.
        let mut runs = |inputs: &str, writes: &str| {
            state.files = Files::default();
            let inputs = state.digest(&[inputs], &[]);
            let mut ran = false;
            let outputs = || Some(vec!["x".to_owned()]);
            state
                .step("x", inputs, &outputs, || {
                    ran = true;
                    write_file(tree.path(), "x", writes);
                    Ok(())
                })
                .unwrap();
            ran
        };
        assert!(runs("1", "a"));
        assert!(!runs("1", "a"));
        assert!(runs("2", "b"));
        write_file(tree.path(), "x", "damaged");
        assert!(runs("2", "b"));
        assert!(!runs("2", "b"));
    }

    #[test]
    fn only_a_change_is_dated() {
        let tree = tempfile::tempdir().unwrap();
        let files = ["same", "other", "new", "step"].map(str::to_owned);
        let modified = |name: &str| tree.path().join(name).metadata().unwrap().modified();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for name in ["same", "other", "step"] {
            write_file(tree.path(), name, name);
            let path = tree.path().join(name);
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(old).unwrap();
        }
        let there = || {
            let is_there = |name: &&String| tree.path().join(name).exists();
            Some(files.iter().filter(is_there).cloned().collect())
        };
        TreeState::read(tree.path())
            .step("step", None, &there, || {
                write_file(tree.path(), "step", "step");
                write_file(tree.path(), "same", "same");
                write_file(tree.path(), "other", "changed");
                write_file(tree.path(), "new", "new");
                Ok(())
            })
            .unwrap();
        assert_eq!(modified("same").unwrap(), old);
        for name in ["other", "new", "step"] {
            assert!(modified(name).unwrap() > old, "{name}");
        }

        write_file(tree.path(), "input", "");
        date_after(tree.path(), "same", &["input".to_owned()]);
        assert!(modified("same").unwrap() > old);
    }
}
