//! One backend compile after the other, against clang itself: what a build can
//! tell (exit status, messages, every file left behind) must be the same.

mod common;
#[path = "compare/launcher.rs"]
mod launcher;
#[path = "compare/messages.rs"]
mod messages;

use common::{BACKLTO, CLANG, DEMO, Effect, LLD, MAJOR, Tree, succeed, tool};

/// clang's name where there is no clang: a compile that `backlto cc` does not do itself
/// fails there.
const NO_CLANG: &str = tool!("nowhere/clang");

/// Runs `args` with clang and with `backlto cc`, which has to do it itself, and returns
/// what both did.
#[track_caller]
fn same_effect(tree: &Tree, args: &[String]) -> Effect {
    same_in_front_of(NO_CLANG, tree, args)
}

/// As [`same_effect`], for what `backlto cc` leaves to clang: it gets there as it was.
#[track_caller]
fn same_by_clang(tree: &Tree, args: &[String]) -> Effect {
    same_in_front_of(CLANG, tree, args)
}

/// Runs `args` with clang and with `backlto cc CLANG` and returns what both did.
#[track_caller]
fn same_in_front_of(clang: &str, tree: &Tree, args: &[String]) -> Effect {
    let expected = tree.observe(CLANG, args);
    let mut ours = vec!["cc".to_owned(), clang.to_owned()];
    ours.extend_from_slice(args);
    let actual = tree.observe(BACKLTO, &ours);
    assert!(
        actual == expected,
        "clang and backlto differ on {args:?}\n{:?}--- clang: {expected:?}\n--- backlto: {actual:?}",
        differing_files(&expected, &actual),
    );
    actual
}

fn differing_files(one: &Effect, other: &Effect) -> Vec<String> {
    let mut names: Vec<_> = one
        .files
        .keys()
        .chain(other.files.keys())
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.files.get(name) != other.files.get(name));
    names
}

/// Compares the backend compile of `module` (without `.o`) with `flags`.
#[track_caller]
fn same_backend(tree: &Tree, module: &str, flags: &[&str]) -> Effect {
    same_effect(tree, &Tree::backend_args(module, "native.o", flags))
}

/// Compares a backend compile in which clang must succeed.
#[track_caller]
fn same_object(tree: &Tree, module: &str, flags: &[&str]) -> Effect {
    let effect = same_backend(tree, module, flags);
    assert!(effect.success, "{module} with {flags:?}: {effect:?}");
    assert!(effect.files.contains_key("native.o"), "{effect:?}");
    effect
}

/// Names that are referred to but not defined, as a linker sees them.
fn undefined_symbols(object: &[u8]) -> Vec<String> {
    use object::{Object, ObjectSymbol};
    let file = object::File::parse(object).expect("a native object");
    let undefined = file.symbols().filter(|symbol| symbol.is_undefined());
    undefined
        .map(|symbol| symbol.name().expect("a name").to_owned())
        .collect()
}

// --- every flag set on every architecture ---------------------------------

/// One way to compile the demo, and what a back end may then be told.
struct Family {
    /// For both ends.
    flags: &'static str,
    /// For the back end alone, one set after the other.
    back: &'static [&'static str],
}

/// Flags that every architecture knows, separated by blanks.
const FAMILIES: &[Family] = &[
    Family {
        flags: "-O2",
        back: &[
            "-O0",
            "-O1",
            "-O3",
            "-Os",
            "-Oz",
            "-fPIC",
            "-fno-pic",
            "-fPIE -fno-plt",
            "-ffunction-sections -fdata-sections",
            "-falign-functions=64",
            "-fno-builtin",
            "-fno-builtin-memset -fno-builtin-memcpy",
            "-fno-vectorize -fno-slp-vectorize -fno-unroll-loops",
            "-fno-jump-tables",
            "-ffast-math",
            "-Rpass=inline",
            "-Rpass=inline -fcolor-diagnostics",
            "-Rpass-missed=.* -Rpass-analysis=.*",
            "-fsave-optimization-record",
            "-fsave-optimization-record=bitstream",
            "-foptimization-record-file=said.yaml -foptimization-record-passes=inline",
            "-fstack-usage",
            "-mllvm -inline-threshold=0",
            "-mllvm -inline-threshold=10000 -mllvm -unroll-count=4",
            "-mllvm -enable-machine-outliner=always",
            "-Wa,--noexecstack",
        ],
    },
    Family {
        flags: "-O0",
        back: &["-O2"],
    },
    Family {
        flags: "-O1",
        back: &[],
    },
    Family {
        flags: "-O3 -fPIC",
        back: &["-fno-semantic-interposition"],
    },
    Family {
        flags: "-Os -fno-pic",
        back: &[],
    },
    Family {
        flags: "-Oz",
        back: &[],
    },
    Family {
        flags: "-O2 -gdwarf-4",
        back: &["-gsplit-dwarf", "-gsplit-dwarf=single", "-ggdb", "-gz"],
    },
    Family {
        flags: "-O1 -gdwarf-5 -gsplit-dwarf",
        back: &["-fdebug-types-section"],
    },
    Family {
        flags: "-O2 -gline-tables-only",
        back: &["-Rpass=.*"],
    },
    Family {
        flags: "-O2 -fsplit-lto-unit",
        back: &[],
    },
    Family {
        flags: "-O2 -fsanitize=address",
        back: &[],
    },
    Family {
        flags: "-O2 -fprofile-instr-generate",
        back: &[],
    },
    Family {
        flags: "-O2 -fstack-protector-all -fno-omit-frame-pointer",
        back: &[],
    },
];

/// An architecture.
struct Target {
    /// What both ends are always told.
    flags: &'static str,
    /// Flags for both ends that it alone knows.
    own: &'static [&'static str],
}

const X86_64: Target = Target {
    flags: "--target=x86_64-linux-gnu",
    own: &[
        "-O2 -mcmodel=kernel -mno-red-zone -mno-sse -mno-mmx -mno-80387 -fno-pic",
        "-O2 -fcf-protection=branch -mretpoline-external-thunk",
        "-O2 -march=x86-64-v4",
        "-O2 -mcmodel=large",
        "-O2 -fsanitize=kcfi",
        "-O2 -fbasic-block-sections=all",
        "-O2 -mstack-alignment=8 -mskip-rax-setup -mtune=generic",
        "-O2 -m32",
    ],
};

const AARCH64: Target = Target {
    flags: "--target=aarch64-linux-gnu",
    own: &[
        "-O2 -mgeneral-regs-only -fno-pic",
        "-O2 -mbranch-protection=pac-ret+leaf+bti",
        "-O2 -march=armv9-a",
        "-O2 -mcmodel=large -fno-pic",
        "-O2 -fsanitize=kcfi",
        "-O2 -moutline",
        "-O2 -ffixed-x18 -fsanitize=shadow-call-stack",
    ],
};

const RISCV64: Target = Target {
    // Relaxation and split debug info do not go together: clang fails, and
    // what it leaves differs from run to run.
    flags: "--target=riscv64-linux-gnu -mno-relax",
    own: &[
        "-O2 -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -mno-save-restore",
        "-O2 -march=rv64gcv",
        "-O2 -msave-restore -mrelax",
        "-O2 -fsanitize=kcfi",
    ],
};

const LOONGARCH64: Target = Target {
    flags: "--target=loongarch64-linux-gnu",
    own: &[
        "-O2 -mabi=lp64s -msoft-float -mcmodel=normal",
        "-O2 -mlasx",
        "-O2 -mno-lsx -mno-relax -mcmodel=medium",
    ],
};

const ARMV7: Target = Target {
    flags: "--target=armv7-linux-gnueabihf",
    own: &[
        "-O2 -mthumb",
        "-O2 -marm -mfloat-abi=soft -mno-unaligned-access",
        "-O2 -mlong-calls",
        "-O2 -march=armv5te -mfloat-abi=soft",
    ],
};

/// `texts` as single flags.
fn split<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    texts
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect()
}

/// Whether clang can compile with `flags` at all. Those of LLVM 19 and 20 crash where they
/// have remarks in binary form for an ELF section, and want no relocations in the split
/// debug information that they make for RISC-V.
fn clang_can(flags: &[&str]) -> bool {
    let has = |holds: &dyn Fn(&str) -> bool| flags.iter().any(|flag| holds(flag));
    let remarks = has(&|flag| flag.ends_with("=bitstream"));
    let split = has(&|flag| flag.starts_with("-gsplit-dwarf"));
    let is_riscv = has(&|flag| flag.starts_with("--target=riscv"));
    !(["19", "20"].contains(&MAJOR) && (remarks || split && is_riscv))
}

fn same_on(target: &Target) {
    let same = |tree: &Tree, module: &str, flags: &[&str]| {
        if clang_can(flags) {
            same_object(tree, module, flags);
        }
    };
    for family in FAMILIES {
        let flags = split(&[target.flags, family.flags]);
        let tree = Tree::demo(&flags);
        same(&tree, "deck", &flags);
        same(&tree, "sort", &flags);
        for back in family.back {
            same(&tree, "deck", &split(&[target.flags, family.flags, back]));
        }
    }
    for own in target.own {
        let flags = split(&[target.flags, own]);
        same(&Tree::demo(&flags), "deck", &flags);
    }
}

#[test]
fn every_flag_set_is_the_same_on_x86_64() {
    same_on(&X86_64);
}

#[test]
fn every_flag_set_is_the_same_on_aarch64() {
    same_on(&AARCH64);
}

#[test]
fn every_flag_set_is_the_same_on_riscv64() {
    same_on(&RISCV64);
}

#[test]
fn every_flag_set_is_the_same_on_loongarch64() {
    same_on(&LOONGARCH64);
}

#[test]
fn every_flag_set_is_the_same_on_armv7() {
    same_on(&ARMV7);
}

// --- what the comparison rests on ------------------------------------------

/// Were nothing imported, the comparisons above would show little.
#[test]
fn functions_are_imported_from_other_modules_and_inlined() {
    let tree = Tree::demo(&["-O2"]);
    let thin = same_object(&tree, "deck", &["-O2"]);
    let alone = same_effect(
        &tree,
        &["-O2", "-x", "ir", "-c", "-o", "native.o", "deck.o"].map(str::to_owned),
    );
    let called = |effect: &Effect| undefined_symbols(&effect.files["native.o"]);
    assert!(
        called(&alone).contains(&"rng_below".to_owned()),
        "{:?}",
        called(&alone)
    );
    assert!(
        !called(&thin).contains(&"rng_below".to_owned()),
        "{:?}",
        called(&thin)
    );
}

/// The flags that ask for more files than the object get them, under the names
/// and in the places that clang chooses.
#[test]
fn files_beside_the_object_are_written() {
    let tree = Tree::demo(&["-O2", "-gdwarf-5"]);
    std::fs::create_dir_all(tree.file("out/dir")).expect("a directory");
    let cases = [
        ("-gsplit-dwarf", "out/dir/deck.native.dwo"),
        ("-fsave-optimization-record", "out/dir/deck.native.opt.yaml"),
        (
            "-fsave-optimization-record=bitstream",
            "out/dir/deck.native.opt.bitstream",
        ),
        ("-foptimization-record-file=said.yaml", "said.yaml"),
        ("-fstack-usage", "out/dir/deck.native.su"),
        ("-save-stats", "deck.stats"),
        ("--serialize-diagnostics said", "said"),
    ];
    for (flag, file) in cases {
        if !clang_can(&[flag]) {
            continue;
        }
        let flags: Vec<&str> = ["-O2"].into_iter().chain(flag.split(' ')).collect();
        let args = Tree::backend_args("deck", "out/dir/deck.native.o", &flags);
        let effect = same_effect(&tree, &args);
        assert_eq!(effect.files.len(), 2, "{flag}: {effect:?}");
        assert!(
            effect.files.contains_key("out/dir/deck.native.o"),
            "{flag}: {effect:?}"
        );
        let bytes = effect.files.get(file);
        assert!(
            bytes.is_some_and(|bytes| !bytes.is_empty()),
            "{flag}: {effect:?}"
        );
    }
}

#[test]
fn remarks_are_printed_once_and_in_order() {
    let tree = Tree::demo(&["-O2", "-gline-tables-only"]);
    let flags = [
        "-O2",
        "-Rpass=inline",
        "-Rpass-missed=inline",
        "-Rpass-analysis=.*",
    ];
    let effect = same_object(&tree, "deck", &flags);
    assert!(
        effect.stderr.contains("rng_below' inlined into"),
        "{effect:?}"
    );
    assert!(effect.stderr.matches("remark:").count() > 2, "{effect:?}");
}

#[test]
fn assembly_and_bitcode_can_be_asked_for() {
    let tree = Tree::demo(&["-O2"]);
    for (kind, output) in [
        ("-S", "native.s"),
        ("-S -masm=intel", "native.s"),
        ("-c -emit-llvm", "native.bc"),
        ("-S -emit-llvm", "native.ll"),
    ] {
        let line = format!("-O2 -x ir -fthinlto-index=deck.o.thinlto.bc {kind} -o {output} deck.o");
        let effect = same_effect(&tree, &words(&line));
        assert!(
            effect.success && effect.files.contains_key(output),
            "{effect:?}"
        );
    }
}

/// What is measured differs from run to run; where it goes does not.
#[test]
fn a_time_trace_is_written_where_clang_writes_it() {
    let tree = Tree::demo(&["-O2"]);
    for (flag, file) in [("-ftime-trace", "native.json"), ("-ftime-trace=t", "t")] {
        let args = Tree::backend_args("deck", "native.o", &["-O2", flag]);
        let by_clang = tree.observe(CLANG, &args);
        let ours = tree.observe(BACKLTO, &[vec!["cc".to_owned()], args].concat());
        assert!(ours.success, "{ours:?}");
        assert_eq!(differing_files(&by_clang, &ours), [file]);
        for effect in [by_clang, ours] {
            let trace: serde_json::Value =
                serde_json::from_slice(&effect.files[file]).expect("JSON");
            let spans = trace["traceEvents"].as_array().expect("spans");
            assert!(
                spans.iter().any(|span| span["name"] == "OptFunction"),
                "{flag}"
            );
        }
    }
}

/// Runs `backlto run` on the demo with `flags` for the backends; returns what it says.
#[track_caller]
fn refused_by_a_run(flags: &[&str]) -> String {
    let tree = Tree::demo(&["-O2"]);
    tree.script("program", "touch ran");
    let plan = serde_json::json!({ "programs": [{
        "name": "p", "directory": ".", "output": "linked", "flags": flags,
        "inputs": DEMO.map(|name| format!("{name}.o")), "thin_link": ["-r"], "link": ["-r"],
    }] });
    tree.write("plan.json", plan.to_string());
    let output = tree.run(BACKLTO, &["--ld", LLD, "run", "plan.json"]);
    assert!(!output.status.success(), "{flags:?}");
    let files = tree.files();
    let mut written = files
        .keys()
        .filter(|name| name.contains("native") || *name == "ran");
    assert_eq!(written.next(), None, "{flags:?}");
    common::stderr(&output)
}

/// There is no process of which they could tell; an empty file would be a lie.
#[test]
fn reports_on_a_process_are_refused() {
    for flags in [
        &["-fproc-stat-report=report"][..],
        &["-fproc-stat-report"],
        &["-mllvm", "-info-output-file=report"],
        &["-mllvm", "--info-output-file=report"],
    ] {
        let said = refused_by_a_run(&[&["-O2"], flags].concat());
        assert!(said.contains("reports on a process"), "{said}");
    }
}

/// LLVM answers them and ends the process, with success: a run would seem to be done.
#[test]
fn questions_to_llvm_are_refused() {
    for option in ["-version", "--help", "-help-hidden", "-help-list", "-h"] {
        let said = refused_by_a_run(&["-O2", "-mllvm", option]);
        assert!(said.contains("instead of a compile"), "{said}");
    }
}

/// Flags may come from anybody's build.
#[test]
fn flags_run_no_program() {
    for option in [
        "-exec-on-ir-change=./program",
        "-x86-lvi-load-opt-plugin=./plugin.so",
    ] {
        let said = refused_by_a_run(&["-O2", "-mllvm", option]);
        assert!(said.contains("not supported"), "{said}");
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Build tools spell them in all of these.
#[test]
fn command_lines_can_be_spelled_in_any_way() {
    let tree = Tree::demo(&["-O2"]);
    tree.write(
        "args.rsp",
        "-O2 -x ir -c\n-fthinlto-index=deck.o.thinlto.bc -o 'native.o'\ndeck.o",
    );
    tree.write("empty.thinlto.bc", "");
    for line in [
        "@args.rsp",
        "-O2 -xir -fthinlto-index=deck.o.thinlto.bc -c deck.o -onative.o",
        "-fthinlto-index=deck.o.thinlto.bc -c -x ir deck.o -O1 -O2 --output native.o",
        "-O2 -fthinlto-index=deck.o.thinlto.bc -x ir -c -o native.o -- deck.o",
        // Without ThinLTO, in clang's two ways to say so.
        "-O2 -x ir -c -o native.o deck.o",
        "-O2 -x ir -c -o native.o -fthinlto-index=empty.thinlto.bc deck.o",
        // An output that is not spelled as a path normally is.
        "-O2 -x ir -c -fthinlto-index=deck.o.thinlto.bc deck.o -o./native.o",
    ] {
        let effect = same_effect(&tree, &words(line));
        assert!(effect.files.contains_key("native.o"), "{line}: {effect:?}");
    }
}

// --- modules of every kind ---------------------------------------------------

/// Modules in C, each in its own tree, under names that say what is odd.
const ODD_MODULES: &[(&str, &str)] = &[
    ("declarations only", "extern int f(int); extern int x;"),
    ("nothing at all", ""),
    (
        "data only",
        r#"const char motto[] = "all"; int counter = 3; int zeroes[100];"#,
    ),
    (
        "weak symbols",
        r#"__attribute__((weak)) int w(int x) { return x + 1; }
         __attribute__((weak)) int wd = 4;
         extern int e(void) __attribute__((weak));
         int f(int x) { return e ? e() : w(x) + wd; }"#,
    ),
    (
        "aliases",
        r#"int f(int x) { return x * 5; }
         int g(int x) __attribute__((alias("f")));
         int h(int x) __attribute__((weak, alias("f"), visibility("hidden")));
         static int v = 3; extern int w __attribute__((alias("v")));
         int k(int x) { return g(x) + h(x) + w; }"#,
    ),
    (
        "an ifunc",
        r#"static int one(int x) { return x + 1; }
         static int two(int x) { return x + 2; }
         extern int level;
         static void *choose(void) { return level ? (void *)one : (void *)two; }
         int f(int x) __attribute__((ifunc("choose")));
         int g(int x) { return f(x) + 1; }"#,
    ),
    (
        "thread-locals and constructors",
        r#"_Thread_local int t = 7; static _Thread_local int u;
         __attribute__((constructor(200))) static void up(void) { u = 1; }
         __attribute__((destructor)) static void down(void) { t = 0; }
         int f(void) { return t + ++u; }"#,
    ),
    (
        "sections, used and retained symbols",
        r#"__attribute__((section(".init.data"), used)) static int d = 3;
         __attribute__((section(".init.text"), cold)) int f(int x) { return x + d; }
         __attribute__((retain, used, section("kept"))) static int k = 9;
         __asm__(".globl from_asm\n.set from_asm, 42\n");
         extern char from_asm[]; char *g(void) { return from_asm; }"#,
    ),
    (
        "inline assembly",
        r#"int f(int x) { int y; __asm__ volatile("nop # %0 %1" : "=r"(y) : "r"(x)); return y; }
         void g(void) { __asm__ goto("nop" : : : : out); out:; }"#,
    ),
    (
        "vectors, floats and big switches",
        r#"void f(float *a, float *b, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * b[i] + 2; }
         int g(int x) { switch (x) { case 1: return 7; case 2: return 90; case 3: return 5;
           case 4: return 13; case 5: return -8; case 9: return 6; } return x; }
         long double h(long double x) { return x / 3; } _Complex double c(_Complex double x) { return x * x; }"#,
    ),
    (
        "common symbols",
        "int shared; int f(void) { return shared++; }",
    ),
];

#[test]
fn modules_of_every_kind_are_the_same() {
    for (kind, text) in ODD_MODULES {
        let flags = ["-O2", "-fcommon"];
        let tree = Tree::thin_linked(
            &[
                ("odd", text),
                ("user", "int f(); int main(void) { return f(3); }\n"),
            ],
            &flags,
        );
        for module in ["odd", "user"] {
            let effect = same_backend(&tree, module, &flags);
            assert!(effect.success, "{kind}: {effect:?}");
        }
    }
}

const BASE_CPP: &str = "
struct Base { virtual int f(int); virtual ~Base(); int n = 0; };
template <typename T> inline T twice(T x) { static T calls; ++calls; return x + x + calls; }
struct Error { int code; };
thread_local int depth = 3;
Base *make();
int Base::f(int x) { return twice(x) + 1; }
Base::~Base() {}
int main(int count, char **) {
    thread_local Base local;
    Base *object = make();
    int result = local.f(count);
    try { result = object->f(count); } catch (const Error &e) { result += e.code + depth; }
    delete object;
    return result;
}
";

const DERIVED_CPP: &str = "
struct Base { virtual int f(int); virtual ~Base(); int n = 0; };
template <typename T> inline T twice(T x) { static T calls; ++calls; return x + x + calls; }
struct Error { int code; };
struct Derived final : Base { int f(int) override; };
int Derived::f(int x) { if (x > 9) throw Error{x}; return twice(x) * 3; }
Base *make() { return new Derived; }
";

#[test]
fn cpp_with_exceptions_comdats_and_thread_locals_is_the_same() {
    for front in ["-O2 -g", "-O0"] {
        let front = split(&[front]);
        let tree = Tree::new();
        tree.compile_source("base.cpp", BASE_CPP, &front);
        tree.compile_source("derived.cpp", DERIVED_CPP, &front);
        tree.thin_link(&["base.o", "derived.o"].map(str::to_owned));
        for module in ["base", "derived"] {
            for back in [
                "-O2",
                "-O0",
                "-Os -ffunction-sections",
                "-O2 -fno-exceptions",
            ] {
                same_object(&tree, module, &split(&[back]));
            }
        }
    }
}

/// With type metadata, `-fsplit-lto-unit` puts two modules into one file; the
/// back end compiles the one that has the ThinLTO summary.
#[test]
fn files_of_two_modules_are_the_same() {
    let tree = Tree::new();
    let front = split(&["-O2 -fsplit-lto-unit -fwhole-program-vtables -fvisibility=hidden"]);
    tree.compile_source("base.cpp", BASE_CPP, &front);
    tree.compile_source("derived.cpp", DERIVED_CPP, &front);
    let link = split(&[
        "-r --lto-whole-program-visibility --thinlto-index-only=list -o linked base.o derived.o",
    ]);
    succeed(&tree.run(LLD, &link));
    for module in ["base", "derived"] {
        let second = ["--n=1", "-o", "second.bc", &format!("{module}.o")].map(str::to_owned);
        succeed(&tree.run(tool!("llvm-modextract"), &second));
        for flags in ["-O2", "-O0", "-O2 -fsplit-lto-unit"] {
            same_object(&tree, module, &split(&[flags]));
        }
    }
}

/// What was not compiled for ThinLTO is compiled as it is, or to nothing.
#[test]
fn bitcode_without_a_summary_is_the_same() {
    let tree = Tree::new();
    tree.write("empty.thinlto.bc", "");
    tree.write("m.c", "int f(int x) { return x * 3; }\n");
    for front in [
        "-emit-llvm",
        "-flto=full",
        "-flto=full -ffat-lto-objects -emit-llvm",
    ] {
        succeed(&tree.run(CLANG, &split(&["-O1 -c -o m.o m.c", front])));
        for line in [
            "-O2 -x ir -c -o native.o m.o",
            "-O2 -x ir -fthinlto-index=empty.thinlto.bc -c -o native.o m.o",
        ] {
            let effect = same_effect(&tree, &words(line));
            assert!(
                effect.success && !effect.files["native.o"].is_empty(),
                "{effect:?}"
            );
        }
    }
}
