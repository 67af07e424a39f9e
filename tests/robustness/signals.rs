//! SIGINT, SIGTERM and SIGHUP end a run soon, whatever it is busy with: whoever waits
//! for it sees the signal, nothing is left behind, and what was finished is known.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::spoil::{MODULES, PATIENCE, command, output, program, run_for};
use crate::common::{BACKLTO, CLANG, LINKER, LLD, Tree, needs_distribution, succeed};
use crate::processes::{Process, assert_nobody_left, processes, wait_for};

const SIGNALS: [(&str, i32); 3] = [("HUP", 1), ("INT", 2), ("TERM", 15)];

/// A second, and what a busy machine may add.
const SOON: Duration = Duration::from_secs(3);

/// Starts `command`, whose output nobody reads.
fn start(command: Command) -> Child {
    // Whoever runs the tests may have been told to ignore signals, as by nohup.
    let mut heeding = Command::new("env");
    heeding
        .arg(format!(
            "--default-signal={}",
            SIGNALS.map(|(name, _)| name).join(",")
        ))
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => heeding.env(name, value),
            None => heeding.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        heeding.current_dir(directory);
    }
    let mut command = heeding;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

fn send(signal: &str, process: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &process.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Sends `signal` to `child`, which must end by it, soon, and leave nothing in `tree`.
#[track_caller]
fn assert_ends(tree: &Tree, mut child: Child, (name, number): (&str, i32)) {
    let start = Instant::now();
    send(name, child.id());
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status,
            None if start.elapsed() > SOON => {
                child.kill().expect("it runs");
                panic!("{name}: still there");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.signal(), Some(number), "{name}: {status}");
    assert_nobody_left(tree);
    assert_eq!(tree.leftovers(), [""; 0], "{name}");
}

#[test]
fn a_run_ends_while_llvm_hangs_and_knows_what_it_has_done() {
    // In the process that was started, and in a worker process.
    for options in [&["-j2"][..], &["-j2", "--timeout-per-object", "100"]] {
        for signal in SIGNALS {
            let tree = program();
            let args = [options, &["--ld", LLD, "run", "plan.json"]].concat();
            let mut hanging = command(&tree, BACKLTO, &args);
            hanging.env("BACKLTO_FAULT", "hang:helper.o");
            let old = MODULES.map(|module| tree.read(&output(module)));
            let child = start(hanging);
            let is_new = |number: usize| {
                std::fs::read(tree.file(&output(MODULES[number]))).is_ok_and(|o| o != old[number])
            };
            wait_for("the others are not compiled", || is_new(0) && is_new(2));
            assert_ends(&tree, child, signal);
            assert!(!is_new(1));

            let args = ["--json", "--ld", LLD, "run", "plan.json"];
            let result = run_for(PATIENCE, command(&tree, BACKLTO, &args)).expect("an end");
            succeed(&result);
            let events = String::from_utf8(result.stdout).expect("text");
            let how = |how: &str| events.matches(&format!("\"how\":\"{how}\"")).count();
            assert_eq!((how("up-to-date"), how("compiled")), (2, 1), "{events}");
        }
    }
}

#[test]
fn a_single_compile_ends_too() {
    let tree = program();
    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("main", "main.native.o", &[]));
    for signal in SIGNALS {
        let mut hanging = command(&tree, BACKLTO, &args);
        hanging.env("BACKLTO_FAULT", "hang:main.o");
        let child = start(hanging);
        wait_for("no compile", || {
            threads_of(child.id()).contains(&"backend".to_owned())
        });
        assert_ends(&tree, child, signal);
        assert!(!tree.file("main.native.o").exists());
    }
}

/// The names of the threads of `process`.
fn threads_of(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// A linker may take long, have children of its own, and not heed SIGTERM.
#[test]
fn a_run_ends_while_the_linker_works() {
    for heeds in ["", "trap '' TERM HUP INT;"] {
        let tree = program();
        let script = format!(
            "printf '#!/bin/sh\\ncase \"$1\" in --version) exec {LLD} \"$1\";; esac\\n\
             {heeds} sleep 1000 & wait\\n' > slow-lld && chmod +x slow-lld"
        );
        succeed(&tree.run("sh", &["-c", &script]));
        for signal in SIGNALS {
            let args = ["--ld", "./slow-lld", "run", "plan.json"];
            let child = start(command(&tree, BACKLTO, &args));
            let sleeps = |(_, words): &Process| words.starts_with(b"sleep\0");
            wait_for("no linker", || processes(&tree).iter().any(sleeps));
            assert_ends(&tree, child, signal);
        }
    }
}

/// As nohup does it, and a shell that starts something in the background.
#[test]
fn signals_that_were_ignored_stay_ignored() {
    let tree = program();
    let script = "trap '' INT HUP; exec \"$0\" \"$@\"";
    let args = ["-c", script, BACKLTO, "--ld", LLD, "run", "plan.json"];
    let mut hanging = command(&tree, "sh", &args);
    hanging.env("BACKLTO_FAULT", "hang:helper.o");
    let mut child = start(hanging);
    let main = output("main");
    let old = tree.read(&main);
    wait_for("nothing is compiled", || tree.read(&main) != old);
    send("INT", child.id());
    send("HUP", child.id());
    std::thread::sleep(Duration::from_millis(1200));
    assert!(
        child.try_wait().expect("it can be asked").is_none(),
        "it has ended"
    );
    assert_ends(&tree, child, ("TERM", 15));
}

/// ld.lld takes away the objects that it asked for when it ends early. Nobody may
/// write them again.
#[test]
fn a_distributor_ends_with_the_linker() {
    if needs_distribution() {
        return;
    }
    let linker = format!("--ld-path={LINKER}");
    for signal in ["KILL", "TERM", "INT"] {
        let tree = Tree::new();
        tree.compile("main", "int f(void); int main(void) { return f(); }\n", &[]);
        tree.compile("f", "int f(void) { return 0; }\n", &[]);
        let args = ["-flto=thin", &linker, "-o", "program", "main.o", "f.o"];
        let mut hanging = command(&tree, CLANG, &args);
        hanging.env("BACKLTO_FAULT", "hang:f.o");
        let mut child = start(hanging);
        let find = |what: &'static [u8]| {
            let runs = move |(_, words): &Process| words.windows(what.len()).any(|w| w == what);
            processes(&tree).into_iter().find(runs)
        };
        wait_for("no distributor", || find(b"\0distribute\0").is_some());
        let compiles = || {
            let distributor = find(b"\0distribute\0");
            distributor
                .is_some_and(|(number, _)| threads_of(number).contains(&"backend".to_owned()))
        };
        wait_for("no compile", compiles);
        let (lld, _) = find(b"--thinlto-distributor=").expect("a linker");
        send(signal, lld);
        wait_for("the linker does not end", || {
            child.try_wait().expect("it can be waited for").is_some()
        });
        assert_nobody_left(&tree);
        assert!(!tree.file("program").exists());
        assert_eq!(tree.leftovers(), [""; 0], "{signal}");
    }
}
