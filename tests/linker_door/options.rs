//! What becomes of ld.lld's options.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::common::spoil::set_mode;
use crate::common::{BACKLTO, READELF, stderr};

/// [`two_modules`] with a linker of its own, whose `backlto` writes down what it
/// is called with.
fn witnessed() -> Tree {
    let tree = two_modules(&[]);
    std::fs::copy(LINKER, tree.file("ld.backlto")).expect("a copy of the linker");
    let script = format!("printf '%s\\n' \"$@\" >called\nexec '{BACKLTO}' \"$@\"");
    tree.script("backlto", &script);
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
        ("-Wl,--threads,3", "-j3"),
        ("-Wl,--threads=2,--thinlto-jobs=3", "-j3"),
        (
            "-Wl,--thinlto-cache-policy=prune_after=1h",
            "--cache-policy=prune_after=1h",
        ),
        (
            "-Wl,--thinlto-cache-policy,prune_after=1h",
            "--cache-policy=prune_after=1h",
        ),
    ] {
        let (words, _) = called(&tree, &[arg]);
        let words = words.expect("backlto is called");
        assert!(
            words.lines().any(|word| word.ends_with(expected)),
            "{arg}: {words}"
        );
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
        "-Wl,--thinlto-emit-index-files",
        "-Wl,-plugin-opt=thinlto-emit-imports-files",
        "-Wl,-mllvm,-frame-pointer=all",
        "-Wl,-mllvm,-save-temp-labels",
        "-Wl,--reproduce=link.tar",
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
    tree.script("mine", "exit 7");
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
        let shown = tree.run(READELF, &["-h", "program"]).stdout;
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
    assert!(version(LINKER).starts_with(&version(LLD)));
}

/// As LLD reads them: from the working directory, those within others too.
#[test]
fn response_files_within_response_files_count() {
    let tree = witnessed();
    tree.write("more/outer", "@more/inner '@more/inner'");
    tree.write("more/inner", "--thinlto-jobs=5");
    let (words, _) = called(&tree, &["-Wl,@more/outer"]);
    assert!(words.expect("backlto is called").contains("-j5\n"));

    tree.write("inputs", "main.o @more/scale");
    tree.write("more/scale", "scale.o");
    let _ = std::fs::remove_file(tree.file("called"));
    let linker = tree.file("ld.backlto").display().to_string();
    succeed(&tree.run(&linker, &["-r", "-o", "whole.o", "@inputs"]));
    assert!(tree.file("called").exists());

    tree.write("more/scale", "scale.o @inputs");
    let refused = tree.run(&linker, &["-r", "-o", "whole.o", "@inputs"]);
    let expected = tree.run(LLD, &["-r", "-o", "whole.o", "@inputs"]);
    assert!(!refused.status.success(), "it has no end");
    let after_name = |output| {
        stderr(output)
            .split_once(": ")
            .map(|(_, said)| said.to_owned())
    };
    assert_eq!(after_name(&refused), after_name(&expected));
}

/// The file that describes the jobs has its name from the output.
#[test]
fn an_output_may_look_like_an_option() {
    let tree = two_modules(&["-fPIC"]);
    for output in ["-x.so", "--x", "-"] {
        let args = ["-shared", "main.o", "scale.o", "-o", output];
        let by_lld = tree.run(LLD, &args);
        succeed(&by_lld);
        let file = |name: &str| {
            tree.file(name)
                .exists()
                .then(|| link_content(&tree, &format!("./{name}")))
        };
        let expected = file(output);
        let _ = std::fs::remove_file(tree.file(output));
        let ours = tree.run(LINKER, &[&args[..], &["--save-temps"]].concat());
        succeed(&ours);
        assert!(file(output) == expected, "{output}");
        assert!(ours.stdout.len() == by_lld.stdout.len(), "{output}");
        assert!(
            ours.stdout == by_lld.stdout || !lld_distributes(),
            "{output}"
        );
        assert_eq!(one_clang_per_job(&tree), 2);
        forget_jobs(&tree);
    }
}

/// What a link leaves is its user's, whether it was compiled, cached, or cached by what
/// it imports: to be written to, and shared with nobody.
#[test]
fn saved_objects_are_the_user_s_own() {
    let tree = two_modules(&[]);
    let linker = linked_by(LINKER);
    let link = || {
        forget_jobs(&tree);
        for name in objects(&tree) {
            std::fs::remove_file(tree.file(&name)).expect("an object");
        }
        let temps = "-Wl,--save-temps,--thinlto-cache-dir=kept";
        link(
            &tree,
            &["main.o", "scale.o", &linker, "-o", "program", temps],
        );
        for name in objects(&tree) {
            let metadata = tree.file(&name).metadata().expect("an object");
            assert_eq!(metadata.mode() & 0o777, 0o644, "{name}");
            assert_eq!(metadata.nlink(), 1, "{name}");
        }
        assert_eq!(one_clang_per_job(&tree), 2);
    };
    link();
    link();
    let edited = format!("{SCALE}int more(int x) {{ return x - 9; }}\n");
    tree.compile("scale", &edited, &["-O2"]);
    link();
}

/// The objects that the last link in `tree` has left.
fn objects(tree: &Tree) -> Vec<String> {
    let files = tree.files().into_keys();
    let objects = files.filter(|name| name.ends_with(".native.o"));
    objects.collect()
}

/// A link must not fail for want of a place to keep objects.
#[test]
fn a_cache_that_cannot_be_made_is_done_without() {
    let tree = two_modules(&[]);
    let linker = linked_by(LINKER);
    let args = ["main.o", "scale.o", &*linker, "-o", "program"];
    let said = link(
        &tree,
        &[&args[..], &["-Wl,--thinlto-cache-dir=main.c/kept"]].concat(),
    );
    assert_eq!(says(&tree, "program"), SAYS);
    assert!(
        said.starts_with("backlto: warning: ") && said.contains("main.c/kept"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Others who can write to a cache decide what is linked.
#[test]
fn a_cache_of_others_is_done_without_unless_it_is_shared() {
    let tree = two_modules(&[]);
    let build = |before: &str| {
        let script = format!(
            "umask 002; {before} exec {CLANG} -flto=thin -O2 main.o scale.o -o program {} \
             -Wl,--thinlto-cache-dir=kept",
            linked_by(LINKER)
        );
        let output = tree.run("sh", &["-c", &script]);
        succeed(&output);
        assert_eq!(says(&tree, "program"), SAYS);
        stderr(&output)
    };
    let stored = || {
        let args = ["--cache-dir", "kept", "cache", "stats", "--json"];
        let stats = tree.run(BACKLTO, &args).stdout;
        let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
        stats["objects"].as_u64().expect("a number")
    };
    std::fs::create_dir(tree.file("kept")).expect("a directory");
    let set_mode = |mode| set_mode(&tree, "kept", mode);
    for mode in [0o777, 0o770] {
        set_mode(mode);
        let said = build("");
        assert!(said.starts_with("backlto: warning: the cache `"), "{said}");
        assert!(
            said.contains("kept`") && said.contains("--cache-shared"),
            "{said}"
        );
        assert_eq!(stored(), 0);
    }
    assert_eq!(build("BACKLTO_CACHE_SHARED=1"), "");
    assert_eq!(stored(), 2);
    // What it made then is the group's too.
    set_mode(0o755);
    assert!(build("").contains("kept/v1`"));
    // By itself it makes none that is not its user's.
    std::fs::remove_dir_all(tree.file("kept")).expect("a cache");
    assert_eq!(build("") + &build(""), "");
    assert_eq!(stored(), 2);
}

/// Runs the linker with `BACKLTO_LD` set to `lld`; returns whether it succeeded, and
/// what it printed.
fn with_lld(tree: &Tree, linker: &str, lld: &str) -> (bool, String) {
    let script = format!("BACKLTO_LD='{lld}' exec timeout 20 {linker} --version");
    let output = tree.run("sh", &["-c", &script]);
    let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    (output.status.success(), said)
}

#[test]
fn what_is_no_lld_is_refused() {
    let tree = Tree::new();
    let real = lld().display().to_string();
    let old = "#!/bin/sh\n[ \"$1\" = --version ] && echo LLD 19.1.7\n";
    tree.write("old", old);
    succeed(&tree.run("sh", &["-c", "chmod +x old"]));
    for good in [&*real, LLD, "./old", ""] {
        let (done, said) = with_lld(&tree, LINKER, good);
        assert!(done && said.contains("LLD "), "{good}: {said}");
    }
    // One that looks like LLD to all but those who run it, too.
    succeed(&tree.run("cp", &[LINKER, "lld"]));
    succeed(&tree.run("ln", &["-s", "lld", "again-lld"]));
    for (bad, reason) in [
        ("/bin/ls", "BACKLTO_LD names `/bin/ls`, which is not LLD: "),
        (
            "/no/such",
            "BACKLTO_LD names `/no/such`, which cannot be run",
        ),
        (LINKER, "is ld.backlto itself"),
        ("./lld", "is ld.backlto itself"),
        ("./again-lld", "is ld.backlto itself"),
    ] {
        let (done, said) = with_lld(&tree, LINKER, bad);
        assert!(!done && said.contains(reason), "{bad}: {said}");
        assert!(said.starts_with("ld.backlto: error: "), "{bad}: {said}");
    }
}

/// What `cargo install` leaves becomes what compilers look for.
#[test]
fn the_linker_gets_its_name_beside_backlto() {
    let tree = two_modules(&[]);
    tree.write("bin/empty", "");
    for (program, name) in [(BACKLTO, "bin/backlto"), (LINKER, "bin/ld-backlto")] {
        std::fs::copy(program, tree.file(name)).expect("a copy of the program");
    }
    let backlto = tree.file("bin/backlto").display().to_string();
    let said = tree.run(&backlto, &["install-linker"]);
    succeed(&said);
    let linker = tree.file("bin/ld.backlto");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains(&linker.display().to_string()), "{said}");
    let linker = linked_by(linker);
    let args = ["main.o", "scale.o", &*linker, "-o", "program"];
    link(&tree, &[&args[..], &["-Wl,--save-temps"]].concat());
    assert_eq!(one_clang_per_job(&tree), 2);
    assert_eq!(says(&tree, "program"), SAYS);
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
