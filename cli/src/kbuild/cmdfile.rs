//! kbuild's `.cmd` files: what was run to make a target, in make's syntax
//! (`scripts/Kbuild.include` and `scripts/Makefile.lib` of Linux).

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use memchr::memmem;

use super::state::write_if_changed;
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// A `.cmd` file that has been read.
pub(crate) struct CmdFile {
    path: PathBuf,
    /// The content of the file after a line feed: so every line has one before it.
    lines: Vec<u8>,
}

/// The path of the `.cmd` file of `target`: `dir/.x.o.cmd` for `dir/x.o`.
pub(crate) fn path_of(objtree: &Path, target: &str) -> PathBuf {
    let target = Path::new(target);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    objtree.join(target.with_file_name(format!(".{name}.cmd")))
}

/// Takes `.` and `..` out of `path` without asking the file system, as llvm-ar does when
/// it computes the path of a member of a nested thin archive.
pub(crate) fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether `recorded` names the object `object`. A makefile may name it through another
/// directory: ARCH=um has `arch/x86/um/../lib/x.o`, which is `arch/x86/lib/x.o` in archives.
fn is_target(recorded: &str, object: &str) -> bool {
    recorded == object || normalize(Path::new(recorded)) == normalize(Path::new(object))
}

impl CmdFile {
    /// Reads the `.cmd` file of `target`, which is relative to `objtree`.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub(crate) fn read(objtree: &Path, target: &str) -> Result<CmdFile> {
        let path = path_of(objtree, target);
        match files::read(&path) {
            Ok(mut lines) => {
                lines.insert(0, b'\n');
                Ok(CmdFile { path, lines })
            }
            Err(e) => Err(Error::new(
                Kind::Input,
                format!(
                    "cannot read how `{target}` was made from `{}`",
                    path.display()
                ),
            )
            .because(e)
            .hint("the front end of kbuild writes it; run make again")),
        }
    }

    /// The command that made `target`, as a shell would read it.
    ///
    /// # Errors
    /// When the file does not tell.
    pub(crate) fn command(&self, target: &str) -> Result<String> {
        // Before Linux 6.2 the variable had no "saved" in its name.
        ["savedcmd_", "cmd_"]
            .iter()
            .find_map(|kind| self.variable(kind, target))
            .map(|text| unescape_make(&text))
            .ok_or_else(|| self.error(&format!("has no `savedcmd_{target}` line")))
    }

    /// The flags that THIN_DIST kernels save for the backend. kbuild reads
    /// them back with sed, not with make, so they carry no make escapes.
    pub(crate) fn saved_c_flags(&self, target: &str) -> Option<Cow<'_, str>> {
        self.variable("saved_c_flags_", target)
    }

    /// What the file has for the variable named `kind` and `target`, as it stands
    /// there.
    fn variable(&self, kind: &str, target: &str) -> Option<Cow<'_, str>> {
        const ASSIGN: &[u8] = b" := ";
        self.lines_with(kind).find_map(|line| {
            let definition = &line[kind.len()..];
            let at = memmem::find(definition, ASSIGN)?;
            let (name, value) = (&definition[..at], &definition[at + ASSIGN.len()..]);
            is_target(&String::from_utf8_lossy(name), target)
                .then(|| String::from_utf8_lossy(value))
        })
    }

    /// The `#SYMVER` lines: symbol CRCs for modpost.
    pub(crate) fn symbol_versions(&self) -> Vec<String> {
        self.lines_with("#SYMVER ")
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    /// The lines that begin with `start`. Most of a file is a list of every header
    /// that was read; looking for lines is many times faster than splitting that.
    fn lines_with(&self, start: &str) -> impl Iterator<Item = &[u8]> {
        let start = format!("\n{start}");
        let found: Vec<usize> = memmem::find_iter(&self.lines, &start).collect();
        found.into_iter().map(|at| {
            let line = &self.lines[at + 1..];
            &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())]
        })
    }

    /// The words of the first command of `text`, which is from this file. No shell
    /// is run.
    ///
    /// # Errors
    /// When a shell could not read it either, or there are no words.
    pub(crate) fn words(&self, text: &str) -> Result<Vec<String>> {
        // What follows is objtool or another step of its own.
        let words = shlex::split(commands(text).next().unwrap_or_default())
            .ok_or_else(|| self.error("has unbalanced quotes"))?;
        if words.is_empty() {
            return Err(self.error("records an empty command"));
        }
        Ok(words)
    }

    /// An error that says `what` is wrong with the file.
    pub(crate) fn error(&self, what: &str) -> Error {
        Error::new(Kind::Input, format!("`{}` {what}", self.path.display()))
    }
}

/// The commands of `text`, as far as the operators between them tell, which only
/// count where they are not quoted.
pub(crate) fn commands(text: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let text = left?;
        let end = end_of_command(text);
        left = end.map(|at| &text[at + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// Where the names of files begin in `words`, the command that compiles `object`:
/// kbuild ends it with `-c -o OBJECT SOURCE`. `None` when it is another command.
pub(crate) fn files_of_compile(words: &[String], object: &str) -> Option<usize> {
    words
        .windows(3)
        .rposition(|end| end[0] == "-c" && end[1] == "-o" && is_target(&end[2], object))
}

/// Where the operator stands that ends the first command of `text`.
fn end_of_command(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => drop(characters.next()),
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, ';' | '&' | '|' | '\n') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// What make takes `text`, the value of a variable, for.
fn unescape_make(text: &str) -> String {
    text.replace("$(pound)", "#")
        .replace("\\#", "#")
        .replace("$$", "$")
}

/// `text` as make reads it back from the value of a variable, in the way of
/// kbuild's `make-cmd`.
fn escape_make(text: &str) -> String {
    text.replace('$', "$$").replace('#', "$(pound)")
}

/// Records that `command` made `target`, followed by `more` lines.
///
/// # Errors
/// When the `.cmd` file cannot be written.
pub(crate) fn write<'a>(
    objtree: &Path,
    target: &str,
    command: &str,
    more: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let mut text = format!("savedcmd_{target} := {}\n", escape_make(command));
    for line in more {
        text.push_str(line);
        text.push('\n');
    }
    // make goes by what the file says, not by when it was written.
    write_if_changed(&path_of(objtree, target), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> CmdFile {
        CmdFile {
            path: ".x.o.cmd".into(),
            lines: format!("\n{text}").into_bytes(),
        }
    }

    #[test]
    fn command_is_unescaped_from_make_and_cut_at_the_next_one() {
        let cmd = file(
            "savedcmd_a/x.o := clang -DN='\"x\"' -DP=$$p -DH='$(pound)' -c -o a/x.o x.c ; objtool a/x.o\n",
        );
        let text = cmd.command("a/x.o").unwrap();
        assert_eq!(
            cmd.words(&text).unwrap(),
            [
                "clang",
                "-DN=\"x\"",
                "-DP=$p",
                "-DH=#",
                "-c",
                "-o",
                "a/x.o",
                "x.c"
            ]
        );
    }

    #[test]
    fn quotes_closed_and_reopened_are_one_word() {
        let cmd = file("cmd_x.o := clang '-DQ='\\''a b'\\''' x.c; true\n");
        let text = cmd.command("x.o").unwrap();
        assert_eq!(cmd.words(&text).unwrap(), ["clang", "-DQ='a b'", "x.c"]);
    }

    #[test]
    fn quoted_operators_end_no_command() {
        let cmd = file("cmd_x.o := clang -DA=';' '-DB=a;' -DC=\\; \"&&\" -c x.c; true\n");
        let text = cmd.command("x.o").unwrap();
        let expected = ["clang", "-DA=;", "-DB=a;", "-DC=;", "&&", "-c", "x.c"];
        assert_eq!(cmd.words(&text).unwrap(), expected);
    }

    #[test]
    fn another_target_is_not_taken_for_this_one() {
        let cmd = file("savedcmd_ax.o := clang\nsavedcmd_x.o.d := clang\n");
        assert!(cmd.command("x.o").is_err());
    }

    #[test]
    fn a_target_named_through_another_directory_is_found() {
        let cmd = file("savedcmd_a/b/../x.o := clang -c -o a/b/../x.o a/x.c\n");
        let words = cmd.words(&cmd.command("a/x.o").unwrap()).unwrap();
        assert_eq!(files_of_compile(&words, "a/x.o"), Some(1));
        assert!(cmd.command("a/b/x.o").is_err());
    }

    #[test]
    fn unbalanced_quotes_name_the_file() {
        let cmd = file("savedcmd_x.o := clang '-DX x.c\n");
        let text = cmd.command("x.o").unwrap();
        let e = cmd.words(&text).unwrap_err().to_string();
        assert_eq!(e, "`.x.o.cmd` has unbalanced quotes");
    }

    #[test]
    fn saved_flags_are_raw() {
        let cmd = file("savedcmd_x.o := clang\n\nsaved_c_flags_x.o := -DA=$x -O2\n");
        assert_eq!(cmd.saved_c_flags("x.o").unwrap(), "-DA=$x -O2");
    }

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let command = "clang -DA='$x # y' -o x.o";
        write(dir.path(), "x.o", command, ["#SYMVER f 0x1"].into_iter()).unwrap();
        let cmd = CmdFile::read(dir.path(), "x.o").unwrap();
        assert_eq!(cmd.command("x.o").unwrap(), command);
        assert_eq!(cmd.symbol_versions(), ["#SYMVER f 0x1"]);
    }
}
