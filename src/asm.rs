//! The files that assembly in a module pulls in when it is assembled.
//!
//! LLVM's assembler opens a file for `.incbin` and `.include` alone
//! (`llvm/lib/MC/MCParser/AsmParser.cpp`), looks for it from the working
//! directory and then in each directory of the include path, and takes
//! directives in any case. What cannot be read off the text, since a macro
//! spells out the directive or the name, is [`AsmFiles::Unknown`]: such a module
//! is compiled every time.

use std::path::Path;

use memchr::memmem;

use crate::dependency::{Dependency, Part};
use crate::digest::{Digest, Hasher};
use crate::files::{self, Files};

/// What is known of the files behind a module's assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AsmFiles {
    /// Every file that assembly may find, there or not: had one that is not been
    /// there, it might have been taken. The include path comes first.
    Known(Vec<Dependency>),
    Unknown,
}

/// Where assembly looks for files.
pub(crate) struct Search<'a> {
    pub(crate) directory: &'a Path,
    /// The directories of the include path, in order.
    pub(crate) include: &'a [String],
    pub(crate) files: &'a Files,
}

impl AsmFiles {
    pub(crate) fn none() -> AsmFiles {
        AsmFiles::Known(Vec::new())
    }

    /// What `texts` pull in.
    pub(crate) fn of(texts: &[Vec<u8>], search: &Search<'_>) -> AsmFiles {
        let mut files = AsmFiles::none();
        for text in texts {
            files.add(text, search);
        }
        files
    }

    /// Adds what `text` pulls in.
    pub(crate) fn add(&mut self, text: &[u8], search: &Search<'_>) {
        let AsmFiles::Known(files) = self else {
            return;
        };
        let mut texts = dialects(text);
        while let Some(text) = texts.pop() {
            let Some(named) = named_files(&text) else {
                *self = AsmFiles::Unknown;
                return;
            };
            for (name, is_source) in named {
                if files.is_empty() {
                    files.push(search.include_path());
                }
                for path in search.candidates(&name) {
                    let dependency = search.file(&path);
                    // What can be read is no pipe.
                    if dependency.digest.is_none() && files::is_odd(&search.directory.join(&path)) {
                        *self = AsmFiles::Unknown;
                        return;
                    }
                    if files.contains(&dependency) {
                        continue;
                    }
                    files.push(dependency);
                    // What is included may include more.
                    if let Ok(file) = search.files.get(&search.directory.join(&path))
                        && is_source
                    {
                        texts.push(file.bytes().to_vec());
                    }
                }
            }
        }
    }
}

impl Search<'_> {
    /// Every path that `name` may stand for.
    fn candidates(&self, name: &str) -> Vec<String> {
        // LLVM puts an absolute name behind a directory, too (`SourceMgr::OpenIncludeFile`).
        let below = name.trim_start_matches('/');
        let found = |directory: &String| {
            let path = Path::new(directory).join(below);
            path.to_string_lossy().into_owned()
        };
        let here = std::iter::once(name.to_owned());
        here.chain(self.include.iter().map(found)).collect()
    }

    /// What the file that assembly calls `path` is now.
    fn file(&self, path: &str) -> Dependency {
        let file = self.files.get(&self.directory.join(path));
        let content: Option<Digest> = file.ok().map(|file| file.digest());
        Dependency::new(Part::AsmFile, path, content)
    }

    /// The directories and their order: with others, other files would be found.
    fn include_path(&self) -> Dependency {
        let mut hasher = Hasher::new();
        for directory in self.include {
            hasher.field("directory", directory.as_bytes());
        }
        Dependency::new(Part::IncludePath, "", hasher.digest())
    }

    /// What `known`, a file or the include path, is now.
    pub(crate) fn now(&self, known: &Dependency) -> Dependency {
        match known.part {
            Part::IncludePath => self.include_path(),
            _ => self.file(&known.name),
        }
    }

    /// Whether all of `known` are as they were.
    pub(crate) fn finds(&self, known: &[Dependency]) -> bool {
        known.iter().all(|known| self.now(known) == *known)
    }

    /// Whether all of `known`, which this search has found, are on disk as they
    /// were when they were hashed: LLVM opens them by name.
    pub(crate) fn holds(&self, known: &[Dependency]) -> bool {
        known.iter().all(|known| {
            let path = self.directory.join(&known.name);
            match known.part {
                Part::IncludePath => true,
                _ => match self.files.get(&path) {
                    Ok(file) => file.is_unchanged(),
                    Err(_) => !path.is_file(),
                },
            }
        })
    }
}

/// What `text` may be once operands are in, as `EmitInlineAsmStr` of
/// `llvm/lib/CodeGen/AsmPrinter/AsmPrinterInlineAsm.cpp` writes it: as it is, which
/// assembly of a whole module is; and for each dialect, whose number picks from
/// `$(a$|b$)`. `$$` stands for `$`, and for nothing in Intel's.
fn dialects(text: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = vec![text.to_vec()];
    if memmem::find(text, b"$(").is_some() || memmem::find(text, b"$$").is_some() {
        // A dialect beyond the last alternative gets none of them.
        let last = memmem::find_iter(text, b"$|").count() + 1;
        for dialect in 0..=last.min(MAX_DIALECT) {
            texts.push(in_dialect(text, dialect, b"$"));
            texts.push(in_dialect(text, dialect, b""));
        }
    }
    texts
}

/// LLVM has no target with more than two.
const MAX_DIALECT: usize = 3;

/// [`dialects`] for `dialect`, with `dollar` for `$$`.
fn in_dialect(text: &[u8], dialect: usize, dollar: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len());
    let mut alternative = None;
    let mut rest = text;
    while let Some(byte) = rest.first() {
        let is_written = alternative.is_none_or(|number| number == dialect);
        let (bytes, length) = match rest {
            [b'$', b'$', ..] => (dollar, 2),
            [b'$', b'(', ..] => {
                alternative = Some(0);
                (&[][..], 2)
            }
            [b'$', b'|', ..] if alternative.is_some() => {
                alternative = alternative.map(|number| number + 1);
                (&[][..], 2)
            }
            [b'$', b')', ..] if alternative.is_some() => {
                alternative = None;
                (&[][..], 2)
            }
            _ => (&rest[..1], 1),
        };
        // The end of a line is in every dialect.
        if is_written || *byte == b'\n' {
            written.extend_from_slice(bytes);
        }
        rest = &rest[length..];
    }
    written
}

/// The names after `.incbin` (false) and `.include` (true); `None` when one
/// cannot be told.
fn named_files(text: &[u8]) -> Option<Vec<(String, bool)>> {
    // Directives may be in any case; names keep theirs.
    let lower = text.to_ascii_lowercase();
    if memmem::find(&lower, ALTMACRO).is_some()
        || words(&lower).any(|word| word.may_spell_directive())
    {
        return None;
    }
    let mut named = Vec::new();
    for at in 0..lower.len() {
        let rest = &lower[at..];
        let Some(directive) = DIRECTIVES.iter().find(|d| rest.starts_with(&d[1..])) else {
            continue;
        };
        // A directive may be a string literal too.
        if at == 0 || lower[at - 1] != b'.' || lower[..at].ends_with(b"\".") {
            return None;
        }
        let name = quoted(text[at + directive.len() - 1..].trim_ascii_start())?;
        named.push((name, *directive == INCLUDE));
    }
    Some(named)
}

const INCBIN: &[u8] = b".incbin";
const INCLUDE: &[u8] = b".include";
const DIRECTIVES: [&[u8]; 2] = [INCBIN, INCLUDE];
/// Has arguments of macros stand for themselves, without a backslash.
const ALTMACRO: &[u8] = b".altmacro";

/// A word of assembly as macros and operands leave it open.
#[derive(Default)]
struct Word {
    /// Its bytes; `None` stands for any text.
    bytes: Vec<Option<u8>>,
    /// How many pieces were written, and whether it becomes another word.
    length: usize,
    expands: bool,
}

enum Piece {
    Byte(u8),
    /// An argument of a macro (`\x`) or an operand (`$0`, `${0:c}`): any text.
    Open,
    /// `\()`, which stands for nothing.
    Joint,
}

impl Word {
    fn push(&mut self, piece: Piece) {
        self.length += 1;
        self.expands |= !matches!(piece, Piece::Byte(_));
        match piece {
            Piece::Byte(byte) => self.bytes.push(Some(byte)),
            // Two of any text are one.
            Piece::Open if self.bytes.ends_with(&[None]) => {}
            Piece::Open => self.bytes.push(None),
            Piece::Joint => {}
        }
    }

    /// Whether it may become a directive that is not in the text as such. (The value
    /// of an argument that is a word of its own is, where it is passed.)
    fn may_spell_directive(&self) -> bool {
        self.expands && self.length > 1 && DIRECTIVES.iter().any(|word| may_be(&self.bytes, word))
    }
}

/// Whether `bytes` may stand for `word`.
fn may_be(bytes: &[Option<u8>], word: &[u8]) -> bool {
    match bytes.split_first() {
        None => word.is_empty(),
        Some((Some(byte), rest)) => word.first() == Some(byte) && may_be(rest, &word[1..]),
        Some((None, rest)) => (0..=word.len()).any(|at| may_be(rest, &word[at..])),
    }
}

/// The words of `text`.
fn words(text: &[u8]) -> impl Iterator<Item = Word> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut word = Word::default();
        while !rest.is_empty() {
            let (piece, length) = piece(rest);
            rest = &rest[length..];
            match piece {
                Some(piece) => word.push(piece),
                None if word.length == 0 => {}
                None => break,
            }
        }
        (word.length > 0).then_some(word)
    })
}

/// What `text` starts with, and its length; no piece where a word ends. Names are
/// read as LLVM does when it expands macros and operands.
fn piece(text: &[u8]) -> (Option<Piece>, usize) {
    let run = |from: usize, is_part: fn(&u8) -> bool| {
        let end = text[from..].iter().position(|c| !is_part(c));
        end.map_or(text.len(), |end| from + end)
    };
    let is_name = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
    match text {
        [b'\\', b'(', b')', ..] => (Some(Piece::Joint), 3),
        [b'\\', b'@', ..] => (Some(Piece::Open), 2),
        [b'\\', c, ..] if is_name(c) => (Some(Piece::Open), run(1, is_name)),
        [b'$', b'{', ..] => (
            Some(Piece::Open),
            (run(2, |c| *c != b'}') + 1).min(text.len()),
        ),
        [b'$', c, ..] if c.is_ascii_digit() => (Some(Piece::Open), run(1, u8::is_ascii_digit)),
        [c, ..] if is_name(c) || *c == b'.' => (Some(Piece::Byte(*c)), 1),
        _ => (None, 1),
    }
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
            named("nop; .Ltmp${:uid}: .L\\@: .ifc \\reg, x; \\op\\()q %$0, (%${1:q})").unwrap(),
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
            ".macro m a b\n\\a\\b \"f\"\n.endm\nm .inc, bin",
            ".macro m a b\n\\a\\()clude \"f\"\n.endm\nm ., in",
            ".altmacro\n.macro m d\nd \"f\"\n.endm",
            "$0${1:c} \"f\"",
            "\".incbin\" \"f\"",
            "\".in\\143bin\" \"f\"",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    fn search<'a>(tree: &'a Path, include: &'a [String], files: &'a Files) -> Search<'a> {
        Search {
            directory: tree,
            include,
            files,
        }
    }

    #[test]
    fn each_dialect_pulls_in_its_own() {
        let tree = tempfile::tempdir().unwrap();
        let files = Files::default();
        let search = search(tree.path(), &[], &files);
        let added = |text: &str| {
            let mut files = AsmFiles::none();
            files.add(text.as_bytes(), &search);
            files
        };
        for (text, expected) in [
            (".in$(cbin$|x$) \"f\"", &["f"][..]),
            ("$(nop$|.incbin \"g\"$)", &["g"]),
            ("$(.incbin \"f\"$|.include \"g\"$)", &["f", "g"]),
            (".i$(x$|nc$)$(x$|bin$) \"f\"", &["f"]),
            (".inc$$bin \"f\"", &["f"]),
            (".inc$(\n$)bin", &[]),
            ("mov$(q %rax, %rbx$| rbx, rax$)", &[]),
        ] {
            let AsmFiles::Known(files) = added(text) else {
                panic!("{text}")
            };
            let files = files.iter().filter(|file| file.part == Part::AsmFile);
            let mut names: Vec<&str> = files.map(|file| &*file.name).collect();
            names.sort_unstable();
            assert_eq!(names, expected, "{text}");
        }
        for text in ["$(.in${0:c}$|nop$) \"f\"", ".incbin $(\"f\"$|\"${0}\"$)"] {
            assert_eq!(added(text), AsmFiles::Unknown, "{text}");
        }
    }

    /// As `llvm-mc -I inc` has it.
    #[test]
    fn an_absolute_name_is_looked_for_below_the_include_path_too() {
        let tree = tempfile::tempdir().unwrap();
        let files = Files::default();
        let include = ["inc".to_owned()];
        let now = search(tree.path(), &include, &files);
        std::fs::create_dir(tree.path().join("inc")).unwrap();
        std::fs::write(tree.path().join("inc/x.bin"), "one").unwrap();
        let text = b".incbin \"/x.bin\"\n".to_vec();
        let AsmFiles::Known(found) = AsmFiles::of(&[text], &now) else {
            panic!("it is known");
        };
        assert!(now.finds(&found));
        std::fs::write(tree.path().join("inc/x.bin"), "other").unwrap();
        let later = Files::default();
        assert!(!search(tree.path(), &include, &later).finds(&found));
    }

    #[test]
    fn a_pipe_has_no_content_to_count() {
        let tree = tempfile::tempdir().unwrap();
        let files = Files::default();
        let search = search(tree.path(), &[], &files);
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("odd")).unwrap();
        let text = b".incbin \"odd\"\n".to_vec();
        assert!(matches!(AsmFiles::of(&[text], &search), AsmFiles::Unknown));
    }

    #[test]
    fn included_files_are_followed_and_absent_ones_remembered() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(tree.path().join(name), text).unwrap();
        std::fs::create_dir(tree.path().join("inc")).unwrap();
        write("inc/a.inc", ".incbin \"b.bin\"\n.include \"a.inc\"\n");
        write("b.bin", "one");
        let include = ["inc".to_owned()];
        let finds_now = |found: &[Dependency]| {
            let files = Files::default();
            search(tree.path(), &include, &files).finds(found)
        };
        let now = Files::default();
        let mut found = AsmFiles::none();
        found.add(b".include \"a.inc\"", &search(tree.path(), &include, &now));
        let AsmFiles::Known(found) = found else {
            panic!("all names are plain")
        };
        let names: Vec<_> = found.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["", "a.inc", "inc/a.inc", "b.bin", "inc/b.bin"]);
        let there: Vec<_> = found.iter().map(|file| file.digest.is_some()).collect();
        assert_eq!(there, [true, false, true, true, false]);
        assert!(
            search(tree.path(), &include, &now).finds(&found)
                && search(tree.path(), &include, &now).holds(&found)
        );
        let none = Search {
            include: &[],
            ..search(tree.path(), &include, &now)
        };
        assert!(!none.finds(&found));
        // A file that comes before the one that was taken.
        write("a.inc", "");
        assert!(!search(tree.path(), &include, &now).holds(&found));
        assert!(!finds_now(&found));
        std::fs::remove_file(tree.path().join("a.inc")).unwrap();
        write("b.bin", "other");
        assert!(!search(tree.path(), &include, &now).holds(&found));
        assert!(!finds_now(&found));
    }
}
