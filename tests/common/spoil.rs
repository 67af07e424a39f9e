//! Bad input: a small program to spoil, ways to spoil it, and what a refusal
//! must look like.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{BACKLTO, CLANG, LLD, Tree, not_shown, stderr, without_settings};

/// Flags of both ends, so that a test can tell one architecture from another.
pub const FLAGS: [&str; 2] = ["--target=x86_64-linux-gnu", "-O2"];

/// The modules of [`program`]: `main` imports from `helper`, `lone` stands
/// alone.
pub const MODULES: [&str; 3] = ["main", "helper", "lone"];

/// No compile here takes a second; one that takes this long will not end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What every object holds before a run, to see that a failure leaves it.
pub const OLD: &[u8] = b"the object of an earlier run\n";

const MAIN: &str = "int helper(int);
int table[4] = {1, 2, 3, 4};
int entry(int n) {
  int sum = 0;
  for (int i = 0; i < n; i++)
    sum += helper(i) * table[i & 3];
  return sum;
}
";
const HELPER: &str = "static int hidden(int x) { return x * 7 + 3; }
int helper(int x) { return hidden(x) ^ 5; }
int other(int x) { return x - 1; }
";
const LONE: &str = "int lone(int x) { return x * 3; }\n";

/// A linker that finds its work done: `backlto run` then takes the indexes
/// that a test has spoiled, and links nothing.
const DONE_LINKER: &str = "done-linker";

/// A fresh copy of the program: bitcode, indexes, `plan.json`, and an old
/// object under every output's name.
pub fn program() -> Tree {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let sources = [("main", MAIN), ("helper", HELPER), ("lone", LONE)];
        let tree = Tree::thin_linked(&sources, &FLAGS);
        tree.write("plan.json", plan(".", &MODULES));
        tree.write("demo.thinlto-index", "main.o\nhelper.o\nlone.o\n");
        for output in outputs() {
            tree.write(&output, OLD);
        }
        tree.files()
    });
    let tree = Tree::new();
    for (name, bytes) in files {
        tree.write(name, bytes);
    }
    let script = format!("[ \"$1\" != --version ] || exec {LLD} \"$1\"");
    tree.script(DONE_LINKER, &script);
    tree
}

/// A plan for one program, made of `modules` in `directory`.
pub fn plan(directory: &str, modules: &[&str]) -> String {
    let inputs: Vec<String> = modules.iter().map(|module| format!("{module}.o")).collect();
    serde_json::json!({"programs": [{
        "name": "demo",
        "directory": directory,
        "flags": FLAGS,
        "inputs": inputs,
        "thin_link": ["-r"],
        "link": ["-r"],
        "output": "demo",
    }]})
    .to_string()
}

/// The object of `module`.
pub fn output(module: &str) -> String {
    format!("{module}.thinlto-native.o")
}

/// Every file that a run of the plan may write.
pub fn outputs() -> impl Iterator<Item = String> {
    MODULES.into_iter().map(output).chain(["demo".to_owned()])
}

/// A way to hand over the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `backlto cc` for `main` alone.
    Cc,
    /// `backlto run` for all modules, with the indexes that are there.
    Run,
}

impl Door {
    pub const ALL: [Door; 2] = [Door::Cc, Door::Run];

    /// The arguments of backlto.
    pub fn args(self) -> Vec<String> {
        match self {
            Door::Cc => {
                let mut args = vec!["cc".to_owned(), CLANG.to_owned()];
                args.extend(Tree::backend_args("main", &output("main"), &FLAGS));
                args
            }
            Door::Run => {
                let linker = format!("./{DONE_LINKER}");
                ["-q", "--ld", &linker, "run", "plan.json"]
                    .map(str::to_owned)
                    .into()
            }
        }
    }

    /// Sends the program of `tree` through.
    #[track_caller]
    pub fn enter(self, tree: &Tree) -> Output {
        backlto(tree, &self.args())
    }
}

/// Runs backlto in `tree`; it must end by itself, and not on a signal.
#[track_caller]
pub fn backlto<S: AsRef<OsStr>>(tree: &Tree, args: &[S]) -> Output {
    let output = run_for(PATIENCE, command(tree, BACKLTO, args));
    let output = output.expect("backlto hangs");
    assert!(
        output.status.code().is_some(),
        "{}\n{}",
        output.status,
        stderr(&output)
    );
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    output
}

/// Runs backlto as a user who owns nothing, while `tree` itself has `mode`.
/// `None`, with the reason printed, when that cannot be done.
///
/// Permissions do not bind root, so it becomes somebody else; and a backlto
/// that root runs could, with one mistake, replace a device of the system.
#[track_caller]
pub fn backlto_as_nobody(tree: &Tree, mode: u32, args: &[String]) -> Option<Output> {
    const NOBODY: u32 = 65534;
    let owner = std::fs::metadata(tree.path()).expect("the tree is there");
    let as_nobody = |mut command: Command| {
        if owner.uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        run_for(PATIENCE, command).expect("the program ends")
    };
    set_mode(tree, ".", mode);
    let test = command(tree, "sh", &["-c", "test -x \"$0\"", BACKLTO]);
    let result = if as_nobody(test).status.success() {
        Some(as_nobody(command(tree, BACKLTO, args)))
    } else {
        not_shown(&format!("skipped: user {NOBODY} may not run {BACKLTO}"));
        None
    };
    // So that the tree can be taken down.
    set_mode(tree, ".", 0o755);
    result
}

/// Sets the permissions of `name`.
pub fn set_mode(tree: &Tree, name: &str, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(tree.file(name), permissions).expect("the mode can be set");
}

/// `program` with `args`, to be run in `tree`.
pub fn command<S: AsRef<OsStr>>(tree: &Tree, program: &str, args: &[S]) -> Command {
    let mut command = Command::new(program);
    without_settings(&mut command);
    command.env("BACKLTO_CACHE_DIR", "");
    command
        .args(args)
        .current_dir(tree.path())
        .env("LC_ALL", "C")
        .env("TERM", "dumb");
    command
}

/// Runs `command` for at most `limit`; `None` when it had to be killed.
pub fn run_for(limit: Duration, mut command: Command) -> Option<Output> {
    let pipe = Stdio::piped;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(pipe())
        .stderr(pipe())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e} (`make setup` installs it)"));
    let drain = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("it is piped")));
    let stderr = drain(Box::new(child.stderr.take().expect("it is piped")));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread
            .join()
            .expect("the reader ends")
            .expect("a pipe can be read")
    };
    Some(Output {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// The lines of `output` that are errors of backlto's own.
pub fn errors(output: &Output) -> Vec<String> {
    let text = stderr(output);
    text.lines()
        .filter(|line| line.starts_with("backlto: error:"))
        .map(str::to_owned)
        .collect()
}

/// Asserts that backlto failed as it should: status 1, errors that say `name`,
/// and nothing left half done. `cc` has one thing to say; `run` may have one
/// for every module that cannot be compiled.
#[track_caller]
pub fn assert_failed(what: &str, door: Door, output: &Output, name: &str, tree: &Tree) {
    let text = format!("{what}, {door:?}: {}\n{}", output.status, stderr(output));
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors = errors(output);
    assert!(
        errors.len() == 1 || door == Door::Run && !errors.is_empty(),
        "{text}"
    );
    assert!(
        errors.iter().all(|error| error.contains(name)),
        "no `{name}` in: {text}"
    );
    assert_eq!(tree.leftovers(), [""; 0], "{text}");
}

/// Checks what a door does with input that is bad before any work starts: the outputs of all
/// modules are what they were.
#[track_caller]
pub fn assert_refused(what: &str, door: Door, output: &Output, name: &str, tree: &Tree) {
    assert_failed(what, door, output, name, tree);
    assert_untouched(tree, what);
}

/// Asserts that every output is what it was, and that there is nothing else.
#[track_caller]
pub fn assert_untouched(tree: &Tree, what: &str) {
    for output in outputs() {
        assert!(tree.read(&output) == OLD, "`{output}` was touched: {what}");
    }
    assert_eq!(tree.leftovers(), [""; 0], "{what}");
}

/// Numbers without a pattern, the same in every run (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a size fits into 64 bits");
        usize::try_from(self.roll() % limit).expect("it is below a size")
    }
}

/// Turns over one bit.
pub fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Replaces the first `from` that `bytes` has as six-bit characters, at any bit
/// (LLVM's Bitstream Container Format, "char6").
pub fn replace_char6(bytes: &mut [u8], from: &str, to: &str) {
    const CHARS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
    let code = |c| CHARS.find(c).expect("a char6");
    let bits = |text: &str| -> Vec<bool> {
        text.chars()
            .flat_map(|c| (0..6).map(move |i| code(c) >> i & 1 == 1))
            .collect()
    };
    let (from, to) = (bits(from), bits(to));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
    let at = (0..bytes.len() * 8 - from.len())
        .find(|at| {
            from.iter()
                .enumerate()
                .all(|(i, want)| bit(bytes, at + i) == *want)
        })
        .expect("the text is there");
    for (i, want) in to.into_iter().enumerate() {
        if bit(bytes, at + i) != want {
            flip(bytes, at + i);
        }
    }
}
