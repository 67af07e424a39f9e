//! Jobs that an engine compiles: with clang's bytes, whatever the engine does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{BACKLTO, stderr, succeed};
use crate::engine::{Engine, Fault, Setup};
use crate::forget;
use crate::project::{Built, Project};

/// How many modules an engine would be sent.
const SHORT: usize = 5;

/// A program that was built here, with a record that says that `first` and `second` take
/// long. So a worker here compiles these, one after the other, while all that follows would
/// have to wait for very long.
fn project() -> Project {
    let mut names = vec!["first".to_owned(), "second".to_owned()];
    names.extend((0..SHORT).map(|number| format!("short{number}")));
    let sources: Vec<(&str, String)> = names
        .iter()
        .map(|name| {
            let calls = "int start(int);\n__attribute__((weak)) int start(int x) { return x; }\n";
            (
                &**name,
                format!(
                    "{calls}int {name}(int x) {{ return start(x) * {}; }}\n",
                    name.len()
                ),
            )
        })
        .collect();
    let sources: Vec<(&str, &str)> = sources.iter().map(|(n, t)| (*n, &**t)).collect();
    let mut project = Project::of(&sources);
    project.build();
    project.program = small_program(project.home());
    again(&project);
    project
}

/// Makes as if nothing had been built but for what the record says of times.
fn again(project: &Project) {
    let mut record = project.json_record();
    for (name, object) in record["objects"].as_object_mut().expect("objects") {
        let microseconds = match name.split('.').next() {
            Some("first") => 1_000_000_000,
            Some("second") => 100_000_000,
            _ => 200_000,
        };
        object["how"] = "compiled".into();
        object["microseconds"] = microseconds.into();
    }
    std::fs::write(project.record(), record.to_string()).expect("the record is written");
    for name in &project.modules {
        std::fs::remove_file(project.object(name)).expect("an object is removed");
    }
    let _ = std::fs::remove_dir_all(&project.cache);
}

/// The program without what debuggers want to know, which is most of it.
fn small_program(place: &Path) -> PathBuf {
    let path = place.join("backlto");
    let mut strip = Command::new("llvm-strip-22");
    strip.args(["-o".as_ref(), path.as_os_str(), BACKLTO.as_ref()]);
    succeed(&strip.output().expect("llvm-strip runs"));
    path
}

fn engine() -> Engine {
    Engine::start(Setup {
        executes: true,
        ..Setup::default()
    })
}

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Builds `project` with one worker here, which is kept busy with the first module until
/// `engine` has answered so many `actions`, and two on its machines; checks every object.
#[track_caller]
fn build(project: &Project, engine: &Engine, actions: usize, args: &[&str]) -> Built {
    let url = engine.url();
    let own = [
        "--remote",
        &url,
        "--remote-jobs",
        "2",
        "--remote-linger",
        "60",
    ];
    let before = engine.held().actions;
    let are_answered = || engine.held().actions >= before + actions;
    busy(project, &[&own, args].concat(), are_answered)
}

/// Builds `project` with one worker here, which is kept busy with the first module until
/// `is_time`.
#[track_caller]
fn busy(project: &Project, args: &[&str], is_time: impl Fn() -> bool + Sync) -> Built {
    let begin = Instant::now();
    let built = while_busy(project, is_time, |variables| {
        project.build_in(&[&["-j1"], args].concat(), variables)
    });
    assert!(begin.elapsed() < PATIENCE, "it took too long: {built:?}");
    built
}

/// Runs `run` with variables that keep a worker busy with the first module until `is_time`.
#[track_caller]
fn while_busy<T>(
    project: &Project,
    is_time: impl Fn() -> bool + Sync,
    run: impl FnOnce(&[(&str, &str)]) -> T,
) -> T {
    let until = project.home().join("until");
    let _ = std::fs::remove_file(&until);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let _ = scope.spawn(|| {
            while !is_time() && begin.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            // What was answered has to arrive.
            std::thread::sleep(Duration::from_millis(500));
            std::fs::write(&until, "").expect("a file is written");
        });
        let until = until.display().to_string();
        run(&[
            ("BACKLTO_FAULT", "wait:first.o"),
            ("BACKLTO_FAULT_UNTIL", &until),
        ])
    })
}

fn short() -> BTreeSet<String> {
    (0..SHORT).map(|number| format!("short{number}")).collect()
}

#[test]
fn an_engine_compiles_what_would_have_to_wait_here() {
    let engine = engine();
    let project = project();
    let built = build(&project, &engine, 1, &[]);
    assert_eq!(built.executed, short(), "{built:?}");
    built.compiled("first second");
    assert_eq!(built.warnings, [""; 0]);
    let explained = project.run(BACKLTO, &["explain", "short0.thinlto-native.o"]);
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(
        explained.contains("compiled by the remote engine"),
        "{explained}"
    );
    {
        let held = engine.held();
        let twice = held.uploads.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None);
        // Short jobs go together.
        assert!(held.calls["Execute"] < SHORT, "{built:?}");
        let here = project.home().display().to_string();
        let tells = |blob: &&Vec<u8>| memmem(blob, here.as_bytes());
        assert!(
            held.blobs.values().find(tells).is_none(),
            "a path of this machine"
        );
    }

    // What the engine compiled is as good as what was compiled here.
    project.build().nothing();
    std::fs::remove_file(project.record()).expect("the record is removed");
    for name in &project.modules {
        std::fs::remove_file(project.object(name)).expect("an object is removed");
    }
    let cached = project.build().cached;
    assert!(built.executed.is_subset(&cached), "{cached:?}");
    forget(&project);
    let found = crate::build(&project, &engine, &[]).remote;
    assert!(built.executed.is_subset(&found), "{found:?}");
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn it_is_a_cache_alone_unless_it_is_to_compile() {
    let engine = engine();
    let project = project();
    for args in [&[][..], &["--remote-jobs", "2", "--remote-cache-only"]] {
        let url = engine.url();
        let args = [&["--remote", &url, "--remote-upload=no"], args].concat();
        assert!(busy(&project, &args, || true).executed.is_empty());
        again(&project);
    }
    assert_eq!(engine.calls("Execute"), 0);
    assert!(engine.held().blobs.is_empty());
}

/// Everything that an engine can do wrong with an action, and what is said of it.
const WRONG: [(Fault, &str); 5] = [
    (Fault::OtherProgram, "another build of backlto or LLVM"),
    (Fault::Says, "mind the gap"),
    (Fault::NoOutput, "its report says nothing"),
    (Fault::Swaps, "its report cannot be read"),
    (Fault::FlipBit, "came with other bytes"),
];

#[test]
fn what_an_engine_does_wrong_is_compiled_here_and_said_once() {
    let engine = engine();
    let project = project();
    for (fault, text) in WRONG {
        engine.suffer(Some(fault));
        let built = build(&project, &engine, 1, &[]);
        assert!(built.executed.is_empty(), "{fault:?}: {built:?}");
        // What is the same for all that runs there is a warning.
        let is_hopeless = fault == Fault::OtherProgram;
        assert_eq!(built.warnings.len(), usize::from(is_hopeless), "{built:?}");
        let said = built.warnings.concat() + &built.stdout;
        assert_eq!(said.matches(text).count(), 1, "{fault:?}: {built:?}");
        again(&project);
        // What it was told since would be found.
        engine.held().results.clear();
    }
}

#[test]
fn what_can_be_made_good_costs_nothing() {
    let engine = engine();
    let project = project();
    for (fault, actions) in [(Fault::Lacks, 2), (Fault::FallsSilent, 1)] {
        engine.suffer(Some(fault));
        let built = build(
            &project,
            &engine,
            actions,
            &["--remote-platform", "OSFamily=linux"],
        );
        assert!(!built.executed.is_empty(), "{fault:?}: {built:?}");
        assert!(!built.stdout.contains("did not compile all"), "{built:?}");
        again(&project);
        engine.held().results.clear();
    }
    for platform in &engine.held().platforms {
        let properties = platform.as_ref().map(|platform| &platform.properties);
        let property = &properties.expect("there are properties")[0];
        assert_eq!((&*property.name, &*property.value), ("OSFamily", "linux"));
    }
}

#[test]
fn what_is_late_is_begun_here_and_cancelled_there() {
    let engine = engine();
    let project = project();
    engine.suffer(Some(Fault::NeverEnds));
    let built = build(&project, &engine, 1, &[]);
    assert!(built.executed.is_empty(), "{built:?}");
    let held = engine.held();
    assert!(held.calls["Execute"] > 0);
    assert_eq!(held.cancelled.len(), held.calls["Execute"], "{built:?}");
}

#[test]
fn an_engine_may_end_in_the_middle() {
    let engine = engine();
    let project = project();
    engine.suffer(Some(Fault::NeverEnds));
    let url = engine.url();
    let args = ["--remote", &url, "--remote-jobs", "1"];
    let built = busy(&project, &args, || {
        let has_begun = engine.held().actions > 0;
        if has_begun {
            engine.end();
        }
        has_begun
    });
    assert_eq!(built.compiled.len(), SHORT + 2, "{built:?}");
    assert_eq!(built.warnings.len(), 1, "{built:?}");
}

#[test]
fn an_engine_that_runs_nothing_is_one_error_before_work_starts() {
    let engine = Engine::start(Setup::default());
    let project = Project::of(&[("alone", "int alone(int x) { return x - 1; }\n")]);
    let url = engine.url();
    let output = project.try_build(&["--remote", &url, "--remote-jobs", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for words in ["it runs no actions", "--remote-cache-only"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!project.object("alone").exists());
    let args = [
        "--remote",
        &url,
        "--remote-jobs",
        "2",
        "--remote-cache-only",
    ];
    succeed(&project.try_build(&args));
}

#[test]
fn an_audit_compiles_what_an_engine_has_compiled() {
    let engine = engine();
    let project = project();
    project.plan();
    let url = engine.url();
    let output = while_busy(
        &project,
        || engine.held().actions > 0,
        |variables| {
            let mut command = project.command(&project.program.to_string_lossy());
            command.args(["run", "plan.json", "--json", "-j1", "--audit", "100%"]);
            command.args(["--remote", &url, "--remote-jobs", "2"]);
            command.envs(variables.iter().copied());
            command.output().expect("backlto runs")
        },
    );
    succeed(&output);
    let _ = project.assert_as_clang();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = stdout.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        event
    });
    let is_executed = |event: &serde_json::Value| event["how"] == "executed";
    let executed: Vec<_> = events.filter(is_executed).collect();
    assert_eq!(executed.len(), SHORT, "{stdout}");
    for event in executed {
        assert_eq!(event["audited"], true, "{event}");
    }
}
