//! Single compiles, plans in memory, and what is compiled for its own sake: audits and
//! reproducers.

use std::process::{Command, Output};
use std::time::Duration;

use backlto::{CompilerCommand, Module, Options, Origin, Plan, RemoteOptions, Silent};

use crate::common::{BACKLTO, CLANG, stderr, succeed};
use crate::engine::{Engine, Setup};
use crate::project::Project;
use crate::{PATIENT, SMALL, build, forget, small};

/// `backlto cc` in `project`, with the engine at `url`; more arguments are clang's.
fn cc(project: &Project, url: &str) -> Command {
    let mut command = project.command(BACKLTO);
    command.args([&["--remote", url], &PATIENT[..], &["cc", CLANG]].concat());
    command
}

/// The backend of `main` by `backlto cc`, with the engine at `url`, to `main.o.native`.
fn backend(project: &Project, url: &str) -> Output {
    let output = cc(project, url)
        .args(["--target=x86_64-linux-gnu", "-O2", "-ffreestanding"])
        .args(["-x", "ir", "-fthinlto-index=main.o.thinlto.bc"])
        .args(["-c", "-o", "main.o.native", "main.o"])
        .output()
        .expect("backlto runs");
    succeed(&output);
    output
}

/// A small program with its indexes, of which nothing is known.
fn linked() -> Project {
    let project = Project::of(&SMALL);
    project.build();
    forget(&project);
    project
}

#[test]
fn a_single_compile_finds_what_another_machine_has_compiled() {
    let engine = Engine::start(Setup::default());
    let project = linked();
    let object = project.file("main.o.native");
    assert_eq!(stderr(&backend(&project, &engine.url())), "");
    let uploaded = engine.calls("UpdateActionResult");
    assert!(uploaded > 0);

    let compiled = std::fs::read(&object).expect("an object");
    std::fs::remove_dir_all(&project.cache).expect("the cache is removed");
    project.remove("main.o.native");
    assert_eq!(stderr(&backend(&project, &engine.url())), "");
    assert!(std::fs::read(&object).expect("an object") == compiled);
    assert!(engine.calls("BatchReadBlobs") > 0);
    assert_eq!(
        engine.calls("UpdateActionResult"),
        uploaded,
        "nothing is new"
    );
}

#[test]
fn a_single_compile_needs_no_engine_and_a_compiler_is_told_of_none() {
    let project = linked();
    for url in ["nonsense", "grpc://127.0.0.1:1"] {
        let said = stderr(&backend(&project, url));
        assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    }
    // What clang does itself.
    let output = cc(&project, "nonsense")
        .args(["-c", "-o", "front.o", "main.c"])
        .output()
        .expect("backlto runs");
    succeed(&output);
    assert_eq!(stderr(&output), "");
}

/// What becomes of a plan in memory, with the engine at `url` and no cache here.
fn in_memory(url: &str) -> Result<Origin, backlto::Errors> {
    let ir = br#"target triple = "x86_64-unknown-linux-gnu" define void @f() { ret void }"#;
    let modules = [Module::new("f.o", backlto::thin_lto_bitcode("f.ll", ir)?)];
    let indexes = backlto::thin_link(&modules, &backlto::ThinLinkOptions::default())?;
    let command = CompilerCommand::flags([CLANG, "--target=x86_64-linux-gnu", "-O2"]);
    let plan = Plan::in_memory(&modules, indexes, &command)?;
    let minute = Duration::from_secs(60);
    let mut engine = backlto::Engine::new(&Options {
        remote: Some(RemoteOptions {
            wait: Some(minute),
            linger: Some(minute),
            ..RemoteOptions::new(url)
        }),
        ..Options::default()
    })?;
    let mut reports = engine.run(&plan, &Silent)?;
    engine.finish_remote();
    let report = reports.pop().expect("a report");
    report.result?;
    assert!(report.object.is_some_and(|object| !object.is_empty()));
    let output = plan.jobs[0].output_path();
    assert!(!output.exists(), "{}", output.display());
    Ok(report.origin)
}

#[test]
fn plans_in_memory_take_part_and_write_no_file() {
    let engine = Engine::start(Setup::default());
    assert_eq!(in_memory(&engine.url()).unwrap(), Origin::Compiled);
    assert_eq!(in_memory(&engine.url()).unwrap(), Origin::Remote);
}

/// The events with which jobs ended of a build of `project` that audits everything.
fn audited(project: &Project, engine: &Engine) -> Vec<serde_json::Value> {
    let url = engine.url();
    let args = ["--remote", &url, "--audit", "100%", "--json"];
    let output = project.try_build(&[&args, &PATIENT[..]].concat());
    succeed(&output);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = stdout.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        event
    });
    events
        .filter(|event| event["event"] == "finished")
        .collect()
}

#[test]
fn an_audit_compiles_what_comes_from_other_machines() {
    let engine = Engine::start(Setup::default());
    let project = Project::of(&SMALL);
    build(&project, &engine, &[]);
    std::fs::remove_dir_all(&project.cache).expect("the cache is removed");
    let calls = || ["GetActionResult", "UpdateActionResult"].map(|call| engine.calls(call));
    let [asked, told] = calls();
    for event in audited(&project, &engine) {
        assert_eq!(
            (&event["how"], &event["audited"]),
            (&"up-to-date".into(), &true.into())
        );
    }
    // The greeting is one.
    assert_eq!(calls(), [asked + 1, told]);

    forget(&project);
    for event in audited(&project, &engine) {
        assert_eq!(
            (&event["how"], &event["audited"]),
            (&"remote".into(), &true.into())
        );
    }
    let known = calls();
    // To compile it again is neither to ask nor to tell.
    assert_eq!(known[1], told);
    std::fs::remove_file(project.record()).expect("the record is removed");
    for event in audited(&project, &engine) {
        assert_eq!(
            (&event["how"], &event["audited"]),
            (&"cached".into(), &true.into())
        );
    }
    assert_eq!(calls(), [known[0] + 1, known[1]]);
}

/// An object that is whole and under its key, but not what it should be: no digest tells.
#[test]
fn an_audit_finds_what_another_machine_has_made_up() {
    let (engine, project) = small(Setup::default());
    engine.make_up();
    let url = engine.url();
    let args = ["--remote", &url, "--audit", "100%", "-k"];
    let output = project.try_build(&[&args, &PATIENT[..]].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "in the remote cache differs from what it compiles to",
        "an object is not what its inputs compile to",
        "the engine still has it",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // The one that was not there made it; what was made up is nowhere.
    build(&project, &Engine::start(Setup::default()), &[]);
}

/// The name of the one reproducer in `project`.
fn reproducer(project: &Project) -> String {
    let entries = std::fs::read_dir(project.directory()).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    let found = names.find(|name| name.starts_with("backlto-repro-"));
    found.expect("a reproducer")
}

#[test]
fn a_reproducer_is_compiled_here() {
    let engine = Engine::start(Setup::default());
    let (project, url) = (Project::of(&SMALL), engine.url());
    build(&project, &engine, &[]);
    succeed(&project.try_build(&["--save-repro", "main.o"]));
    let asked = engine.calls("GetCapabilities");
    let mut command = project.command(BACKLTO);
    command.args(["repro", &reproducer(&project), "--remote", &url]);
    succeed(&command.output().expect("backlto runs"));
    assert_eq!(engine.calls("GetCapabilities"), asked);
}
