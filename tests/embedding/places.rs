//! The directories of jobs.

use std::path::PathBuf;

use backlto::{Engine, Job, Plan, Silent};

use crate::common::{Tree, succeed};
use crate::{flags, one_worker, run};

const SOURCES: [(&str, &str); 2] = [
    ("one.c", "int one(int x) { return x + 1; }\n"),
    ("two.c", "int two(int x) { return x * 2; }\n"),
];

/// Both modules in `tree`, compiled in `directory`.
fn plan(tree: &Tree, directory: PathBuf) -> Plan {
    for (source, text) in SOURCES {
        tree.compile_source(source, text, &["-O2"]);
    }
    tree.thin_link(&["one.o".to_owned(), "two.o".to_owned()]);
    let job = |name: &str| Job {
        directory: directory.clone(),
        ..Job::new(name, flags(&["clang", "-O2"]))
    };
    Plan {
        jobs: vec![job("one.o"), job("two.o")],
        ..Plan::default()
    }
}

#[track_caller]
fn assert_as_clang(tree: &Tree) {
    for name in ["one", "two"] {
        succeed(&tree.clang_backend(name, "expected.o", &["-O2"]));
        assert!(tree.read(&format!("{name}.o.native.o")) == tree.read("expected.o"));
    }
}

/// A thread that has done a job is in the directory of that.
#[test]
fn a_relative_directory_starts_where_the_process_is() {
    let tree = Tree::new();
    let here = std::env::current_dir().expect("a directory");
    let mut relative: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let there = tree.path().canonicalize().expect("it is there");
    relative.push(there.strip_prefix("/").expect("it is absolute"));
    let plan = plan(&tree, relative);
    let engine = Engine::new(&one_worker()).expect("an engine");
    for _ in 0..2 {
        for report in run(&engine, &plan, &Silent) {
            assert!(report.result.is_ok(), "{:?}", report.result);
        }
    }
    assert_as_clang(&tree);
}
