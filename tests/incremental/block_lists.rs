//! Files that list basic blocks: what they say of a function is for its module alone.

use crate::common::stderr;
use crate::project::Project;

const START: &str = "int twice(int); int note(int);
int start(int x) { if (x > 7) return note(x) * 3; return twice(x + 1); }\n";
const TWICE: &str = "int note(int);
__attribute__((noinline)) int twice(int x) { if (x > 5) return note(x) * 3; return x * 2; }
__attribute__((noinline)) int never(int x) { return x ? note(x) : 1; }\n";

/// A project of three modules, whose backends read the file `list`.
fn listed() -> Project {
    // One has no function at all.
    let data = ("data", "int table[3] = {1, 2, 3};\n");
    let mut project = Project::of(&[("main", START), ("util", TWICE), data]);
    project.set_flags(&["-fbasic-block-sections=list=list"]);
    project
}

/// What the list says of the functions of `main`, and of those of `util`.
fn write(project: &Project, main: &str, util: &str) {
    let text = format!("v1\nf start\n{main}m other.c\nf elsewhere\nc0\nf twice two\n{util}");
    project.write("list", text);
}

#[test]
fn what_a_list_says_of_a_function_is_for_its_module() {
    let project = listed();
    write(&project, "c0\n", "c0\n");
    project.build().compiled("main util data");
    let before = std::fs::read(project.object("util")).unwrap();
    write(&project, "c0\n", "c0 1\nc2\n");
    project.build().did("util", "", "main data");
    assert_ne!(
        std::fs::read(project.object("util")).unwrap(),
        before,
        "the list matters"
    );
    write(&project, "c0 1\n", "c0 1\nc2\n");
    project.build().did("main", "", "util data");
    // A list that was not there before, of parts that were.
    write(&project, "c0 1\n", "c0\n");
    project.build().did("", "", "main util data");
    write(&project, "c0\n", "c0\n");
    project.build().did("", "main util data", "");
    write(&project, "c0\n", "c0\nf never\nc0\n");
    project.build().did("util", "", "main data");
    write(&project, "c0\n", "c0\n# Nothing.\nf nobody\nc0\n");
    project.build().did("", "", "main util data");
}

/// Once it was found after the import, the inputs are enough.
#[test]
fn what_was_found_after_the_import_is_found_before_it_the_next_time() {
    let project = listed();
    write(&project, "c0\n", "c0\n");
    project.build().compiled("main util data");
    write(&project, "c0\n", "c0\nf nobody\nc0\n");
    project.build().did("", "", "main util data");
    for name in ["main", "util", "data"] {
        std::fs::remove_file(project.object(name)).unwrap();
    }
    project.build().did("", "main util data", "");
}

/// In a process of its own a compile tells of its functions too.
#[test]
fn a_list_is_taken_apart_for_worker_processes_too() {
    let project = listed();
    let build = || project.build_with(&["--timeout-per-object", "600"]);
    write(&project, "c0\n", "c0\n");
    build().compiled("main util data");
    write(&project, "c0\n", "c0 1\nc2\n");
    build().did("util", "", "main data");
}

/// The optimiser makes functions, and a list may have their names.
#[test]
fn functions_that_the_optimiser_makes_count() {
    let source = "static int one(int x) { return x + 1; }
        static int two(int x) { return x ^ 2; }
        static __attribute__((noinline)) int apply(int (*f)(int), int x) {
            for (int i = 0; i < x; i++) x = f(x) * 3; return x ? f(x) : 7; }
        int start(int x) { return apply(one, x) + apply(two, x) * 5; }\n";
    let mut project = Project::of(&[("main", source)]);
    let list = "-fbasic-block-sections=list=list";
    project.set_flags(&[list, "-mllvm", "-force-specialization"]);
    let write = |blocks: &str| {
        project.write("list", format!("v1\nf apply.specialized.1\n{blocks}"));
    };
    write("c0\n");
    project.build().compiled("main");
    let before = std::fs::read(project.object("main")).unwrap();
    write("c0 1\nc2\n");
    project.build().compiled("main");
    let after = std::fs::read(project.object("main")).unwrap();
    assert_ne!(after, before, "there is such a function");
}

/// The key has no part of the list that nobody understands.
#[test]
fn a_list_in_another_format_counts_as_a_whole() {
    let project = listed();
    project.write("list", "!start\n!!0\n");
    project.build().compiled("main util data");
    project.write("list", "!start\n!!0\n!twice\n");
    project.build().compiled("main util data");
    write(&project, "c0\n", "c0\n");
    project.build().compiled("main util data");
    write(&project, "c0\n", "c0\n@ what LLVM skips\n");
    project.build().compiled("main util data");
}

#[test]
fn what_is_wrong_with_a_list_is_said_by_clang_and_not_kept() {
    let project = listed();
    write(&project, "c0\n", "c0\n");
    project.build().compiled("main util data");
    for (wrong, said) in [
        ("c0 x\n", "unable to parse BB id: 'x'"),
        ("c0 0\n", "duplicate basic block id found '0'"),
        (
            "c0\nf twice\nc0\n",
            "duplicate profile for function 'twice'",
        ),
    ] {
        for _ in 0..2 {
            write(&project, "c0\n", wrong);
            let failed = project.try_build(&[]);
            assert!(!failed.status.success(), "{wrong}");
            let text = stderr(&failed);
            assert!(text.contains(said), "{wrong}: {text}");
        }
    }
    write(&project, "c0\n", "c0\n");
    project.build();
}

/// Nobody knows what another argument has the same file for.
#[test]
fn a_list_that_is_named_elsewhere_too_counts_as_a_whole() {
    let mut project = listed();
    let list = "-fbasic-block-sections=list=list";
    project.set_flags(&[list, "-fdebug-prefix-map=/=list"]);
    write(&project, "c0\n", "c0\n");
    project.build().compiled("main util data");
    write(&project, "c0\n", "c0 1\n");
    project.build().compiled("main util data");
}
