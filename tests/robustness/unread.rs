//! Whoever was to read what is printed has gone: that is no reason to fail. A disk that is
//! full is one: what was asked for is not all there.

use super::*;
use crate::common::LINKER;

/// How `program` ends when nobody reads what it says on either stream.
fn unread(tree: &Tree, program: &str, args: &[String], linker: &str) -> Option<i32> {
    let nobody = || std::io::pipe().expect("a pipe").1;
    command(tree, program, args)
        .env("BACKLTO_LD", linker)
        .stdout(nobody())
        .stderr(nobody())
        .status()
        .expect("it can be run")
        .code()
}

#[test]
fn a_linker_that_nobody_listens_to_ends_as_it_would() {
    let tree = Tree::new();
    tree.script("ld.lld", "trap '' PIPE\necho LLD 22\nexit 0");
    let version = ["--version".to_owned()];
    assert_eq!(unread(&tree, LINKER, &version, "./ld.lld"), Some(0));
    assert_eq!(unread(&tree, LINKER, &version, "/nowhere/ld.lld"), Some(1));
}

#[test]
fn a_backend_that_nobody_listens_to_leaves_its_object() {
    let flags = [&FLAGS[..], &["-Wframe-larger-than=100"]].concat();
    let source = "void use(char *);\nvoid big(void) { char frame[400]; use(frame); }\n";
    let tree = Tree::thin_linked(&[("big", source)], &flags);
    let clang = tree.clang_backend("big", "clang.o", &flags);
    assert!(stderr(&clang).contains("warning: "), "{}", stderr(&clang));
    let mut args = ["-v", "cc"].map(str::to_owned).to_vec();
    args.extend(Tree::backend_args("big", "ours.o", &flags));
    assert_eq!(unread(&tree, BACKLTO, &args, LLD), Some(0));
    assert!(tree.read("ours.o") == tree.read("clang.o"));
}

#[test]
fn what_a_full_disk_does_not_take_is_a_failure() {
    let tree = program();
    succeed(&backlto(&tree, &RUN));
    let object = output("main");
    let run = [&["--json"], &RUN[..]].concat();
    let cases: [&[&str]; 9] = [
        &["--cache-dir", "cache", "cache", "stats"],
        &["doctor"],
        &["doctor", "--json"],
        &["explain", &object],
        &["simulate", "."],
        &["-vV"],
        &["--version"],
        &["help", "run"],
        &run,
    ];
    for args in cases {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut process = command(&tree, BACKLTO, args);
        let read = process.output().expect("it can be run");
        process.stdout(full.expect("a full device"));
        let lost = process.output().expect("it can be run");
        assert_eq!(
            (read.status.code(), lost.status.code()),
            (Some(0), Some(1)),
            "{args:?} {}",
            stderr(&lost)
        );
        assert!(
            stderr(&lost).contains("cannot write to standard output"),
            "{args:?}"
        );
    }
}
