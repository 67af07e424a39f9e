//! `backlto cc` in front of a compiler: it refuses nothing that the compiler accepts,
//! answers as it, and caches what it does itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use super::*;
use crate::common::stderr;

/// A tree with what compilers are called for beside backends.
fn sources() -> Tree {
    let tree = Tree::demo(&["-O2"]);
    tree.write("hello.c", "int main(void) { return 0; }\n");
    tree.write("wrong.c", "int main(void) { return x; }\n");
    tree
}

#[test]
fn what_is_no_backend_is_as_by_clang() {
    let tree = sources();
    for line in [
        "--version",
        "-v",
        "-###",
        "-print-search-dirs",
        "-print-target-triple",
        "-dumpmachine",
        "--help",
        "-c hello.c",
        "-c wrong.c",
        "-S -o - hello.c",
        "-E -dM -x c /dev/null",
        "-flto=thin -c hello.c -o front.o",
        "hello.c -fuse-ld=lld -o hello",
        "-c hello.c -MD -MF hello.d",
        "-c missing.c",
        "-fnonsense -c hello.c",
        "-cc1 -triple x86_64-linux-gnu -emit-obj -o hello.o hello.c",
        "@missing.rsp",
    ] {
        same_by_clang(&tree, &words(line));
    }
}

/// Backends of which something cannot be done in a process that does others.
#[test]
fn what_cannot_be_done_in_process_is_done_by_clang() {
    let tree = sources();
    for flags in [
        "-v",
        "-###",
        "--version",
        "-save-temps",
        "-save-temps=obj",
        "-fno-integrated-as",
        "-fsyntax-only",
        "-E",
        "-fnonsense",
        "-fpass-plugin=missing.so",
        "-Xclang -emit-llvm-only",
        "--target=fnord-linux-gnu",
        "-mllvm -exec-on-ir-change=/bin/true",
        "-working-directory=elsewhere",
        "-fdiagnostics-format=sarif",
    ] {
        let flags = [vec!["-O2".to_owned()], words(flags)].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        same_by_clang(&tree, &Tree::backend_args("deck", "native.o", &flags));
    }
    for line in [
        // Standard output, and two inputs.
        "-O2 -x ir -fthinlto-index=deck.o.thinlto.bc -c -emit-llvm -o - deck.o",
        "-O2 -x ir -fthinlto-index=deck.o.thinlto.bc -S -o - deck.o",
        "-O2 -x ir -c deck.o sort.o",
        "-O2 -x ir -fthinlto-index= -c -o plain.o deck.o",
    ] {
        same_by_clang(&tree, &words(line));
    }
    // A fragment has another name each time that the driver is asked.
    std::fs::create_dir(tree.file("fragments")).expect("a directory");
    let flags = ["-O2", "-gen-cdb-fragment-path", "fragments"];
    succeed(&tree.backlto_cc("deck", "native.o", &flags));
    let fragments = std::fs::read_dir(tree.file("fragments")).expect("it is there");
    assert_eq!(fragments.count(), 1);
    // What is measured differs.
    let args = Tree::backend_args("deck", "native.o", &["-O2", "-ftime-report"]);
    let ours = tree.observe(BACKLTO, &[vec!["cc".to_owned()], args].concat());
    assert!(ours.stderr.contains("Total Execution Time"), "{ours:?}");
}

#[test]
fn names_need_not_be_text() {
    let tree = sources();
    let name = OsStr::from_bytes(b"caf\xE9.c");
    std::fs::copy(tree.file("hello.c"), tree.file("x").with_file_name(name)).expect("a copy");
    let args = ["cc", CLANG, "-c", "-o", "hello.o"].map(OsStr::new);
    succeed(&tree.run(BACKLTO, &[&args[..], &[name]].concat()));
    assert!(tree.file("hello.o").exists());
}

/// Writes a wrapper `name` of clang that adds `flags`. Where it compiles, it leaves the
/// file `ran`.
fn write_wrapper(tree: &Tree, name: &str, flags: &str) {
    let text = format!("[ \"$1\" = '-###' ] || touch ran\nexec {CLANG} \"$@\" {flags}");
    tree.script(name, &text);
}

/// Writes a compiler `name` that says `version` when it is asked what it is, or what it
/// does. Where it compiles, it leaves the file `ran`.
fn write_compiler(tree: &Tree, name: &str, version: &str) {
    let text = format!(
        "[ \"$1\" = --version ] && {{ echo '{version}'; exit; }}\n\
         [ \"$1\" = '-###' ] && {{ echo '{version}' >&2; exit; }}\n\
         touch ran\nexec {CLANG} \"$@\""
    );
    tree.script(name, &text);
}

/// Runs the backend of `deck` by the compiler `name`, and by `backlto cc` in front of that,
/// which has to do the same. Returns whether the compiler ran for the latter.
#[track_caller]
fn runs_behind(tree: &Tree, name: &str) -> bool {
    let line = Tree::backend_args("deck", "native.o", &["-O2"]);
    succeed(&tree.run(name, &line));
    let expected = tree.read("native.o");
    for name in ["ran", "native.o"] {
        std::fs::remove_file(tree.file(name)).expect("a file of the compiler");
    }
    let args = [vec!["cc".to_owned(), name.to_owned()], line].concat();
    let output = tree.run(BACKLTO, &args);
    succeed(&output);
    assert_eq!(stderr(&output), "", "{name}");
    assert!(tree.read("native.o") == expected, "{name}");
    tree.file("ran").exists()
}

/// What another LLVM would write is not ours to write.
#[test]
fn the_compiler_is_the_one_that_is_named() {
    for (name, says) in [
        ("clang-18", "clang version 18.1.8"),
        ("cc", "gcc (Debian) 12.2.0"),
    ] {
        let tree = sources();
        write_compiler(&tree, name, says);
        let name = tree.file(name).display().to_string();
        assert!(runs_behind(&tree, &name), "{name}");
        // What it says of itself is what it says.
        let output = tree.run(BACKLTO, &["cc", &name, "--version"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{says}\n"));
        let line = Tree::backend_args("deck", "native.o", &["-O2"]);
        let args = [&["-v", "cc", &name].map(str::to_owned)[..], &line].concat();
        let said = stderr(&tree.run(BACKLTO, &args));
        assert!(said.contains("does it itself: it is not of LLVM"), "{said}");
    }
}

/// One that changes nothing is as good as its clang. What others add is theirs to know, and
/// so is what target a name means.
#[test]
fn what_a_wrapper_adds_counts() {
    for (name, flags, runs) in [
        ("wrapper", "", false),
        ("aarch64-linux-gnu-clang", "", false),
        ("wrapper", "-O0", true),
        ("clang", "-mllvm -enable-shrink-wrap=0", true),
        ("riscv64-linux-gnu-clang", "-fno-builtin", true),
    ] {
        let tree = sources();
        write_wrapper(&tree, name, flags);
        let name = tree.file(name).display().to_string();
        assert_eq!(runs_behind(&tree, &name), runs, "{name} {flags}");
    }
}

#[test]
fn a_compiler_that_cannot_be_run_is_named() {
    let tree = sources();
    let output = tree.run(BACKLTO, &["cc", "./clang-of-nowhere", "-c", "hello.c"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("error: cannot run `./clang-of-nowhere`: No such file"),
        "{said}"
    );
    let output = tree.run(BACKLTO, &["cc"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// Compiles `module` in `tree` with `flags`, and with the cache in `cache`.
fn compile(tree: &Tree, cache: &Path, module: &str, output: &str, flags: &[&str]) -> Output {
    let args = Tree::backend_args(module, output, flags);
    let mut command = Command::new(BACKLTO);
    command
        .args(["cc", CLANG])
        .args(args)
        .current_dir(tree.path());
    command
        .env("BACKLTO_CACHE_DIR", cache)
        .output()
        .expect("backlto runs")
}

#[test]
fn it_caches_and_counts() {
    let main = "int twice(int); int main(void) { return twice(3); }\n";
    let util = "int twice(int x) { return x * 2; }\nint never(int x) { return x * 5; }\n";
    let tree = Tree::thin_linked(&[("main", main), ("util", util)], &["-O2"]);
    let cache = tree.file("cache");
    let compile_well = |module, output| {
        let said = compile(&tree, &cache, module, output, &["-O2"]);
        succeed(&said);
        assert_eq!((said.stdout.len(), said.stderr.len()), (0, 0));
        succeed(&tree.clang_backend(module, "clang.o", &["-O2"]));
        assert!(tree.read(output) == tree.read("clang.o"), "{output}");
    };
    for (module, output) in [
        ("main", "1.o"),
        ("main", "2.o"),
        ("util", "3.o"),
        ("main", "1.o"),
    ] {
        compile_well(module, output);
    }
    // Index and module change, and not what is imported.
    tree.compile("util", &util.replace("5", "7"), &["-O2"]);
    tree.thin_link(&["main.o", "util.o"].map(str::to_owned));
    compile_well("main", "4.o");
    let name = cache.display().to_string();
    let stats = tree.run(BACKLTO, &["--json", "--cache-dir", &name, "cache", "stats"]);
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("JSON");
    let count = &stats["counters"];
    assert_eq!(
        (&count["builds"], &count["misses"]),
        (&5.into(), &2.into()),
        "{stats}"
    );
    assert_eq!(
        (&count["hits_primary"], &count["hits_after_import"]),
        (&2.into(), &1.into())
    );
}

/// To look at what was imported must not change it: bitcode lists, for one, all kinds of
/// metadata that anybody has asked for.
#[test]
fn bitcode_is_the_same_with_a_cache() {
    let tree = sources();
    for flags in [&["-O2", "-flto=thin"][..], &["-O2", "-emit-llvm"]] {
        succeed(&tree.clang_backend("deck", "clang.bc", flags));
        for output in ["compiled.bc", "found.bc"] {
            succeed(&compile(&tree, &tree.file("cache"), "deck", output, flags));
            assert!(
                tree.read(output) == tree.read("clang.bc"),
                "{flags:?}: {output}"
            );
        }
    }
}

/// What rules_cc (feature `thin_lto`) has Bazel run: the thin link reads modules that have
/// only summaries, the index has the names of the others, and what is not part of the link
/// gets an empty index.
#[test]
fn bazels_command_lines_are_the_same() {
    let tree = Tree::new();
    let out = "bazel-out/k8-opt/bin/app/_objs/app";
    let main = "int twice(int); int main(void) { return twice(3); }\n";
    for (name, text) in [
        ("main", main),
        ("util", "int twice(int x) { return x * 2; }\n"),
    ] {
        tree.write(&format!("app/{name}.c"), text);
        tree.write(&format!("{out}/keep"), "");
        let line = format!(
            "-U_FORTIFY_SOURCE -fstack-protector -Wall -fno-omit-frame-pointer -g0 -O2 -DNDEBUG \
             -ffunction-sections -fdata-sections -flto=thin -Xclang \
             -fthin-link-bitcode={out}/{name}.pic.indexing.o -fPIC -c app/{name}.c -o {out}/{name}.pic.o"
        );
        succeed(&tree.run(CLANG, &words(&line)));
    }
    let line = format!(
        "-fuse-ld=lld -flto=thin -Wl,-plugin-opt,thinlto-index-only=app.params \
         -Wl,-plugin-opt,thinlto-emit-imports-files \
         -Wl,-plugin-opt,thinlto-prefix-replace=;app.lto/ \
         -Wl,-plugin-opt,thinlto-object-suffix-replace=.indexing.o;.o \
         -Wl,--start-lib {out}/main.pic.indexing.o {out}/util.pic.indexing.o -Wl,--end-lib -o app.merged"
    );
    succeed(&tree.run(CLANG, &words(&line)));
    for name in ["main", "util"] {
        let index = format!("app.lto/{out}/{name}.pic.o.thinlto.bc");
        assert!(!tree.read(&index).is_empty());
        for index in [&*index, "/dev/null"] {
            let line = format!(
                "-U_FORTIFY_SOURCE -fstack-protector -Wall -fno-omit-frame-pointer -g0 -O2 -DNDEBUG \
                 -ffunction-sections -fdata-sections -c -fthinlto-index={index} -o native.o -x ir \
                 {out}/{name}.pic.o -Wno-unused-command-line-argument"
            );
            let effect = same_effect(&tree, &words(&line));
            assert!(
                effect.success && effect.files.contains_key("native.o"),
                "{effect:?}"
            );
        }
    }
}

/// A compiler needs no cache.
#[test]
fn a_cache_that_cannot_be_had_is_done_without() {
    let tree = sources();
    tree.write("file", "");
    let output = compile(
        &tree,
        &tree.file("file/cache"),
        "deck",
        "native.o",
        &["-O2"],
    );
    succeed(&output);
    assert!(stderr(&output).starts_with("backlto: warning: cannot create the cache"));
    assert!(tree.file("native.o").exists());
}
