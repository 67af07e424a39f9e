//! A compile in one file: all that it reads, with what repeats it by backlto and by
//! clang, wherever it is unpacked.
//!
//! ```text
//!   backlto-repro-NAME/
//!     repro.json       the job, and where its files are
//!     run.sh           repeats it
//!     tree/0/…         a level for each `..` that names start with; in the last one
//!                      relative names start
//!     root/…           files with absolute names
//! ```
//!
//! An index knows modules by their names, so those stay as they are. Relative ones
//! fit wherever the tree is. For absolute ones the [`Plan`](crate::Plan) of an
//! unpacked [`Reproducer`] has the files in memory; clang needs them in their
//! places. All other absolute names are words of the command line, and lead to
//! `root` there.

mod layout;
mod pack;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

pub(crate) use pack::Case;
pub use unpack::Reproducer;

use crate::emit;
use crate::error::{Error, Kind, Result};
use crate::plan::Job;

/// Says what an engine writes reproducers of, and where.
///
/// More fields may come: write `..ReproducerOptions::new(directory)`.
#[derive(Clone, Debug)]
pub struct ReproducerOptions {
    /// The directory that a reproducer of each crash of LLVM goes to, as
    /// `backlto-repro-NAME.tar.zst`: of three in a run, and of ten with one name.
    pub directory: PathBuf,
    /// Objects, or the modules that they are made of, of which there is to be one
    /// in any case. They are compiled even if they are up to date, without the
    /// cache.
    pub of: Vec<PathBuf>,
}

impl ReproducerOptions {
    /// Chooses `directory`, for crashes alone.
    pub fn new(directory: impl Into<PathBuf>) -> ReproducerOptions {
        ReproducerOptions {
            directory: directory.into(),
            of: Vec::new(),
        }
    }
}

/// How many crashes of one run leave a reproducer: what crashes LLVM everywhere
/// must not fill the disk.
const CRASHES: usize = 3;

/// How many reproducers have one name, as each run adds one.
const NUMBERS: usize = 10;

/// What is at the top of an archive.
const DESCRIPTION: &str = "repro.json";
const SCRIPT: &str = "run.sh";

/// The version of the layout and of [`Description`].
const FORMAT: u32 = 1;

/// The file `repro.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    backlto: String,
    /// The version of LLVM and clang.
    llvm: String,
    /// What happened to the compile; nothing when it went well.
    failure: Option<String>,
    /// clang's command line.
    command: Vec<String>,
    /// Where it is run, from the top of the archive.
    directory: String,
    /// The job's files, by the names that the command and the index have for them.
    module: String,
    index: Option<String>,
    output: String,
    /// Modules with absolute names, and where they are in the archive.
    absolute: Vec<(String, String)>,
}

/// The reproducers of an engine.
#[derive(Debug)]
pub(crate) struct Reproducers {
    directory: PathBuf,
    of: Vec<PathBuf>,
    crashes_left: AtomicUsize,
}

impl Reproducers {
    /// # Errors
    /// When there is no working directory for a relative name to start at.
    pub(crate) fn new(options: &ReproducerOptions) -> Result<Reproducers> {
        let absolute = |path: &PathBuf| {
            // Workers change their working directories.
            std::path::absolute(path).map_err(|e| {
                let text = format!("cannot resolve `{}`", path.display());
                Error::new(Kind::Environment, text).because(e)
            })
        };
        let of = options.of.iter().map(absolute);
        Ok(Reproducers {
            directory: absolute(&options.directory)?,
            of: of
                .map(|path| path.map(|path| same_name(&path)))
                .collect::<Result<_>>()?,
            crashes_left: AtomicUsize::new(CRASHES),
        })
    }

    /// Whether there is to be one of `job` in any case.
    pub(crate) fn is_asked_for(&self, job: &Job) -> bool {
        !self.of.is_empty()
            && [job.output_path(), job.module_path()]
                .iter()
                .any(|path| self.of.contains(&same_name(path)))
    }

    /// Whether one more crash may leave a reproducer.
    pub(crate) fn takes_crash(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let (order, otherwise) = (Ordering::Relaxed, Ordering::Relaxed);
        self.crashes_left
            .fetch_update(order, otherwise, less)
            .is_ok()
    }

    /// Writes the reproducer of `case` and gives its path.
    ///
    /// # Errors
    /// [`Kind::Output`] when it cannot be written.
    pub(crate) fn write(&self, case: &Case<'_>) -> Result<PathBuf> {
        let name = name_of(&case.job.module.name);
        let failed = |e: std::io::Error| {
            let text = format!(
                "cannot write a reproducer to `{}`",
                self.directory.display()
            );
            Error::new(Kind::Output, text).because(e)
        };
        let archive = case.pack(&name).map_err(failed)?;
        for number in 0..NUMBERS {
            let path = match number {
                0 => self.directory.join(format!("{name}.tar.zst")),
                _ => self.directory.join(format!("{name}.{number}.tar.zst")),
            };
            if emit::write_new(&path, &archive).map_err(failed)? {
                return Ok(path);
            }
        }
        let reason = format!("there are {NUMBERS} of that name");
        Err(failed(std::io::Error::other(reason)))
    }
}

/// One spelling for all names of the file at `path`.
fn same_name(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The name of a reproducer for `module`: what a shell and every file system takes.
fn name_of(module: &str) -> String {
    let file = Path::new(module).file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let stem = file.strip_suffix(".o").unwrap_or(&file);
    let plain = |c: char| match c.is_ascii_alphanumeric() || "+-._".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = stem.chars().take(100).map(plain).collect();
    format!("backlto-repro-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short() {
        for (module, name) in [
            ("a/b.c.o", "backlto-repro-b.c"),
            (
                "lib.a(größer.o at 12)",
                "backlto-repro-lib.a_gr__er.o_at_12_",
            ),
            ("", "backlto-repro-"),
        ] {
            assert_eq!(name_of(module), name);
        }
        assert!(name_of(&"x".repeat(300)).len() < 120);
    }

    #[test]
    fn a_run_leaves_three() {
        let options = ReproducerOptions::new("/nowhere");
        let reproducers = Reproducers::new(&options).unwrap();
        let taken = (0..10).filter(|_| reproducers.takes_crash()).count();
        assert_eq!(taken, CRASHES);
    }
}
