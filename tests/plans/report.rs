//! `backlto report`, and `--report` of a run.

use serde_json::Value;

use super::json::Schema;
use super::*;

/// The data in the page `name`.
#[track_caller]
fn data_of(tree: &Tree, name: &str) -> Value {
    let page = String::from_utf8(tree.read(name)).expect("a page is UTF-8");
    let (_, data) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .expect("data");
    let (data, _) = data.split_once("</script>").expect("an end of the data");
    serde_json::from_str(data).expect("JSON")
}

/// What `backlto report` with `args` prints as JSON, which fits the schema.
#[track_caller]
fn report(tree: &Tree, args: &[&str]) -> Value {
    let output = tree.run(BACKLTO, &[&["--json", "report"], args].concat());
    succeed(&output);
    let mut reports = Schema::read("report.schema.json").check(&output.stdout);
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// Runs backlto with `args`, which must fail. Returns what it said.
#[track_caller]
fn fail(tree: &Tree, args: &[&str]) -> String {
    let output = tree.run(BACKLTO, args);
    assert!(!output.status.success(), "{args:?}");
    stderr(&output)
}

/// The module that is called `name` in `report`.
#[track_caller]
fn module<'a>(report: &'a Value, name: &str) -> &'a Value {
    let places = &report["run"]["places"];
    let full = |module: &Value| {
        let place = module["place"].as_u64().unwrap_or_default();
        let place = &places[usize::try_from(place).expect("a small number")];
        format!(
            "{}/{}",
            place.as_str().expect("a place"),
            module["name"].as_str().expect("a name")
        )
    };
    let modules = report["run"]["modules"].as_array().expect("modules");
    let mut found = modules.iter().filter(|module| full(module) == name);
    found.next().unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn a_run_leaves_a_report_if_it_is_asked_to_and_one_can_be_made_after() {
    let tree = programs();
    run(
        &tree,
        &["-j2", "--no-cache", "--report", "now.html", "--trace-llvm"],
    );
    let now = data_of(&tree, "now.html");
    Schema::read("report.schema.json").check(now.to_string().as_bytes());
    assert_eq!(now["run"]["workers"], 2);
    assert_eq!(now["run"]["modules"].as_array().map(Vec::len), Some(4));
    let [here, there] = DIRECTORIES;
    for name in [here, there].map(|directory| format!("{directory}/main.o")) {
        let main = module(&now, &name);
        assert_eq!(main["how"], "compiled");
        assert!(main["span"]["seconds"].as_f64() > Some(0.0), "{main}");
        for size in ["bytes", "object_bytes"] {
            assert!(main[size].as_u64() > Some(0), "{main}");
        }
        // `helper` is small enough.
        assert_eq!(main["imports"].as_array().map(Vec::len), Some(1), "{main}");
    }
    let steps = now["run"]["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(
        now["run"]["passes"]
            .as_array()
            .is_some_and(|p| !p.is_empty())
    );
    assert!(now["cores"]["rows"].as_array().is_some_and(|r| r.len() > 8));
    assert_eq!(now["edits"][0]["backends"], 1);

    // The plan, its record, what is kept, a directory and the page itself are all it.
    for name in [
        "plan.json",
        ".plan.json.backlto",
        ".plan.json.backlto-run",
        there,
        "now.html",
    ] {
        assert_eq!(report(&tree, &[name]), now, "{name}");
    }
    let output = tree.run(BACKLTO, &["report"]);
    succeed(&output);
    let said = text(&output.stdout);
    assert!(
        said.starts_with("4 modules: 4 compiled.\nIt took "),
        "{said}"
    );
    assert!(said.ends_with("wrote `backlto-report.html`\n"), "{said}");
    assert_eq!(data_of(&tree, "backlto-report.html"), now);
}

#[test]
fn what_was_compiled_since_is_said_with_its_reason() {
    let tree = programs();
    run(&tree, &["--no-cache", "--report", "before.html"]);
    // Nothing to do: there is more to see in the run before.
    succeed(&tree.run(BACKLTO, &["--no-cache", "run", "plan.json"]));
    assert_eq!(report(&tree, &[]), data_of(&tree, "before.html"));

    let [here, there] = DIRECTORIES;
    let text = HELPER.replace("x * SCALE", "x * SCALE + 99");
    tree.compile(
        &format!("{there}/sub/helper"),
        &text,
        &[FLAGS[0], "-O2", "-DSCALE=17"],
    );
    succeed(&tree.run(BACKLTO, &["--no-cache", "run", "plan.json"]));
    let after = report(&tree, &["--against", "before.html"]);
    let edited = module(&after, &format!("{there}/sub/helper.o"));
    let why = edited["why"][0].as_str().expect("a reason");
    assert!(
        why.starts_with("its module `sub/helper.o` changed"),
        "{why}"
    );
    let other = module(&after, &format!("{here}/sub/helper.o"));
    assert_eq!(other["how"], "up-to-date");
    assert!(other["span"].is_null(), "{other}");
    // What is known of it is known still.
    assert!(other["compile_seconds"].as_f64() > Some(0.0), "{other}");
    assert!(other["object_bytes"].as_u64() > Some(0), "{other}");

    let against = &after["against"];
    assert_eq!(against["spared"], 2, "{against}");
    assert_eq!(against["other"]["compiled"], 4, "{against}");
    assert!(
        against["added"].as_array().is_some_and(Vec::is_empty)
            && against["gone"].as_array().is_some_and(Vec::is_empty),
        "{against}"
    );
}

#[test]
fn without_a_run_or_a_place_for_the_page_the_error_says_what_to_do() {
    let tree = programs();
    let said = fail(&tree, &["report"]);
    assert!(said.contains("nothing is known of a run in"), "{said}");
    assert!(said.contains("that was built"), "{said}");

    let said = fail(&tree, &["run", "plan.json", "--report", "missing/x.html"]);
    assert!(said.contains("cannot write `missing/x.html`"), "{said}");
    // What was asked for beside it is there.
    assert!(tree.file("there/demo").is_file());

    let said = fail(&tree, &["report", "-o", "/dev/full"]);
    assert!(said.contains("cannot write `/dev/full`"), "{said}");
    assert!(said.contains("No space left"), "{said}");

    let kept = ".plan.json.backlto-run";
    let sound = text(&tree.read(kept));
    for (content, reason) in [
        (
            sound.replace("\"version\":1", "\"version\":99"),
            "version 99",
        ),
        (sound[..sound.len() - 9].to_owned(), "damaged"),
        (sound.replace("\"modules\"", "\"others\""), "damaged"),
    ] {
        tree.write(kept, content);
        let said = fail(&tree, &["report", "plan.json", "-o", "page.html"]);
        assert!(said.contains(reason), "{said}");
        assert!(!tree.file("page.html").exists());
    }
    std::fs::remove_file(tree.file(kept)).expect("it was there");
    let said = fail(&tree, &["report", "plan.json"]);
    assert!(said.contains("build again"), "{said}");
    let said = fail(&tree, &["report", "there/main.o"]);
    assert!(said.contains("cannot read a run"), "{said}");
}

#[test]
fn the_users_browser_shows_the_page_and_a_failure_is_said() {
    let tree = programs();
    run(&tree, &[]);
    let script = |name: &str, text: &str| {
        tree.script(name, text);
        tree.file(name).display().to_string()
    };
    let shows = script(
        "shows",
        r#"for word; do echo "$word"; done > "${0%/*}/shown""#,
    );
    let fails = script("fails", "exit 3");
    let open = |browser: &str, output: &str| {
        let browser = format!("BROWSER={browser}");
        let args = [&*browser, BACKLTO, "report", "--open", "-o", output];
        tree.run("env", &args)
    };
    let name = "a page; $(touch hacked) 'x'.html";
    succeed(&open(&format!("{shows} --new"), name));
    let path = tree.path().join(name);
    assert_eq!(
        text(&tree.read("shown")),
        format!("--new\n{}\n", path.display())
    );
    assert!(!tree.file("hacked").exists());

    let output = open(&fails, "page.html");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("cannot show `page.html`"), "{said}");
    assert!(said.contains("exit status: 3"), "{said}");
    // It is there for other ways to look at it.
    assert!(tree.file("page.html").is_file());
    let output = open("/nowhere/at-all", "page.html");
    assert!(
        stderr(&output).contains("cannot be run"),
        "{}",
        stderr(&output)
    );
}
