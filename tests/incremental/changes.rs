//! One change after the other to the inputs of a small program.

use std::time::{Duration, SystemTime};

use crate::project::{ALL, Project, UTIL, modified, set_modified};

#[test]
fn what_did_not_change_is_not_compiled() {
    let project = Project::built();
    for _ in 0..2 {
        project.build().nothing();
    }
}

#[test]
fn a_new_time_alone_is_no_change() {
    let project = Project::built();
    let inputs = |name: &String| [format!("{name}.o"), format!("{name}.o.thinlto.bc")];
    let later = SystemTime::now() + Duration::from_secs(2000);
    for input in project.modules.iter().flat_map(inputs) {
        set_modified(&project.file(&input), later);
    }
    // Compiled again, to the same bytes.
    project.edit("util", UTIL);
    project.build().nothing();
    for name in &project.modules {
        let module = modified(&project.file(&format!("{name}.o")));
        assert!(modified(&project.object(name)) >= module, "{name}");
    }
}

/// make would build what looks older than what it is made of.
#[test]
fn what_is_up_to_date_does_not_look_older_than_its_module() {
    let project = Project::built();
    let long_ago = SystemTime::now() - Duration::from_secs(5000);
    set_modified(&project.object("util"), long_ago);
    project.build().nothing();
    assert!(modified(&project.object("util")) >= modified(&project.file("util.o")));
}

#[test]
fn only_what_changed_is_compiled() {
    let project = Project::built();
    // Nobody imports this: LLVM sees it once it has imported into `main`.
    project.edit("util", &UTIL.replace("x * 5", "x * 7"));
    project.build().did("util", "", "main");
    // `main` imports that.
    project.edit("util", &UTIL.replace("x * 2", "x * 9"));
    project.build().compiled("main util");
    project.edit("alone", "int alone(int x) { return x ^ 77; }\n");
    project.build().compiled("alone");
    // Back again: everything has been there before.
    project.edit("util", UTIL);
    project.build().only_from_cache("main util");
    project.build().nothing();
}

/// What the next module is told of a change that the object does not show.
#[test]
fn a_chain_of_imports_is_followed_to_its_end() {
    let sources = [
        (
            "one",
            "int two(int); int one(int x) { return two(x) + 1; }\n",
        ),
        (
            "two",
            "int three(int); int two(int x) { return three(x) + 2; }\n",
        ),
        ("three", "int three(int x) { return x + 3; }\n"),
    ];
    let project = Project::of(&sources);
    project.build().compiled("one two three");
    project.edit("three", "int three(int x) { return x + 33; }\n");
    project.build().compiled("one two three");
    // No longer imported, since it may not be inlined.
    project.edit(
        "three",
        "__attribute__((noinline)) int three(int x) { return x + 33; }\n",
    );
    project.build();
    project.edit("two", "int two(int x) { return x; }\n");
    project.build();
    project.build().nothing();
}

#[test]
fn modules_come_and_go() {
    let mut project = Project::built();
    project.edit(
        "more",
        "int twice(int); int more(int x) { return twice(x) + 4; }\n",
    );
    project.modules.push("more".to_owned());
    // What others export is part of their indexes.
    let built = project.build();
    assert!(built.compiled.contains("more"), "{built:?}");
    project.modules.pop();
    project.build();
    project.modules.push("more".to_owned());
    project.build().compiled("");
    project.modules.swap(0, 4);
    project.build();
    project.build().nothing();
}

#[test]
fn a_tree_that_moves_keeps_its_objects() {
    let mut project = Project::built();
    project.rename("elsewhere");
    project.build().nothing();
    project.copy("copy");
    project.build().nothing();
}

#[test]
fn another_tree_takes_objects_from_the_cache() {
    let mut project = Project::built();
    project.copy("copy");
    std::fs::remove_file(project.record()).unwrap();
    project.build().did("", ALL, "");
    project.copy("another");
    for name in &project.modules {
        std::fs::remove_file(project.object(name)).unwrap();
    }
    project.build().did("", ALL, "");
}

/// As `cp -p` and `git checkout` of old times leave it.
#[test]
fn other_content_with_an_old_time_is_a_change() {
    let project = Project::built();
    let long_ago = modified(&project.file("util.o")) - Duration::from_secs(5000);
    let (module, source) = (project.file("util.o"), project.file("util.c"));
    project.edit("util", &UTIL.replace("x * 2", "x * 3"));
    for path in [module, source] {
        set_modified(&path, long_ago);
    }
    project.build().compiled("main util");
}

#[test]
fn the_same_time_and_size_is_no_proof() {
    let project = Project::built();
    let module = project.file("alone.o");
    let time = modified(&module);
    project.edit("alone", "int alone(int x) { return x - 2; }\n");
    set_modified(&module, time);
    project.build().compiled("alone");
}

#[test]
fn clocks_may_be_wrong() {
    let project = Project::built();
    let year = Duration::from_secs(365 * 24 * 3600);
    for time in [SystemTime::now() + year, SystemTime::now() - year] {
        for name in &project.modules {
            set_modified(&project.object(name), time);
        }
        set_modified(&project.record(), time);
        project.build().nothing();
        let text = format!(
            "int alone(int x) {{ return x * {}; }}\n",
            time > SystemTime::now()
        );
        let text = text.replace("true", "11").replace("false", "12");
        project.edit("alone", &text);
        project.build().compiled("alone");
    }
}

#[test]
fn other_flags_are_a_change() {
    let mut project = Project::built();
    for flags in [
        &["-O1"][..],
        &["-fno-inline"],
        &["-fPIC"],
        &["-ffunction-sections"],
        &["-march=x86-64-v3"],
        &["-mllvm", "-align-all-functions=6"],
        &["-mllvm", "-align-all-functions=7"],
        &["-falign-functions=32"],
        &["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"],
    ] {
        project.set_flags(flags);
        let built = project.build();
        assert_eq!(built.compiled.len(), 5, "{flags:?}: {built:?}");
        project.build().nothing();
    }
    project.set_flags(&[]);
    project.build().did("", ALL, "");
    // Nothing that an object depends on.
    project.set_flags(&[
        "-DX=1",
        "-Iinclude",
        "-Wno-unused",
        "-Wno-unused-command-line-argument",
    ]);
    project.build();
    project.set_flags(&[
        "-DX=2",
        "-Iother",
        "-Wno-unused",
        "-Wno-unused-command-line-argument",
    ]);
    project.build().nothing();
}

/// Options may name files with options of their own.
#[test]
fn a_file_that_flags_name_counts_with_its_content() {
    let mut project = Project::new();
    let list = |project: &Project, text: &str| project.write("list", text);
    list(&project, "!never\n");
    project.set_flags(&["-fbasic-block-sections=list=list"]);
    project.build().compiled(ALL);
    let before = std::fs::read(project.object("util")).unwrap();
    list(&project, "!twice\n!never\n!start\n");
    project.build();
    list(&project, "v1\nf twice\nc 0\nf never\nc 0\n");
    project.build();
    assert_ne!(
        std::fs::read(project.object("util")).unwrap(),
        before,
        "the list matters"
    );
    list(&project, "!never\n");
    project.build().only_from_cache(ALL);
}

#[test]
fn another_profile_is_a_change() {
    let source = "__attribute__((noinline)) int rare(int x) { return x * 3; }
        int hot(int x) { if (x > 5) return rare(x); return x ^ 2; }\n";
    let mut project = Project::of(&[]);
    let profile = |project: &Project, text: &str| project.write("samples", text);
    let flags = [
        "-fprofile-sample-use=samples",
        "-gmlt",
        "-fdebug-info-for-profiling",
    ];
    profile(&project, "hot:100:10\n 0: 10\n 1: 10\n");
    project.edit_with("prof", source, &flags);
    project.modules.push("prof".to_owned());
    project.set_flags(&flags);
    project.build().compiled("prof");
    profile(
        &project,
        "rare:900:10\n 0: 10\nhot:90000:1000\n 0: 1000\n 1: 1000 rare:990\n",
    );
    project.build().compiled("prof");
    project.build().nothing();
}
