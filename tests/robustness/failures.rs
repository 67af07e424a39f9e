//! A job fails, or does not end: what becomes of the others, and what the next run
//! knows.

use std::process::Output;

use crate::common::spoil::{PATIENCE, command, errors, output, run_for};
use crate::common::{BACKLTO, CLANG, LINKER, Tree, stderr, succeed};
use crate::processes::assert_nobody_left;
use crate::{PARTS, RUN, long_program, reference};

/// Runs the plan with `options`, a fault, and events as JSON.
#[track_caller]
fn run(tree: &Tree, options: &[&str], fault: &str) -> Output {
    let args = [options, &["--json"], &RUN].concat();
    let mut command = command(tree, BACKLTO, &args);
    command.env("BACKLTO_FAULT", fault);
    run_for(PATIENCE, command).expect("backlto ends")
}

/// The counts in the summary that `output` ends with.
fn count(output: &Output, what: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    let events = text.lines().rev();
    let mut events = events.filter_map(|line| serde_json::from_str(line).ok());
    let summary: serde_json::Value =
        events.find(|e: &serde_json::Value| e["event"] == "summary")?;
    summary["count"][what].as_u64()
}

#[test]
fn after_a_failure_nothing_more_starts_unless_it_is_asked_for() {
    let tree = long_program();
    let all = PARTS.len() as u64;
    for (options, failed) in [
        (&["-j1"][..], 1),
        (&["-j1", "-k"], all),
        (&["-j4", "-k"], all),
    ] {
        let result = run(&tree, options, "fatal:.o");
        assert_eq!(result.status.code(), Some(1));
        assert_eq!(count(&result, "failed"), Some(failed), "{options:?}");
        assert_eq!(count(&result, "not_run"), Some(all - failed), "{options:?}");
        // Nothing is said of those that were not run.
        assert_eq!(errors(&result).len() as u64, failed, "{}", stderr(&result));
    }
    // What runs is finished.
    let result = run(&tree, &["-j4"], "fatal:p3.o");
    assert_eq!(count(&result, "failed"), Some(1));
    let numbers = ["objects", "failed", "not_run"].map(|what| count(&result, what));
    assert_eq!(numbers.into_iter().flatten().sum::<u64>(), all);
    succeed(&run(&tree, &[], ""));
}

#[test]
fn what_is_known_of_a_job_that_was_not_run_stays_known() {
    let tree = long_program();
    succeed(&run(&tree, &[], ""));
    let modules = PARTS.map(|part| (part, tree.read(&format!("{part}.o"))));
    for (part, _) in &modules {
        let text = String::from_utf8(tree.read(&format!("{part}.c"))).expect("text");
        let text = format!("{text}\nint {part}_more(void) {{ return 1; }}\n");
        tree.compile(part, &text, &["--target=x86_64-linux-gnu", "-O2"]);
    }
    let result = run(&tree, &["-j1"], "fatal:.o");
    assert_eq!(count(&result, "not_run"), Some(PARTS.len() as u64 - 1));
    // The old modules are back, and their objects were never touched.
    for (part, module) in &modules {
        tree.write(&format!("{part}.o"), module);
    }
    let result = run(&tree, &[], "");
    succeed(&result);
    assert_eq!(count(&result, "compiled"), Some(1));
    assert_eq!(count(&result, "up_to_date"), Some(PARTS.len() as u64 - 1));
}

#[test]
fn a_job_that_takes_too_long_fails_alone() {
    let tree = long_program();
    let reference = reference(&tree);
    std::fs::remove_file(tree.file(".plan.json.backlto")).expect("a record");
    for part in PARTS {
        std::fs::remove_file(tree.file(&output(part))).expect("an object");
    }
    let result = run(&tree, &["-k", "--timeout-per-object", "4"], "hang:p3.o");
    assert_eq!(result.status.code(), Some(1));
    let errors = errors(&result);
    assert_eq!(errors.len(), 1, "{errors:?}");
    for part in ["p3.o`", "4 s, the limit for one object"] {
        assert!(errors[0].contains(part), "{errors:?}");
    }
    assert_nobody_left(&tree);
    for part in PARTS {
        let name = output(part);
        match part {
            "p3" => assert!(!tree.file(&name).exists()),
            _ => assert!(tree.read(&name) == reference[&name], "{part}"),
        }
    }
}

/// Those who link can say it too, by the environment.
#[test]
fn a_link_can_limit_the_time_of_an_object() {
    let tree = Tree::new();
    tree.compile("main", "int f(void); int main(void) { return f(); }\n", &[]);
    tree.compile("f", "int f(void) { return 0; }\n", &[]);
    let linker = format!("--ld-path={LINKER}");
    let link = |limit: &str| {
        let args = ["-flto=thin", &linker, "-o", "program", "main.o", "f.o"];
        let mut command = command(&tree, CLANG, &args);
        command.env("BACKLTO_TIMEOUT_PER_OBJECT", limit);
        command.env("BACKLTO_FAULT", if limit == "1" { "hang:f.o" } else { "" });
        run_for(PATIENCE, command).expect("the link ends")
    };
    let result = link("1");
    assert!(!result.status.success());
    assert!(stderr(&result).contains("after 1 s"), "{}", stderr(&result));
    assert_nobody_left(&tree);
    for limit in ["", "0", "50"] {
        succeed(&link(limit));
    }
    let result = link("soon");
    assert!(!result.status.success());
    assert!(
        stderr(&result).contains("a number of seconds"),
        "{}",
        stderr(&result)
    );
}
