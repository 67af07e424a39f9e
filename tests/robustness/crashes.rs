//! LLVM crashes: the job is tried again in a process of its own, the others end
//! well, and nothing waits for the dead.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use crate::common::spoil::{
    Door, FLAGS, MODULES, OLD, PATIENCE, assert_failed, command, errors, output, program, run_for,
};
use crate::common::{BACKLTO, LLD, Tree, stderr, succeed};
use crate::processes::{Process, processes, wait_for};
use crate::{PARTS, RUN, long_program, reference};

/// Crashes in the process that was started by hand alone.
const HERE: &str = "BACKLTO_FAULT_HERE";
/// Crashes in worker processes too.
const EVERYWHERE: &str = "BACKLTO_FAULT";

/// Ways to stop in the middle of a compile, and what is said of each. The last
/// one takes the lock of the heap along.
const FAULTS: [(&str, &str); 4] = [
    ("segv", "signal 11"),
    ("fatal", "a fault that was asked for"),
    ("throw", "a fault that was asked for"),
    ("heap", "signal 6"),
];

/// Runs backlto with a fault; it must end by itself.
#[track_caller]
fn with_fault(tree: &Tree, args: &[&str], variable: &str, fault: &str) -> Output {
    let mut command = command(tree, BACKLTO, args);
    command.env(variable, fault);
    let result = run_for(PATIENCE, command).unwrap_or_else(|| panic!("{fault}: backlto hangs"));
    assert!(!stderr(&result).contains("panicked"), "{}", stderr(&result));
    result
}

fn remove(tree: &Tree, reference: &BTreeMap<String, Vec<u8>>) {
    for name in reference
        .keys()
        .map(String::as_str)
        .chain([".plan.json.backlto"])
    {
        let _ = std::fs::remove_file(tree.file(name));
    }
}

/// Checks that the object of each of `modules` is clang's.
#[track_caller]
fn assert_as_clang(tree: &Tree, modules: &[&str]) {
    for module in modules {
        succeed(&tree.clang_backend(module, "clang.o", &FLAGS));
        assert!(
            tree.read(&output(module)) == tree.read("clang.o"),
            "{module}"
        );
    }
}

#[test]
fn a_job_that_crashes_once_is_compiled_again_and_the_run_says_so() {
    let tree = long_program();
    let reference = reference(&tree);
    for (kind, said) in FAULTS {
        for jobs in ["-j1", "-j4"] {
            remove(&tree, &reference);
            let mut args = vec![jobs];
            args.extend(RUN);
            let result = with_fault(&tree, &args, HERE, &format!("{kind}:p3.o"));
            succeed(&result);
            let text = stderr(&result);
            assert_eq!(
                text.matches("LLVM crashed over 'p3.o'").count(),
                1,
                "{kind}: {text}"
            );
            assert!(
                text.contains("warning: ") && text.contains(said),
                "{kind}: {text}"
            );
            // What the compiler has to say comes once, wherever it ran.
            let warnings = text.matches("exceeds limit (100)").count();
            assert_eq!(warnings, 2 * PARTS.len(), "{kind}: {text}");
            for (name, whole) in &reference {
                assert!(tree.read(name) == *whole, "{kind} {jobs}: {name}");
            }
        }
    }
}

#[test]
fn a_job_that_always_crashes_fails_alone() {
    let tree = long_program();
    let reference = reference(&tree);
    for (kind, said) in FAULTS {
        remove(&tree, &reference);
        let args = [&["-k"], &RUN[..]].concat();
        let result = with_fault(&tree, &args, EVERYWHERE, &format!("{kind}:p3.o"));
        assert_eq!(result.status.code(), Some(1), "{kind}");
        let errors = errors(&result);
        assert_eq!(errors.len(), 1, "{kind}: {errors:?}");
        assert!(
            errors[0].contains("p3.o`") && errors[0].contains(said),
            "{errors:?}"
        );
        for part in PARTS {
            let name = output(part);
            match part {
                "p3" => assert!(!tree.file(&name).exists(), "{kind}"),
                _ => assert!(tree.read(&name) == reference[&name], "{kind}: {part}"),
            }
        }
        assert!(
            !tree.file("demo").exists(),
            "it was linked without an object"
        );
    }
}

/// The cache is asked and told by the process that was started, whoever compiles.
#[test]
fn the_cache_works_with_worker_processes() {
    let tree = program();
    let run = |variable: &str, fault: &str| {
        for name in MODULES
            .map(output)
            .iter()
            .map(String::as_str)
            .chain([".plan.json.backlto"])
        {
            let _ = std::fs::remove_file(tree.file(name));
        }
        let mut args = vec!["-j1", "--json", "--cache-dir", "cache"];
        args.extend(RUN);
        let result = with_fault(&tree, &args, variable, fault);
        succeed(&result);
        String::from_utf8(result.stdout).expect("text")
    };
    let how = |said: &str, how: &str| said.matches(&format!("\"how\":\"{how}\"")).count();
    // After the first crash, all of them.
    let said = run(HERE, "segv:.o");
    assert_eq!(how(&said, "compiled"), MODULES.len(), "{said}");
    // Nothing is compiled, or it would fail.
    let said = run(EVERYWHERE, "fatal:.o");
    assert_eq!(how(&said, "cached"), MODULES.len(), "{said}");
    // Not a function that `main` imports: what is imported is as it was.
    let mut text = String::from_utf8(tree.read("helper.c")).expect("text");
    text += "int one_more(int x) { return x + 9; }\n";
    tree.compile("helper", &text, &FLAGS);
    let said = run(HERE, "segv:.o");
    assert_eq!(how(&said, "cached-after-import"), 1, "{said}");
    assert_eq!(how(&said, "compiled"), 1, "{said}");
    assert_as_clang(&tree, &MODULES);
}

/// Other threads are in the middle of anything when the lock goes.
#[test]
fn no_crash_makes_a_run_hang() {
    let tree = program();
    for round in 0..100 {
        let (kind, _) = FAULTS[if round % 2 == 0 { 3 } else { round / 2 % 3 }];
        let module = MODULES[round % 3];
        let mut args: Vec<String> = Door::Run.args();
        args.insert(0, "-j3".to_owned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let result = with_fault(&tree, &args, HERE, &format!("{kind}:{module}.o"));
        succeed(&result);
        let _ = std::fs::remove_file(tree.file(".plan.json.backlto"));
    }
}

/// LLVM's parser of expressions calls itself for each parenthesis; clang dies of
/// this.
#[test]
fn a_stack_that_overflows_costs_one_job() {
    let tree = program();
    let depth = 2_000_000;
    let text = format!(
        "void lone(void) {{ __asm__(\".quad {}1{}\"); }}\n",
        "(".repeat(depth),
        ")".repeat(depth)
    );
    tree.compile("lone", &text, &FLAGS);
    tree.thin_link(&MODULES.map(|module| format!("{module}.o")));
    let args = ["-k", "-j1", "--ld", LLD, "run", "plan.json"];
    let result = with_fault(&tree, &args, HERE, "");
    assert_eq!(result.status.code(), Some(1), "{}", result.status);
    let errors = errors(&result);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("lone.o`") && errors[0].contains("signal 11"),
        "{errors:?}"
    );
    assert_as_clang(&tree, &["main", "helper"]);
}

/// One job has nobody beside it, and what it says is the same.
#[test]
fn a_lone_job_that_crashes_fails_with_the_reason() {
    let tree = program();
    for (kind, said) in FAULTS {
        let args = Door::Cc.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let result = with_fault(&tree, &args, EVERYWHERE, &format!("{kind}:main.o"));
        assert_failed(kind, Door::Cc, &result, said, &tree);
    }
}

/// The worker processes that have `tree` for their working directory.
fn worker_processes(tree: &Tree) -> Vec<Process> {
    let is_worker = |(_, words): &Process| words.ends_with(b"\0worker\0");
    processes(tree).into_iter().filter(is_worker).collect()
}

#[test]
fn worker_processes_end_with_the_process_that_started_them() {
    let tree = program();
    let mut command = command(&tree, BACKLTO, &["-j1", "--ld", LLD, "run", "plan.json"]);
    // The first crash sends the rest to a worker process, which then hangs.
    command.env(HERE, "segv:.o").env(EVERYWHERE, "hang:lone.o");
    let mut child = command.spawn().expect("backlto starts");
    wait_for("no worker process", || !worker_processes(&tree).is_empty());
    child.kill().expect("it runs");
    child.wait().expect("a killed child ends");
    wait_for("a worker process is left", || {
        worker_processes(&tree).is_empty()
    });
}

fn kill_workers(tree: &Tree) {
    for (id, _) in worker_processes(tree) {
        let killed = Command::new("kill")
            .args(["-KILL", &id.to_string()])
            .status();
        // One that has ended meanwhile cannot be killed.
        let _ = killed.expect("kill runs");
    }
}

/// A system that is out of memory does that. LLVM is not to blame, and there is nothing to
/// reproduce.
#[test]
fn a_worker_process_that_is_killed_is_said_to_be() {
    let tree = program();
    let args = [
        "-k",
        "-j2",
        "--ld",
        LLD,
        "--timeout-per-object",
        "60",
        "run",
        "plan.json",
    ];
    let mut command = command(&tree, BACKLTO, &args);
    command
        .env(EVERYWHERE, "hang:lone.o")
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("backlto starts");
    wait_for("the others are not done", || {
        ["main", "helper"]
            .iter()
            .all(|module| tree.read(&output(module)) != OLD)
    });
    // The one that hangs may not have begun yet.
    wait_for("it does not end", || {
        kill_workers(&tree);
        child.try_wait().expect("it can be asked").is_some()
    });
    let result = child.wait_with_output().expect("it ends");
    assert_eq!(result.status.code(), Some(1));
    let errors = errors(&result);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let is_said = errors[0].contains("lone.o`") && errors[0].contains("killed (signal 9)");
    assert!(is_said && !errors[0].contains("bug of LLVM"), "{errors:?}");
    let names = tree.files();
    let repro = names.keys().find(|name| name.contains("repro"));
    assert_eq!(repro, None);
}

/// Many more workers than jobs, and more than the system has threads for.
#[test]
fn workers_are_started_for_jobs_alone() {
    let tree = long_program();
    // A worker has a thread for LLVM beside it. Some threads read files and wait for signals.
    let enough =
        2 * PARTS.len() + 2 * std::thread::available_parallelism().map_or(1, usize::from) + 16;
    for jobs in ["-j1000", "-j100000"] {
        let _ = std::fs::remove_file(tree.file(".plan.json.backlto"));
        let mut child = command(&tree, BACKLTO, &[&[jobs], &RUN[..]].concat())
            .spawn()
            .expect("backlto starts");
        let tasks = format!("/proc/{}/task", child.id());
        let mut most = 0;
        wait_for("it does not end", || {
            most = most.max(std::fs::read_dir(&tasks).map_or(0, Iterator::count));
            child.try_wait().expect("it can be asked").is_some()
        });
        assert!(child.wait().expect("it has ended").success());
        assert!((2..=enough).contains(&most), "{jobs}: {most} threads");
    }
}
