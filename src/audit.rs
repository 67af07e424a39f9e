//! Trust is good: some of what would be taken from the record or the cache is compiled
//! anyway, and compared.
//!
//! This module says what is drawn, and keeps what differs. Who compiles is
//! [`recheck`](crate::recheck).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::dependency::Dependency;
use crate::digest::{Digest, Hasher};
use crate::emit;
use crate::error::{Error, Kind, Result};

/// Says how much of what would be taken from the record or the cache is compiled
/// anyway.
///
/// More fields may come: write `..AuditOptions::new(percent)`.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// How many of 100 objects, from 0 (none) to 100 (all).
    pub percent: f64,
    /// What decides which: of the same modules, the same seed draws the same.
    pub seed: u64,
    /// The directory that both objects go to when they differ, in a directory
    /// `backlto-audit-NAME` of their own.
    pub directory: PathBuf,
}

impl AuditOptions {
    /// Chooses `percent`, the seed 0 and the working directory.
    pub fn new(percent: f64) -> AuditOptions {
        AuditOptions {
            percent,
            seed: 0,
            directory: ".".into(),
        }
    }
}

/// How many directories have one name, as each difference adds one.
const NUMBERS: usize = 10;

/// The audit of an engine.
#[derive(Debug)]
pub(crate) struct Audit {
    options: AuditOptions,
}

impl Audit {
    /// # Errors
    /// When there is no working directory for a relative name to start at, or there
    /// are not so many percent.
    pub(crate) fn new(options: &AuditOptions) -> Result<Audit> {
        if !(0.0..=100.0).contains(&options.percent) {
            let text = format!("cannot audit {} percent of the objects", options.percent);
            return Err(Error::new(Kind::Plan, text).hint("choose from 0 to 100"));
        }
        let directory = &options.directory;
        // Workers change their working directories.
        let directory = std::path::absolute(directory).map_err(|e| {
            let text = format!("cannot resolve `{}`", directory.display());
            Error::new(Kind::Environment, text).because(e)
        })?;
        Ok(Audit {
            options: AuditOptions {
                directory,
                ..options.clone()
            },
        })
    }

    /// Whether the object of the module with the content `module` is drawn. Names do
    /// not count: those of a link's members are other ones each time.
    pub(crate) fn draws(&self, module: &Digest) -> bool {
        let mut hasher = Hasher::new();
        hasher
            .field("seed", &self.options.seed.to_le_bytes())
            .field("module", module.as_bytes());
        let [a, b, c, d, ..] = *hasher.digest().as_bytes();
        let drawn = f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0);
        drawn * 100.0 < self.options.percent
    }

    /// Keeps both objects of `difference`, and says where they are and what they were
    /// made of.
    pub(crate) fn error(&self, difference: &Difference<'_>) -> Error {
        let found = &difference.found;
        let (what, differ) = match found.taken == found.compiled {
            true => ("the messages", "differ"),
            false => ("the object", "differs"),
        };
        let text = format!(
            "{what} of `{}` in the {} {differ} from what it compiles to",
            found.module, found.place
        );
        let error = Error::new(Kind::Mismatch, text);
        let key = found.keys.first().map(|key| format!("key {key}, "));
        let reason = format!(
            "{}made of {}",
            key.unwrap_or_default(),
            made_of(found.made_of)
        );
        let entry = difference.entry;
        let error = error.because(reason);
        match self.keep(difference) {
            Ok(directory) => {
                let directory = directory.display();
                error.hint(format!(
                    "`{directory}/taken.o` is what was there, `{directory}/compiled.o` what it \
                     compiles to, and `{directory}/audit.json` says all that is known of both; \
                     {entry}. backlto, LLVM or the machine is at fault (seed {})",
                    found.seed
                ))
            }
            Err(e) => error.hint(format!("both objects are lost ({e}); {entry}")),
        }
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.options.seed
    }

    /// Writes what there is of `difference` to a new directory, and gives its path.
    fn keep(&self, difference: &Difference<'_>) -> Result<PathBuf> {
        let failed = |e: io::Error| {
            let text = format!("cannot write to `{}`", self.options.directory.display());
            Error::new(Kind::Output, text).because(e)
        };
        let name = format!("backlto-audit-{}", plain_name(difference.found.module));
        let directory = new_directory(&self.options.directory, &name).map_err(failed)?;
        let description = serde_json::to_vec_pretty(&difference.found);
        let description = description.map_err(|e| failed(io::Error::other(e)))?;
        for (name, bytes) in [
            ("taken.o", difference.taken),
            ("compiled.o", difference.compiled),
            ("audit.json", &description),
        ] {
            emit::write_regular(&directory.join(name), bytes)?;
        }
        Ok(directory)
    }
}

/// An object that is not what was taken for it.
pub(crate) struct Difference<'a> {
    pub(crate) taken: &'a [u8],
    pub(crate) compiled: &'a [u8],
    /// What became of the entry that leads to the object.
    pub(crate) entry: &'static str,
    pub(crate) found: Found<'a>,
}

/// What there is to say of a difference: the file `audit.json`.
#[derive(Serialize)]
pub(crate) struct Found<'a> {
    pub(crate) module: &'a str,
    pub(crate) output: &'a str,
    /// Where the object was taken from: `record`, `cache` or `remote cache`.
    pub(crate) place: &'static str,
    /// The keys that it may be found by, the one that it was found by first.
    pub(crate) keys: &'a [Digest],
    pub(crate) seed: u64,
    pub(crate) taken: Digest,
    pub(crate) compiled: Digest,
    /// What clang had said of it, and what it says now.
    pub(crate) messages_taken: &'a str,
    pub(crate) messages_compiled: &'a str,
    pub(crate) directory: &'a Path,
    /// clang's command line.
    pub(crate) command: &'a [String],
    pub(crate) made_of: &'a [Dependency],
}

/// `list` for people.
fn made_of(list: &[Dependency]) -> String {
    let word = |dependency: &Dependency| {
        let content = dependency.digest.map_or("absent".to_owned(), |d| d.short());
        let name = match dependency.name.is_empty() {
            true => String::new(),
            false => format!(" `{}`", dependency.name),
        };
        format!("{}{name} ({content})", dependency.part.as_str())
    };
    list.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Makes the directory `name` in `parent`, or one with a number if it is there.
fn new_directory(parent: &Path, name: &str) -> io::Result<PathBuf> {
    for number in 0..NUMBERS {
        let path = match number {
            0 => parent.join(name),
            _ => parent.join(format!("{name}.{number}")),
        };
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    let reason = format!("there are {NUMBERS} of the name `{name}`");
    Err(io::Error::other(reason))
}

/// The name of the file of `module`, as every file system takes it.
fn plain_name(module: &str) -> String {
    let file = Path::new(module).file_name().unwrap_or_default();
    let plain = |c: char| match c.is_ascii_alphanumeric() || "+-._".contains(c) {
        true => c,
        false => '_',
    };
    file.to_string_lossy()
        .chars()
        .take(100)
        .map(plain)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(percent: f64, seed: u64) -> Result<Audit> {
        Audit::new(&AuditOptions {
            seed,
            ..AuditOptions::new(percent)
        })
    }

    #[test]
    fn as_many_are_drawn_as_were_asked_for() {
        let drawn = |percent, seed| {
            let audit = audit(percent, seed).unwrap();
            let modules = (0..1000u32).map(|number| Digest::of(&number.to_le_bytes()));
            modules.filter(|module| audit.draws(module)).collect()
        };
        let count = |percent, seed| {
            let drawn: Vec<Digest> = drawn(percent, seed);
            drawn.len()
        };
        assert_eq!((count(0.0, 1), count(100.0, 1)), (0, 1000));
        assert!((150..250).contains(&count(20.0, 1)));
        assert_eq!(drawn(20.0, 1), drawn(20.0, 1));
        assert_ne!(drawn(20.0, 1), drawn(20.0, 2));
    }

    #[test]
    fn there_are_hundred_percent_and_no_more() {
        for wrong in [-1.0, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(audit(wrong, 0).unwrap_err().kind(), Kind::Plan, "{wrong}");
        }
    }
}
