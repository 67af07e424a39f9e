//! Links that are killed at any moment, and the links after them.

use super::*;
use crate::common::killed::Moments;

/// Kills.
const ROUNDS: usize = 16;

/// clang, to link into the cache `cache`.
fn command(tree: &Tree, cache: &str) -> Command {
    let mut command = Command::new(CLANG);
    command.current_dir(tree.path()).args([
        "-flto=thin",
        "-O2",
        "main.o",
        "scale.o",
        "-o",
        "program",
        &linked_by(LINKER),
        &format!("-Wl,--thinlto-cache-dir={cache}"),
    ]);
    command
}

fn linked(tree: &Tree, cache: &str) -> Vec<u8> {
    succeed(&command(tree, cache).output().expect("clang runs"));
    tree.read("program")
}

/// Whether a link that is killed may leave a file of this name. LLD removes its own
/// files, so it does not then; backlto's has a name only between two system calls.
fn may_be_left(name: &str) -> bool {
    let of_lld = [".native.o", ".native.o.thinlto.bc", ".dist-file.json"];
    of_lld.iter().any(|end| name.ends_with(end))
        || name.starts_with("program.tmp")
        || name.ends_with("backlto-tmp")
}

#[test]
fn a_link_after_one_that_was_killed_is_right() {
    let tree = two_modules(&[]);
    let before = tree.files();
    let mut moments = Moments::of(|| drop(linked(&tree, "first")));
    for round in 0..ROUNDS {
        let text = SCALE.replace("x * 3", &format!("x * {}", round % 5 + 4));
        tree.compile("scale", &text, &["-O2"]);
        moments.kill(command(&tree, "kept"));
        let actual = linked(&tree, "kept");
        let expected = linked(&tree, &format!("fresh {round}"));
        assert!(actual == expected, "another program in round {round}");
    }
    moments.assert_enough();
    let files = tree.files();
    let strange: Vec<_> = files
        .keys()
        .filter(|name| !before.contains_key(*name) && !name.contains('/'))
        .filter(|name| *name != "program" && !may_be_left(name))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}
