//! Members of archives in the cache: LLD gives them other names in each link.

use super::*;
use crate::common::{AR, BACKLTO};

/// How many objects the cache of `tree` has given by their inputs, and after the import.
fn found(tree: &Tree) -> (u64, u64) {
    let output = tree.run(
        BACKLTO,
        &["--cache-dir", "kept", "cache", "stats", "--json"],
    );
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let count = |name: &str| {
        stats["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("{stats}"))
    };
    (count("hits_primary"), count("hits_after_import"))
}

#[test]
fn members_of_plain_archives_are_found_before_the_import() {
    let tree = two_modules(&[]);
    succeed(&tree.run(AR, &["rcs", "lib.a", "scale.o"]));
    let build = |kept: &str| {
        let cache = format!("-Wl,--thinlto-distributor-arg=--cache-dir={kept}");
        let args = ["main.o", "lib.a", "-o", "program", &linked_by(LINKER)];
        link(&tree, &[&args[..], &[&cache]].concat());
        assert_eq!(says(&tree, "program"), SAYS);
        tree.read("program")
    };
    let first = build("kept");
    assert_eq!(found(&tree), (0, 0));
    // Another process, another name; a shorter number would be another length, too.
    assert!(build("kept") == first);
    assert_eq!(found(&tree), (2, 0));

    // What does change still counts.
    tree.compile(
        "scale",
        &SCALE.replace("x * 3", "3 * x + 0 * table[1]"),
        &["-O2"],
    );
    succeed(&tree.run(AR, &["rcs", "lib.a", "scale.o"]));
    assert!(build("kept") == build("fresh"));
}
