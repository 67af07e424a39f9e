//! `backlto run`, and what every door prints.

#[path = "contact.rs"]
mod contact;
#[path = "diff.rs"]
mod diff;
#[path = "json.rs"]
mod json;
#[path = "report.rs"]
mod report;

use std::process::{Command, Output};

use crate::common::{BACKLTO, CLANG, LLD, Tree, not_shown, stderr, succeed, tool};

const MAIN: &str = "int helper(int); void use(char *);
void g(void) { char x[999]; use(x); }
int _start(void) { g(); return helper(3); }
";
/// Includes a file that each program has of its own. Larger than `MAIN`, so that
/// it is compiled first.
const HELPER: &str = r#"int helper(int x) { return x * SCALE; }
int large(int *a, int n) {
  int s = 0;
  for (int i = 1; i < n; i++)
    s += a[i] * a[i - 1] % (a[i] + s) + (a[s & 7] ^ i) / a[i & 3] - (a[i] << 3);
  return s;
}
void use(char *p) {
  char x[700];
  __asm__ volatile(".pushsection .blob, \"a\"\n.incbin \"blob\"\n.popsection" : : "r"(p), "r"(x) : "memory");
}
"#;

/// The first program is in a directory whose name a shell must quote.
const DIRECTORIES: [&str; 2] = ["it's here", "there"];

/// What both programs are compiled with.
const FLAGS: [&str; 4] = ["--target=x86_64-linux-gnu", "-O2", "-fno-pic", "-mllvm"];

/// The last of [`FLAGS`], which the programs differ in.
const OPTIONS: [&str; 2] = ["-align-all-functions=6", "-align-all-functions=7"];

/// Two programs with equal names in different directories, one warning each
/// in the first module, and `plan.json`.
fn programs() -> Tree {
    let tree = Tree::new();
    let mut programs = Vec::new();
    for (number, directory) in DIRECTORIES.iter().enumerate() {
        let front = [
            FLAGS[0],
            "-O2",
            "-Wframe-larger-than=600",
            &format!("-DSCALE={number}7"),
        ];
        tree.compile(&format!("{directory}/main"), MAIN, &front);
        tree.compile(&format!("{directory}/sub/helper"), HELPER, &front);
        tree.write(&format!("{directory}/blob"), format!("of program {number}"));
        let mut flags = FLAGS.to_vec();
        flags.push(OPTIONS[number]);
        programs.push(serde_json::json!({
            "name": format!("program {number}"),
            "directory": directory,
            "flags": flags,
            "inputs": ["main.o", "sub/helper.o"],
            "thin_link": ["-e", "_start"],
            "link": ["-e", "_start", "--build-id=sha1"],
            "output": "demo",
        }));
    }
    tree.write(
        "plan.json",
        serde_json::json!({ "programs": programs }).to_string(),
    );
    tree
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the plan, which succeeds.
#[track_caller]
fn run(tree: &Tree, options: &[&str]) -> Output {
    forget_run(tree);
    let output = tree.run(BACKLTO, &[options, &["run", "plan.json"]].concat());
    succeed(&output);
    output
}

/// Runs are to compile, whatever ran before.
fn forget_run(tree: &Tree) {
    let _ = std::fs::remove_file(tree.file(".plan.json.backlto"));
}

/// What clang prints, one job after the other, and the program it leads to.
/// Needs the indexes that a run leaves.
fn by_hand(tree: &Tree, number: usize) -> (String, Vec<u8>) {
    let mut messages = String::new();
    let mut shell = |script: String| {
        let script = format!("cd \"$0\" && {script}");
        let output = tree.run("sh", &["-c", &script, DIRECTORIES[number]]);
        succeed(&output);
        messages += &stderr(&output);
    };
    for module in ["main", "sub/helper"] {
        shell(format!(
            "{CLANG} {} {} -x ir -fthinlto-index={module}.o.thinlto.bc -c -o {module}.clang.o {module}.o",
            FLAGS.join(" "),
            OPTIONS[number]
        ));
    }
    shell(format!(
        "{LLD} -e _start --build-id=sha1 -o by-hand main.clang.o sub/helper.clang.o"
    ));
    (
        messages,
        tree.read(&format!("{}/by-hand", DIRECTORIES[number])),
    )
}

#[test]
fn programs_are_those_that_clang_and_lld_would_make() {
    let tree = programs();
    let output = run(&tree, &[]);
    let mut expected_messages = String::new();
    for (number, directory) in DIRECTORIES.iter().enumerate() {
        let (messages, program) = by_hand(&tree, number);
        assert!(messages.contains("exceeds limit"), "{messages}");
        expected_messages += &messages;
        assert!(
            tree.read(&format!("{directory}/demo")) == program,
            "{directory}"
        );
    }
    assert_eq!(stderr(&output), expected_messages);
    let [one, other] = DIRECTORIES.map(|directory| tree.read(&format!("{directory}/demo")));
    assert!(one != other, "the options show in the programs");
}

/// In a container that forbids it, threads share the process's directory. Each
/// program then finds its own files all the same.
#[test]
fn threads_without_directories_of_their_own_give_the_same_programs() {
    let tree = programs();
    let messages = stderr(&run(&tree, &[]));
    let demos = || DIRECTORIES.map(|directory| tree.read(&format!("{directory}/demo")));
    let expected = demos();
    tree.write(
        "forbid.c",
        "#include <errno.h>\n#include <fcntl.h>\n
        int unshare(int flags) { creat(\"asked\", 0600); errno = EPERM; return -1; }\n",
    );
    succeed(&tree.run(CLANG, &["-shared", "-fPIC", "-o", "forbid.so", "forbid.c"]));
    for directory in DIRECTORIES {
        std::fs::remove_file(tree.file(&format!("{directory}/demo"))).expect("a program");
    }
    forget_run(&tree);
    let output = Command::new(BACKLTO)
        .env("BACKLTO_CACHE_DIR", "")
        .args(["-j2", "-q", "run", "plan.json"])
        .current_dir(tree.path())
        .env("LC_ALL", "C")
        .env("LD_PRELOAD", tree.file("forbid.so"))
        .output()
        .expect("backlto runs");
    succeed(&output);
    assert!(tree.file("asked").exists(), "nothing was forbidden");
    assert_eq!(stderr(&output), messages);
    assert!(demos() == expected);
}

#[test]
fn a_run_says_what_it_does_in_the_style_of_kbuild() {
    let tree = programs();
    // One after the other they end in another order than that of the plan.
    let said = text(&run(&tree, &["-j1"]).stdout);
    let lines: Vec<&str> = said.lines().collect();
    let steps = [
        "  INDEX   program 0",
        "  INDEX   program 1",
        "  BE      it's here/main.thinlto-native.o",
        "  BE      it's here/sub/helper.thinlto-native.o",
        "  BE      there/main.thinlto-native.o",
        "  BE      there/sub/helper.thinlto-native.o",
        "  LD      program 0/demo",
        "  LD      program 1/demo",
    ];
    assert_eq!(lines[..steps.len()], steps, "{said}");
    let summary = lines[steps.len()];
    assert!(summary.starts_with("4 objects (0.0 MB) in "), "{summary}");
    let number_before = |unit: &str| -> f64 {
        let (before, _) = summary
            .split_once(unit)
            .unwrap_or_else(|| panic!("{unit}: {summary}"));
        let number = before.rsplit(' ').next().unwrap_or_default();
        number
            .parse()
            .unwrap_or_else(|_| panic!("{number}: {summary}"))
    };
    let (seconds, throughput) = (number_before(" s, "), number_before(" objects/s"));
    // Both are rounded.
    assert!((seconds * throughput - 4.0).abs() < 1.5, "{summary}");
    let (_, memory) = summary.split_once("peak memory ").expect("the peak memory");
    let memory: f64 = memory.trim_end_matches(" MB").parse().expect("a number");
    assert!((10.0..10_000.0).contains(&memory), "{summary}");

    let rest = &lines[steps.len() + 1..];
    assert_eq!(rest[0], "slowest:", "{said}");
    let mut slowest: Vec<_> = rest[1..5]
        .iter()
        .map(|line| line.split_once(" s  "))
        .collect();
    assert!(
        slowest.is_sorted_by(|one, other| one.map(|o| o.0) >= other.map(|o| o.0)),
        "{said}"
    );
    slowest.sort_by_key(|line| line.map(|line| line.1));
    let named: Vec<_> = slowest
        .iter()
        .flatten()
        .map(|line| format!("  BE      {}", line.1))
        .collect();
    assert_eq!(named, steps[2..6], "{said}");
    assert_eq!(rest.len(), 5, "{said}");
}

/// Objects that were there say nothing of how fast objects are made.
#[test]
fn a_run_with_nothing_to_do_does_not_boast() {
    let tree = programs();
    run(&tree, &[]);
    let output = tree.run(BACKLTO, &["run", "plan.json"]);
    succeed(&output);
    let said = text(&output.stdout);
    let summary = said.lines().find(|line| line.starts_with("4 objects ("));
    let summary = summary.unwrap_or_else(|| panic!("{said}"));
    assert!(
        !summary.contains("objects/s") && !summary.contains('%'),
        "{said}"
    );
    assert!(said.contains("\n0 compiled, 4 up to date"), "{said}");
}

#[test]
fn a_failed_run_says_how_many_failed() {
    let tree = programs();
    // Both modules of that program have its assembly.
    std::fs::remove_file(tree.file("there/blob")).expect("it is removed");
    for (options, says) in [
        (&["-k"][..], &["\n2 objects (0.0 MB), 2 FAILED, in "][..]),
        (&["-j1"], &[" 1 FAILED, ", " not run, in "]),
    ] {
        let output = tree.run(BACKLTO, &[options, &["run", "plan.json"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stdout);
        assert!(says.iter().all(|words| said.contains(words)), "{said}");
    }
}

#[test]
fn response_files_are_read() {
    let tree = Tree::demo(&["-O2"]);
    let output = tree.run(BACKLTO, &["cc", CLANG, "-O2", "@no.rsp"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no such file or directory: '@no.rsp'"),
        "{output:?}"
    );
    let args = Tree::backend_args("deck", "deck.native.o", &["-O2"]).join(" ");
    tree.write("more.rsp", args);
    succeed(&tree.run(BACKLTO, &["cc", CLANG, "@more.rsp"]));
    assert!(tree.file("deck.native.o").exists());
}

/// `backlto cc` leaves these to clang. Here, nobody else says what is wrong with them.
#[test]
fn flags_that_clang_rejects_end_a_run_in_its_words() {
    let tree = programs();
    let plan = text(&tree.read("plan.json"));
    for flag in [
        "-fnonsense",
        "-Wa,-foo",
        "-Rpass=[",
        "-fprofile-use=missing.profdata",
    ] {
        let module = format!("{}/main", DIRECTORIES[1]);
        let by_clang = tree.clang_backend(&module, "native.o", &[FLAGS[0], "-O2", flag]);
        let words = stderr(&by_clang);
        let words = words.find("error: ").map(|at| words[at..].trim_end());
        let words = words.unwrap_or_else(|| panic!("{flag}: {by_clang:?}"));
        tree.write(
            "plan.json",
            plan.replace("\"-O2\"", &format!("\"-O2\",\"{flag}\"")),
        );
        let output = tree.run(BACKLTO, &["run", "plan.json"]);
        assert_eq!(output.status.code(), Some(1), "{flag}");
        let said = stderr(&output);
        assert!(said.contains(words), "{flag}: no {words:?} in {said}");
        // Once for each set of flags, not for each module.
        let count = said.matches("clang does not accept the flags of `").count();
        assert_eq!(count, DIRECTORIES.len(), "{flag}: {said}");
        let files = tree.files();
        let mut objects = files.keys().filter(|name| name.contains("native"));
        assert_eq!(objects.next(), None, "{flag}");
    }
}

#[test]
fn a_quiet_run_prints_the_compilers_messages_only() {
    let tree = programs();
    let loud = run(&tree, &[]);
    for options in [&["-q"][..], &["--quiet", "-j1"]] {
        let quiet = run(&tree, options);
        assert_eq!(text(&quiet.stdout), "");
        assert_eq!(stderr(&quiet), stderr(&loud));
    }
}

/// Every command that `-v` prints gives the bytes that the run gave.
#[test]
fn verbose_runs_print_commands_that_a_shell_can_run() {
    let tree = programs();
    let said = text(&run(&tree, &["-v"]).stdout);
    let commands: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" -x ir "))
        .collect();
    assert_eq!(commands.len(), 4, "{said}");
    assert!(!said.contains("  BE "), "{said}");

    let bindir = tree.run(tool!("llvm-config"), &["--bindir"]);
    let path = format!(
        "{}:{}",
        text(&bindir.stdout).trim(),
        std::env::var("PATH").expect("PATH")
    );
    for (number, command) in commands.iter().enumerate() {
        let directory = DIRECTORIES[number / 2];
        let object = ["main", "sub/helper"][number % 2];
        let object = tree.file(&format!("{directory}/{object}.thinlto-native.o"));
        let bytes = std::fs::read(&object).expect("the object of the run");
        std::fs::remove_file(&object).expect("it is removed");
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .current_dir(tree.path())
            .env("PATH", &path);
        succeed(&shell.output().expect("the shell runs"));
        assert!(
            std::fs::read(&object).expect("the shell's object") == bytes,
            "{command}"
        );
    }
}

/// Checks the command that `-v` prints for `backlto cc`, with an argument that must be quoted.
#[test]
fn one_compile_prints_its_command_too() {
    let tree = Tree::demo(&["-O2"]);
    let args = Tree::backend_args(
        "deck",
        "it's $HOME.o",
        &["-O2", "-fdebug-prefix-map=a b=c\\d"],
    );
    let mut line = vec!["-v".to_owned(), "cc".to_owned(), CLANG.to_owned()];
    line.extend(args);
    let said = tree.run(BACKLTO, &line);
    succeed(&said);
    let bytes = tree.read("it's $HOME.o");
    std::fs::remove_file(tree.file("it's $HOME.o")).expect("it is removed");
    succeed(&tree.run("/bin/sh", &["-c", &stderr(&said)]));
    assert!(tree.read("it's $HOME.o") == bytes);
}

/// A terminal shows how far the run is, and every message whole.
#[test]
fn progress_does_not_break_messages() {
    let tree = programs();
    if tree
        .run("sh", &["-c", "command -v script"])
        .stdout
        .is_empty()
    {
        not_shown("skipped: there is no `script` (Debian's bsdutils) to make a terminal with");
        return;
    }
    // Colours are clang's choice, made for the same terminal.
    let in_terminal = |command: &str| {
        let script = format!("TERM=xterm exec {command}");
        let output = tree.run("script", &["-qefc", &script, "/dev/null"]);
        succeed(&output);
        text(&output.stdout)
    };
    let said = in_terminal(&format!("{BACKLTO} -j2 run plan.json"));
    for (number, directory) in DIRECTORIES.iter().enumerate() {
        let expected = in_terminal(&format!(
            "sh -c 'cd \"{directory}\" && {CLANG} {} {} -x ir -fthinlto-index=main.o.thinlto.bc -c -o x.o main.o'",
            FLAGS.join(" "),
            OPTIONS[number]
        ).replace("it's", "it'\\''s"));
        assert!(
            expected.contains("\u{1b}[") && expected.contains("exceeds limit"),
            "{expected:?}"
        );
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
    assert!(said.contains("[4/4]"), "{said:?}");
    // Only those that LLVM has something to say of.
    assert_eq!(said.matches("  BE ").count(), 2, "{said:?}");
    // What is left on the screen: a line that was drawn over is erased.
    let shown: Vec<&str> = said
        .split("\r\n")
        .map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or_default())
        .collect();
    assert!(shown.contains(&"  LD      program 1/demo"), "{shown:?}");
    assert!(
        shown.iter().any(|line| line.starts_with("4 objects (")),
        "{shown:?}"
    );
}

/// A full disk is one on which /dev/full writes.
#[test]
fn events_and_traces_that_cannot_be_written_fail_the_run() {
    let tree = programs();
    let full = |args: &[&str], to_full: bool| {
        let mut command = Command::new(BACKLTO);
        command
            .args(["run", "plan.json"])
            .args(args)
            .current_dir(tree.path())
            .env("BACKLTO_CACHE_DIR", "");
        if to_full {
            let device = std::fs::File::options().write(true).open("/dev/full");
            command.stdout(device.expect("Linux has it"));
        }
        command.output().expect("backlto runs")
    };
    for (args, to_full, what) in [
        (&["--json"][..], true, "cannot write to standard output"),
        (
            &["-q", "--trace", "/dev/full"],
            false,
            "cannot write `/dev/full`",
        ),
    ] {
        let output = full(args, to_full);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let text = stderr(&output);
        assert_eq!(text.matches(what).count(), 1, "{text}");
    }
}

#[test]
fn the_program_explains_itself() {
    let tree = Tree::new();
    let version = tree.run(BACKLTO, &["--version"]);
    let llvm = tree.run(tool!("llvm-config"), &["--version"]);
    let expected = format!(
        "backlto {} (LLVM {})\n",
        env!("CARGO_PKG_VERSION"),
        text(&llvm.stdout).trim()
    );
    succeed(&version);
    assert_eq!(text(&version.stdout), expected);

    let help = tree.run(BACKLTO, &["--help"]);
    succeed(&help);
    for word in [
        "kbuild",
        "cc",
        "run",
        "--jobs",
        "--verbose",
        "--quiet",
        "--ld",
    ] {
        assert!(
            text(&help.stdout).contains(word),
            "{word}: {}",
            text(&help.stdout)
        );
    }
    for door in ["kbuild", "cc", "run"] {
        let help = tree.run(BACKLTO, &["help", door]);
        succeed(&help);
        assert!(
            text(&help.stdout).contains(&format!("backlto {door}")),
            "{door}"
        );
    }
    for wrong in [
        &[][..],
        &["run"],
        &["-j0", "run", "x"],
        &["-q", "-v", "run", "x"],
        &["what"],
    ] {
        let output = tree.run(BACKLTO, wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            stderr(&output).contains("Usage:") || stderr(&output).contains("--help"),
            "{wrong:?}"
        );
    }
}
