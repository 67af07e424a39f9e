//! Engines that are slow, break, lose, mix up and lie: builds succeed with clang's
//! bytes, and say once what happened.

use std::time::Duration;

use crate::common::{BACKLTO, stderr, succeed};
use crate::engine::{Engine, Fault, Setup};
use crate::project::{Project, UTIL};
use crate::{OF_SMALL, SMALL, build, forget, small};

/// Every fault that an answer can show, with what is said of it.
const SEEN: [(Fault, &str); 7] = [
    (Fault::Busy, "too busy"),
    (Fault::FlipBit, "came with other bytes"),
    (Fault::Cut, "came with other bytes"),
    (Fault::MixUp, "came with other bytes"),
    (Fault::Forge, "an entry is for another key"),
    (Fault::NoOutput, "an action has no object"),
    (Fault::Swells, "an object is longer than any of ours"),
];

#[test]
fn what_is_wrong_is_refused_compiled_and_said_once() {
    let (engine, project) = small(Setup::default());
    for (fault, text) in SEEN {
        engine.suffer(Some(fault));
        let built = build(&project, &engine, &["--jobs", "1"]);
        assert_eq!(built.warnings.len(), 1, "{fault:?}: {built:?}");
        assert!(built.warnings[0].contains(text), "{fault:?}: {built:?}");
        let left_alone = "it was left alone for 5 s";
        assert!(built.warnings[0].ends_with(left_alone), "{built:?}");
        built.compiled(OF_SMALL);
        forget(&project);
    }
    // It has forgotten nothing, and is asked again by the next build.
    engine.suffer(None);
    let built = build(&project, &engine, &[]);
    assert_eq!(built.remote.len(), 2, "{built:?}");
}

#[test]
fn what_an_engine_has_no_room_for_is_asked_again() {
    let (engine, project) = small(Setup {
        one_of: 3,
        ..Setup::default()
    });
    engine.suffer(Some(Fault::Crowded));
    let built = build(&project, &engine, &[]);
    assert_eq!(built.warnings, [""; 0]);
    assert_eq!(built.remote.len(), 2, "{built:?}");
}

#[test]
fn blobs_that_are_lost_are_no_trouble() {
    let (engine, project) = small(Setup::default());
    engine.held().blobs.clear();
    let built = build(&project, &engine, &[]);
    built.compiled(OF_SMALL);
    assert_eq!(built.warnings, [""; 0]);
    forget(&project);
    // They are there again.
    let built = build(&project, &engine, &[]);
    assert_eq!(built.remote.len(), 2, "{built:?}");
}

#[test]
fn an_engine_that_takes_nothing_still_gives() {
    let (engine, project) = small(Setup::default());
    engine.suffer(Some(Fault::ReadOnly));
    project.edit("util", &UTIL.replace("x * 5", "x * 7"));
    let built = build(&project, &engine, &[]);
    built.compiled("util");
    assert_eq!(built.remote.len(), 1, "{built:?}");
    assert_eq!(built.warnings, [""; 0]);
    assert!(built.stdout.contains("0 uploaded"), "{built:?}");
    assert!(built.stdout.contains("you may only read"), "{built:?}");
}

#[test]
fn an_engine_whose_disk_is_full_costs_nothing_but_uploads() {
    let engine = Engine::start(Setup::default());
    engine.suffer(Some(Fault::Lose));
    let built = build(&Project::of(&SMALL), &engine, &[]);
    built.compiled(OF_SMALL);
    assert!(built.warnings[0].contains("the disk is full"), "{built:?}");
    assert!(engine.held().results.is_empty());
}

/// Calls that are never answered, before work starts and while it runs.
#[test]
fn nobody_waits_for_an_engine_that_hangs() {
    let (engine, project) = small(Setup::default());
    engine.suffer(Some(Fault::Hang));
    let built = build(&project, &engine, &[]);
    built.compiled(OF_SMALL);
    assert!(
        built.warnings[0].contains("no answer within 3 s"),
        "{built:?}"
    );

    let engine = Engine::start(Setup {
        one_of: 3,
        ..Setup::default()
    });
    engine.suffer(Some(Fault::Delay(Duration::from_secs(3600))));
    let url = engine.url();
    let hasty = [
        "--remote",
        &url,
        "--remote-wait",
        "0.01",
        "--remote-linger",
        "0",
    ];
    Project::of(&SMALL).build_with(&hasty).compiled(OF_SMALL);
}

#[test]
fn an_engine_that_is_not_there_is_done_without() {
    let gone = Engine::start(Setup::default()).url();
    let built = Project::of(&SMALL).build_with(&["--remote", &gone]);
    built.compiled(OF_SMALL);
    assert_eq!(built.warnings.len(), 1, "{built:?}");
    assert!(
        built.warnings[0].contains("Connection refused"),
        "{built:?}"
    );
}

/// A machine that has no way to the one which knows names.
#[test]
fn nobody_waits_for_a_name_that_nobody_tells() {
    let project = Project::of(&SMALL);
    project.plan();
    project.write("resolv.conf", "nameserver 192.0.2.2\n");
    let run = |words: &[&str]| {
        // Nothing comes back from there, not even that there is nobody.
        let apart = "ip link set lo up; ip route add 192.0.2.2 dev lo
            mount --bind resolv.conf /etc/resolv.conf; exec \"$@\"";
        let own = ["--map-root-user", "--net", "--mount", "sh", "-ec", apart];
        let mut command = project.command("unshare");
        command.args(own).arg("sh").args(words).output()
    };
    let is_allowed = run(&["true"]).is_ok_and(|output| output.status.success());
    if !is_allowed {
        eprintln!("skipped: a network of one's own is not allowed here");
        return;
    }
    let url = "grpc://engine.example";
    let output = run(&[BACKLTO, "run", "plan.json", "--remote", url]).expect("backlto runs");
    succeed(&output);
    project.assert_as_clang();
    let said = stderr(&output);
    let slow = "the address of `engine.example`: no answer within 3 s";
    assert_eq!(said.matches(slow).count(), 1, "{said}");
}

#[test]
fn an_engine_may_die_in_the_middle() {
    for calls in [1, 2, 3] {
        let (engine, project) = small(Setup::default());
        project.plan();
        let url = engine.url();
        let mut command = project.command(BACKLTO);
        command.args(["run", "plan.json", "--remote", &url, "--jobs", "1"]);
        command.args(["--remote-wait", "1", "--remote-linger", "1"]);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let before = engine.calls("GetActionResult");
        let child = command.spawn().expect("backlto runs");
        while engine.calls("GetActionResult") < before + calls {
            std::thread::yield_now();
            // Some may never be asked.
            if engine.calls("BatchReadBlobs") > 0 {
                break;
            }
        }
        drop(engine);
        let output = child.wait_with_output().expect("it ends");
        succeed(&output);
        project.assert_as_clang();
        let said = stderr(&output).matches("the remote cache").count();
        assert!(said <= 1, "{}", stderr(&output));
    }
}

/// A bit of everything, in an order that the seed decides.
#[test]
fn any_mixture_of_faults_gives_clangs_bytes() {
    let engine = Engine::start(Setup {
        one_of: 3,
        ..Setup::default()
    });
    let project = Project::new();
    for (fault, _) in SEEN {
        engine.suffer(Some(fault));
        // Which of the objects are found is the seed's choice.
        build(&project, &engine, &[]);
        forget(&project);
    }
}
