//! `backlto diff`: in what objects, archives and trees differ, and why.

use super::*;
use crate::common::AR;

/// Two programs of one module each, in `a` and `b`, built; the second from `text` with
/// `flags`.
fn built(text: &str, flags: &[&str]) -> Tree {
    let tree = Tree::new();
    let first =
        "int f(int x) { return x * 3; }\nint g(int x) { return x - 1; }\nint table[4] = {1};\n";
    let target = "--target=x86_64-linux-gnu";
    for (directory, text, flags) in [("a", first, &[][..]), ("b", text, flags)] {
        tree.compile(&format!("{directory}/m"), text, &[target, "-O2"]);
        let flags = [&[target, "-O2"], flags].concat();
        let plan = serde_json::json!({ "programs": [{
            "name": "p", "directory": directory, "output": "linked", "flags": flags,
            "inputs": ["m.o"], "thin_link": ["-r"], "link": ["-r"],
        }] });
        tree.write(&format!("{directory}.json"), plan.to_string());
        succeed(&tree.run(BACKLTO, &["--ld", LLD, "run", &format!("{directory}.json")]));
    }
    tree
}

const SAME: &str =
    "int f(int x) { return x * 3; }\nint g(int x) { return x - 1; }\nint table[4] = {1};\n";
const OBJECTS: [&str; 2] = ["a/m.thinlto-native.o", "b/m.thinlto-native.o"];

/// What `backlto diff ARGS` says, with its exit status.
fn diff(tree: &Tree, args: &[&str]) -> (i32, String) {
    let output = tree.run(BACKLTO, &[&["diff"], args].concat());
    assert_eq!(stderr(&output), "", "{args:?}");
    (output.status.code().expect("an end"), text(&output.stdout))
}

#[test]
fn what_is_the_same_is_not_worth_a_word() {
    let tree = built(SAME, &[]);
    assert_eq!(diff(&tree, &OBJECTS), (0, String::new()));
    assert_eq!(
        diff(&tree, &["-d", "a/linked", "b/linked"]),
        (0, String::new())
    );
    let (status, said) = diff(&tree, &["a", "b"]);
    assert_eq!((status, &*said), (0, "0 of 2 objects differ\n"));
}

#[test]
fn functions_data_and_reasons_are_named() {
    let tree = built(
        "int f(int x) { return x * 100 + 7; }\nint h(int x) { return x - 1; }\nint table[4] = {2};\n",
        &["-mllvm", "-align-all-functions=6"],
    );
    let (status, said) = diff(&tree, &OBJECTS);
    assert_eq!(status, 1);
    for line in [
        "a/m.thinlto-native.o: differs\n",
        "\n  function  f: ",
        "\n  function  g: only in the first\n",
        "\n  function  h: only in the second\n",
        "\n  data      table: differs\n",
        "\n  because   its flags changed",
        "\n  because   its module `m.o` changed from ",
        "\n  because   flags of the second alone: -mllvm -align-all-functions=6\n",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(!said.contains("section"), "{said}");

    let (_, said) = diff(&tree, &[&["-d"], &OBJECTS[..]].concat());
    for line in ["\n--- first\n+++ second\n", "\n <f>:\n", "\n+", "\n-"] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(said.contains("imull"), "{said}");

    let quiet = tree.run(BACKLTO, &[&["-q", "diff"], &OBJECTS[..]].concat());
    assert_eq!((quiet.status.code(), quiet.stdout.len()), (Some(1), 0));
}

/// Trees by what is in them, archives by their members, and a name that only one has.
#[test]
fn trees_and_archives_are_compared_by_name() {
    let tree = built(
        "int f(int x) { return x * 5; }\nint g(int x) { return x - 1; }\nint table[4] = {1};\n",
        &[],
    );
    for directory in ["a", "b"] {
        let object = format!("{directory}/m.thinlto-native.o");
        let archive = format!("{directory}/lib.a");
        succeed(&tree.run(AR, &["rc", &archive, &object]));
        tree.write(&format!("{directory}/notes"), directory);
    }
    succeed(&tree.run("cp", &["b/linked", "b/more"]));
    let (status, said) = diff(&tree, &["a", "b"]);
    assert_eq!(status, 1);
    for line in [
        "lib.a(m.thinlto-native.o): differs\n  function  f: ",
        "\nm.thinlto-native.o: differs\n",
        "\nmore: only in the second\n",
        "\n4 of 4 objects differ\n",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(!said.contains("notes") && !said.contains(" g:"), "{said}");
    let (status, said) = diff(&tree, &["-d", "a/lib.a", "b/lib.a"]);
    assert!(status == 1 && said.contains("\n--- first\n"), "{said}");
}

/// To read the whole archive for each of many would take long.
#[test]
fn members_of_an_archive_are_read_alone() {
    const COUNT: usize = 64;
    const SIZE: usize = 1 << 14;
    let tree = Tree::new();
    for side in ["a", "b"] {
        let mut args = vec!["rc".to_owned(), format!("{side}.a")];
        for number in 0..COUNT {
            let member = format!("{side}/{number}");
            tree.write(&member, side.repeat(SIZE));
            args.push(member);
        }
        succeed(&tree.run(AR, &args));
    }
    // Of a shell, Linux counts what its children have read, too.
    let script = format!("'{BACKLTO}' diff a.a b.a >said; cat /proc/$$/io");
    let counts = text(&tree.run("sh", &["-c", &script]).stdout);
    let said = text(&tree.read("said"));
    assert!(said.ends_with("\n64 of 64 objects differ\n"), "{said}");
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    let Some(read) = read.and_then(|count| count.parse::<usize>().ok()) else {
        not_shown("not tested: this system does not count what is read");
        return;
    };
    // Two archives, each once as a whole, and once by members.
    let expected = 2 * 2 * COUNT * SIZE;
    assert!(read < 2 * expected, "{read} bytes");
}

#[test]
fn differences_fit_the_schema() {
    let tree = built("int f(int x) { return x * 5; }\n", &[]);
    let output = tree.run(BACKLTO, &[&["--json", "diff"], &OBJECTS[..]].concat());
    let lines = json::Schema::read("json.schema.json").check(&output.stdout);
    assert_eq!(
        (&lines[0]["same"], &lines[0]["compared"]),
        (&false.into(), &1.into())
    );
    let changes = lines[0]["files"][0]["changes"].as_array().expect("changes");
    assert!(
        changes
            .iter()
            .any(|change| change["name"] == "f" && change["kind"] == "function")
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let tree = Tree::new();
    let output = tree.run(BACKLTO, &["diff", "nothing.o", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot read `nothing.o`"),
        "{output:?}"
    );
}
