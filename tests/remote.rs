//! A cache on another machine, with an engine in this process: what one build uploads,
//! another finds, with clang's bytes; and whatever the engine does, builds succeed with
//! the same bytes.

#![cfg(not(fuzzing))]

mod common;
#[path = "remote/doors.rs"]
mod doors;
#[path = "remote/engine.rs"]
mod engine;
#[path = "remote/execution.rs"]
mod execution;
#[path = "remote/faults.rs"]
mod faults;
#[path = "remote/links.rs"]
mod links;
#[path = "remote/machines.rs"]
mod machines;
#[allow(dead_code, reason = "shared with the tests of the cache")]
#[path = "incremental/project.rs"]
mod project;
#[path = "remote/refused.rs"]
mod refused;
#[path = "remote/tls.rs"]
mod tls;

use std::time::Duration;

use engine::{Engine, Fault, Setup};
use project::{ALL, Built, Project, UTIL};

/// Options for a build that waits for answers and for its uploads, so that what it
/// finds depends on no clock.
const PATIENT: [&str; 4] = ["--remote-wait", "60", "--remote-linger", "60"];

/// Builds `project` with the cache of `engine`, and checks every object.
#[track_caller]
fn build(project: &Project, engine: &Engine, args: &[&str]) -> Built {
    let url = engine.url();
    project.build_with(&[&["--remote", &url], &PATIENT[..], args].concat())
}

/// A program that is soon compiled, and compared: `main` imports from `util`.
const SMALL: [(&str, &str); 2] = [
    (
        "main",
        "int twice(int); int start(int x) { return twice(x); }\n",
    ),
    ("util", UTIL),
];
/// The names of its modules.
const OF_SMALL: &str = "main util";

/// An engine that has all of [`SMALL`], and the program as on another machine: nothing
/// is known of it.
fn small(setup: Setup) -> (Engine, Project) {
    let engine = Engine::start(setup);
    let project = Project::of(&SMALL);
    build(&project, &engine, &[]).compiled(OF_SMALL);
    forget(&project);
    (engine, project)
}

/// Makes this machine another one, where nothing has been built.
fn forget(project: &Project) {
    std::fs::remove_file(project.record()).expect("the record is removed");
    for name in &project.modules {
        std::fs::remove_file(project.object(name)).expect("an object is removed");
    }
    if project.cache.exists() {
        std::fs::remove_dir_all(&project.cache).expect("the cache is removed");
    }
}

/// An engine that has all of the larger program.
fn filled() -> Engine {
    let engine = Engine::start(Setup::default());
    build(&Project::new(), &engine, &[]).compiled(ALL);
    engine
}

/// What the last line of `built` in JSON has.
fn summary(project: &Project, engine: &Engine) -> serde_json::Value {
    let url = engine.url();
    let args = [&["--remote", &url, "--json"], &PATIENT[..]].concat();
    let output = project.try_build(&args);
    common::succeed(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().expect("a line");
    serde_json::from_str(last).expect("JSON")
}

#[test]
fn another_machine_finds_everything_and_keeps_it() {
    let engine = filled();
    let other = Project::new();
    let built = build(&other, &engine, &[]);
    built.did("", "", "");
    assert_eq!(built.remote.len(), 5, "{built:?}");
    assert!(
        built.stdout.contains("5 from the remote cache"),
        "{built:?}"
    );
    assert!(
        built.stdout.contains("\nremote cache: 5 of 5 found"),
        "{built:?}"
    );
    // The cache here knows them by now, and nobody is asked again.
    for name in &other.modules {
        std::fs::remove_file(other.object(name)).unwrap();
    }
    let asked = engine.calls("GetActionResult");
    build(&other, &engine, &[]).did("", ALL, "");
    // The greeting is one.
    assert_eq!(engine.calls("GetActionResult"), asked + 1);
}

#[test]
fn nothing_is_uploaded_twice() {
    let engine = filled();
    // The same objects under other keys: their record and cache are lost.
    let other = Project::new();
    other.edit("alone", "int alone(int x) { return x - 1; }\nint more;\n");
    let built = build(&other, &engine, &["--jobs", "1"]);
    assert!(built.compiled.contains("alone"), "{built:?}");
    let held = engine.held();
    let twice: Vec<_> = held
        .uploads
        .iter()
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(held.uploads.len() > 10, "objects and actions");
}

#[test]
fn imported_code_that_is_known_elsewhere_is_not_compiled() {
    let engine = filled();
    let other = Project::new();
    other.edit("util", &UTIL.replace("x * 5", "x * 7"));
    // The rest is asked for at the start; what main imports shows only later.
    let built = build(&other, &engine, &[]);
    assert_eq!(other.how("main").as_deref(), Some("remote-after-import"));
    built.did("util", "", "");
}

#[test]
fn what_assembly_reads_is_part_of_an_answer() {
    let engine = filled();
    let other = Project::new();
    other.write("blob.bin", "blob 2");
    let built = build(&other, &engine, &[]);
    // The answer is for the other file. That it is right is checked with clang's.
    built.did("blob", "", "");
    assert_eq!(built.remote.len(), 4, "{built:?}");
    assert_eq!(built.warnings, [""; 0]);
}

#[test]
fn no_cache_means_none_and_a_remote_one_needs_none_here() {
    let (engine, project) = small(Setup::default());
    let calls = engine.calls("GetCapabilities");
    build(&project, &engine, &["--no-cache"]).compiled(OF_SMALL);
    assert_eq!(engine.calls("GetCapabilities"), calls);
    forget(&project);
    let built = build(&project, &engine, &["--cache-dir", ""]);
    assert_eq!(built.remote.len(), 2, "{built:?}");
    assert!(!project.cache.exists());
}

#[test]
fn uploads_can_be_switched_off() {
    let engine = Engine::start(Setup::default());
    let project = Project::of(&SMALL);
    build(&project, &engine, &["--remote-upload", "no"]).compiled(OF_SMALL);
    assert_eq!(engine.calls("UpdateActionResult"), 0);
    assert_eq!(engine.calls("BatchUpdateBlobs"), 0);
    assert!(engine.held().blobs.is_empty());
}

#[test]
fn messages_travel_with_objects() {
    let large = "void use(char *); void alone(void) { char a[999]; use(a); }\n";
    let engine = Engine::start(Setup::default());
    let project = Project::of(&[("alone", large)]);
    project.edit_with("alone", large, &["-Wframe-larger-than=100"]);
    build(&project, &engine, &[]).compiled("alone");
    forget(&project);
    // That what is said is what clang says, this checks.
    let built = build(&project, &engine, &[]);
    assert!(built.remote.contains("alone"), "{built:?}");
}

/// Large and small blobs, batches of all sizes, as they are and compressed.
#[test]
fn blobs_of_all_sizes_come_through_however_they_travel() {
    // Half of it is random to zstd.
    let numbers = (0..40_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9).to_string());
    let numbers: Vec<String> = numbers.collect();
    let big = format!(
        "const int big[] = {{{}}}; const char more[99999] = \"a\"; int alone(int x) {{ return x; }}\n",
        numbers.join(",")
    );
    let project = Project::of(&[("alone", &big)]);
    // zstd is for engines that are not near.
    for (batch, zstd) in [
        (0, false),
        (0, true),
        (4000, false),
        (4000, true),
        (1, false),
    ] {
        let engine = Engine::start(Setup {
            instance: "some/instance",
            batch,
            zstd,
            ..Setup::default()
        });
        let far = Fault::Delay(Duration::from_millis(3));
        engine.suffer(zstd.then_some(far));
        for expected in [0, 1] {
            let built = build(&project, &engine, &[]);
            forget(&project);
            assert_eq!(built.warnings, [""; 0]);
            assert_eq!(built.remote.len(), expected, "{batch} {zstd} {built:?}");
        }
        assert_eq!(engine.calls("Write") > 0, batch > 0);
        assert_eq!(engine.calls("Read") > 0, batch > 0);
    }
}

#[test]
fn programs_can_read_what_was_found() {
    let (engine, project) = small(Setup::default());
    let event = summary(&project, &engine);
    assert_eq!(event["event"], "summary");
    assert_eq!(event["count"]["remote"], 2);
    let remote = &event["remote"];
    assert_eq!((&remote["asked"], &remote["used"]), (&2.into(), &2.into()));
    assert_eq!(remote["uploaded"], 0);
    assert!(remote["bytes_received"].as_u64() > Some(1000), "{event}");
}
