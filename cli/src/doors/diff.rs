//! `backlto diff`: in what two objects, archives or trees differ, and why.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::archive::ArchiveFile;
use serde_json::{Value, json};
use similar::TextDiff;

use super::records;
use crate::console;
use crate::magic::{ARCHIVE, THIN_ARCHIVE};
use crate::parts::{self, Change, Kind};
use crate::report::Verbosity;
use crate::session::{Failure, Outcome, Settings, absolute};
use backlto::digest::Digest;
use backlto::error::{Error, Kind as ErrorKind, Result};
use backlto::files::starts_with;
use backlto::incremental::ObjectRecord;

/// LLVM's disassembler, by names and places that are tried, best first.
const OBJDUMP_NAMES: [&str; 3] = [
    concat!(env!("BACKLTO_LLVM_BINDIR"), "/llvm-objdump"),
    concat!("llvm-objdump-", env!("BACKLTO_LLVM_MAJOR")),
    "llvm-objdump",
];

/// Says in what the files or directories at `one` and `other` differ; with `disassemble`,
/// the code of functions too.
///
/// # Errors
/// When they differ, and when one cannot be read.
pub(crate) fn run(one: &Path, other: &Path, disassemble: bool, settings: &Settings) -> Outcome {
    let objdump = disassemble.then(find_objdump).transpose()?;
    let pairs = pairs(&places(one)?, &places(other)?);
    let compared = pairs.len();
    let mut files = Vec::new();
    for (name, pair) in pairs {
        let Some(found) = compare(&pair)? else {
            continue;
        };
        let shown = match name.is_empty() {
            true => one.display().to_string(),
            false => name,
        };
        let code = match (&objdump, &pair) {
            (Some(objdump), Pair::Both(one, other)) => {
                difference_of_code(objdump, one, other, &found.changes)?
            }
            _ => String::new(),
        };
        if settings.json {
            files.push(as_json(&shown, &found));
        } else if settings.verbosity != Verbosity::Quiet {
            console::text(&format!("{}{code}", in_words(&shown, &found)));
            files.push(Value::Null);
        } else {
            files.push(Value::Null);
        }
    }
    let differing = files.len();
    if settings.json {
        let text = json!({ "same": differing == 0, "compared": compared, "files": files });
        console::line(&text.to_string());
    } else if compared > 1 && settings.verbosity != Verbosity::Quiet {
        console::line(&format!("{differing} of {compared} objects differ"));
    }
    match differing {
        0 => Ok(()),
        _ => Err(Failure::Reported),
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// In an archive: where it begins there, and its size.
    Member(PathBuf, (u64, u64)),
}

impl Place {
    fn read(&self) -> Result<Vec<u8>> {
        let (path, start, size) = match self {
            Place::File(path) => return std::fs::read(path).map_err(|e| cannot_read(path, e)),
            Place::Member(path, (start, size)) => (path, *start, *size),
        };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.take(size).read_to_end(&mut bytes)
        });
        match read {
            Ok(count) if count as u64 == size => Ok(bytes),
            Ok(_) => Err(cannot_read(path, "it has changed meanwhile")),
            Err(e) => Err(cannot_read(path, e)),
        }
    }

    /// What the record of its build knows of the object `bytes`, which is there.
    fn record(&self, bytes: &[u8]) -> Option<ObjectRecord> {
        let Place::File(path) = self else {
            return None;
        };
        let path = absolute(path).ok()?;
        let mut found = records::above(path.parent()?);
        let known = found.find_map(|found| found.record.object(&path).cloned())?;
        (known.object == Digest::of(bytes)).then_some(known)
    }
}

fn cannot_read(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let text = format!("cannot read `{}`", path.display());
    Error::new(ErrorKind::Input, text).because(reason)
}

/// The objects at `path`, by their names there: that of a single file is empty.
fn places(path: &Path) -> Result<BTreeMap<String, Place>> {
    let mut places = BTreeMap::new();
    if path.is_dir() {
        add_tree(path, path, &mut places)?;
    } else {
        match starts_of(path)? {
            Start::Archive => add_archive(path, "", &mut places)?,
            _ => drop(places.insert(String::new(), Place::File(path.to_owned()))),
        }
    }
    Ok(places)
}

/// Adds the objects below `directory`, by their names from `top` on.
fn add_tree(top: &Path, directory: &Path, places: &mut BTreeMap<String, Place>) -> Result<()> {
    for entry in std::fs::read_dir(directory).map_err(|e| cannot_read(directory, e))? {
        let entry = entry.map_err(|e| cannot_read(directory, e))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| cannot_read(&path, e))?;
        let name = path
            .strip_prefix(top)
            .unwrap_or(&path)
            .display()
            .to_string();
        if kind.is_dir() {
            add_tree(top, &path, places)?;
        } else if kind.is_file() {
            match starts_of(&path)? {
                Start::Object => drop(places.insert(name, Place::File(path))),
                Start::Archive => add_archive(&path, &name, places)?,
                // The members of thin ones are files of the tree.
                Start::ThinArchive | Start::Other => {}
            }
        }
    }
    Ok(())
}

/// Adds the members of the archive at `path`, which is called `name`.
fn add_archive(path: &Path, name: &str, places: &mut BTreeMap<String, Place>) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|e| cannot_read(path, e))?;
    let archive = ArchiveFile::parse(&*bytes).map_err(|e| cannot_read(path, e))?;
    for member in archive.members() {
        let member = member.map_err(|e| cannot_read(path, e))?;
        let own = String::from_utf8_lossy(member.name()).into_owned();
        // Members of one name are told apart by their order.
        let numbered = |number: usize| match number {
            1 => format!("{name}({own})"),
            _ => format!("{name}({own} {number})"),
        };
        let free = (1..).map(numbered).find(|name| !places.contains_key(name));
        let place = Place::Member(path.to_owned(), member.file_range());
        places.insert(free.unwrap_or_default(), place);
    }
    Ok(())
}

/// What a file starts as.
enum Start {
    Object,
    Archive,
    ThinArchive,
    Other,
}

fn starts_of(path: &Path) -> Result<Start> {
    std::fs::metadata(path).map_err(|e| cannot_read(path, e))?;
    Ok(match () {
        () if starts_with(path, b"\x7fELF") => Start::Object,
        () if starts_with(path, ARCHIVE) => Start::Archive,
        () if starts_with(path, THIN_ARCHIVE) => Start::ThinArchive,
        () => Start::Other,
    })
}

/// What stands under one name.
enum Pair {
    First,
    Second,
    Both(Place, Place),
}

/// The objects of `one` and `other` that have a name in common, and those that have not.
fn pairs(one: &BTreeMap<String, Place>, other: &BTreeMap<String, Place>) -> Vec<(String, Pair)> {
    let firsts = one.iter().map(|(name, place)| match other.get(name) {
        Some(second) => (name.clone(), Pair::Both(place.clone(), second.clone())),
        None => (name.clone(), Pair::First),
    });
    let seconds = other.keys().filter(|name| !one.contains_key(*name));
    let seconds = seconds.map(|name| (name.clone(), Pair::Second));
    let mut pairs: Vec<_> = firsts.chain(seconds).collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}

/// How two objects differ.
struct Found {
    /// `differs`, `only in the first` or `only in the second`.
    status: &'static str,
    changes: Vec<Change>,
    /// Where no function, no datum and no section says it.
    other: Option<String>,
    /// What they were made of that is not the same, as far as records know.
    because: Vec<String>,
}

/// How the objects of `pair` differ; `None` when they do not.
fn compare(pair: &Pair) -> Result<Option<Found>> {
    let alone = |status| Found {
        status,
        changes: Vec::new(),
        other: None,
        because: Vec::new(),
    };
    let (one, other) = match pair {
        Pair::First => return Ok(Some(alone("only in the first"))),
        Pair::Second => return Ok(Some(alone("only in the second"))),
        Pair::Both(one, other) => (one, other),
    };
    let (first, second) = (one.read()?, other.read()?);
    if first == second {
        return Ok(None);
    }
    let mut found = alone("differs");
    match (parts::of(&first), parts::of(&second)) {
        (Ok(first), Ok(second)) => {
            found.changes = parts::changes(&first, &second);
            if found.changes.is_empty() {
                let text = "the order of symbols or sections, or a header";
                found.other = Some(text.to_owned());
            }
        }
        (Err(e), _) | (_, Err(e)) => found.other = Some(format!("its bytes (no object: {e})")),
    }
    if let (Some(first), Some(second)) = (one.record(&first), other.record(&second)) {
        found.because = first.differences(&second);
    }
    Ok(Some(found))
}

/// `found` of the object `name`, for people.
fn in_words(name: &str, found: &Found) -> String {
    let mut text = format!("{name}: {}\n", found.status);
    for change in &found.changes {
        let how = match (change.before, change.after) {
            (Some(_), None) => "only in the first".to_owned(),
            (None, Some(_)) => "only in the second".to_owned(),
            (Some(before), Some(after)) if before != after => format!("{before} -> {after} bytes"),
            _ => "differs".to_owned(),
        };
        text += &format!("  {:<9} {}: {how}\n", change.kind.as_str(), change.name);
    }
    if let Some(other) = &found.other {
        text += &format!("  {:<9} {other}\n", "in");
    }
    for why in &found.because {
        text += &format!("  {:<9} {why}\n", "because");
    }
    text
}

fn as_json(name: &str, found: &Found) -> Value {
    let change = |change: &Change| {
        json!({ "kind": change.kind.as_str(), "name": change.name,
                "before": change.before, "after": change.after })
    };
    let changes: Vec<Value> = found.changes.iter().map(change).collect();
    json!({ "name": name, "status": found.status, "changes": changes,
            "other": found.other, "because": found.because })
}

/// LLVM's disassembler.
///
/// # Errors
/// When there is none.
fn find_objdump() -> Result<PathBuf> {
    let mut names = OBJDUMP_NAMES.iter();
    names
        .find_map(|name| which::which(name).ok())
        .ok_or_else(|| {
            let text = "cannot disassemble";
            let names = OBJDUMP_NAMES.join(", ");
            Error::new(ErrorKind::Environment, text).because(format!("none of {names} is there"))
        })
}

/// How the code of the functions among `changes`, which `one` and `other` both have,
/// differs.
fn difference_of_code(
    objdump: &Path,
    one: &Place,
    other: &Place,
    changes: &[Change],
) -> Result<String> {
    let in_both = |change: &&Change| change.before.is_some() && change.after.is_some();
    let functions = changes
        .iter()
        .filter(|change| change.kind == Kind::Function);
    let mut text = String::new();
    for function in functions.filter(in_both) {
        let code = [one, other].map(|place| disassemble(objdump, place, &function.name));
        let [first, second] = code;
        let difference = TextDiff::from_lines(&first?, &second?)
            .unified_diff()
            .context_radius(3)
            .header("first", "second")
            .to_string();
        text += &difference;
    }
    Ok(text)
}

/// The code of `function` in the object at `place`, without addresses.
fn disassemble(objdump: &Path, place: &Place, function: &str) -> Result<String> {
    let failed = |reason: String| {
        let text = format!("`{}` failed", objdump.display());
        Error::new(ErrorKind::Environment, text).because(reason)
    };
    let mut file = tempfile::NamedTempFile::new().map_err(|e| failed(e.to_string()))?;
    file.write_all(&place.read()?)
        .map_err(|e| failed(e.to_string()))?;
    let output = Command::new(objdump)
        .args([
            "-dr",
            "--no-show-raw-insn",
            "--no-leading-addr",
            "--symbolize-operands",
        ])
        .arg(format!("--disassemble-symbols={function}"))
        .arg(file.path())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // What stands above names the file and the section.
    let code = text.lines().skip_while(|line| !line.starts_with('<'));
    Ok(code.map(|line| format!("{line}\n")).collect())
}
