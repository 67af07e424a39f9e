//! What the tests share: small ThinLTO programs made by clang, and clang's own
//! backend as the oracle.
//!
//! The tools are those of the LLVM that backlto is built with. They come from
//! `make setup`; without them a test fails, it is never skipped in silence.

// Every test file is a program of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod killed;
pub mod spoil;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test; tests of the library have none. `BACKLTO_TESTED` names
/// another than cargo's while the tests are built (`make test-dist`).
pub const BACKLTO: &str = first_named([
    option_env!("BACKLTO_TESTED"),
    option_env!("CARGO_BIN_EXE_backlto"),
]);
/// The linker front door under test, likewise.
pub const LINKER: &str = first_named([
    option_env!("LD_BACKLTO_TESTED"),
    option_env!("CARGO_BIN_EXE_ld-backlto"),
]);

const fn first_named(programs: [Option<&'static str>; 2]) -> &'static str {
    match programs {
        [Some(program), _] | [None, Some(program)] => program,
        [None, None] => "(no program)",
    }
}

/// The name of a tool of the LLVM that backlto is built with.
macro_rules! tool {
    ($name:literal) => {
        concat!($name, "-", env!("BACKLTO_LLVM_MAJOR"))
    };
}
#[allow(unused_imports)]
pub(crate) use tool;

/// The oracle.
pub const CLANG: &str = tool!("clang");
/// The linker that writes summary indexes.
pub const LLD: &str = tool!("ld.lld");
pub const AR: &str = tool!("llvm-ar");
pub const NM: &str = tool!("llvm-nm");
pub const OBJDUMP: &str = tool!("llvm-objdump");
pub const PROFDATA: &str = tool!("llvm-profdata");
pub const READELF: &str = tool!("llvm-readelf");
/// Takes away what whoever runs the tests has told backlto.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"BACKLTO_") {
            command.env_remove(name);
        }
    }
}

/// The LLVM that backlto is built with.
pub const MAJOR: &str = env!("BACKLTO_LLVM_MAJOR");
/// What kbuild's make is told of it.
pub const LLVM_OF_MAKE: &str = concat!("LLVM=-", env!("BACKLTO_LLVM_MAJOR"));

/// Whether ld.lld hands all backends over (since 22). Where it does not, ld.backlto runs
/// the steps of a link one by one, and modules stand in a program in the order of the
/// command line, not behind all else.
pub fn lld_distributes() -> bool {
    !["19", "20", "21"].contains(&MAJOR)
}

/// Says what this run of the tests does not show. What macros print of a test that ends
/// well is kept back.
pub fn not_shown(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Says that a test has no meaning where LLD hands no backends over; true there.
pub fn needs_distribution() -> bool {
    if !lld_distributes() {
        not_shown(&format!(
            "not tested: ld.lld of LLVM {MAJOR} does not hand over all of its backends"
        ));
    }
    !lld_distributes()
}

/// What is to be equal in what ld.lld and ld.backlto have linked: all, or where the order
/// differs, the symbols with their kinds and sizes.
pub fn link_content(tree: &Tree, name: &str) -> Vec<u8> {
    if lld_distributes() {
        return tree.read(name);
    }
    let symbols = tree.run(NM, &["--format=posix", name]).stdout;
    let symbols = String::from_utf8(symbols).expect("text");
    let mut lines: Vec<String> = symbols
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let kind = [words.next(), words.next()].map(Option::unwrap_or_default);
            // Where it is, then how large.
            format!("{} {}\n", kind.join(" "), words.nth(1).unwrap_or_default())
        })
        .collect();
    lines.sort();
    lines.concat().into_bytes()
}

/// Parts of the demo program; the first imports from the others.
pub const DEMO: [&str; 3] = ["deck", "sort", "rng"];

/// The top of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|directory| directory.join("llvm-shims").is_dir())
        .expect("tests are built in a checkout")
}

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
        let objects: Vec<String> = sources
            .iter()
            .map(|(name, _)| format!("{name}.o"))
            .collect();
        tree.thin_link(&objects);
        tree
    }

    /// The modules [`DEMO`] of the demo program, thin-linked.
    pub fn demo(flags: &[&str]) -> Tree {
        let tree = Tree::new();
        let directory = root().join("examples/demo").display().to_string();
        let mut front = vec!["-ffreestanding", "-I", &directory];
        front.extend_from_slice(flags);
        for name in DEMO {
            let path = format!("{directory}/{name}.c");
            let text = std::fs::read_to_string(&path).expect("the demo's source");
            tree.compile(name, &text, &front);
        }
        tree.thin_link(&DEMO.map(|name| format!("{name}.o")));
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

    /// Writes `bytes` to `name`, in a directory that need not exist yet.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        let directory = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(directory).expect("a test directory is made");
        std::fs::write(path, bytes).expect("a test file is written");
    }

    /// Writes the shell script `name`, which does `text`, to be run.
    pub fn script(&self, name: &str, text: &str) {
        // Written by another process: a file that this one has open for writing could be
        // inherited by another test's child and be busy when it is run.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod +x \"$0\"";
        succeed(&self.run("sh", &["-c", write, name, text]));
    }

    /// What `name` holds.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs the front end: `NAME.c` with `text` becomes bitcode `NAME.o`.
    pub fn compile(&self, name: &str, text: &str, flags: &[&str]) {
        self.compile_source(&format!("{name}.c"), text, flags);
    }

    /// Runs the front end on a source of any language: `NAME.cpp` becomes `NAME.o`.
    pub fn compile_source(&self, source: &str, text: &str, flags: &[&str]) {
        self.write(source, text);
        let (name, _) = source.rsplit_once('.').expect("a source has a suffix");
        let object = format!("{name}.o");
        let mut args = vec!["-flto=thin"];
        args.extend_from_slice(flags);
        args.extend(["-c", "-o", &object, source]);
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
        let mut command = Command::new(program);
        // Languages, colours, linker and make of whoever runs the tests do not
        // matter.
        for variable in ["LD", "MAKEFLAGS", "MAKELEVEL"] {
            command.env_remove(variable);
        }
        without_settings(&mut command);
        command
            .args(args)
            .current_dir(self.path())
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            // Nor do objects that they have built before.
            .env("BACKLTO_CACHE_DIR", "")
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

    /// Runs `program` here and takes away what it left, so that the next one
    /// finds the tree as this one did.
    pub fn observe<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Effect {
        let before = self.files();
        let output = self.run(program, args);
        let mut files = self.files();
        files.retain(|name, bytes| before.get(name) != Some(bytes));
        for name in files.keys() {
            match before.get(name) {
                Some(bytes) => self.write(name, bytes),
                None => std::fs::remove_file(self.file(name)).expect("a new file is removed"),
            }
        }
        Effect {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: stderr(&output),
            files,
        }
    }

    /// Every file with its content, by its path from here; but for what backlto leaves
    /// for itself, which has tests of its own.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).expect("the tree can be listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else if !is_own(&path) {
                    let name = path.strip_prefix(self.path()).expect("a path of the tree");
                    let bytes = std::fs::read(&path).expect("a file of the tree");
                    files.insert(name.display().to_string(), bytes);
                }
            }
        }
        files
    }

    /// Files whose names say that they were never finished.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.path()).expect("the tree can be listed") {
            let name = entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.contains("tmp") {
                found.push(name);
            }
        }
        found
    }
}

/// Whether the file at `path` is a record, of what objects are made of or of a run.
fn is_own(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with("backlto") || name.ends_with("backlto-run")
}

/// What a command did, as far as a build can tell.
#[derive(PartialEq, Eq)]
pub struct Effect {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
    /// The files that are new or have changed.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| (name, bytes.len()))
            .collect();
        write!(
            f,
            "success: {}, files with sizes: {sizes:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.success, self.stdout, self.stderr
        )
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
