//! Engines that are there and cannot be used: one clear error, before work starts. And
//! secrets, which are shown to nobody.

use crate::common::{BACKLTO, stderr, succeed};
use crate::engine::{Engine, Setup};
use crate::project::Project;
use crate::{SMALL, build, forget};

const SECRET: &str = "correct-horse";

/// Runs a build that must fail with one error; returns what it says.
#[track_caller]
pub(crate) fn error(args: &[&str]) -> String {
    let project = Project::of(&[("alone", "int x;\n")]);
    let output = project.try_build(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("backlto: error: ").count(), 1, "{text}");
    assert!(project.inodes().is_empty(), "nothing is compiled before");
    text
}

#[test]
fn what_cannot_be_used_is_one_error_before_work_starts() {
    let engine = Engine::start(Setup {
        instance: "main",
        ..Setup::default()
    });
    let other = engine.url().replace("/main", "/other");
    let useless = Engine::start(Setup {
        caches: false,
        ..Setup::default()
    });
    let useless = useless.url();
    for (url, reason) in [
        ("localhost:1", "it has no scheme"),
        ("grpc://no.such.host.invalid", "cannot find the host"),
        ("grpc://me:hush@localhost", "belong into a header"),
        (&*other, "no instance 'other'"),
        (&*useless, "it does not cache"),
    ] {
        let text = error(&["--remote", url]);
        assert!(text.contains(reason), "{url}: {text}");
        assert!(!text.contains("hush"), "{text}");
    }
    let text = error(&["--remote", "grpc://localhost", "--remote-cert", "c.pem"]);
    assert!(text.contains("need each other"), "{text}");
    let url = "grpcs://localhost";
    let text = error(&["--remote", url, "--remote-ca", "/no/such.pem"]);
    assert!(text.contains("`/no/such.pem`"), "{text}");
}

#[test]
fn wrong_credentials_are_an_error_and_right_ones_are_shown_to_nobody() {
    let setup = Setup {
        header: Some(("x-api-key", SECRET)),
        ..Setup::default()
    };
    let engine = Engine::start(setup.clone());
    let url = engine.url();
    for args in [
        &["--remote", &url][..],
        &[
            "--remote",
            &url,
            "--remote-header",
            "x-api-key=battery-staple",
        ],
    ] {
        let text = error(args);
        assert!(text.contains("who are you?"), "{text}");
        assert!(!text.contains("battery"), "{text}");
    }
    // What is no header may be a secret, too.
    let text = error(&["--remote", &url, "--remote-header", "battery-staple"]);
    assert!(!text.contains("battery"), "{text}");

    let project = Project::of(&SMALL);
    project.write("secret", format!("{SECRET}\n"));
    project.plan();
    let mut command = project.command(BACKLTO);
    command.args(["run", "plan.json", "-v", "--json", "--trace", "trace.json"]);
    command.args(["--remote", &url]);
    command.env("BACKLTO_REMOTE_HEADER", "x-other=1\nX-Api-Key=@secret");
    let output = command.output().expect("backlto runs");
    succeed(&output);
    assert!(engine.calls("GetActionResult") > 1);
    let trace = std::fs::read(project.file("trace.json")).expect("a trace");
    for text in [output.stdout, output.stderr, trace] {
        assert!(!String::from_utf8_lossy(&text).contains(SECRET));
    }
}

#[test]
fn doctor_tells_whether_an_engine_works() {
    let line = |args: &[&str]| {
        let output = Project::of(&[]).run(BACKLTO, &[&["doctor"], args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains(" remote "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let engine = Engine::start(Setup::default());
    let url = engine.url();
    let well = line(&["--remote", &url]);
    assert!(
        well.starts_with("ok ") && well.contains("round trip"),
        "{well}"
    );
    assert!(well.contains("MB/s there"), "{well}");
    drop(engine);
    let gone = line(&["--remote", &url]);
    assert!(
        gone.starts_with("FAILED ") && gone.contains("refused"),
        "{gone}"
    );
}

#[test]
fn an_engine_with_credentials_works() {
    let engine = Engine::start(Setup {
        header: Some(("x-api-key", SECRET)),
        ..Setup::default()
    });
    let header = format!("x-api-key={SECRET}");
    let project = Project::of(&SMALL);
    for found in [0, 2] {
        let built = build(&project, &engine, &["--remote-header", &header]);
        forget(&project);
        assert_eq!(built.remote.len(), found, "{built:?}");
    }
}
