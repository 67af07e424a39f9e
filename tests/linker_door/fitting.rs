//! Several LLVMs beside each other: `ld.backlto` becomes the one that fits a link.

use std::process::Output;

use super::*;
use crate::common::spoil::replace_char6;
use crate::common::{AR, BACKLTO, stderr};

/// A tree with `ld.backlto` in `bin`, and there another one for each of `majors`, which
/// says what it is called. A shell writes them: a file that this process has open for
/// writing while another thread starts a program cannot be run.
fn installed(majors: &[&str]) -> Tree {
    let tree = two_modules(&[]);
    let mut script =
        format!("mkdir bin; cp '{LINKER}' bin/ld.backlto; ln -s '{BACKLTO}' bin/backlto");
    for major in majors {
        let name = format!("bin/ld.backlto-{major}");
        let text = r##"#!/bin/sh\necho "${0##*/} $*"\n"##;
        script += &format!("; printf '{text}' >{name}; chmod +x {name}");
    }
    succeed(&tree.run("sh", &["-ec", &script]));
    tree
}

/// Has the `ld.backlto` of `tree` link, with `lld` as the ld.lld that the user names.
fn linked(tree: &Tree, lld: Option<&str>) -> Output {
    let mut command = Command::new(tree.file("bin/ld.backlto"));
    command.args(["-r", "main.o", "scale.o", "-o", "program"]);
    command.env_remove("BACKLTO_LD").current_dir(tree.path());
    if let Some(lld) = lld {
        command.env("BACKLTO_LD", lld);
    }
    command.output().expect("it runs")
}

/// Has the bitcode in `object` written by LLVM `major`.
fn written_by(tree: &Tree, object: &str, major: &str) {
    let mut bytes = tree.read(object);
    replace_char6(&mut bytes, &format!("LLVM{MAJOR}"), &format!("LLVM{major}"));
    tree.write(object, bytes);
}

fn stdout(output: &Output) -> String {
    succeed(output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_one_for_the_named_linker_is_taken() {
    let tree = installed(&["18"]);
    for lld in ["/opt/ld.lld-18", "/opt/llvm-18/bin/ld.lld"] {
        let said = stdout(&linked(&tree, Some(lld)));
        assert_eq!(said, "ld.backlto-18 -r main.o scale.o -o program\n");
    }
}

#[test]
fn the_one_for_the_bitcode_is_taken() {
    for major in ["99", "18"] {
        let tree = installed(&[major]);
        written_by(&tree, "main.o", major);
        written_by(&tree, "scale.o", major);
        let said = stdout(&linked(&tree, None));
        assert_eq!(
            said,
            format!("ld.backlto-{major} -r main.o scale.o -o program\n")
        );
        // The user knows better.
        let lld = lld().display().to_string();
        assert!(!String::from_utf8_lossy(&linked(&tree, Some(&lld)).stdout).contains("-r main.o"));
    }
}

/// Older ones could not read it.
#[test]
fn the_one_for_the_newest_bitcode_is_taken() {
    let tree = installed(&["18", "98", "99"]);
    written_by(&tree, "main.o", "18");
    succeed(&linked(&tree, None));
    assert!(tree.file("program").exists(), "another one was taken");
    for (main, scale) in [("98", "99"), ("99", "98")] {
        let tree = installed(&["98", "99"]);
        written_by(&tree, "main.o", main);
        written_by(&tree, "scale.o", scale);
        let said = stdout(&linked(&tree, None));
        assert_eq!(said, "ld.backlto-99 -r main.o scale.o -o program\n");
    }
    let tree = installed(&["99"]);
    written_by(&tree, "scale.o", "99");
    succeed(&tree.run(AR, &["rcs", "lib.a", "scale.o"]));
    let linker = tree.file("bin/ld.backlto").display().to_string();
    let said = stdout(&tree.run(&linker, &["-r", "--whole-archive", "lib.a"]));
    assert_eq!(said, "ld.backlto-99 -r --whole-archive lib.a\n");
}

/// Whether there is one for it or not.
#[test]
fn an_archive_that_nobody_needs_decides_nothing() {
    for majors in [&["99"][..], &[]] {
        let tree = installed(majors);
        tree.compile("other", "int other(void) { return 3; }\n", &["-O2"]);
        written_by(&tree, "other.o", "99");
        succeed(&tree.run(AR, &["rcs", "lib.a", "other.o"]));
        let linker = linked_by(tree.file("bin/ld.backlto"));
        succeed(&tree.run(
            CLANG,
            &[
                "-flto=thin",
                "main.o",
                "scale.o",
                "lib.a",
                "-o",
                "program",
                &linker,
            ],
        ));
        assert_eq!(says(&tree, "program"), SAYS);
    }
}

/// Rust's standard library has some, for whoever wants to read it. No linker does.
#[test]
fn bitcode_in_a_section_of_a_native_object_is_none() {
    let tree = installed(&["99"]);
    for name in ["main", "scale"] {
        let (source, object) = (format!("{name}.c"), format!("{name}.o"));
        let args = ["-O2", "-fembed-bitcode=all", "-c", &source, "-o", &object];
        succeed(&tree.run(CLANG, &args));
    }
    written_by(&tree, "scale.o", "99");
    succeed(&tree.run(AR, &["rcs", "lib.a", "scale.o"]));
    let linker = linked_by(tree.file("bin/ld.backlto"));
    succeed(&tree.run(CLANG, &["main.o", "lib.a", "-o", "program", &linker]));
    assert_eq!(says(&tree, "program"), SAYS);
}

/// LLVM reads what an older one has written, and nothing of a newer one.
#[test]
fn without_one_an_older_module_is_linked_and_a_newer_one_refused() {
    let tree = installed(&[]);
    written_by(&tree, "main.o", "18");
    succeed(&linked(&tree, None));
    assert!(tree.file("program").exists());
    std::fs::remove_file(tree.file("program")).expect("removed");

    let tree = installed(&["98"]);
    written_by(&tree, "main.o", "99");
    let output = linked(&tree, None);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("`main.o` was written by LLVM 99"), "{said}");
    assert!(
        said.contains(&format!("LLVM {MAJOR} cannot read")),
        "{said}"
    );
    assert!(!tree.file("program").exists());
}

/// Whatever it is called, it does not call itself for ever.
#[test]
fn a_link_under_another_name_ends() {
    let tree = installed(&[]);
    let name = tree.file("bin/ld.backlto-18");
    let name = name.to_str().expect("text");
    succeed(&tree.run("cp", &[LINKER, name]));
    written_by(&tree, "main.o", "18");
    let args = [name, "-r", "main.o", "scale.o", "-o", "program"];
    succeed(&tree.run(name, &args[1..]));
    assert!(tree.file("program").exists());

    // Nor where that name is only a link to it.
    std::fs::remove_file(tree.file("program")).expect("removed");
    succeed(&tree.run("ln", &["-sf", "ld.backlto", name]));
    succeed(&tree.run("timeout", &[&["20"], &args[..]].concat()));
    assert!(tree.file("program").exists());
}
