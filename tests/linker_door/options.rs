//! What becomes of ld.lld's options.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::common::{BACKLTO, stderr};

/// [`two_modules`] with a linker of its own, whose `backlto` writes down what it
/// is called with.
fn witnessed() -> Tree {
    let tree = two_modules(&[]);
    std::fs::copy(LINKER, tree.file("ld.backlto")).expect("a copy of the linker");
    tree.write(
        "backlto",
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >called\nexec '{BACKLTO}' \"$@\"\n"),
    );
    let runnable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.file("backlto"), runnable).expect("made runnable");
    tree
}

/// What a link with `args` calls backlto with, if it does; and what it prints.
#[track_caller]
fn called(tree: &Tree, args: &[&str]) -> (Option<String>, String) {
    let _ = std::fs::remove_file(tree.file("called"));
    let linker = linked_by(tree.file("ld.backlto"));
    let said = link(
        tree,
        &[&["main.o", "scale.o", &*linker, "-o", "program"], args].concat(),
    );
    let called = std::fs::read_to_string(tree.file("called")).ok();
    (called, said)
}

#[test]
fn jobs_and_cache_reach_backlto() {
    let tree = witnessed();
    for (arg, expected) in [
        ("-Wl,--thinlto-jobs=3", "-j3"),
        ("-flto-jobs=3", "-j3"),
        ("-Wl,--threads=3", "-j3"),
        ("-Wl,--threads=2,--thinlto-jobs=3", "-j3"),
        (
            "-Wl,--thinlto-cache-policy=prune_after=1h",
            "--cache-policy=prune_after=1h",
        ),
    ] {
        let (words, _) = called(&tree, &[arg]);
        let words = words.expect("backlto is called");
        assert!(words.lines().any(|word| word == expected), "{arg}: {words}");
    }
}

#[test]
fn the_cache_is_ours_and_hits() {
    let tree = witnessed();
    let cache = "-Wl,--thinlto-cache-dir=kept objects";
    let mut programs = Vec::new();
    for hits in [0, 2] {
        called(&tree, &[cache]);
        programs.push(tree.read("program"));
        let args = ["--cache-dir", "kept objects", "cache", "stats", "--json"];
        let stats = tree.run(BACKLTO, &args);
        succeed(&stats);
        let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("JSON");
        assert_eq!(stats["counters"]["hits_primary"], hits, "{stats}");
    }
    assert!(programs[0] == programs[1]);
    let files = tree.files();
    assert!(
        !files.keys().any(|name| name.contains("llvmcache")),
        "LLD keeps objects too"
    );
    assert!(files.keys().any(|name| name.starts_with("kept objects/")));
}

#[test]
fn what_cannot_be_carried_is_left_to_ld_lld() {
    let tree = witnessed();
    for arg in [
        "-gsplit-dwarf",
        "-fsave-optimization-record",
        "-Wl,--lto-CGO0",
        "-Wl,--lto-O1,--lto-CGO3",
        "-Wl,--lto-newpm-passes=default<O1>",
        "-Wl,--thinlto-single-module=main.o",
        "-Wl,-mllvm,-frame-pointer=all",
        "-Wl,-plugin-opt=stats-file=stats",
    ] {
        let (words, said) = called(&tree, &[arg, "-g"]);
        assert_eq!(words, None, "{arg}");
        assert!(!said.contains("note"), "{said}");
        let (words, said) = called(&tree, &[arg, "-g", "-Wl,--verbose"]);
        assert_eq!(words, None, "{arg}");
        let notes: Vec<_> = said
            .lines()
            .filter(|l| l.contains("ld.backlto: note"))
            .collect();
        assert_eq!(notes.len(), 1, "{arg}: {said}");
    }
    let (words, said) = called(&tree, &["-Wl,--verbose"]);
    assert!(words.is_some() && !said.contains("ld.backlto"), "{said}");
}

/// The files that go with it are those of ld.lld.
#[test]
fn split_debug_information_and_remarks_are_written() {
    let tree = two_modules(&["-g", "-gsplit-dwarf"]);
    let args = [
        "main.o",
        "scale.o",
        "-g",
        "-gsplit-dwarf",
        "-fsave-optimization-record",
    ];
    link(
        &tree,
        &[&args, &["-o", "program", &linked_by(LINKER)][..]].concat(),
    );
    assert_eq!(says(&tree, "program"), SAYS);
    let files = tree.files();
    let count = |end: &str| files.keys().filter(|name| name.ends_with(end)).count();
    assert_eq!(
        (count(".dwo"), count(".yaml") > 0),
        (2, true),
        "{:?}",
        files.keys()
    );
}

#[test]
fn the_users_own_distributor_and_compiler_stay() {
    let tree = witnessed();
    tree.write("mine", "#!/bin/sh\nexit 7\n");
    let runnable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.file("mine"), runnable).expect("made runnable");
    let mine = format!("-Wl,--thinlto-distributor={}", tree.file("mine").display());
    let linker = linked_by(tree.file("ld.backlto"));
    let args = [
        "-flto=thin",
        "main.o",
        "scale.o",
        "-o",
        "program",
        &linker,
        &mine,
    ];
    let output = tree.run(CLANG, &args);
    assert!(!output.status.success() && !tree.file("called").exists());

    let (_, said) = called(
        &tree,
        &["-Wl,--thinlto-distributor-arg=-v,--thinlto-remote-compiler-arg=-falign-functions=64"],
    );
    assert!(said.contains("-falign-functions=64"), "{said}");
}

/// What clang knows of an ABI and bitcode's functions do not say, LLD does not
/// pass on either.
#[test]
fn an_abi_can_be_told_to_the_backends() {
    let tree = Tree::new();
    let flags = [
        "--target=riscv64-linux-gnu",
        "-march=rv64imac",
        "-mabi=lp64",
    ];
    tree.compile(
        "start",
        "int scale(int); int _start(int x) { return scale(x); }",
        &flags,
    );
    tree.compile("scale", "int scale(int x) { return 3 * x; }", &flags);
    let link = |linker: &str, more: &[&str]| {
        let output = tree.run(
            linker,
            &[&["start.o", "scale.o", "-o", "program"], more].concat(),
        );
        (output.status.success(), stderr(&output))
    };
    let abi = || {
        let shown = tree.run("llvm-readelf-22", &["-h", "program"]).stdout;
        let shown = String::from_utf8(shown).expect("text");
        let flags = shown.lines().find(|line| line.contains("Flags:"));
        flags.expect("an ELF header").to_owned()
    };
    let (done, said) = link(LLD, &[]);
    assert!(done, "{said}");
    let expected = abi();
    let (done, said) = link(LINKER, &[]);
    assert!(!done && said.contains("target-abi"), "{said}");
    let told = ["-march=rv64imac", "-mabi=lp64"]
        .map(|flag| format!("--thinlto-remote-compiler-arg={flag}"));
    let (done, said) = link(LINKER, &[&told[0], &told[1]]);
    assert!(done, "{said}");
    assert_eq!(abi(), expected);
}

#[test]
fn links_without_bitcode_are_ld_llds() {
    let tree = witnessed();
    for name in ["main", "scale"] {
        let (source, object) = (format!("{name}.c"), format!("{name}.o"));
        succeed(&tree.run(CLANG, &["-O2", "-c", &source, "-o", &object]));
    }
    assert_eq!(called(&tree, &[]).0, None);
    assert_eq!(says(&tree, "program"), SAYS);
    let version = |linker: &str| tree.run(linker, &["--version"]).stdout;
    assert_eq!(version(LINKER), version(LLD));
}

#[test]
fn options_in_response_files_count() {
    let tree = witnessed();
    tree.write(
        "more",
        "--thinlto-jobs=5\n\"-mllvm\" -inline-threshold=-1\n",
    );
    let (words, said) = called(&tree, &["-Wl,@more", "-Wl,--thinlto-distributor-arg=-v"]);
    assert!(words.expect("backlto is called").contains("-j5\n"));
    assert!(said.contains("-mllvm -inline-threshold=-1"), "{said}");
}
