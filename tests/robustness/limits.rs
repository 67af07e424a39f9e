//! What the system or the user does not give more of: file sizes, open files,
//! address space, threads, memory. There is an error or a success, and it is whole.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Output;

use crate::common::spoil::{Door, OLD, PATIENCE, command, output, program, run_for, set_mode};
use crate::common::{BACKLTO, MAJOR, Tree, not_shown, stderr, succeed};
use crate::{PARTS, RUN, long_program, reference};

/// Runs backlto behind the shell's commands `limit`.
#[track_caller]
fn limited<S: AsRef<str>>(tree: &Tree, limit: &str, args: &[S]) -> Output {
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    let mut all = vec!["-c", &script, BACKLTO];
    all.extend(args.iter().map(AsRef::as_ref));
    let result = run_for(PATIENCE, command(tree, "sh", &all));
    result.unwrap_or_else(|| panic!("{limit}: backlto hangs"))
}

/// Takes away what a run of the plan makes.
fn remove_objects(tree: &Tree) {
    for name in PARTS.map(output).iter().map(String::as_str) {
        let _ = std::fs::remove_file(tree.file(name));
    }
    let _ = std::fs::remove_file(tree.file(".plan.json.backlto"));
}

#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let tree = program();
    for door in Door::ALL {
        let result = limited(&tree, "ulimit -f 0", &door.args());
        let text = stderr(&result);
        assert_eq!(result.status.code(), Some(1), "{text}");
        // Before LLVM 22 the object is in memory first, in a file that may not grow either.
        let reason = match ["19", "20", "21"].contains(&MAJOR) {
            true => "File too large",
            false => "thinlto-native.o`: File too large",
        };
        assert!(text.contains(reason), "{text}");
        assert!(tree.read(&output("main")) == OLD);
        assert_eq!(tree.leftovers(), [""; 0]);
    }
}

#[test]
fn few_open_files_are_enough_or_an_error() {
    let tree = long_program();
    let reference = reference(&tree);
    for (files, enough) in [(32, true), (16, false), (12, false), (9, false), (7, false)] {
        for jobs in ["-j1", "-j4"] {
            remove_objects(&tree);
            let args = [&[jobs], &RUN[..]].concat();
            let result = limited(&tree, &format!("ulimit -n {files}"), &args);
            assert!(!enough || result.status.success(), "{}", stderr(&result));
            for name in PARTS.map(output) {
                let found = std::fs::read(tree.file(&name));
                let is_whole = found.as_ref().is_ok_and(|found| *found == reference[&name]);
                let may_lack = !result.status.success() && found.is_err();
                assert!(is_whole || may_lack, "{files} {jobs}: {name}");
            }
            assert_eq!(tree.leftovers(), [""; 0]);
        }
    }
}

/// Workers set address space aside for stacks and heaps. They must not take what the
/// compiles need.
#[test]
fn more_workers_than_fit_do_no_harm() {
    let tree = long_program();
    for kilobytes in [1_000_000, 2_000_000] {
        for jobs in ["-j1", "-j64"] {
            remove_objects(&tree);
            let args = [&[jobs], &RUN[..]].concat();
            let result = limited(&tree, &format!("ulimit -v {kilobytes}"), &args);
            succeed(&result);
            let text = stderr(&result);
            assert!(!text.contains("crashed"), "{kilobytes} {jobs}: {text}");
        }
    }
}

#[test]
fn a_small_stack_is_enough() {
    let tree = program();
    for door in Door::ALL {
        succeed(&limited(&tree, "ulimit -s 512", &door.args()));
    }
}

/// A user who has no processes but those of one test.
const NOBODY_ELSE: u32 = 54321;

/// The limit does not hold for root, so root becomes somebody else.
#[test]
fn no_processes_or_threads_to_be_had_is_said_so() {
    let tree = program();
    if std::fs::metadata(tree.path())
        .expect("the tree is there")
        .uid()
        != 0
    {
        not_shown("skipped: only root may become somebody else");
        return;
    }
    // Others may have no way to where it is.
    std::fs::copy(BACKLTO, tree.file("backlto")).expect("room for a copy");
    set_mode(&tree, ".", 0o777);
    let with_processes = |count: u32, args: &[&str]| {
        let limit = format!("--nproc={count}");
        let args = [&[&*limit, "./backlto", "-j4"], args].concat();
        let mut command = command(&tree, "prlimit", &args);
        command.uid(NOBODY_ELSE).gid(NOBODY_ELSE).env_remove("LD");
        run_for(PATIENCE, command).unwrap_or_else(|| panic!("{count}: it hangs"))
    };
    // A linker that cannot be started is there all the same.
    let result = with_processes(1, &["run", "plan.json"]);
    let text = stderr(&result);
    assert!(text.contains("cannot run linker `"), "{text}");
    assert!(!text.contains("is on PATH"), "{text}");

    let door = Door::Run.args();
    let args: Vec<&str> = door.iter().map(String::as_str).collect();
    for count in [0, 1, 2, 3, 4, 5, 6, 8, 10, 30] {
        let result = with_processes(count, &args);
        let text = stderr(&result);
        assert!(count < 30 || result.status.success(), "{text}");
        if !result.status.success() {
            assert_eq!(result.status.code(), Some(1), "{count}: {text}");
            assert!(text.contains("backlto: error: "), "{count}: {text}");
        }
        assert_eq!(tree.leftovers(), [""; 0], "{count}");
    }
}

#[test]
fn jobs_that_do_not_fit_into_memory_wait() {
    let tree = long_program();
    let reference = reference(&tree);
    for (limit, most) in [("1", 1), ("100G", PARTS.len())] {
        remove_objects(&tree);
        let args = [&["-j8", "--json", "--memory-limit", limit], &RUN[..]].concat();
        let result = limited(&tree, ":", &args);
        succeed(&result);
        let (mut running, mut peak) = (0, 0);
        for line in String::from_utf8_lossy(&result.stdout).lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            match event["event"].as_str() {
                Some("started") => running += 1,
                Some("finished") => running -= 1,
                _ => {}
            }
            peak = peak.max(running);
        }
        assert!((1..=most).contains(&peak), "{limit}: {peak} at once");
        for name in PARTS.map(output) {
            assert!(tree.read(&name) == reference[&name], "{limit}: {name}");
        }
    }
    let result = limited(&tree, ":", &["--memory-limit", "much", "run", "plan.json"]);
    assert!(
        stderr(&result).contains("expected a size"),
        "{}",
        stderr(&result)
    );
}
