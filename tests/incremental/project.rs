//! A program in miniature, built again and again by `backlto run`. After every
//! build each object is compared with what clang makes of the same inputs at
//! that moment, whoever made the object.

#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{BACKLTO, CLANG, LLD, stderr, succeed};

/// What front end and backends are told alike.
const FLAGS: [&str; 3] = ["--target=x86_64-linux-gnu", "-O2", "-ffreestanding"];

/// Modules with what each does to the others: `main` imports from `util` and
/// `inner`, `blob` and `inner` pull in files when they are assembled.
pub const SOURCES: [(&str, &str); 5] = [
    ("main", MAIN),
    ("util", UTIL),
    ("blob", BLOB),
    ("inner", INNER),
    ("alone", "int alone(int x) { return x - 1; }\n"),
];

const MAIN: &str = "int twice(int); int inner(int); extern const char blob[];
int start(int x) { return twice(x) + inner(x) + blob[0]; }\n";
pub const UTIL: &str = "int twice(int x) { return x * 2; }
__attribute__((noinline)) int never(int x) { return x * 5; }\n";
pub const BLOB: &str = "__asm__(\".section .rodata.blob,\\\"a\\\"\\n.globl blob\\nblob:\\n\"
    \".incbin \\\"blob.bin\\\"\\n.previous\");\n";
pub const INNER: &str = "int inner(int x) {
    __asm__ volatile(\".pushsection .rodata.inner,\\\"a\\\"\\n.incbin \\\"inner.bin\\\"\\n.popsection\");
    return x + 3; }\n";

/// What a build did.
#[derive(Debug)]
pub struct Built {
    /// What LLVM compiled.
    pub compiled: BTreeSet<String>,
    /// What was known before LLVM started.
    pub cached: BTreeSet<String>,
    /// What was known once LLVM had imported.
    pub imported: BTreeSet<String>,
    /// What another machine had.
    pub remote: BTreeSet<String>,
    /// What an engine compiled.
    pub executed: BTreeSet<String>,
    /// What backlto itself had to say.
    pub warnings: Vec<String>,
    pub stdout: String,
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

impl Built {
    /// Checks what LLVM compiled, what was found before it started, and what it
    /// had only to import for; names with blanks between. All else was there.
    #[track_caller]
    pub fn did(&self, compiled: &str, cached: &str, imported: &str) {
        let expected = (&set(compiled), &set(cached), &set(imported));
        let actual = (&self.compiled, &self.cached, &self.imported);
        assert_eq!(actual, expected, "{}", self.stdout);
    }

    #[track_caller]
    pub fn nothing(&self) {
        self.did("", "", "");
    }

    /// Checks that LLVM compiled these, and nobody else was built.
    #[track_caller]
    pub fn compiled(&self, names: &str) {
        self.did(names, "", "");
    }

    /// Checks that it compiled nothing, and that these were put in place.
    #[track_caller]
    pub fn only_from_cache(&self, names: &str) {
        assert_eq!(self.compiled, set(""), "{}", self.stdout);
        let found: BTreeSet<_> = self.cached.union(&self.imported).cloned().collect();
        assert_eq!(found, set(names), "{}", self.stdout);
    }
}

/// Names of all modules.
pub const ALL: &str = "main util blob inner alone";

pub struct Project {
    home: tempfile::TempDir,
    /// Where it is built, below the temporary directory.
    name: String,
    /// What builds it.
    pub program: PathBuf,
    /// For the backends, after those for both.
    pub flags: Vec<String>,
    pub modules: Vec<String>,
    pub cache: PathBuf,
}

impl Project {
    /// All of [`SOURCES`], not built yet.
    pub fn new() -> Project {
        Project::of(&SOURCES)
    }

    pub fn of(sources: &[(&str, &str)]) -> Project {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut project = Project {
            name: "project".to_owned(),
            program: BACKLTO.into(),
            flags: Vec::new(),
            modules: Vec::new(),
            cache: home.path().join("cache"),
            home,
        };
        std::fs::create_dir(project.directory()).expect("a directory");
        project.write("blob.bin", "blob 1");
        project.write("inner.bin", "inner 1");
        for (name, text) in sources {
            project.edit(name, text);
            project.modules.push((*name).to_owned());
        }
        project
    }

    /// Built once with an empty cache.
    pub fn built() -> Project {
        let project = Project::new();
        project.build().compiled(ALL);
        project
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn directory(&self) -> PathBuf {
        self.home.path().join(&self.name)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    pub fn object(&self, module: &str) -> PathBuf {
        self.file(&format!("{module}.thinlto-native.o"))
    }

    pub fn record(&self) -> PathBuf {
        self.file(".plan.json.backlto")
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        std::fs::write(path, bytes).expect("a file is written");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("a file is removed");
    }

    /// Runs the front end: the module `name` becomes `text`.
    pub fn edit(&self, name: &str, text: &str) {
        self.edit_with(name, text, &[]);
    }

    pub fn edit_with(&self, name: &str, text: &str, flags: &[&str]) {
        self.write(&format!("{name}.c"), text);
        let (object, source) = (format!("{name}.o"), format!("{name}.c"));
        let mut args = vec!["-flto=thin"];
        args.extend(FLAGS);
        args.extend(flags);
        args.extend(["-c", "-o", &object, &source]);
        succeed(&self.run(CLANG, &args));
    }

    /// Moves the project as a whole.
    pub fn rename(&mut self, name: &str) {
        std::fs::rename(self.directory(), self.home.path().join(name)).expect("a rename");
        self.name = name.to_owned();
    }

    /// Works in another directory from now on.
    pub fn move_to(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    /// Copies the project, attributes and record and all; the copy is ours from
    /// now on.
    pub fn copy(&mut self, name: &str) {
        let (from, to) = (self.directory(), self.home.path().join(name));
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).output();
        succeed(&copied.expect("cp runs"));
        self.name = name.to_owned();
    }

    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program)
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("cannot run {program}: {e} (`make setup` installs it)"))
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory())
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            .env("BACKLTO_CACHE_DIR", &self.cache)
            .env_remove("BACKLTO_CACHE_POLICY")
            .env_remove("BACKLTO_REMOTE")
            .env_remove("BACKLTO_REMOTE_JOBS")
            .env("LD", LLD);
        command
    }

    /// Describes the program to backlto as it is now.
    pub fn plan(&self) {
        let flags: Vec<&str> = FLAGS.into_iter().chain(self.flags()).collect();
        let inputs: Vec<String> = self
            .modules
            .iter()
            .map(|name| format!("{name}.o"))
            .collect();
        let plan = serde_json::json!({ "programs": [{
            "name": "p", "directory": ".", "output": "linked", "flags": flags,
            "inputs": inputs, "thin_link": ["-r"], "link": ["-r"],
        }] });
        self.write("plan.json", plan.to_string());
    }

    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(String::as_str)
    }

    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Builds; see [`Project::build_with`].
    #[track_caller]
    pub fn build(&self) -> Built {
        self.build_with(&[])
    }

    /// Builds, and checks that every object and every message is clang's.
    #[track_caller]
    pub fn build_with(&self, args: &[&str]) -> Built {
        self.build_in(args, &[])
    }

    /// Builds with variables of the environment, and checks as much.
    #[track_caller]
    pub fn build_in(&self, args: &[&str], variables: &[(&str, &str)]) -> Built {
        let before = self.inodes();
        self.plan();
        let mut command = self.command(&self.program.to_string_lossy());
        command.args(["run", "plan.json"]).args(args);
        let output = command.envs(variables.iter().copied()).output();
        let output = output.expect("backlto runs");
        succeed(&output);
        let messages = self.assert_as_clang();
        self.describe(&output, &before, &messages)
    }

    /// Builds and fails, maybe.
    pub fn try_build(&self, args: &[&str]) -> Output {
        self.plan();
        let program = self.program.to_string_lossy();
        self.run(&program, &[&["run", "plan.json"], args].concat())
    }

    /// Compares every object with clang's; returns what clang says of each.
    #[track_caller]
    pub fn assert_as_clang(&self) -> BTreeMap<String, String> {
        let oracle = self.home.path().join("clang.o");
        let mut messages = BTreeMap::new();
        for name in &self.modules {
            let mut args: Vec<&str> = FLAGS.into_iter().chain(self.flags()).collect();
            let (index, module) = (
                format!("-fthinlto-index={name}.o.thinlto.bc"),
                format!("{name}.o"),
            );
            let output = oracle.to_string_lossy();
            args.extend(["-x", "ir", &index, "-c", "-o", &output, &module]);
            let compiled = self.run(CLANG, &args);
            succeed(&compiled);
            let expected = std::fs::read(&oracle).expect("clang's object");
            let actual = std::fs::read(self.object(name)).unwrap_or_default();
            assert!(expected == actual, "{name} is not what clang makes of it");
            messages.insert(name.clone(), stderr(&compiled));
        }
        messages
    }

    /// Which file each object is: one that is written again is another.
    pub fn inodes(&self) -> BTreeMap<String, u64> {
        let inode = |name: &String| {
            let metadata = std::fs::metadata(self.object(name)).ok()?;
            Some((name.clone(), metadata.ino()))
        };
        self.modules.iter().filter_map(inode).collect()
    }

    #[track_caller]
    fn describe(
        &self,
        output: &Output,
        before: &BTreeMap<String, u64>,
        messages: &BTreeMap<String, String>,
    ) -> Built {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let told: BTreeSet<String> = stdout
            .lines()
            .filter_map(|line| line.strip_prefix("  BE "))
            .filter_map(|line| line.rsplit_once('/')?.1.strip_suffix(".thinlto-native.o"))
            .map(str::to_owned)
            .collect();
        let after = self.inodes();
        let written = |name: &&String| before.get(*name) != after.get(*name);
        let written: BTreeSet<String> = self.modules.iter().filter(written).cloned().collect();
        assert_eq!(told, written, "a line for each object that is written");

        let mut built = Built {
            compiled: BTreeSet::new(),
            cached: BTreeSet::new(),
            imported: BTreeSet::new(),
            remote: BTreeSet::new(),
            executed: BTreeSet::new(),
            warnings: Vec::new(),
            stdout,
        };
        for name in written {
            match self.how(&name).as_deref() {
                Some("cached") => built.cached.insert(name),
                Some("cached-after-import") => built.imported.insert(name),
                Some("remote" | "remote-after-import") => built.remote.insert(name),
                Some("executed") => built.executed.insert(name),
                Some("compiled") | None => built.compiled.insert(name),
                other => panic!("{name} was {other:?}, yet written"),
            };
        }
        let (found, imported) = (
            built.cached.len() + built.imported.len(),
            built.imported.len(),
        );
        let remote = built.remote.len() + built.executed.len();
        let here = self.modules.len() - found - remote - built.compiled.len();
        if found + here + remote > 0 {
            let mut summary = format!("\n{} compiled, {here} up to date", built.compiled.len());
            if found > 0 {
                summary += &format!(
                    ", {found} from the cache ({imported} of them known after the import)"
                );
            }
            assert!(
                built.stdout.contains(&summary),
                "{summary}\n{}",
                built.stdout
            );
        }

        let mut said = String::new();
        for line in stderr(output).split_inclusive('\n') {
            match line.strip_prefix("backlto: warning: ") {
                Some(warning) => built.warnings.push(warning.trim_end().to_owned()),
                None => said += line,
            }
        }
        let expected: String = self
            .modules
            .iter()
            .filter(|name| told.contains(*name))
            .map(|name| messages[name].as_str())
            .collect();
        assert_eq!(said, expected, "what is built says what clang says of it");
        built
    }

    /// How the object of `module` came to be, as the record has it.
    pub fn how(&self, module: &str) -> Option<String> {
        let record = self.json_record();
        let how = &record["objects"][format!("{module}.thinlto-native.o")]["how"];
        how.as_str().map(str::to_owned)
    }

    pub fn json_record(&self) -> serde_json::Value {
        let text = std::fs::read(self.record()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// Dates the file at `path`.
pub fn set_modified(path: &Path, time: std::time::SystemTime) {
    let file = std::fs::File::options().append(true).open(path);
    let dated = file.and_then(|file| file.set_modified(time));
    dated.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

pub fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
