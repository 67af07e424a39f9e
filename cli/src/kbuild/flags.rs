//! How each object's backend must be run, from what kbuild recorded of its
//! front end.

use std::path::Path;
use std::sync::Arc;

use super::cmdfile::CmdFile;
use crate::linker::{index_name, native_name};
use crate::report::shell_words;
use backlto::error::{Error, Kind, Result};

/// The flags of one object.
pub(crate) struct BackendFlags {
    /// For the engine: the compiler's name first, and nothing that would keep
    /// two objects from sharing a flag set without need.
    pub(crate) for_clang: Arc<[String]>,
    /// `$(CC) $(be_flags)` of `scripts/Makefile.thinlto`, as a shell reads it.
    text: String,
    /// `#SYMVER` lines, for kernels whose modpost looks for them in the native
    /// object's `.cmd` file.
    pub(crate) symbol_versions: Vec<String>,
}

/// What the backend adds to the recorded flags (`scripts/Makefile.thinlto`).
const BACKEND: [&str; 2] = ["-fno-lto", "-Wno-unused-command-line-argument"];

impl BackendFlags {
    pub(crate) fn read(objtree: &Path, object: &str) -> Result<BackendFlags> {
        let file = CmdFile::read(objtree, object)?;
        let command = file.words(&file.command(object)?)?;
        let mut flags =
            BackendFlags::from_words(&command, object).map_err(|what| file.error(&what))?;
        if let Some(text) = file.saved_c_flags(object) {
            let (compiler, _) = split_compiler(&command);
            flags = BackendFlags::new(compiler, file.words(&text)?, &text);
        }
        flags.symbol_versions = file.symbol_versions();
        Ok(flags)
    }

    /// The flags of `object` from the command `words` that compiles it.
    pub(crate) fn from_compile(words: &[String], object: &str) -> Result<BackendFlags> {
        BackendFlags::from_words(words, object).map_err(|what| {
            Error::new(
                Kind::Input,
                format!("the command that compiles `{object}` {what}"),
            )
        })
    }

    fn from_words(words: &[String], object: &str) -> std::result::Result<BackendFlags, String> {
        let (compiler, front_end) = split_compiler(words);
        if compiler.is_empty() {
            return Err("records a command without a compiler".to_owned());
        }
        let flags = without_files(front_end, object)
            .ok_or_else(|| format!("does not end in `-c -o {object}`"))?;
        let text = shell_words(&flags);
        Ok(BackendFlags::new(compiler, flags, &text))
    }

    /// `text` is `flags` as a shell reads them.
    fn new(compiler: &[String], flags: Vec<String>, text: &str) -> BackendFlags {
        BackendFlags {
            for_clang: compiler
                .last()
                .cloned()
                .into_iter()
                .chain(without_preprocessor(flags))
                .chain(BACKEND.map(str::to_owned))
                .collect(),
            text: format!("{} {text}", shell_words(compiler)),
            symbol_versions: Vec::new(),
        }
    }

    /// kbuild's `cmd_cc_o_bc` for `object`.
    pub(crate) fn command(&self, object: &str) -> String {
        format!(
            "{} -x ir {} -fthinlto-index={} -c -o {} {object}",
            self.text,
            BACKEND.join(" "),
            index_name(object),
            native_name(object)
        )
    }
}

/// Splits what is called, which may have a wrapper such as ccache before it,
/// from its flags.
fn split_compiler(words: &[String]) -> (&[String], &[String]) {
    let compiler = words
        .iter()
        .take_while(|word| !word.starts_with('-'))
        .count();
    words.split_at(compiler)
}

/// The front end's flags without `-c -o OBJECT SOURCE`, which come last.
fn without_files(words: &[String], object: &str) -> Option<Vec<String>> {
    let at = words
        .windows(3)
        .rposition(|w| w[0] == "-c" && w[1] == "-o" && w[2] == object)?;
    Some(words[..at].to_vec())
}

/// Drops what steers the preprocessor alone. clang's driver forwards none of it
/// for bitcode (`AddPreprocessingOptions` in clang/lib/Driver/ToolChains/Clang.cpp
/// is for inputs that are preprocessed), and most of it names the object: with
/// it, no two objects would have the same flags.
fn without_preprocessor(flags: Vec<String>) -> impl Iterator<Item = String> {
    const ALONE: [&str; 3] = ["-nostdinc", "-MD", "-MMD"];
    const WITH_VALUE: [&str; 9] = [
        "-D",
        "-U",
        "-I",
        "-include",
        "-imacros",
        "-isystem",
        "-iquote",
        "-idirafter",
        "-MF",
    ];
    const JOINED: [&str; 8] = [
        "-D",
        "-U",
        "-I",
        "-isystem",
        "-iquote",
        "-idirafter",
        "-Wp,-M",
        "-Wp,-D",
    ];
    // Whose value looks like a flag, but belongs to another program's list.
    const PASSED_ON: [&str; 2] = ["-Xclang", "-mllvm"];
    let mut flags = flags.into_iter();
    let mut keep_next = false;
    std::iter::from_fn(move || {
        loop {
            let flag = flags.next()?;
            if std::mem::replace(&mut keep_next, PASSED_ON.contains(&flag.as_str())) {
                keep_next = false;
                return Some(flag);
            }
            if WITH_VALUE.contains(&flag.as_str()) {
                flags.next();
            } else if !ALONE.contains(&flag.as_str())
                && !JOINED.iter().any(|prefix| flag.starts_with(prefix))
            {
                return Some(flag);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn the_preprocessor_is_dropped_and_nothing_else() {
        let flags = owned(&[
            "-Wp,-MMD,a/.x.o.d",
            "-nostdinc",
            "-I./include",
            "-I",
            "inc",
            "-include",
            "k.h",
            "-D__KERNEL__",
            "-DNAME=\"x\"",
            "-O2",
            "-Wa,-Iasm",
            "-mcmodel=kernel",
            "-U",
            "linux",
        ]);
        let kept: Vec<String> = without_preprocessor(flags).collect();
        assert_eq!(kept, ["-O2", "-Wa,-Iasm", "-mcmodel=kernel"]);
    }

    #[test]
    fn files_are_cut_off() {
        let words = owned(&["-O2", "-c", "-o", "a/x.o", "/src/a/x.c"]);
        assert_eq!(without_files(&words, "a/x.o"), Some(owned(&["-O2"])));
        assert_eq!(without_files(&words, "x.o"), None);
    }
}
