//! Modules and directories with names outside ASCII. LLVM's own indexes spoil
//! them; links in one process, which write no index, are what to compare with.

use super::*;
use crate::common::{BACKLTO, stderr};

/// Where the two modules may be, in pairs.
const PLACES: [(&str, &str); 9] = [
    ("é", "b"),
    ("a", "δ"),
    ("é", "è"),
    ("é/a", "é/b"),
    ("ordner mit ö im namen/a", "und noch ein größerer/b"),
    ("a", "😀"),
    ("😀/😀", "😀/😁"),
    ("日本語/主", "日本語/尺度"),
    ("x/é.with.a.long.name", "xy/é"),
];

/// [`two_modules`] at `places`, each beside a copy of its own.
fn placed(places: (&str, &str)) -> (Tree, [String; 2]) {
    let tree = two_modules(&[]);
    let names = [("main", places.0), ("scale", places.1)].map(|(name, place)| {
        let object = format!("{place}.o");
        tree.write(&object, tree.read(&format!("{name}.o")));
        object
    });
    (tree, names)
}

#[test]
fn programs_are_those_of_lld() {
    for places in PLACES {
        let (tree, [main, scale]) = placed(places);
        let mut programs = Vec::new();
        for linker in [linked_by(lld()), linked_by(LINKER)] {
            link(&tree, &[&main, &scale, &linker, "-o", "program"]);
            assert_eq!(says(&tree, "program"), SAYS, "{places:?}");
            programs.push(link_content(&tree, "program"));
        }
        assert!(programs[0] == programs[1], "{places:?}");
    }
}

#[test]
fn objects_are_those_of_modules_with_other_names() {
    for places in PLACES {
        let (tree, names) = placed(places);
        let mut expected = Vec::new();
        tree.thin_link(&["main.o".to_owned(), "scale.o".to_owned()]);
        for name in ["main", "scale"] {
            succeed(&tree.clang_backend(name, "native.o", &["-O2"]));
            expected.push(tree.read("native.o"));
        }
        let plan = serde_json::json!({ "programs": [{
            "name": "p", "directory": ".", "output": "linked", "flags": ["-O2"],
            "inputs": names, "thin_link": ["-r"], "link": ["-r"],
        }] });
        tree.write("plan.json", plan.to_string());
        for is_new in [true, false] {
            let output = tree.run(BACKLTO, &["run", "plan.json"]);
            assert!(output.status.success(), "{places:?}: {}", stderr(&output));
            let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.contains("  BE "), is_new, "{places:?}: {said}");
            for (name, expected) in names.iter().zip(&expected) {
                let name = name.replace(".o", ".thinlto-native.o");
                assert!(tree.read(&name) == *expected, "{name} of {places:?}");
            }
        }
    }
}

#[test]
fn one_module_is_compiled_alone() {
    let (tree, [main, _]) = placed(("é", "scale"));
    tree.thin_link(&["main.o".to_owned(), "scale.o".to_owned()]);
    succeed(&tree.clang_backend("main", "expected.o", &["-O2"]));
    tree.thin_link(&[main, "scale.o".to_owned()]);
    succeed(&tree.backlto_cc("é", "native.o", &["-O2"]));
    assert!(tree.read("native.o") == tree.read("expected.o"));
}

/// LLD describes jobs in JSON, which has text alone: a link with another name among its
/// arguments is left to ld.lld's own backends.
#[test]
fn a_module_whose_name_is_not_text_is_linked() {
    let tree = two_modules(&[]);
    let script = format!(
        "name=$(printf 'm\\377.o'); mv scale.o \"$name\" && \
         exec {CLANG} -flto=thin -O2 main.o \"$name\" -o program {}",
        linked_by(LINKER)
    );
    succeed(&tree.run("sh", &["-c", &script]));
    assert_eq!(says(&tree, "program"), SAYS);
}
