//! Options, inputs and outputs of which ld.lld makes something else than a distributor
//! of its backends could.

use std::collections::BTreeSet;

use super::*;
use crate::common::{stderr, tool};

/// What a linker did: whether it succeeded, what it said behind its name, and what it
/// wrote to `program`.
#[derive(PartialEq, Eq)]
struct Done {
    success: bool,
    said: String,
    program: Option<Vec<u8>>,
}

/// Has `linker` link with `args`.
fn done(tree: &Tree, linker: &str, args: &[&str]) -> Done {
    let _ = std::fs::remove_file(tree.file("program"));
    let output = tree.run(linker, &[args, &["-o", "program"]].concat());
    let said = stderr(&output);
    let said = said.split_once(": ").map_or(&*said, |(_, said)| said);
    let is_there = tree.file("program").exists();
    Done {
        success: output.status.success(),
        said: said.to_owned(),
        program: is_there.then(|| tree.read("program")),
    }
}

/// A tree where `ld.backlto` and the programs that it may become leave their arguments
/// in the file `called`.
fn recorded() -> Tree {
    let tree = two_modules(&[]);
    succeed(&tree.run("cp", &[LINKER, "ld.backlto"]));
    let version = format!("[ \"$1\" = --version ] && {{ echo 'LLD {MAJOR}.1.0'; exit; }}");
    for name in ["ld.lld-here", "backlto"] {
        tree.script(name, &format!("{version}\nprintf '%s\\n' \"$@\" >called"));
    }
    tree
}

/// What the program is called with that `ld.backlto` becomes for a link with `options`, a
/// line for each argument. `before` may set variables.
#[track_caller]
fn becomes(tree: &Tree, before: &str, options: &str) -> String {
    let script = format!("{before} BACKLTO_LD=./ld.lld-here exec ./ld.backlto -r main.o {options}");
    succeed(&tree.run("sh", &["-c", &script]));
    String::from_utf8(tree.read("called")).expect("text")
}

/// Whether a program that was called with `line` is ld.lld, as the user has called it.
fn is_left_alone(line: &str) -> bool {
    line.starts_with("-r\nmain.o\n")
}

/// The names of the options that LLVM has in `program`, which is given `args`.
fn llvm_options(tree: &Tree, program: &str, args: &[&str]) -> BTreeSet<String> {
    let output = tree.run(program, &[args, &["-mllvm", "--help-hidden"]].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    let options = text.lines().filter_map(|line| line.strip_prefix("  -"));
    let names = options.map(|option| {
        let option = option.trim_start_matches('-');
        let end = option.find([' ', '=', '[']).unwrap_or(option.len());
        option[..end].to_owned()
    });
    names.collect()
}

/// clang would refuse them, and with it the link.
#[test]
fn options_of_llvm_that_clang_has_not_reach_no_clang() {
    let tree = recorded();
    let asks = |name: &str| {
        let line = becomes(&tree, "", &format!("-mllvm -{name}=1"));
        line.contains(&format!("compiler-arg=-{name}=1\n"))
    };
    assert!(asks("inline-threshold"), "nothing is told at all");
    let in_lld = llvm_options(&tree, LLD, &["-r", "main.o", "-o", "x.o"]);
    let in_clang = llvm_options(&tree, CLANG, &["-x", "ir", "-c", "main.o"]);
    assert!(
        in_lld.len() > 500 && in_clang.len() > 500,
        "help has changed"
    );
    let told: Vec<_> = in_lld.difference(&in_clang).filter(|n| asks(n)).collect();
    assert!(told.is_empty(), "{told:?}");
}

/// The functions of `llvm/MC/MCTargetOptionsCommandFlags.h`, and the options that they are
/// of.
const OF_ASSEMBLERS: [(&str, &str); 23] = [
    ("ABIName", "target-abi"),
    ("AsSecureLogFile", "as-secure-log-file"),
    ("Crel", "crel"),
    ("DisableIntegratedAS", "no-integrated-as"),
    ("Dwarf64", "dwarf64"),
    ("DwarfVersion", "dwarf-version"),
    (
        "EmitCompactUnwindNonCanonical",
        "emit-compact-unwind-non-canonical",
    ),
    ("EmitDwarfUnwind", "emit-dwarf-unwind"),
    ("EmitSFrameUnwind", "gsframe"),
    ("FDPIC", "fdpic"),
    ("FatalWarnings", "fatal-warnings"),
    ("ImplicitMapSyms", "implicit-mapsyms"),
    (
        "IncrementalLinkerCompatible",
        "incremental-linker-compatible",
    ),
    ("LargeEHEncoding", "large-eh-encoding"),
    ("NoDeprecatedWarn", "no-deprecated-warn"),
    ("NoTypeCheck", "no-type-check"),
    ("NoWarn", "no-warn"),
    ("RelaxAll", "mc-relax-all"),
    ("RelocSectionSym", "reloc-section-sym"),
    ("SaveTempLabels", "save-temp-labels"),
    ("ShowMCInst", "asm-show-inst"),
    ("X86RelaxRelocations", "x86-relax-relocations"),
    ("X86Sse2Avx", "x86-sse2avx"),
];

/// clang has them too, and goes by its own flags.
#[test]
fn options_of_the_assembler_are_for_lld_s_own_backends() {
    let tree = recorded();
    let output = tree.run(tool!("llvm-config"), &["--includedir"]);
    let directory = String::from_utf8(output.stdout).expect("text");
    let header = Path::new(directory.trim()).join("llvm/MC/MCTargetOptionsCommandFlags.h");
    let header = std::fs::read_to_string(header).expect("LLVM's header");
    let mut known = 0;
    for name in header.split(" get").skip(1) {
        let name = name.strip_prefix("Explicit").unwrap_or(name);
        let (name, _) = name.split_once('(').expect("a function");
        let found = OF_ASSEMBLERS.iter().find(|(function, _)| *function == name);
        let (_, option) = found.unwrap_or_else(|| panic!("whose option is it? {name}"));
        let line = becomes(&tree, "", &format!("-mllvm -{option}"));
        assert!(is_left_alone(&line), "{option}: {line}");
        known += 1;
    }
    assert!(known > 15, "the header has changed");
    let line = becomes(&tree, "", "-mllvm -W");
    assert!(is_left_alone(&line), "{line}");
}

/// They make other programs, so that the above means something.
#[test]
fn options_of_the_assembler_are_heeded() {
    let tree = two_modules(&["-fPIC", "-g"]);
    let inputs = ["-r", "main.o", "scale.o"];
    let plain = done(&tree, LLD, &inputs);
    let mut others = 0;
    for option in [
        "-mc-relax-all",
        "-save-temp-labels",
        "-x86-relax-relocations=0",
        "-crel",
        "-dwarf64",
        "-dwarf-version=3",
    ] {
        let args = [&inputs[..], &["-mllvm", option]].concat();
        let expected = done(&tree, LLD, &args);
        assert!(done(&tree, LINKER, &args) == expected, "{option}");
        // Not all LLVMs have all of them.
        others += usize::from(expected.success && expected != plain);
    }
    assert!(others > 3, "{others}");
}

/// In every link, gcc tells LLD what its own plugin should do.
#[test]
fn gcc_may_call_it() {
    let tree = two_modules(&[]);
    let args = [
        "-r",
        "main.o",
        "scale.o",
        "-plugin",
        "/nowhere/liblto_plugin.so",
        "-plugin-opt=/nowhere/lto-wrapper",
        "-plugin-opt=-fresolution=main.res",
        "-plugin-opt=-pass-through=-lgcc",
    ];
    let content = |linker: &str| {
        let done = done(&tree, linker, &args);
        assert!(done.success, "{}", done.said);
        link_content(&tree, "program")
    };
    let expected = content(LLD);
    assert!(content(LINKER) == expected);
}

#[test]
fn devices_and_pipes_are_for_ld_lld_alone() {
    let tree = recorded();
    for output in ["-o /dev/null", "-o/dev/null", "--output=/dev/null"] {
        let line = becomes(&tree, "", output);
        assert!(is_left_alone(&line), "{line}");
    }
    let line = becomes(&tree, "", "-o program");
    assert!(!is_left_alone(&line), "{line}");
    let piped = |linker: &str| {
        let script = format!("cat scale.o | exec {linker} -r main.o /dev/stdin -o program");
        succeed(&tree.run("sh", &["-c", &script]));
        tree.read("program")
    };
    let expected = piped(LLD);
    assert!(piped(LINKER) == expected);
}

/// The command line that LLD keeps to repeat a link.
#[test]
fn what_repeats_a_link_needs_no_backlto() {
    let tree = recorded();
    for (variable, option) in [
        ("", "--reproduce=link.tar"),
        ("", "--reproduce link.tar"),
        ("LLD_REPRODUCE=link.tar", "-o program"),
    ] {
        let line = becomes(&tree, variable, option);
        assert!(is_left_alone(&line), "{line}");
    }
}

/// rustc names it, when it is told that its linker is an ld.lld.
#[test]
fn the_flavour_that_rustc_names_is_known() {
    let tree = two_modules(&[]);
    for flavour in ["gnu", "ld", "ld.lld"] {
        let args = ["-flavor", flavour, "-r", "main.o", "scale.o"];
        let content = |linker: &str, more: &[&str]| {
            let done = done(&tree, linker, &[&args[..], more].concat());
            assert!(done.success, "{}", done.said);
            link_content(&tree, "program")
        };
        let expected = content(LLD, &[]);
        assert!(content(LINKER, &["--save-temps"]) == expected);
        assert_eq!(one_clang_per_job(&tree), 2);
        forget_jobs(&tree);
    }
    for args in [&["-flavor", "wasm", "main.o"][..], &["-flavor"]] {
        let expected = done(&tree, LLD, args);
        assert!(!expected.success);
        assert_eq!(done(&tree, LINKER, args).said, expected.said);
    }
}

/// They are another linker's, which has no such options.
#[test]
fn programs_for_windows_are_linked() {
    let tree = Tree::new();
    let text = "int f(int x) { return x * 3; }\n";
    tree.compile("wide", text, &["--target=x86_64-w64-mingw32", "-O2"]);
    let args = ["-shared", "-e", "f", "--no-insert-timestamp", "wide.o"];
    for more in [&[][..], &["-flavor", "gnu"]] {
        let args = [more, &["-m", "i386pep"], &args].concat();
        let expected = done(&tree, LLD, &args);
        assert!(expected.success, "{}", expected.said);
        let ours = done(&tree, LINKER, &args);
        assert!(ours == expected, "{args:?}: {}", ours.said);
    }
}

/// What the backends warn of, as what LLD itself warns of.
#[test]
fn warnings_are_as_severe_as_for_ld_lld() {
    let tree = Tree::new();
    let text = "void use(char *); void g(void) { char x[999]; use(x); }
        void f(void) { __asm__ volatile(\".warning \\\"take care\\\"\"); }\n";
    let target = "--target=x86_64-pc-linux-gnu";
    tree.compile("warns", text, &[target, "-O2", "-Wframe-larger-than=100"]);
    // The same target in other words is worth a word to clang alone.
    tree.compile("one", "int one(void) { return 1; }\n", &[target, "-O2"]);
    let target = "--target=x86_64-unknown-linux-gnu";
    tree.compile("two", "int two(void) { return 2; }\n", &[target, "-O2"]);
    for (options, warns) in [
        ("", true),
        ("--fatal-warnings", true),
        ("--fatal-warnings --no-fatal-warnings", true),
        ("--no-warnings", false),
        ("-w --fatal-warnings", false),
    ] {
        let options: Vec<&str> = options.split_whitespace().collect();
        let args = [&["-r", "warns.o"], &options[..]].concat();
        let [expected, ours] = [LLD, LINKER].map(|linker| done(&tree, linker, &args));
        for done in [&expected, &ours] {
            for words in ["exceeds limit", "take care"] {
                assert_eq!(done.said.contains(words), warns, "{}", done.said);
            }
        }
        assert_eq!(ours.success, expected.success, "{options:?}");
        assert_eq!(ours.program.is_some(), expected.program.is_some());
        let args = [&["-r", "one.o", "two.o"], &options[..]].concat();
        assert!(done(&tree, LINKER, &args).success, "{options:?}");
    }
}
