//! What somebody meets who does not know backlto yet, or has mistyped.

use super::*;
use crate::common::{LLVM_OF_MAKE, not_shown, root};

/// What standard error has of `backlto ARGS`, which fails with `status`.
#[track_caller]
fn refused(tree: &Tree, args: &[&str], status: i32) -> String {
    let output = tree.run(BACKLTO, args);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
    stderr(&output)
}

#[test]
fn doors_that_are_not_for_people_are_not_shown_to_them() {
    let tree = Tree::new();
    let said = refused(&tree, &["kbild"], 2);
    assert!(
        said.contains("'kbuild'") && !said.contains("kbuild-"),
        "{said}"
    );
    let said = refused(&tree, &["manul"], 2);
    assert!(!said.contains("manual"), "{said}");
    let said = refused(&tree, &[], 2);
    assert!(
        said.starts_with("Every ThinLTO") && !said.contains("kbuild-index"),
        "{said}"
    );
}

#[test]
fn the_help_of_a_door_has_what_that_heeds() {
    let tree = Tree::new();
    let help = |door: &str| {
        let output = tree.run(BACKLTO, &[door, "--help"]);
        succeed(&output);
        text(&output.stdout)
    };
    for door in [
        "cache",
        "diff",
        "doctor",
        "explain",
        "install-linker",
        "simulate",
    ] {
        let said = help(door);
        assert!(said.contains("--color"), "{door}: {said}");
        assert!(!said.contains("--keep-going"), "{door}: {said}");
    }
    assert!(help("cache").contains("--cache-dir"));
    for door in ["kbuild", "run", "distribute", "cc", "repro"] {
        assert!(help(door).contains("--keep-going"), "{door}");
    }
    // What is not shown is no error.
    succeed(&tree.run(BACKLTO, &["-k", "install-linker", "--help"]));
}

#[test]
fn values_that_make_no_sense_are_answered_with_what_does() {
    let tree = Tree::new();
    for (args, words) in [
        (
            &["-j0", "doctor"][..],
            "expected a number of jobs, 1 or more",
        ),
        (&["-l", "x", "doctor"], "expected a load, as 4 or 3.5"),
        (
            &["--color", "red", "doctor"],
            "possible values: auto, always, never",
        ),
    ] {
        let said = refused(&tree, args, 2);
        assert!(said.contains(words), "{said}");
    }
    tree.write("plan.json", "{\"programs\": []}");
    let said = refused(&tree, &["run", "plan.json"], 1);
    assert!(said.contains("`plan.json` describes no program"), "{said}");
    let said = refused(&tree, &["cache", "clear", "--zero"], 1);
    assert!(said.contains("only `stats` counts"), "{said}");
    // A kernel's tree is where one stands.
    let said = refused(&tree, &["kbuild"], 1);
    assert!(
        said.contains("is not a configured kernel object tree"),
        "{said}"
    );
    assert!(said.contains(&format!("`make {LLVM_OF_MAKE} O=")), "{said}");
}

#[test]
fn doctor_says_once_that_there_is_no_linker() {
    let tree = Tree::new();
    let output = tree.run(BACKLTO, &["--ld", "/nowhere/ld.lld", "doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert_eq!(said.matches("cannot run linker").count(), 1, "{said}");
    assert_eq!(
        said.matches("not tried, for want of a linker").count(),
        4,
        "{said}"
    );
}

#[test]
fn a_verbose_version_has_all_that_belongs_to_it() {
    let tree = Tree::new();
    let short = tree.run(BACKLTO, &["--version"]);
    for args in [["--version", "--verbose"], ["-v", "-V"]] {
        let output = tree.run(BACKLTO, &args);
        succeed(&output);
        let said = text(&output.stdout);
        assert!(said.starts_with(&text(&short.stdout)), "{said}");
        for name in ["LLVM", "clang", "ld.lld", "cache", "build"] {
            assert!(said.lines().any(|line| line.starts_with(name)), "{said}");
        }
    }
}

#[test]
fn explain_knows_what_a_plan_has_built_by_any_of_its_names() {
    let tree = programs();
    run(&tree, &[]);
    let explain = |name: &str| {
        let output = tree.run(BACKLTO, &["explain", name]);
        succeed(&output);
        text(&output.stdout)
    };
    let object = format!("{}/sub/helper.thinlto-native.o", DIRECTORIES[1]);
    let said = explain(&object);
    assert!(said.contains("built        compiled in "), "{said}");
    assert!(said.contains("now          up to date"), "{said}");
    for name in ["sub/helper.o", "sub/helper.c"] {
        assert_eq!(explain(&format!("{}/{name}", DIRECTORIES[1])), said);
    }
    tree.write(&format!("{}/blob", DIRECTORIES[1]), "another");
    let said = explain(&object);
    assert!(
        said.contains("now          stale: `blob`, which its assembly names"),
        "{said}"
    );
}

#[test]
fn colours_are_where_the_user_wants_them() {
    let tree = programs();
    let said = |args: &[&str]| stderr(&tree.run(BACKLTO, &[args, &["run", "no.json"]].concat()));
    assert!(!said(&[]).contains('\u{1b}'));
    assert!(said(&["--color", "always"]).contains('\u{1b}'));
    // clang's own are taken away, too.
    let plan = text(&tree.read("plan.json"));
    tree.write(
        "plan.json",
        plan.replace("\"-O2\"", "\"-O2\",\"-fcolor-diagnostics\""),
    );
    let with = stderr(&run(&tree, &[]));
    let without = stderr(&run(&tree, &["--color=never"]));
    assert!(with.contains("\u{1b}["), "{with:?}");
    assert!(
        without.contains("exceeds limit") && !without.contains('\u{1b}'),
        "{without:?}"
    );
}

/// The load of a machine that runs tests is not that small.
#[test]
fn one_job_runs_at_a_time_while_the_load_is_high() {
    let load = std::fs::read_to_string("/proc/loadavg").expect("Linux has it");
    if load.starts_with("0.0") {
        not_shown("skipped: this machine has no load");
        return;
    }
    let tree = programs();
    let output = run(&tree, &["--json", "-j4", "-l", "0.01"]);
    let mut running = 0;
    for line in text(&output.stdout).lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        running += match event["event"].as_str() {
            Some("started") => 1,
            Some("finished") => -1,
            _ => 0,
        };
        assert!(running <= 1, "{line}");
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let page = std::fs::read_to_string(root().join("docs/environment.md")).expect("the page");
    let (ours, _) = page.split_once("Variables of others").expect("two tables");
    let names: Vec<&str> = ours
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.starts_with("BACKLTO_"))
        .collect();
    assert!(names.len() > 15, "this check sees no variables");
    let tree = programs();
    let output = Command::new(BACKLTO)
        .current_dir(tree.path())
        .envs(names.iter().map(|&name| (name, "")))
        .args(["run", "plan.json"])
        .output()
        .expect("backlto starts");
    succeed(&output);
}
