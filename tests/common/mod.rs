//! What the tests share: small ThinLTO programs made by clang, and clang's own
//! backend as the oracle.
//!
//! The tools are those of the LLVM that backlto is built with. They come from
//! `make setup`; without them a test fails, it is never skipped in silence.

// Every test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub const BACKLTO: &str = env!("CARGO_BIN_EXE_backlto");
/// The oracle.
pub const CLANG: &str = "clang-22";
/// The linker that writes summary indexes.
pub const LLD: &str = "ld.lld-22";

/// A directory with bitcode and indexes, removed at the end of the test.
pub struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// A tree where `sources` (name without `.c`, text) are compiled with
    /// `-flto=thin` and `flags`, and thin-linked with each other.
    pub fn thin_linked(sources: &[(&str, &str)], flags: &[&str]) -> Tree {
        let tree = Tree::new();
        for (name, text) in sources {
            tree.compile(name, text, flags);
        }
        let objects: Vec<String> = sources.iter().map(|(name, _)| format!("{name}.o")).collect();
        tree.thin_link(&objects);
        tree
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of `name`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes `bytes` to `name`.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).expect("a test file is written");
    }

    /// What `name` holds.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs the front end: `NAME.c` with `text` becomes bitcode `NAME.o`.
    pub fn compile(&self, name: &str, text: &str, flags: &[&str]) {
        let source = format!("{name}.c");
        self.write(&source, text);
        let object = format!("{name}.o");
        let mut args = vec!["-flto=thin"];
        args.extend_from_slice(flags);
        args.extend(["-c", "-o", &object, &source]);
        succeed(&self.run(CLANG, &args));
    }

    /// Runs the thin link over `objects`: every `X.o` gets its `X.o.thinlto.bc`.
    pub fn thin_link(&self, objects: &[String]) {
        let mut args = vec!["-r", "--thinlto-index-only=list", "-o", "linked"];
        args.extend(objects.iter().map(String::as_str));
        succeed(&self.run(LLD, &args));
    }

    /// Runs `program` here.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Output {
        Command::new(program)
            .args(args)
            .current_dir(self.path())
            // Colours and languages of whoever runs the tests do not matter.
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            .output()
            .unwrap_or_else(|e| panic!("cannot run {program}: {e} (`make setup` installs it)"))
    }

    /// The arguments of one backend compile of `module` (without `.o`) to
    /// `output`.
    pub fn backend_args(module: &str, output: &str, flags: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        args.extend(["-x", "ir"].map(str::to_owned));
        args.push(format!("-fthinlto-index={module}.o.thinlto.bc"));
        args.extend(["-c", "-o", output].map(str::to_owned));
        args.push(format!("{module}.o"));
        args
    }

    /// Runs clang's backend for `module`.
    pub fn clang_backend(&self, module: &str, output: &str, flags: &[&str]) -> Output {
        self.run(CLANG, &Tree::backend_args(module, output, flags))
    }

    /// Runs `backlto cc` on the same command line.
    pub fn backlto_cc(&self, module: &str, output: &str, flags: &[&str]) -> Output {
        let mut args = vec!["cc".to_owned(), CLANG.to_owned()];
        args.extend(Tree::backend_args(module, output, flags));
        self.run(BACKLTO, &args)
    }

    /// Files whose names say that they were never finished.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.path()).expect("the tree can be listed") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            if name.contains("tmp") {
                found.push(name);
            }
        }
        found
    }
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Panics with what was printed, unless the command succeeded.
pub fn succeed(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        stderr(output)
    );
}
