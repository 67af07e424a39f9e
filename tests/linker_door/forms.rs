//! The forms that a link can have.

use super::*;
use crate::common::{AR, NM, PROFDATA, READELF, not_shown};

/// Links `inputs` with `args` by ld.backlto and by ld.lld's own backends: the
/// same program, made of the objects of `jobs` clangs.
#[track_caller]
fn same_program(tree: &Tree, inputs: &[&str], args: &[&str], jobs: usize) {
    let with = |linker: &str, more: &[&str]| {
        let args = [inputs, args, more, &[linker, "-o", "program"]].concat();
        link(tree, &args);
        link_content(tree, "program")
    };
    let expected = with(&linked_by(lld()), &[]);
    forget_jobs(tree);
    let actual = with(&linked_by(LINKER), &["-Wl,--save-temps"]);
    assert_eq!(one_clang_per_job(tree), jobs, "{args:?}");
    assert!(actual == expected, "another program with {args:?}");
}

/// What the front end and the link are told, in pairs.
const FORMS: [(&str, &str); 28] = [
    ("", ""),
    ("-fno-pie", "-no-pie"),
    ("-fPIC", "-pie"),
    ("", "-static"),
    ("", "-static-pie"),
    ("-mcmodel=large -fno-pie", "-no-pie"),
    ("-mcmodel=medium -fno-pie", "-no-pie"),
    ("-march=haswell", "-march=haswell"),
    ("-g", ""),
    ("-glldb -g", "-glldb -g"),
    ("-O3", "-O3"),
    ("-Os", "-Wl,-O2"),
    ("", "-Wl,--lto-O3"),
    ("", "-Wl,--lto-O3,--lto-CGO3"),
    ("", "-Wl,-mllvm,-align-all-functions=6"),
    ("", "-Wl,-plugin-opt=-inline-threshold=-1000"),
    ("-ffunction-sections -fdata-sections", "-Wl,--gc-sections"),
    ("-fvisibility=hidden", "-Wl,--icf=all,--gc-sections"),
    ("-ffast-math -fno-plt", ""),
    ("-fstack-protector-all -fcf-protection=full", ""),
    ("-femulated-tls", "-femulated-tls"),
    ("-fstack-size-section", "-fstack-size-section"),
    ("", "-Wl,--lto-basic-block-sections=all"),
    ("", "-Wl,--lto-basic-block-address-map"),
    (
        "",
        "-Wl,--lto-basic-block-address-map,--no-lto-basic-block-address-map",
    ),
    ("-fsanitize=address", "-fsanitize=address"),
    ("-fsanitize=undefined", "-fsanitize=undefined"),
    ("", "-Wl,--disable-verify,--no-lto-pgo-warn-mismatch"),
];

#[test]
fn programs_are_those_of_lld_and_objects_those_of_clang() {
    for (front, at_link) in FORMS {
        let words = |text: &'static str| -> Vec<&str> { text.split_whitespace().collect() };
        let tree = two_modules(&words(front));
        same_program(&tree, &["main.o", "scale.o"], &words(at_link), 2);
        assert_eq!(says(&tree, "program"), SAYS, "{front} {at_link}");
    }
}

/// What a function refers to that another module imports is local no more.
#[test]
fn promoted_locals_have_the_names_that_the_link_asks_for() {
    let tree = two_modules(&[]);
    let hidden = "extern int table[];
        static __attribute__((noinline)) int hidden(int x) { return x * 3 ^ table[1]; }
        int scale(int x) { return hidden(x) - table[1] + (table[0] != 0); }\n";
    tree.compile("scale", hidden, &["-O2"]);
    let option = "-Wl,-mllvm,-use-source-filename-for-promoted-locals";
    for (args, name) in [
        (&[][..], "hidden.llvm."),
        (&[option], "hidden.llvm.scale_c"),
    ] {
        same_program(&tree, &["main.o", "scale.o"], args, 2);
        let output = tree.run(NM, &["-j", "program"]);
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = names.lines().find(|line| line.starts_with(name));
        assert_eq!(found == Some(name), !args.is_empty(), "{args:?}: {names}");
    }
}

/// LLD takes this for every target, clang's driver does not.
#[test]
fn basic_block_sections_are_not_for_x86_alone() {
    let target = "--target=aarch64-linux-gnu";
    let tree = Tree::new();
    let main = "int table[9]; int scale(int); int f(int x) { return x ? scale(x) : table[1]; }";
    tree.compile("main", main, &["-O2", "-fPIC", target]);
    tree.compile("scale", SCALE, &["-O2", "-fPIC", target]);
    let sections = "-Wl,--lto-basic-block-sections=all";
    let args = [target, "-shared", "-nostdlib", sections];
    same_program(&tree, &["main.o", "scale.o"], &args, 2);
}

#[test]
fn basic_blocks_that_a_file_lists_have_sections() {
    let tree = two_modules(&[]);
    let branches = "void exit(int); int scale(int x) { if (x > 99) exit(x / 7); return 3 * x; }";
    tree.compile("scale", branches, &["-O2", "-fno-inline"]);
    tree.write("blocks", "v1\nf scale\nc0\n");
    let sections = "-Wl,--lto-basic-block-sections=blocks";
    same_program(&tree, &["main.o", "scale.o"], &[sections], 2);
    // What is not listed is in a part of its own.
    let symbols = tree.run(NM, &["program"]);
    let symbols = String::from_utf8(symbols.stdout).expect("text");
    assert!(symbols.contains("scale.cold"), "{symbols}");
}

#[test]
fn shared_libraries_keep_to_their_version_script() {
    let tree = two_modules(&["-fPIC"]);
    tree.write("versions", "V1 { global: scale; table; local: *; };");
    let script = "-Wl,--version-script=versions";
    same_program(&tree, &["scale.o", "main.o"], &["-shared", script], 2);
    link(
        &tree,
        &[
            "-shared",
            script,
            "scale.o",
            "main.o",
            "-o",
            "libs.so",
            &linked_by(LINKER),
        ],
    );
    let symbols = tree.run(NM, &["-D", "--defined-only", "libs.so"]);
    let symbols = String::from_utf8(symbols.stdout).expect("text");
    assert!(symbols.contains("scale@@V1"), "{symbols}");
    assert!(!symbols.contains("unused"), "{symbols}");

    link(
        &tree,
        &[
            "main.o",
            "libs.so",
            "-Wl,-rpath,.",
            "-o",
            "program",
            &linked_by(LINKER),
        ],
    );
    assert_eq!(says(&tree, "program"), SAYS);
}

#[test]
fn relocatable_objects_are_linked_on() {
    let tree = two_modules(&[]);
    same_program(&tree, &["main.o", "scale.o"], &["-r"], 2);
    link(&tree, &["program", "-o", "whole", &linked_by(LINKER)]);
    assert_eq!(says(&tree, "whole"), SAYS);
}

/// For what code each module was compiled, it says itself: LLD has no opinion then.
#[test]
fn in_relocatable_objects_each_module_has_the_code_it_was_compiled_for() {
    let tree = Tree::new();
    tree.compile("main", MAIN, &["-O2", "-fno-pic", "-mcmodel=kernel"]);
    tree.compile("scale", SCALE, &["-O2", "-fPIC"]);
    let linked = |linker: &Path, name: &str| {
        let mut command = Command::new(linker);
        let command = command.args(["-r", "main.o", "scale.o", "-o", name]);
        succeed(&command.current_dir(tree.path()).output().expect("it runs"));
        link_content(&tree, name)
    };
    let expected = linked(&lld(), "expected");
    assert!(linked(Path::new(LINKER), "program") == expected);
    let relocations = tree.run(READELF, &["-r", "program"]).stdout;
    let relocations = String::from_utf8(relocations).expect("text");
    for kind in ["R_X86_64_32S", "GOTPCREL"] {
        assert!(relocations.contains(kind), "{relocations}");
    }
}

#[test]
fn archives_of_both_kinds_are_read() {
    let tree = two_modules(&[]);
    let spaced = "a place";
    std::fs::create_dir(tree.file(spaced)).expect("a directory");
    for (kind, name) in [
        ("rcs", "plain.a"),
        ("rcsT", "thin.a"),
        ("rcs", "a place/it's.a"),
    ] {
        succeed(&tree.run(AR, &[kind, name, "scale.o"]));
        same_program(&tree, &["main.o", name], &[], 2);
        assert_eq!(says(&tree, "program"), SAYS, "{name}");
    }
    std::fs::rename(tree.file("main.o"), tree.file("a place/main part.o")).expect("moved");
    same_program(&tree, &["a place/main part.o", "thin.a"], &[], 2);
    assert_eq!(says(&tree, "program"), SAYS);
}

/// Only the members that are needed have backends.
#[test]
fn archives_may_hold_native_objects_too() {
    let tree = two_modules(&[]);
    succeed(&tree.run(CLANG, &["-O2", "-c", "scale.c", "-o", "native.o"]));
    tree.compile("idle", "int idle(void) { return 1; }", &[]);
    succeed(&tree.run(AR, &["rcs", "mixed.a", "native.o", "idle.o"]));
    same_program(&tree, &["main.o", "mixed.a"], &[], 1);
    assert_eq!(says(&tree, "program"), SAYS);
}

#[test]
fn modules_of_regular_lto_stay_lds() {
    if needs_distribution() {
        return;
    }
    let tree = two_modules(&[]);
    succeed(&tree.run(
        CLANG,
        &["-O2", "-flto=full", "-c", "scale.c", "-o", "scale.o"],
    ));
    same_program(&tree, &["main.o", "scale.o"], &[], 1);
    assert_eq!(says(&tree, "program"), SAYS);
}

#[test]
fn fat_objects_give_their_bitcode() {
    if needs_distribution() {
        return;
    }
    let tree = two_modules(&["-ffat-lto-objects"]);
    // clang does not know that a linker named by its path is LLD.
    let fat = "-Wl,--fat-lto-objects";
    same_program(&tree, &["main.o", "scale.o"], &[fat], 2);
    assert_eq!(says(&tree, "program"), SAYS);

    // Nothing else on the line may hold bitcode.
    forget_jobs(&tree);
    let args = ["--fat-lto-objects", "--save-temps", "-r", "-o", "whole.o"];
    succeed(&tree.run(LINKER, &[&args[..], &["main.o", "scale.o"]].concat()));
    assert_eq!(one_clang_per_job(&tree), 2);
}

#[test]
fn cxx_keeps_exceptions_and_thread_locals() {
    let tree = Tree::new();
    let (main, shape) = (
        r#"#include "shape.h"
           #include <cstdio>
           #include <stdexcept>
           #include <thread>
           thread_local std::string name = "main";
           int main() {
             std::thread([] { name = "other"; }).join();
             try {
               for (int i = 0;; i++) make(i)->grow(i);
             } catch (const std::runtime_error &e) {
               std::printf("%s %s\n", e.what(), name.c_str());
             }
           }"#,
        r#"#include "shape.h"
           #include <stdexcept>
           struct Square : Shape {
             int grow(int by) override {
               if (by > 3) throw std::runtime_error("too large");
               return by * by;
             }
           };
           std::unique_ptr<Shape> make(int) { return std::make_unique<Square>(); }"#,
    );
    tree.write(
        "shape.h",
        "#include <memory>\n#include <string>
         struct Shape { virtual int grow(int) = 0; virtual ~Shape() = default; };
         std::unique_ptr<Shape> make(int);",
    );
    for devirtualise in [&[][..], &["-fwhole-program-vtables", "-fvisibility=hidden"]] {
        // A part of such modules is full LTO's.
        if !devirtualise.is_empty() && needs_distribution() {
            continue;
        }
        let flags = [&["-O2"], devirtualise].concat();
        tree.compile_source("main.cpp", main, &flags);
        tree.compile_source("square.cpp", shape, &flags);
        let args = [devirtualise, &["-lstdc++", "-lm"]].concat();
        same_program(&tree, &["main.o", "square.o"], &args, 2);
        assert_eq!(says(&tree, "program"), "too large main\n");
    }
}

#[test]
fn rust_and_c_meet() {
    if MAJOR < "22" {
        not_shown(&format!(
            "not tested: rustc writes bitcode that LLVM {MAJOR} cannot read"
        ));
        return;
    }
    let tree = Tree::new();
    tree.compile(
        "twice",
        "int twice(int x) { return 2 * x; }",
        &["-O2", "-fPIC"],
    );
    tree.write(
        "main.rs",
        "unsafe extern \"C\" { safe fn twice(x: i32) -> i32; }
         fn main() {
             let caught = std::panic::catch_unwind(|| { if twice(1) == 2 { panic!() } });
             println!(\"{} {}\", twice(21), caught.is_err());
         }",
    );
    let linker = format!("-Clink-arg={}", linked_by(LINKER));
    let args = [
        "-O",
        "--edition=2024",
        "-Clinker-plugin-lto",
        "-Ccodegen-units=4",
        &format!("-Clinker={CLANG}"),
        &linker,
        "-Clink-arg=-Wl,--save-temps",
        "-Clink-arg=twice.o",
        "-Csave-temps",
        "-o",
        "program",
        "main.rs",
    ];
    succeed(&tree.run("rustc", &args));
    assert!(one_clang_per_job(&tree) >= 2);
    assert_eq!(says(&tree, "program"), "42 true\n");
}

/// Instrumented, instrumented again in the back end, and optimised by both.
#[test]
fn profiles_are_written_and_used() {
    let tree = Tree::new();
    let build = |flags: &[&str]| {
        let front = [&["-O2"], flags].concat();
        tree.compile("main", MAIN, &front);
        tree.compile("scale", SCALE, &front);
        same_program(&tree, &["main.o", "scale.o"], flags, 2);
        assert_eq!(says(&tree, "program"), SAYS);
    };
    let merge = |to: &str, from: &[&str]| {
        let args = [&["merge", "-o", to], from].concat();
        succeed(&tree.run(PROFDATA, &args));
    };
    build(&["-fprofile-generate=first"]);
    merge("first.prof", &["first"]);
    let used = "-fprofile-use=first.prof";
    build(&[used, "-fcs-profile-generate=second"]);
    merge("both.prof", &["second", "first.prof"]);
    let args = ["show", "--all-functions", "--showcs", "both.prof"];
    let shown = tree.run(PROFDATA, &args);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("main"));
    build(&[used]);
    build(&["-fprofile-use=both.prof"]);

    tree.write("samples", "main:1000:10\n 1: 10\n 2: 900 scale:900\n");
    let sampled = ["-gmlt", "-fprofile-sample-use=samples"];
    build(&[&sampled[..], &["-Wl,--lto-sample-profile=samples"]].concat());
}
