//! How each object's backend must be run, from what kbuild recorded of its
//! front end.

use std::path::Path;
use std::sync::Arc;

use super::cmdfile::{CmdFile, files_of_compile};
use crate::linker::{index_name, native_name};
use crate::text::shell_words;
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
    /// Reads the flags of `object` from the `.cmd` file that the front end left.
    ///
    /// # Errors
    /// When there is none, or it does not hold a compile of `object`.
    pub(crate) fn read(objtree: &Path, object: &str) -> Result<BackendFlags> {
        let file = CmdFile::read(objtree, object)?;
        let command = file.words(&file.command(object)?)?;
        let mut flags =
            BackendFlags::from_words(&command, object).map_err(|what| file.error(&what))?;
        if let Some(text) = file.saved_c_flags(object) {
            let (cc, _) = split_cc(&command);
            flags = BackendFlags::new(cc, &file.words(&text)?, &text);
        }
        flags.symbol_versions = file.symbol_versions();
        Ok(flags)
    }

    /// Takes the flags of `object` from the command `words` that compiles it.
    ///
    /// # Errors
    /// When it is no such command.
    pub(crate) fn from_compile(words: &[String], object: &str) -> Result<BackendFlags> {
        BackendFlags::from_words(words, object).map_err(|what| {
            Error::new(
                Kind::Input,
                format!("the command that compiles `{object}` {what}"),
            )
        })
    }

    /// Takes the flags of `object` from `words`; an error tells what is wrong with
    /// them.
    fn from_words(words: &[String], object: &str) -> std::result::Result<BackendFlags, String> {
        let (cc, front_end) = split_cc(words);
        if end_of_compiler(cc) == 0 {
            return Err("records a command without a compiler".to_owned());
        }
        let files = files_of_compile(front_end, object)
            .ok_or_else(|| format!("does not end in `-c -o {object}`"))?;
        let flags = &front_end[..files];
        Ok(BackendFlags::new(cc, flags, &shell_words(flags)))
    }

    /// The flags `flags` behind `$(CC)`, which is `cc`; `text` is what a shell reads as
    /// `flags`.
    fn new(cc: &[String], flags: &[String], text: &str) -> BackendFlags {
        let (compiler, options) = cc.split_at(end_of_compiler(cc));
        BackendFlags {
            for_clang: compiler
                .last()
                .cloned()
                .into_iter()
                .chain(without_preprocessor([options, flags].concat()))
                .chain(BACKEND.map(str::to_owned))
                .collect(),
            text: format!("{} {text}", shell_words(cc)),
            symbol_versions: Vec::new(),
        }
    }

    /// The command that kbuild compiles bitcode `object` with (`cmd_cc_o_bc`).
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

/// `$(CC)` of the command `words` that compiles, as a shell reads it, and the compiler's
/// name in it; `None` when there is none.
pub(crate) fn compiler(words: &[String]) -> Option<(String, &str)> {
    let (cc, _) = split_cc(words);
    let name = cc[..end_of_compiler(cc)].last()?;
    Some((shell_words(cc), name.as_str()))
}

/// Splits `$(CC)`, which may have options of its own, from the flags that kbuild adds. The
/// first of those names the file of dependencies (`c_flags` in `scripts/Makefile.lib`);
/// where none does, all that stands behind the compiler's name is taken for flags.
fn split_cc(words: &[String]) -> (&[String], &[String]) {
    let flags = words.iter().position(|word| word.starts_with("-Wp,-M"));
    words.split_at(flags.unwrap_or_else(|| end_of_compiler(words)))
}

/// Where the compiler's name ends in `words`, which begin with `$(CC)`: there may be a
/// launcher such as ccache before it, with options of its own, and `env` with variables.
fn end_of_compiler(words: &[String]) -> usize {
    let is_variable = |word: &str| {
        word.split_once('=')
            .is_some_and(|(name, _)| !name.contains('/'))
    };
    let is_clang = |word: &String| {
        let name = Path::new(word).file_name().unwrap_or_default();
        !word.starts_with('-') && !is_variable(word) && name.to_string_lossy().contains("clang")
    };
    match words.iter().position(is_clang) {
        Some(clang) => clang + 1,
        None => words.iter().take_while(|w| !w.starts_with('-')).count(),
    }
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
    fn a_launcher_is_part_of_the_compiler() {
        for (line, compiler) in [
            ("clang -O2 -DX=clang", 1),
            ("ccache /usr/bin/clang-22 -O2", 2),
            ("env -- clang-22 -O2", 3),
            ("icecc -v aarch64-linux-gnu-clang -O2", 3),
            ("env CCACHE_DIR=/x/clang-cache ccache clang -O2", 4),
            ("/opt/a=b/clang -O2", 1),
            ("cc -O2 -c a.c", 1),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(split_cc(&words).0.len(), compiler, "{line}");
        }
    }

    #[test]
    fn the_compiler_may_have_options_of_its_own() {
        let line = "ccache clang-22 -Xyz -B /opt/clang -Wp,-MMD,.x.o.d -O2 -c -o x.o x.c";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (cc, name) = compiler(&words).unwrap();
        assert_eq!(cc, "ccache clang-22 -Xyz -B /opt/clang");
        assert_eq!(name, "clang-22");
        let flags = BackendFlags::from_compile(&words, "x.o").unwrap();
        assert_eq!(flags.text, format!("{cc} -Wp,-MMD,.x.o.d -O2"));
        let own = ["clang-22", "-Xyz", "-B", "/opt/clang", "-O2"];
        assert_eq!(flags.for_clang[..own.len()], own);
    }

    #[test]
    fn files_are_cut_off() {
        let words = owned(&["clang", "-O2", "-c", "-o", "a/x.o", "/src/a/x.c"]);
        let flags = BackendFlags::from_compile(&words, "a/x.o").unwrap();
        assert_eq!(flags.text, "clang -O2");
        assert!(BackendFlags::from_compile(&words, "x.o").is_err());
    }
}
