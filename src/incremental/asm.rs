//! The files that assembly in a module pulls in when it is assembled.
//!
//! LLVM's assembler opens a file for `.incbin` and `.include` alone
//! (`llvm/lib/MC/MCParser/AsmParser.cpp`), looks for it from the working
//! directory and then in each directory of the include path, and takes
//! directives in any case. What cannot be read off the text, since a macro
//! spells out the directive or the name, is [`AsmFiles::Unknown`]: such a module
//! is compiled every time.

use std::collections::BTreeMap;
use std::path::Path;

use crate::digest::{Digest, Hasher};

/// Every file that assembly may have found, and what was in it: `None` for one
/// that was not there. Had it been there, it might have been taken.
pub(crate) type Files = BTreeMap<String, Option<Digest>>;

/// Stands among [`Files`] for the directories of the include path and their
/// order: with others, other files would be looked for.
pub(crate) const INCLUDE_PATH: &str = "(include path)";

/// What is known of the files behind a module's assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AsmFiles {
    Known(Files),
    Unknown,
}

/// Where assembly looks for files.
pub(crate) struct Search<'a> {
    pub(crate) directory: &'a Path,
    /// The directories of the include path, in order.
    pub(crate) include: &'a [String],
}

impl AsmFiles {
    pub(crate) fn none() -> AsmFiles {
        AsmFiles::Known(Files::new())
    }

    /// Adds what `text` pulls in.
    pub(crate) fn add(&mut self, text: &[u8], search: &Search<'_>) {
        let AsmFiles::Known(files) = self else {
            return;
        };
        let mut texts = vec![text.to_vec()];
        while let Some(text) = texts.pop() {
            let Some(named) = named_files(&text) else {
                *self = AsmFiles::Unknown;
                return;
            };
            for (name, is_source) in named {
                let path = Some(search.include_path());
                files.insert(INCLUDE_PATH.to_owned(), path);
                for path in search.candidates(&name) {
                    if path == INCLUDE_PATH {
                        *self = AsmFiles::Unknown;
                        return;
                    }
                    if files.contains_key(&path) {
                        continue;
                    }
                    let content = search.read(&path);
                    files.insert(path, content.as_deref().map(Digest::of));
                    // What is included may include more.
                    texts.extend(content.filter(|_| is_source));
                }
            }
        }
    }
}

impl Search<'_> {
    /// Every path that `name` may stand for.
    fn candidates(&self, name: &str) -> Vec<String> {
        let found = |directory: &String| {
            let path = Path::new(directory).join(name);
            path.to_string_lossy().into_owned()
        };
        let here = std::iter::once(name.to_owned());
        here.chain(self.include.iter().map(found)).collect()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.directory.join(path)).ok()
    }

    fn include_path(&self) -> Digest {
        let mut hasher = Hasher::new();
        for directory in self.include {
            hasher.field("directory", directory.as_bytes());
        }
        hasher.digest()
    }

    /// Whether the file at `path` is as it was.
    pub(crate) fn is_as(&self, path: &str, known: &Option<Digest>) -> bool {
        match path {
            INCLUDE_PATH => Some(self.include_path()) == *known,
            _ => self.read(path).as_deref().map(Digest::of) == *known,
        }
    }

    /// Whether all of `files` are.
    pub(crate) fn unchanged(&self, files: &Files) -> bool {
        files.iter().all(|(path, known)| self.is_as(path, known))
    }
}

/// The names after `.incbin` (false) and `.include` (true); `None` when one
/// cannot be told.
fn named_files(text: &[u8]) -> Option<Vec<(String, bool)>> {
    // Directives may be in any case; names keep theirs.
    let lower = text.to_ascii_lowercase();
    let mut named = Vec::new();
    for at in 0..lower.len() {
        let rest = &lower[at..];
        if rest[0] == b'.' && is_spelled_out(&rest[1..]) {
            return None;
        }
        let Some(directive) = DIRECTIVES.iter().find(|d| rest.starts_with(d)) else {
            continue;
        };
        if at == 0 || lower[at - 1] != b'.' {
            return None;
        }
        let name = quoted(text[at + directive.len()..].trim_ascii_start())?;
        named.push((name, *directive == INCLUDE));
    }
    Some(named)
}

const INCBIN: &[u8] = b"incbin";
const INCLUDE: &[u8] = b"include";
const DIRECTIVES: [&[u8]; 2] = [INCBIN, INCLUDE];

/// Whether `word`, which follows a dot, is the start of a directive that goes on
/// with an argument of a macro (`\x`) or an operand (`$0`).
fn is_spelled_out(word: &[u8]) -> bool {
    let end = word
        .iter()
        .position(|c| !c.is_ascii_alphanumeric() && *c != b'_')
        .unwrap_or(word.len());
    matches!(word.get(end), Some(b'\\' | b'$'))
        && DIRECTIVES.iter().any(|d| d.starts_with(&word[..end]))
}

/// The string literal that `text` starts with, if it stands for itself.
fn quoted(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|c| *c == b'"')?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    (!name.contains(['\\', '$'])).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<Vec<(String, bool)>> {
        named_files(text.as_bytes())
    }

    #[test]
    fn directives_are_found_in_any_case() {
        let text = ".section .x\n .incbin \"a/B.bin\"; .INCLUDE\t\"c.inc\"\n";
        let expected = [("a/B.bin".to_owned(), false), ("c.inc".to_owned(), true)];
        assert_eq!(named(text).unwrap(), expected);
        assert_eq!(
            named("nop; .Ltmp${:uid}: .L\\@: .ifc \\reg, x").unwrap(),
            []
        );
    }

    #[test]
    fn what_a_macro_spells_out_is_unknown() {
        for text in [
            ".macro m d\n.\\d \"f\"\n.endm",
            ".inc\\()bin \"f\"",
            ".irp d, incbin\n.\\d \"f\"\n.endr",
            ".incbin \"\\file\"",
            ".incbin \"${0:c}\"",
            ".in${0:c} \"f\"",
            ".incbin file",
            ".includes \"f\"",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn included_files_are_followed_and_absent_ones_remembered() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(tree.path().join(name), text).unwrap();
        std::fs::create_dir(tree.path().join("inc")).unwrap();
        write("inc/a.inc", ".incbin \"b.bin\"\n.include \"a.inc\"\n");
        write("b.bin", "one");
        let include = ["inc".to_owned()];
        let search = Search {
            directory: tree.path(),
            include: &include,
        };
        let mut files = AsmFiles::none();
        files.add(b".include \"a.inc\"", &search);
        let AsmFiles::Known(files) = files else {
            panic!("all names are plain")
        };
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        let expected = ["a.inc", "b.bin", "inc/a.inc", "inc/b.bin"];
        assert_eq!(names, [&[INCLUDE_PATH], &expected[..]].concat());
        assert!(files["a.inc"].is_none() && files["inc/b.bin"].is_none());
        assert!(search.unchanged(&files));
        let none = Search {
            include: &[],
            ..search
        };
        assert!(!none.unchanged(&files));
        // A file that comes before the one that was taken.
        write("a.inc", "");
        assert!(!search.unchanged(&files));
        std::fs::remove_file(tree.path().join("a.inc")).unwrap();
        write("b.bin", "two");
        assert!(!search.unchanged(&files));
    }
}
