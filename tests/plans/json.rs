//! What `--json` prints fits the schema that is part of the project.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use super::*;
use crate::common::root;

/// A schema of the project.
pub(super) struct Schema(Schemas, SchemaIndex);

impl Schema {
    pub(super) fn read(name: &str) -> Schema {
        let path = root().join("docs").join(name);
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let path = path.to_str().expect("a path as text");
        let index = compiler.compile(path, &mut schemas);
        let index = index.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        Schema(schemas, index)
    }

    /// Checks each line of `text`; returns them.
    #[track_caller]
    pub(super) fn check(&self, text: &[u8]) -> Vec<Value> {
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            if let Err(e) = self.0.validate(&value, self.1) {
                panic!("{line}\n{e:#}");
            }
            value
        });
        lines.collect()
    }
}

fn events<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == name).collect()
}

#[test]
fn runs_print_what_the_schema_says() {
    let schema = Schema::read("json.schema.json");
    let tree = programs();
    let cache = tree.file("cache").display().to_string();
    let run = |args: &[&str]| {
        let args = [&["--cache-dir", &cache, "--json", "run", "plan.json"], args].concat();
        let output = tree.run(BACKLTO, &args);
        (output.status.success(), schema.check(&output.stdout))
    };
    let (success, lines) = run(&[]);
    assert!(success && lines[0]["event"] == "start" && lines[0]["version"] == 1);
    assert_eq!(events(&lines, "finished").len(), 4);
    let summary = lines.last().expect("a summary");
    assert_eq!(
        (&summary["event"], &summary["count"]["compiled"]),
        (&"summary".into(), &4.into())
    );

    // Up to date and audited; out of the cache.
    let (_, lines) = run(&["--audit", "100%", "--audit-seed", "9"]);
    assert_eq!(lines[0]["audit"]["seed"], 9);
    assert!(
        events(&lines, "finished")
            .iter()
            .all(|e| e["how"] == "up-to-date")
    );
    std::fs::remove_file(tree.file(".plan.json.backlto")).expect("a record");
    let (_, lines) = run(&[]);
    assert_eq!(lines.last().expect("a summary")["count"]["cached"], 4);

    // A job that fails, and a thin link.
    let (success, lines) = run(&["--timeout-per-object", "0.000001", "--no-cache", "-k"]);
    assert!(
        success
            || events(&lines, "finished")
                .iter()
                .any(|e| e["how"].is_null())
    );
    std::fs::remove_file(tree.file(&format!("{}/main.o", DIRECTORIES[0]))).expect("a module");
    let (success, lines) = run(&[]);
    assert!(!success);
    let error = events(&lines, "error");
    assert!(
        error[0]["error"]
            .as_str()
            .expect("text")
            .contains("the thin link failed")
    );
    assert_eq!(events(&lines, "summary").len(), 1);
}

#[test]
fn other_doors_print_what_the_schema_says() {
    let schema = Schema::read("json.schema.json");
    let tree = programs();
    run(&tree, &[]);
    let object = format!("{}/main.thinlto-native.o", DIRECTORIES[0]);
    let cache = tree.file("cache").display().to_string();
    for (args, key) in [
        (&["doctor"][..], "checks"),
        (&["explain", &object], "made_of"),
        (&["simulate", ".", "--remote-workers", "2,2000"], "engine"),
        (&["cache", "stats"], "counters"),
        (&["cache", "verify"], "problems"),
        (&["cache", "clear"], "files"),
    ] {
        let args = [&["--json", "--cache-dir", &cache], args].concat();
        let output = tree.run(BACKLTO, &args);
        succeed(&output);
        let text = String::from_utf8_lossy(&output.stdout).replace('\n', "");
        let lines = schema.check(text.as_bytes());
        assert!(!lines[0][key].is_null(), "{args:?}");
    }
    let output = tree.run(BACKLTO, &["--json", "explain", "nothing.o"]);
    assert_eq!(schema.check(&output.stdout)[0]["event"], "error");
}

#[test]
fn plans_fit_their_schema() {
    let schema = Schema::read("plan.schema.json");
    let tree = programs();
    let plan: Value = serde_json::from_slice(&tree.read("plan.json")).expect("JSON");
    schema.check(plan.to_string().as_bytes());
    let wrong = serde_json::json!({"programs": [], "jobs": 4});
    assert!(schema.0.validate(&wrong, schema.1).is_err());
}
