//! What the record says for `backlto simulate`, and what that makes of it.

use serde_json::Value;

use crate::common::{BACKLTO, stderr, succeed};
use crate::project::Project;

/// The bytes that the file `name` has.
fn size(project: &Project, name: &str) -> u64 {
    let metadata = std::fs::metadata(project.file(name));
    metadata.expect("a file is there").len()
}

/// Checks what the record of `project` says of sizes; returns how many bytes all compiles
/// read, each content counted once.
#[track_caller]
fn check_sizes(project: &Project) -> u64 {
    let record = project.json_record();
    let sizes = record["sizes"].as_array().expect("sizes");
    let parts = record["dependencies"].as_array().expect("dependencies");
    assert_eq!(sizes.len(), parts.len());
    for name in &project.modules {
        let object = &record["objects"][format!("{name}.thinlto-native.o")];
        assert_eq!(
            object["bytes"],
            size(project, &format!("{name}.thinlto-native.o"))
        );
        for number in object["made_of"].as_array().expect("numbers") {
            let number = usize::try_from(number.as_u64().expect("a number")).expect("a number");
            let expected = match parts[number]["part"].as_str().expect("a part") {
                "module" | "import" => {
                    size(project, parts[number]["name"].as_str().expect("a name"))
                }
                "index" => size(project, &format!("{name}.o.thinlto.bc")),
                _ => 0,
            };
            assert_eq!(sizes[number], expected, "{name}: {}", parts[number]);
        }
    }
    let once: std::collections::BTreeMap<String, u64> = parts
        .iter()
        .zip(sizes)
        .map(|(part, size)| (part["digest"].to_string(), size.as_u64().expect("bytes")))
        .collect();
    once.values().sum()
}

#[test]
fn a_record_says_how_much_compiles_read_and_write() {
    let project = Project::built();
    check_sizes(&project);
    // Up to date, and from the cache.
    project.build().nothing();
    check_sizes(&project);
    std::fs::remove_file(project.record()).expect("the record is removed");
    project.build();
    check_sizes(&project);
}

/// Writes a record in which every compile of `project` takes ten seconds, after `change`.
fn record_long(project: &Project, change: impl FnOnce(&mut Value)) {
    let mut record = project.json_record();
    for (_, object) in record["objects"].as_object_mut().expect("objects") {
        object["microseconds"] = 10_000_000.into();
    }
    change(&mut record);
    std::fs::write(project.record(), record.to_string()).expect("the record is written");
}

/// Takes away what the object `name` of `record` says of sizes.
fn forget_size(record: &mut Value, name: &str) {
    let object = record["objects"][name].as_object_mut().expect("an object");
    object.remove("bytes").expect("it says so");
}

const LINE: [&str; 6] = ["--workers", "1", "--rtt", "50", "--bandwidth", "20"];

fn simulate(project: &Project, args: &[&str]) -> std::process::Output {
    let words = [&["simulate", "."], &LINE[..], args].concat();
    project.run(BACKLTO, &words)
}

/// What is predicted for one worker beside two machines and two thousand.
#[track_caller]
fn predicted(project: &Project, args: &[&str]) -> Value {
    let args = [&["--json", "--remote-workers", "2,2000"], args].concat();
    let output = simulate(project, &args);
    succeed(&output);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_build_is_replayed_beside_an_engine() {
    let project = Project::built();
    let contents = check_sizes(&project);
    record_long(&project, |_| {});
    let told = predicted(&project, &["--program", "0"]);
    let row = &told["rows"][0];
    assert_eq!(
        (&told["compiles"], &row["seconds"]),
        (&5.into(), &50.0.into())
    );
    let few = &row["remote"][0];
    assert_eq!((&few["here"], &few["there"]), (&2.into(), &3.into()));
    let seconds = few["seconds"].as_f64().expect("seconds");
    assert!((20.0..22.0).contains(&seconds), "{few}");
    let sent = few["bytes_sent"].as_u64().expect("bytes");
    assert!(sent > 0 && sent < contents + 5 * 10_000, "{few}");
    // There is nothing to do for more machines than jobs; the first stays here.
    let many = &row["remote"][1];
    assert_eq!((&many["here"], &many["there"]), (&1.into(), &4.into()));
    assert!(many["efficiency"].as_f64() < few["efficiency"].as_f64());

    // The program is no small one, and this is a long way.
    let with_program = predicted(&project, &["--program", "20M"]);
    let sent = &with_program["rows"][0]["remote"][0]["bytes_sent"];
    assert!(sent.as_u64() > Some(20 << 20), "{with_program}");

    let output = simulate(&project, &["--remote-workers", "2,2000", "--program", "0"]);
    succeed(&output);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("5 compiles, 50.0 s together"),
        "{text}"
    );
    assert!(
        text.contains("\nwith an engine 50 ms away at 20 Mbit/s, "),
        "{text}"
    );
    let rows: Vec<Vec<&str>> = lines[lines.len() - 2..]
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!((rows[0][1], rows[0][5], rows[0][6]), ("2", "2", "3"));
    assert_eq!((rows[1][1], rows[1][5], rows[1][6]), ("2000", "1", "4"));
}

#[test]
fn a_record_that_knows_no_sizes_says_so() {
    let project = Project::built();
    record_long(&project, |record| {
        forget_size(record, "main.thinlto-native.o")
    });
    let told = predicted(&project, &[]);
    assert_eq!(
        (&told["compiles"], &told["without_sizes"]),
        (&5.into(), &1.into())
    );
    let output = simulate(&project, &["--remote-workers", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("of 1 compiles it is not known how much they read"),
        "{text}"
    );

    // As backlto left it before there were sizes.
    record_long(&project, |record| {
        record.as_object_mut().expect("a record").remove("sizes");
        for name in &project.modules {
            let name = format!("{name}.thinlto-native.o");
            let object = record["objects"][name].as_object_mut().expect("an object");
            object.remove("bytes");
        }
    });
    project.build().nothing();
    succeed(&simulate(&project, &[]));
    let output = simulate(&project, &["--remote-workers", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("does not say how much its compiles read"),
        "{said}"
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let project = Project::built();
    for (option, value, expected) in [
        ("--bandwidth", "0", "expected a number of megabits"),
        ("--bandwidth", "inf", "expected a number of megabits"),
        ("--rtt", "-1", "expected a number of milliseconds"),
        ("--overhead", "much", "expected a number of milliseconds"),
        ("--remote-workers", "0", "--remote-workers"),
    ] {
        let value = format!("{option}={value}");
        let output = project.run(BACKLTO, &["simulate", ".", &value]);
        assert_eq!(output.status.code(), Some(2), "{value}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
