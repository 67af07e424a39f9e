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

/// A program that was built here, with a record that says that `first` takes long. So a
/// worker here compiles that, while all that follows would have to wait for very long.
fn project() -> Project {
    project_with(&[], &[])
}

/// A program as [`project`] makes it, with `more` modules, which are short, and `flags` for
/// all backends.
fn project_with(more: &[(&str, String)], flags: &[&str]) -> Project {
    let mut names = vec!["first".to_owned()];
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
    let all = sources.iter().chain(more);
    let sources: Vec<(&str, &str)> = all.map(|(n, t)| (*n, &**t)).collect();
    let mut project = Project::of(&sources);
    project.set_flags(flags);
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
    busy(project, engine, &[&own, args].concat(), are_answered)
}

/// Builds `project` with one worker here, which is kept busy with the first module until
/// `is_time` and `engine` has nothing more to answer.
#[track_caller]
fn busy(
    project: &Project,
    engine: &Engine,
    args: &[&str],
    is_time: impl Fn() -> bool + Sync,
) -> Built {
    let begin = Instant::now();
    let built = while_busy(project, engine, is_time, |variables| {
        project.build_in(&[&["-j1"], args].concat(), variables)
    });
    assert!(begin.elapsed() < PATIENCE, "it took too long: {built:?}");
    built
}

/// Runs `run` with variables that keep a worker busy with the first module until `is_time`
/// and `engine` has nothing more to answer.
#[track_caller]
fn while_busy<T>(
    project: &Project,
    engine: &Engine,
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
            engine.wait_until_quiet();
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
    built.compiled("first");
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
    }
    assert_nothing_tells_where(&project, &engine);

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

/// Checks that no blob has a path of this machine.
#[track_caller]
fn assert_nothing_tells_where(project: &Project, engine: &Engine) {
    let here = project.home().display().to_string();
    let tells = |blob: &Vec<u8>| memmem(blob, here.as_bytes());
    assert!(
        !engine.held().blobs.values().any(tells),
        "it tells of {here}"
    );
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn files_that_flags_name_go_along() {
    let files = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    };
    let profile = file("profile", "short0:1000:100\n 1: 100\n");
    let blocks = file("blocks", "v1\nf short1\nc0\n");
    let flags = [
        &format!("-fprofile-sample-use={profile}"),
        &format!("-fbasic-block-sections=list={blocks}"),
    ];
    let engine = engine();
    let project = project_with(&[], &flags.map(|flag| &**flag));
    let built = build(&project, &engine, 1, &[]);
    assert_eq!(built.executed, short(), "{built:?}");
    let held = engine.held();
    for path in [&profile, &blocks] {
        let content = std::fs::read(path).expect("a file");
        assert!(held.blobs.values().any(|blob| *blob == content), "{path}");
        assert!(
            !held
                .blobs
                .values()
                .any(|blob| memmem(blob, path.as_bytes()))
        );
    }
}

#[test]
fn machines_may_have_the_program_already() {
    let engine = engine();
    let project = project();
    let program = project.program.display().to_string();
    let built = build(&project, &engine, 1, &["--remote-compiler", &program]);
    assert_eq!(built.executed, short(), "{built:?}");
    let sent = std::fs::read(&program).expect("the program");
    assert!(!engine.held().blobs.values().any(|blob| *blob == sent));

    again(&project);
    engine.held().results.clear();
    let built = build(
        &project,
        &engine,
        1,
        &["--remote-compiler", "/no/such/backlto"],
    );
    assert!(built.executed.is_empty(), "{built:?}");
    assert!(
        built.warnings.concat().contains("no such program"),
        "{built:?}"
    );
}

#[test]
fn doctor_tells_whether_the_program_runs_there() {
    let engine = engine();
    let project = Project::of(&[]);
    let program = small_program(project.home()).display().to_string();
    let line = |args: &[&str]| {
        let url = engine.url();
        let own = ["doctor", "--remote", &url, "--remote-jobs", "2"];
        let output = project.run(&program, &[&own, args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains(" remote "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let well = line(&[]);
    assert!(
        well.starts_with("ok ") && well.contains("runs backlto in"),
        "{well}"
    );
    let gone = line(&["--remote-compiler", "/no/such/backlto"]);
    assert!(
        gone.starts_with("FAILED ") && gone.contains("no such program"),
        "{gone}"
    );
    engine.suffer(Some(Fault::OtherProgram));
    let other = line(&[]);
    assert!(
        other.starts_with("FAILED ") && other.contains("another build"),
        "{other}"
    );
}

/// A module whose assembly pulls in the file `name`.
fn pulls_in(symbol: &str, name: &str) -> String {
    format!(
        "__asm__(\".section .rodata.blob,\\\"a\\\"\\n.globl {symbol}\\n{symbol}:\\n\"
        \".incbin \\\"{name}\\\"\\n.previous\");\n"
    )
}

#[test]
fn files_that_assembly_names_go_along() {
    let engine = engine();
    let more = [
        ("inside", pulls_in("inside", "./blob.bin")),
        ("outside", pulls_in("outside", "../project/blob.bin")),
    ];
    let project = project_with(&more, &[]);
    let built = build(&project, &engine, 2, &[]);
    let mut expected = short();
    let _ = expected.insert("inside".to_owned());
    assert_eq!(built.executed, expected, "{built:?}");
    built.compiled("first outside");
    // What its assembly finds is known as well as if it had been compiled here.
    project.build().nothing();
    project.write("blob.bin", "blob 3");
    project.build().compiled("inside outside");
}

#[test]
fn it_is_a_cache_alone_unless_it_is_to_compile() {
    let engine = engine();
    let project = project();
    for args in [&[][..], &["--remote-jobs", "2", "--remote-cache-only"]] {
        let url = engine.url();
        let args = [&["--remote", &url, "--remote-upload=no"], args].concat();
        assert!(busy(&project, &engine, &args, || true).executed.is_empty());
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
fn what_an_engine_has_compiled_is_not_looked_for_once_more() {
    let engine = engine();
    let project = project();
    let built = build(&project, &engine, 1, &["--remote-wait", "60"]);
    assert_eq!(built.executed, short(), "{built:?}");
    // The first alone, which is compiled here, by what it imports, too.
    let looked_for = format!("\nremote cache: 0 of {} found", SHORT + 2);
    assert!(built.stdout.contains(&looked_for), "{built:?}");
}

#[test]
fn what_is_compiled_by_now_is_not_fetched() {
    let engine = engine();
    let project = project();
    crate::build(&project, &engine, &[]);
    again(&project);
    engine.suffer(Some(Fault::Withholds));
    let are_compiled = || {
        let are_there = short().iter().all(|name| project.object(name).exists());
        if are_there {
            // What follows a write takes no time to speak of.
            std::thread::sleep(Duration::from_millis(200));
            engine.suffer(None);
        }
        are_there
    };
    let url = engine.url();
    let args = [
        "--remote",
        &url,
        "--remote-jobs",
        "2",
        "--remote-wait",
        "0",
        "-j2",
    ];
    let built = while_busy(&project, &engine, are_compiled, |variables| {
        project.build_in(&args, variables)
    });
    assert!(short().is_subset(&built.compiled), "{built:?}");
    // The first is not done.
    let fetched = format!("\nremote cache: 1 of {} found", SHORT + 1);
    assert!(built.stdout.contains(&fetched), "{built:?}");
}

#[test]
fn an_engine_that_was_away_for_a_moment_is_asked_again() {
    let engine = engine();
    let project = project();
    crate::build(&project, &engine, &[]);
    again(&project);
    let greeting = engine.calls("GetActionResult") + 1;
    engine.held().busy.push(("GetActionResult", greeting));
    let url = engine.url();
    let built = busy(&project, &engine, &["--remote", &url], || {
        engine.calls("GetActionResult") > greeting + SHORT
    });
    assert!(short().is_subset(&built.remote), "{built:?}");
    assert_eq!(built.warnings.len(), 1, "{built:?}");
}

#[test]
fn trouble_before_the_first_action_passes() {
    let engine = engine();
    let project = project();
    // The greeting is the first. The second asks whether the program is there.
    engine.held().busy.push(("FindMissingBlobs", 2));
    let built = build(&project, &engine, 1, &[]);
    assert_eq!(built.executed, short(), "{built:?}");
    assert_eq!(built.warnings.len(), 1, "{built:?}");
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
    let built = busy(&project, &engine, &args, || {
        let has_begun = engine.held().actions > 0;
        if has_begun {
            engine.end();
        }
        has_begun
    });
    assert_eq!(built.compiled.len(), SHORT + 1, "{built:?}");
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
        &engine,
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
