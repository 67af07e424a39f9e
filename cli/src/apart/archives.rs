//! The archives of a link that have bitcode, as lists of files. LLD calls a module by
//! the name of its file, but one in an archive `ARCHIVE(MEMBER at OFFSET)`, which
//! nobody can open.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;

use crate::magic::{ARCHIVE, BITCODE, THIN_ARCHIVE, WRAPPED_BITCODE, bitcode_within};
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// Archives by the names that a command line has for them: their members, in order,
/// absolute.
#[derive(Default)]
pub(super) struct Archives(HashMap<String, Vec<PathBuf>>);

impl Archives {
    /// Finds the archives among `names` in `directory` that have bitcode. Members that
    /// are no files become some below `scratch`.
    ///
    /// # Errors
    /// When one cannot be read or unpacked.
    pub(super) fn find(names: &[String], directory: &Path, scratch: &Path) -> Result<Archives> {
        let mut found = Archives::default();
        for name in names.iter().filter(|name| !name.starts_with('-')) {
            let path = directory.join(name);
            if found.0.contains_key(name) {
                continue;
            }
            // Most archives of a link have none, and some are large.
            let may_have_bitcode = files::starts_with(&path, THIN_ARCHIVE)
                || files::starts_with(&path, ARCHIVE) && bitcode_within(&path).is_some();
            if may_have_bitcode {
                let place = scratch.join(format!("members{}", found.0.len()));
                let members = members(&path, &place)?;
                if members.iter().any(|member| is_bitcode(member)) {
                    found.0.insert(name.clone(), members);
                }
            }
        }
        Ok(found)
    }

    /// The files that are members of these.
    pub(super) fn members(&self) -> HashSet<&Path> {
        self.0.values().flatten().map(PathBuf::as_path).collect()
    }

    /// `words`, a command line, with members in the place of these archives; what
    /// becomes of a file, and of a member, says `part`.
    pub(super) fn unpacked(&self, words: &[String], part: impl Fn(&str) -> Part) -> Vec<String> {
        let mut unpacked = Vec::with_capacity(words.len());
        let mut states = Vec::new();
        let mut state = State::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if ["-o", "--output"].contains(&word.as_str()) {
                // What is there may be of any kind.
                unpacked.push(word.clone());
                unpacked.extend(words.next().cloned());
                continue;
            }
            match word.trim_start_matches('-') {
                "push-state" => states.push(state),
                "pop-state" => state.whole = states.pop().unwrap_or_default().whole,
                "whole-archive" => state.whole = true,
                "no-whole-archive" => state.whole = false,
                "start-lib" => state.within = true,
                "end-lib" => state.within = false,
                _ => {}
            }
            let members = self.0.get(word).map(|members| {
                let names = members
                    .iter()
                    .map(|path| path.to_string_lossy().into_owned());
                names.collect::<Vec<_>>()
            });
            // As members of an archive: only if something needs them.
            let lazy = state.within || (members.is_some() && !state.whole);
            let open = lazy && !state.within;
            unpacked.extend(open.then(|| START.to_owned()));
            for file in members.unwrap_or_else(|| vec![word.clone()]) {
                match part(&file) {
                    Part::None => {}
                    Part::Needed if lazy => {
                        unpacked.extend([END.to_owned(), file, START.to_owned()]);
                    }
                    Part::Needed | Part::Same => unpacked.push(file),
                }
            }
            unpacked.extend(open.then(|| END.to_owned()));
        }
        unpacked
    }
}

/// What becomes of a word, or of an archive's member.
pub(super) enum Part {
    /// It stays.
    Same,
    /// It is linked, even if nothing seems to need it.
    Needed,
    /// It goes.
    None,
}

const START: &str = "--start-lib";
const END: &str = "--end-lib";

/// What options before an archive mean for it.
#[derive(Clone, Copy, Default)]
struct State {
    /// `--whole-archive`
    whole: bool,
    /// Between `--start-lib` and `--end-lib`.
    within: bool,
}

/// The members of the archive `path`, which are written to `place` where they are no
/// files.
fn members(path: &Path, place: &Path) -> Result<Vec<PathBuf>> {
    let failed = || {
        Error::new(
            Kind::Input,
            format!("cannot read archive `{}`", path.display()),
        )
    };
    let bytes = files::read(path).map_err(|e| failed().because(e))?;
    let archive = ArchiveFile::parse(&*bytes).map_err(|e| failed().because(e))?;
    let mut members = Vec::new();
    for (number, member) in archive.members().enumerate() {
        let member = member.map_err(|e| failed().because(e))?;
        let file = Path::new(OsStr::from_bytes(member.name()));
        members.push(if archive.is_thin() {
            // Relative to the archive, if at all.
            path.with_file_name(file)
        } else {
            let data = member.data(&*bytes).map_err(|e| failed().because(e))?;
            // A name may be there twice.
            unpack(&place.join(number.to_string()), file, data).map_err(|e| {
                let text = format!("cannot unpack archive `{}`", path.display());
                Error::new(Kind::Output, text).because(e)
            })?
        });
    }
    Ok(members)
}

/// Whether the file at `path` is bitcode.
pub(super) fn is_bitcode(path: &Path) -> bool {
    let magic = [BITCODE, WRAPPED_BITCODE];
    magic.iter().any(|magic| files::starts_with(path, magic))
}

/// Writes `data` to a file in `place` with the last part of the name `file`.
fn unpack(place: &Path, file: &Path, data: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(place)?;
    let path = place.join(file.file_name().unwrap_or("member".as_ref()));
    std::fs::write(&path, data)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_without_bitcode_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let header = format!(
            "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            "m/", 0, 0, 0, 644, 10
        );
        let bytes = [ARCHIVE, header.as_bytes(), b"\x7fELF..BC\xC0\xDE"].concat();
        std::fs::write(directory.path().join("a.a"), bytes).expect("written");
        let scratch = directory.path().join("scratch");
        let found = Archives::find(&["a.a".to_owned()], directory.path(), &scratch);
        assert!(found.expect("readable").0.is_empty());
        assert!(!scratch.exists());
    }

    #[test]
    fn members_stand_where_their_archive_stood() {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let members = ["/x/1", "/x/2", "/x/3"].map(PathBuf::from).to_vec();
        let archives = Archives([("a.a".to_owned(), members)].into());
        let part = |word: &str| match word {
            "/x/2" => Part::None,
            "/x/3" | "n.o" => Part::Needed,
            _ => Part::Same,
        };
        for (given, expected) in [
            (
                "m.o a.a",
                "m.o --start-lib /x/1 --end-lib /x/3 --start-lib --end-lib",
            ),
            (
                "--push-state --whole-archive a.a --pop-state -o a.a n.o",
                "--push-state --whole-archive /x/1 /x/3 --pop-state -o a.a n.o",
            ),
            (
                "--start-lib a.a n.o m.o --end-lib",
                "--start-lib /x/1 --end-lib /x/3 --start-lib --end-lib n.o --start-lib m.o --end-lib",
            ),
        ] {
            assert_eq!(archives.unpacked(&words(given), part), words(expected));
        }
    }
}
