//! Files that assembly pulls in. Neither the module nor its flags show that they
//! change.

use std::time::{Duration, Instant};

use crate::common::{BACKLTO, stderr};
use crate::project::{BLOB, INNER, Project};

/// How long a build may take to come to some point.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_file_in_module_assembly_counts_with_its_content() {
    let project = Project::built();
    project.write("blob.bin", "blob 2");
    project.build().compiled("blob");
    project.write("blob.bin", "blob 1");
    project.build().did("", "blob", "");
    project.build().nothing();
}

#[test]
fn a_file_in_inline_assembly_counts_wherever_it_is_inlined() {
    let project = Project::built();
    project.write("inner.bin", "inner 2");
    project.build().compiled("main inner");
    project.write("inner.bin", "inner 1");
    project.build().did("", "main inner", "");
}

#[test]
fn a_file_that_is_gone_is_an_error_as_clang_has_it() {
    let project = Project::built();
    project.remove("blob.bin");
    for _ in 0..2 {
        let output = project.try_build(&[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains("Could not find incbin file 'blob.bin'"),
            "{said}"
        );
    }
    project.write("blob.bin", "blob 3");
    project.build().compiled("blob");
    project.remove("blob.bin");
    assert!(!project.try_build(&[]).status.success());
    project.write("blob.bin", "blob 1");
    project.build();
}

/// Found along the include path, which is only for assembly.
fn along(path: &[&str]) -> Project {
    let mut project = Project::new();
    project.remove("blob.bin");
    project.write("first/none", "");
    project.write("second/blob.bin", "second");
    project.set_flags(path);
    project.build();
    project
}

#[test]
fn a_file_that_appears_earlier_in_the_search_is_taken() {
    let project = along(&["-Wa,-Ifirst", "-Wa,-Isecond"]);
    project.write("second/blob.bin", "changed");
    project.build().compiled("blob");
    project.write("first/blob.bin", "first");
    project.build().compiled("blob");
    project.write("second/blob.bin", "does not matter any more");
    project.build();
    project.write("blob.bin", "here");
    project.build().compiled("blob");
    project.remove("blob.bin");
    project.build();
    project.remove("first/blob.bin");
    project.build().compiled("blob");
}

#[test]
fn another_include_path_is_a_change_for_such_assembly_alone() {
    let mut project = along(&["-Wa,-Ifirst", "-Wa,-Isecond"]);
    project.write("third/blob.bin", "third");
    project.set_flags(&["-Wa,-Ifirst", "-Wa,-Ithird"]);
    let built = project.build();
    assert!(built.compiled.contains("blob"), "{built:?}");
    assert!(
        !built.compiled.contains("util") && !built.compiled.contains("alone"),
        "{built:?}"
    );
    // Another order.
    project.set_flags(&["-Wa,-Ithird", "-Wa,-Isecond"]);
    project.build();
    project.set_flags(&["-Wa,-Isecond", "-Wa,-Ithird"]);
    project.build();
    // One that is found before.
    project.set_flags(&["-Wa,-Ithird", "-Wa,-Isecond", "-Wa,-Ithird"]);
    project.build();
    project.build().nothing();
    // By the cache alone.
    std::fs::remove_file(project.record()).unwrap();
    project.set_flags(&["-Wa,-Isecond"]);
    project.build();
    std::fs::remove_file(project.record()).unwrap();
    project.set_flags(&["-Wa,-Ithird"]);
    project.build();
}

#[test]
fn what_is_included_is_read_for_more() {
    let project = Project::built();
    project.write("a.inc", ".include \"b.inc\"\n");
    project.write("b.inc", ".ascii \"b\"\n.INCBIN \"blob.bin\", 1, 2\n");
    let text = BLOB.replace(".incbin \\\"blob.bin\\\"", ".include \\\"a.inc\\\"");
    project.edit("blob", &text);
    project.build().compiled("blob");
    project.write("blob.bin", "blob 5");
    project.build();
    project.write("blob.bin", "BLOB 5");
    project.build().compiled("blob");
    project.write("b.inc", ".ascii \"c\"\n");
    project.build().compiled("blob");
    project.build().nothing();
}

#[test]
fn assembly_that_cannot_be_read_is_compiled_every_time() {
    let project = Project::built();
    let spelled = ".macro pull file\\n.incbin \\\"\\\\file\\\"\\n.endm\\npull blob.bin";
    project.edit("blob", &BLOB.replace(".incbin \\\"blob.bin\\\"", spelled));
    for text in ["blob 6", "blob 6", "blob 7"] {
        project.write("blob.bin", text);
        project.build().compiled("blob");
    }
    // In a function that others import, it is theirs too.
    let spelled = ".incbin \\\"inner%c0.bin\\\"";
    let text = INNER
        .replace(".incbin \\\"inner.bin\\\"", spelled)
        .replace(".popsection\"", ".popsection\" :: \"i\"(1)");
    project.write("inner1.bin", "inner 1");
    project.edit("inner", &text);
    project.build();
    project.write("inner1.bin", "inner 2");
    project.build().compiled("blob inner main");
}

/// Names in assembly are of the directory of the build.
#[test]
fn another_tree_with_another_file_gets_its_own_object() {
    let mut project = Project::built();
    project.copy("copy");
    project.write("blob.bin", "of the copy");
    std::fs::remove_file(project.record()).unwrap();
    let built = project.build();
    built.did("blob", "main util inner alone", "");
}

/// clang writes alternatives of inline assembly as `$(cbin$|x$)`.
#[test]
fn a_directive_of_one_dialect_counts() {
    let project = Project::built();
    // With operands, as other assembly is taken as it stands.
    let text = INNER
        .replace(".incbin", ".in{cbin|x}")
        .replace(".popsection\"", ".popsection\" :: \"i\"(1)");
    project.edit("inner", &text);
    project.build();
    project.write("inner.bin", "inner 2");
    project.build().compiled("main inner");
    project.build().nothing();
}

/// It is hashed for one module; another is compiled of what it is for a moment. An object
/// of that must not count as one of what was hashed.
#[test]
fn a_file_that_is_another_for_a_moment_is_not_what_the_record_says() {
    let mut project = Project::of(&[
        ("first", BLOB),
        (
            "second",
            &BLOB
                .replace("blob:", "other:")
                .replace("globl blob", "globl other"),
        ),
    ]);
    for cache in ["", "cache"] {
        project.cache = project.home().join(cache);
        if cache.is_empty() {
            project.cache = "".into();
        }
        project.plan();
        let until = project.home().join("until");
        let _ = std::fs::remove_file(&until);
        let mut build = project
            .command(BACKLTO)
            .args(["-j2", "run", "plan.json"])
            .env("BACKLTO_FAULT", "wait:second.o")
            .env("BACKLTO_FAULT_UNTIL", &until)
            .spawn()
            .expect("backlto starts");
        let begin = Instant::now();
        while !project.object("first").exists() {
            assert!(begin.elapsed() < PATIENCE, "first.o is not compiled");
            std::thread::sleep(Duration::from_millis(5));
        }
        project.write("blob.bin", "for a moment");
        std::fs::write(&until, "").expect("a file is written");
        assert!(build.wait().expect("it ends").success());
        let told = std::fs::read(project.object("second")).expect("an object");
        assert!(String::from_utf8_lossy(&told).contains("for a moment"));
        project.write("blob.bin", "blob 1");
        project.build().compiled("second");
        project.build().nothing();
        for name in ["first", "second"] {
            std::fs::remove_file(project.object(name)).expect("it was there");
        }
        std::fs::remove_file(project.record()).expect("it was there");
    }
}
