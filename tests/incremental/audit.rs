//! The audit: what is taken is compiled too, and what differs is an error that keeps
//! both and is not taken again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use backlto::digest::{Digest, Hasher};

use crate::cached::{files, forget, overwrite};
use crate::common::{BACKLTO, stderr, succeed};
use crate::project::{ALL, Project, UTIL};

const EVERYTHING: [&str; 2] = ["--audit", "100%"];

/// The events with which jobs ended of a build with `args`.
fn finished(project: &Project, args: &[&str]) -> Vec<serde_json::Value> {
    let output = project.try_build(&[args, &["--json"]].concat());
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"));
    events
        .filter(|event: &serde_json::Value| event["event"] == "finished")
        .collect()
}

/// The modules that a build with `args` has audited.
fn audited(project: &Project, args: &[&str]) -> BTreeSet<String> {
    let events = finished(project, args);
    let audited = events.iter().filter(|event| event["audited"] == true);
    audited.map(|event| event["module"].to_string()).collect()
}

#[test]
fn what_is_right_stays_as_it_is() {
    let project = Project::built();
    let (inodes, record) = (project.inodes(), project.json_record());
    let built = project.try_build(&EVERYTHING);
    succeed(&built);
    assert!(
        stderr(&built).contains("note: 100% of what is taken"),
        "{built:?}"
    );
    let stdout = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(stdout.contains("0 compiled, 5 up to date\n"), "{stdout}");
    assert!(
        stdout.contains("5 taken ones were compiled too: none differs"),
        "{stdout}"
    );
    assert_eq!((project.inodes(), project.json_record()), (inodes, record));

    // Out of the cache, before and after the import.
    forget(&project);
    let events = finished(&project, &EVERYTHING);
    let how: Vec<_> = events
        .iter()
        .map(|event| (&event["how"], &event["audited"]))
        .collect();
    assert!(
        how.iter()
            .all(|how| *how == (&"cached".into(), &true.into())),
        "{how:?}"
    );
    project.assert_as_clang();
    project.edit("util", &UTIL.replace("x * 5", "x * 7"));
    let events = finished(&project, &EVERYTHING);
    let of = |how: &str| events.iter().filter(|event| event["how"] == how).count();
    assert_eq!(
        (of("compiled"), of("cached-after-import"), of("up-to-date")),
        (1, 1, 3)
    );
    let audited = events.iter().filter(|event| event["audited"] == true);
    assert_eq!(audited.count(), 4);
    project.assert_as_clang();
    project.build().nothing();
}

/// A build that audits leaves what other builds look for.
#[test]
fn what_is_compiled_under_an_audit_is_found_by_its_inputs() {
    let project = Project::new();
    succeed(&project.try_build(&EVERYTHING));
    forget(&project);
    project.build().did("", ALL, "");
}

#[test]
fn a_seed_draws_the_same_again() {
    let project = Project::built();
    let draw = |seed: &str| audited(&project, &["--audit=40", "--audit-seed", seed]);
    let drawn: Vec<_> = (0..20).map(|seed: u8| draw(&seed.to_string())).collect();
    assert_eq!(drawn[7], draw("7"));
    let sizes: BTreeSet<usize> = drawn.iter().map(BTreeSet::len).collect();
    let total: usize = drawn.iter().map(BTreeSet::len).sum();
    assert!(sizes.len() > 1 && (20..60).contains(&total), "{drawn:?}");
    // The same modules out of the cache, and nothing without an audit.
    forget(&project);
    assert_eq!(draw("7"), drawn[7]);
    assert_eq!(audited(&project, &[]), BTreeSet::new());
}

/// The build ends with one error, about `module`; returns where both objects are.
#[track_caller]
fn assert_differs(project: &Project, output: &Output, module: &str, place: &str) -> PathBuf {
    let said = stderr(output);
    assert!(!output.status.success(), "{said}");
    let error = format!("error: the object of `{module}.o` in the {place} differ");
    assert!(said.contains(&error), "{said}");
    assert!(said.contains(&format!("module `{module}.o` (")), "{said}");
    assert!(
        said.contains(": key ") && said.contains("(seed 3)"),
        "{said}"
    );
    let directory = project.file(&format!("backlto-audit-{module}.o"));
    let compiled = std::fs::read(directory.join("compiled.o")).expect("what was compiled");
    let json = std::fs::read(directory.join("audit.json")).expect("what is known");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["compiled"], Digest::of(&compiled).to_string());
    assert_eq!((&json["place"], &json["seed"]), (&place.into(), &3.into()));
    directory
}

const SEEDED: [&str; 4] = ["--audit", "100%", "--audit-seed", "3"];

#[test]
fn a_record_that_lies_is_found() {
    let project = Project::built();
    // The object and what the record says of it, changed alike.
    let object = project.object("util");
    let mut bytes = std::fs::read(&object).unwrap();
    let before = Digest::of(&bytes).to_string();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&object, &bytes).unwrap();
    let record = std::fs::read_to_string(project.record()).unwrap();
    let forged = record.replace(&before, &Digest::of(&bytes).to_string());
    assert_ne!(record, forged);
    std::fs::write(project.record(), forged).unwrap();
    project.try_build(&[]);
    assert_eq!(
        std::fs::read(&object).unwrap(),
        bytes,
        "nobody sees it but the audit"
    );

    let output = project.try_build(&SEEDED);
    let kept = assert_differs(&project, &output, "util", "record");
    assert_eq!(std::fs::read(kept.join("taken.o")).unwrap(), bytes);
    // Neither record nor cache have it any more.
    project.build().compiled("util");
}

/// Has all entries of the cache lead to the object of `module`, as a wrong key would.
fn forge(project: &Project, module: &str) {
    const HEADER: usize = 80;
    let object = std::fs::read(project.object(module)).unwrap();
    let digest = Digest::of(&object).to_string();
    for path in files(&project.cache.join("v1/actions")) {
        let bytes = std::fs::read(&path).unwrap();
        let mut entries: serde_json::Value = serde_json::from_slice(&bytes[HEADER..]).unwrap();
        entries[0]["object"] = digest.as_str().into();
        entries[0]["size"] = object.len().into();
        let content = entries.to_string();
        let mut sum = Hasher::new();
        sum.field("key", &bytes[16..48])
            .field("content", content.as_bytes());
        let sum = sum.digest();
        overwrite(
            &path,
            &[&bytes[..48], sum.as_bytes(), content.as_bytes()].concat(),
        );
    }
}

#[test]
fn a_key_that_leads_to_another_object_is_found() {
    let project = Project::built();
    let wrong = std::fs::read(project.object("alone")).unwrap();
    forge(&project, "alone");
    forget(&project);
    // Nobody sees it but the audit, and the linker by chance.
    project.try_build(&[]);
    assert_eq!(std::fs::read(project.object("util")).unwrap(), wrong);

    forget(&project);
    let all = [&SEEDED[..], &["-k"]].concat();
    let output = project.try_build(&all);
    for module in ["main", "util", "blob", "inner"] {
        let kept = assert_differs(&project, &output, module, "cache");
        assert_eq!(std::fs::read(kept.join("taken.o")).unwrap(), wrong);
        assert!(
            !project.object(module).exists(),
            "{module} was put in its place"
        );
    }
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        stdout.contains("5 taken ones were compiled too: 4 DIFFER"),
        "{stdout}"
    );
    // What was found is not taken again, by any of its keys.
    project.build().did("main util blob inner", "", "");
    project.build().nothing();
}

#[test]
fn a_key_after_the_import_that_leads_to_another_object_is_found() {
    let project = Project::built();
    forge(&project, "alone");
    project.edit("util", &UTIL.replace("x * 5", "x * 7"));
    // Or what has not started by then is left out.
    let output = project.try_build(&[&SEEDED[..], &["-k"]].concat());
    assert_differs(&project, &output, "main", "cache");
    project.build().compiled("main");
}

#[test]
fn objects_of_a_cache_that_cannot_be_written_to_are_audited() {
    let project = Project::built();
    forge(&project, "alone");
    forget(&project);
    let chmod = |mode: &str| succeed(&project.run("chmod", &["-R", mode, path(&project.cache)]));
    chmod("a-w");
    let output = project.try_build(&SEEDED);
    chmod("u+w");
    // Root writes all the same.
    let said = stderr(&output);
    let all_out = said.contains("it will not be taken again");
    assert!(
        all_out || said.contains("the cache cannot be written to"),
        "{said}"
    );
    assert_differs(&project, &output, "main", "cache");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("test directories are UTF-8")
}

#[test]
fn the_variable_asks_for_it_too_and_nonsense_is_refused() {
    let project = Project::built();
    let run = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = project.command(BACKLTO);
        command.args(["run", "plan.json"]).args(args);
        command
            .envs(variables.iter().copied())
            .output()
            .expect("it runs")
    };
    let output = run(
        &[("BACKLTO_AUDIT", "100%"), ("BACKLTO_AUDIT_SEED", "3")],
        &[],
    );
    succeed(&output);
    assert!(stderr(&output).contains("(--audit-seed 3)"), "{output:?}");
    for (variables, args) in [
        (&[][..], &["--audit", "101%"][..]),
        (&[("BACKLTO_AUDIT", "x")], &[]),
    ] {
        let output = run(variables, args);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("expected a share from 0% to 100%"),
            "{output:?}"
        );
    }
    let output = run(&[("BACKLTO_AUDIT", "")], &["-q"]);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""));
}
