//! What the back end and clang's driver say: word for word, with the same end.

use crate::common::{BACKLTO, CLANG, PROFDATA, Tree, stderr, succeed};
use crate::{same_backend, same_object, split};

/// Compiles `text` into a tree with one module, `m`.
fn one_module(text: &str, front: &[&str]) -> Tree {
    Tree::thin_linked(&[("m", text)], front)
}

/// Debian's libLLVM calls its own standard error, not the one that clang is given.
#[test]
fn what_llvm_prints_itself_is_said_each_time() {
    let front = split(&["-O2 -Xclang -target-feature -Xclang +such-a-thing"]);
    let tree = one_module("int f(int x) { return x + 1; }\n", &front);
    let args = Tree::backend_args("m", "native.o", &["-O2"]);
    let clang = tree.run(CLANG, &args);
    succeed(&clang);
    assert!(
        stderr(&clang).contains("is not a recognized feature"),
        "{}",
        stderr(&clang)
    );
    let cached = ["--cache-dir", "cache", "cc", CLANG].map(str::to_owned);
    for round in 0..3 {
        let ours = tree.run(BACKLTO, &[&cached[..], &args].concat());
        succeed(&ours);
        assert_eq!(stderr(&ours), stderr(&clang), "{round}");
    }
}

/// IR has names and places that no object has.
#[test]
fn ir_is_as_clang_writes_it_whatever_the_cache_has() {
    let tree = Tree::new();
    tree.compile("f", "int f(int x) { return x + 1; }\n", &["-O2"]);
    for name in ["p/f", "q/f"] {
        tree.write(&format!("{name}.o"), tree.read("f.o"));
        tree.thin_link(&[format!("{name}.o")]);
        let args = |output: &str| {
            let flags = ["-O2", "-S", "-emit-llvm"];
            Tree::backend_args(name, output, &flags)
                .into_iter()
                .filter(|word| word != "-c")
                .collect::<Vec<String>>()
        };
        succeed(&tree.run(CLANG, &args("clang.ll")));
        let cached = ["--cache-dir", "cache", "cc", CLANG].map(str::to_owned);
        succeed(&tree.run(BACKLTO, &[&cached[..], &args("ours.ll")].concat()));
        let texts = ["clang.ll", "ours.ll"].map(|name| String::from_utf8(tree.read(name)));
        assert_eq!(texts[0], texts[1]);
    }
}

/// How a compile must end, so that clang itself does what a case is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Silent,
    Warns,
    Fails,
}
use Ending::{Fails, Silent, Warns};

/// Checks that messages and ending are those of clang, that `ending` is what
/// clang does, and that the messages contain `needle`.
#[track_caller]
fn same_messages(tree: &Tree, flags: &str, ending: Ending, needle: &str) {
    let effect = same_backend(tree, "m", &split(&[flags]));
    let actual = match (effect.success, effect.stderr.is_empty()) {
        (true, true) => Silent,
        (true, false) => Warns,
        (false, _) => Fails,
    };
    assert_eq!(actual, ending, "{flags}: {effect:?}");
    assert!(
        effect.stderr.contains(needle),
        "{flags}: no `{needle}` in {effect:?}"
    );
    assert_eq!(
        effect.files.contains_key("native.o"),
        ending != Fails,
        "{flags}: {effect:?}"
    );
}

#[test]
fn frame_size_warnings_obey_their_flags() {
    let text = "void use(char *);
        int f(int x) { char big[3000]; use(big); return big[x]; }
        int g(int x) { char big[2000]; use(big); return big[x]; }\n";
    for front in [
        "-O2 -Wframe-larger-than=1000",
        "-O2 -g -Wframe-larger-than=1000",
    ] {
        let tree = one_module(text, &split(&[front]));
        let needle = "exceeds limit (1000) in function 'f'";
        for (flags, ending, needle) in [
            ("-O2", Warns, needle),
            ("-O2 -Wframe-larger-than=1000", Warns, needle),
            // The limit is the front end's, in the bitcode.
            ("-O2 -Wframe-larger-than=100000", Warns, needle),
            (
                "-O2 -Wframe-larger-than=1000 -fcolor-diagnostics",
                Warns,
                "\u{1b}[",
            ),
            ("-O2 -fdiagnostics-format=vi", Warns, needle),
            ("-O2 -fno-diagnostics-show-option", Warns, needle),
            ("-O2 -Werror", Fails, needle),
            ("-O2 -Werror=frame-larger-than", Fails, needle),
            (
                "-O2 -Werror=frame-larger-than -fcolor-diagnostics",
                Fails,
                "\u{1b}[",
            ),
            ("-O2 -Werror -Wno-error=frame-larger-than", Warns, needle),
            ("-O2 -Wno-frame-larger-than", Silent, ""),
            ("-O2 -Wno-frame-larger-than -Werror", Silent, ""),
            ("-O2 -w", Silent, ""),
            ("-O2 -Wfatal-errors -Werror", Fails, needle),
            ("-O2 -ferror-limit=1 -Werror", Fails, needle),
        ] {
            same_messages(&tree, flags, ending, needle);
        }
    }
}

#[test]
fn assembly_errors_show_their_line() {
    let text = "void f(int x) { __asm__ volatile(\"nop\\n bogus %0\" : : \"r\"(x)); }
        void g(void) { __asm__ volatile(\"worse\"); }\n";
    for front in ["-O2", "-O2 -g"] {
        let tree = one_module(text, &split(&[front]));
        same_messages(&tree, "-O2", Fails, "bogus");
        same_messages(&tree, "-O2 -fcolor-diagnostics", Fails, "worse");
        same_messages(
            &tree,
            "-O2 -w -Wno-error",
            Fails,
            "invalid instruction mnemonic 'worse'",
        );
    }
}

/// The bad code is another module's here, imported and inlined.
#[test]
fn assembly_errors_of_imported_functions_are_the_same() {
    let tree = Tree::thin_linked(
        &[
            ("m", "void helper(void); void f(void) { helper(); }\n"),
            (
                "helper",
                "void helper(void) { __asm__ volatile(\"bogus\"); }\n",
            ),
        ],
        &["-O2"],
    );
    same_messages(&tree, "-O2", Fails, "bogus");
}

#[test]
fn assembly_warnings_are_the_same() {
    let text = "void f(void) { __asm__ volatile(\".warning \\\"take care\\\"\"); }\n";
    let tree = one_module(text, &["-O2"]);
    same_messages(&tree, "-O2", Warns, "take care");
    same_messages(&tree, "-O2 -Werror", Fails, "take care");
    // clang lets the assembler's own warnings through.
    same_messages(&tree, "-O2 -w", Warns, "take care");
    same_messages(&tree, "-O2 -Wa,--no-warn", Silent, "");
}

/// The front end reads module-level assembly too, so what is bad must turn up
/// in the back end only.
#[test]
fn module_level_assembly_errors_are_the_same() {
    let text = "__asm__(\".data\\n.space here - there\\n\"); int f(void) { return 1; }\n";
    let tree = one_module(text, &["-O2"]);
    same_messages(&tree, "-O2", Fails, "assembly-time absolute expression");
    same_messages(&tree, "-O2 -fcolor-diagnostics", Fails, "\u{1b}[");
}

#[test]
fn files_that_assembly_includes_are_looked_for_where_clang_does() {
    let texts = [
        "__asm__(\".data\\n.incbin \\\"blob.bin\\\"\\n\"); int f(void) { return 1; }\n",
        "int f(void) { __asm__ volatile(\".pushsection .x\\n.incbin \\\"blob.bin\\\"\\n.popsection\"); return 1; }\n",
        "int f(void) { __asm__ volatile(\".include \\\"blob.bin\\\"\"); return 1; }\n",
    ];
    for text in texts {
        let tree = Tree::new();
        tree.write("blob.bin", "nop\n");
        tree.compile("m", text, &["-O2"]);
        tree.thin_link(&["m.o".to_owned()]);
        same_messages(&tree, "-O2", Silent, "");
        // In another directory: found through the assembler's path alone.
        tree.write("inc/blob.bin", "nop\nnop\n");
        std::fs::remove_file(tree.file("blob.bin")).expect("the file is removed");
        same_messages(&tree, "-O2 -Wa,-Iinc", Silent, "");
        same_messages(&tree, "-O2 -Iinc", Fails, "blob.bin");
        same_messages(&tree, "-O2", Fails, "blob.bin");
    }
}

#[test]
fn calls_that_should_have_been_optimised_away_are_reported() {
    let text = "__attribute__((warning(\"still here\"))) void soft(void);
        __attribute__((error(\"never call it\"))) void hard(void);
        void f(int x) { soft(); if (__builtin_constant_p(x) && x) hard(); }\n";
    let tree = one_module(text, &["-O2", "-g"]);
    same_messages(&tree, "-O2", Warns, "still here");
    same_messages(&tree, "-O2 -Werror", Fails, "still here");
    same_messages(&tree, "-O2 -Wno-attribute-warning", Silent, "");

    let text = "__attribute__((error(\"never call it\"))) void hard(void);
        void f(int x) { if (x) hard(); }\n";
    same_messages(&one_module(text, &["-O2"]), "-O2", Fails, "never call it");
}

#[test]
fn warnings_of_the_driver_are_printed() {
    let tree = one_module("int f(void) { return 1; }\n", &["-O2"]);
    for (flags, ending, needle) in [
        (
            "-O2 -Iinclude",
            Warns,
            "argument unused during compilation: '-I include'",
        ),
        ("-O2 -Iinclude -Lx -Wl,-z,now", Warns, "-Wl,-z,now"),
        ("-O2 -Iinclude -fcolor-diagnostics", Warns, "\u{1b}["),
        (
            "-O2 -Iinclude -Wno-unused-command-line-argument",
            Silent,
            "",
        ),
        ("-O2 -Iinclude -Qunused-arguments", Silent, ""),
        ("-O2 -Iinclude -w", Silent, ""),
        ("-O2 -Wno-such-warning", Warns, "no-such-warning"),
        ("-O2 -Wsuch-warning", Warns, "such-warning"),
        ("-O2 -Wsuch-warning -Werror", Fails, "such-warning"),
        ("-O2 -Wsuch-warning -Wno-unknown-warning-option", Silent, ""),
        (
            "-O2 -march=x86-64 -mtune=generic -finline-limit=3",
            Warns,
            "inline-limit",
        ),
        // Of cc1, which names no flag then, and follows none.
        ("-O9", Warns, "using '-O3' instead\n"),
        ("-O9 -w", Warns, "1 warning generated"),
        ("-O9 -Werror", Warns, "1 warning generated"),
        ("-O9 -Wsuch-warning -Werror", Fails, "using '-O3' instead\n"),
    ] {
        same_messages(&tree, flags, ending, needle);
    }
}

/// A command line that clang does not accept fails with clang's words alone: `backlto cc`
/// leaves it to clang. What `backlto run` says of such flags is in `tests/plans/door.rs`.
#[test]
fn command_lines_that_clang_rejects_are_rejected_in_its_words() {
    let tree = one_module("int f(void) { return 1; }\n", &["-O2"]);
    tree.write("damaged.profdata", "\u{1}nonsense\n");
    for (flags, needle) in [
        ("-foo", "unknown argument: '-foo'"),
        ("-Iinclude -Werror", "argument unused during compilation"),
        ("-mllvm -foo", "Unknown command line argument '-foo'"),
        ("-mllvm -inline-threshold=many", "inline-threshold"),
        ("-O2 -mcmodel=nonsense", "mcmodel"),
        ("-O2 -Wa,-foo", "unsupported argument '-foo'"),
        ("-O2 -Rpass-missed=[", "brackets ([ ]) not balanced"),
        ("-O2 -fprofile-use=missing.profdata", "missing.profdata"),
        ("-O2 -fprofile-use=damaged.profdata", "damaged.profdata"),
        ("-O2 -fprofile-sample-use=missing.txt", "missing.txt"),
        ("--config nowhere.cfg", "nowhere.cfg"),
    ] {
        let flags = split(&[flags]);
        let clang = tree.clang_backend("m", "native.o", &flags);
        let ours = tree.backlto_cc("m", "native.o", &flags);
        let (expected, actual) = (stderr(&clang), stderr(&ours));
        assert_eq!(clang.status.code(), Some(1), "{flags:?}: {expected}");
        assert_eq!(ours.status.code(), Some(1), "{flags:?}: {actual}");
        assert!(expected.contains(needle), "{flags:?}: {expected}");
        assert_eq!(actual, expected, "{flags:?}");
        assert!(!tree.file("native.o").exists(), "{flags:?}");
    }
}

/// Profiles are read by the back end too.
#[test]
fn profiles_that_do_and_do_not_fit_are_the_same() {
    let text = "int helper(int); int f(int x) { if (x > 3) return helper(x); return 1; }\n";
    let tree = Tree::new();
    tree.write(
        "counts.txt",
        "f\n# Func Hash:\n12345\n# Num Counters:\n1\n# Counter Values:\n7\n",
    );
    tree.write(
        "ir.txt",
        ":ir\nf\n# Func Hash:\n12345\n# Num Counters:\n1\n# Counter Values:\n7\n",
    );
    for name in ["counts", "ir"] {
        let (text, data) = (format!("{name}.txt"), format!("{name}.profdata"));
        succeed(&tree.run(PROFDATA, &["merge", "-o", &data, &text]));
    }
    tree.write(
        "samples.txt",
        "f:100000:10\n 0: 10\n 0.1: 9000 helper:9000\n",
    );
    tree.write("none.txt", "g:100:10\n 0: 10\n");
    tree.write("damaged.txt", "f:100\n");
    let front = "-O2 -g -fdebug-info-for-profiling -fprofile-sample-use=none.txt";
    tree.compile("m", text, &split(&[front]));
    tree.thin_link(&["m.o".to_owned()]);
    for flags in [
        "-O2 -fprofile-use=counts.profdata",
        "-O2 -fprofile-use=ir.profdata",
        "-O2 -fprofile-use=ir.profdata -Wprofile-instr-out-of-date -Werror",
        "-O2 -fprofile-sample-use=none.txt",
        "-O2 -fprofile-sample-use=damaged.txt",
    ] {
        same_backend(&tree, "m", &split(&[flags]));
    }
    // The profile has a say in the code, so that the above shows something.
    let without = same_object(&tree, "m", &["-O2"]);
    let with = same_object(&tree, "m", &["-O2", "-fprofile-sample-use=samples.txt"]);
    assert!(without != with, "{without:?}");
}
