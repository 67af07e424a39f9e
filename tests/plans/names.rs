//! Names of files that flags lead to, and names that an object holds.

use backlto::CacheOptions;

use super::*;
use crate::common::PROFDATA;

/// Runs `plan` in this process; every file must be the one that clang writes for
/// the same command line. They are removed.
#[track_caller]
fn as_clang(tree: &Tree, plan: &Plan) {
    let mut expected = BTreeMap::new();
    for job in &plan.jobs {
        let line = job.command_line();
        let effect = tree.observe(&line[0], &line[1..]);
        assert!(effect.success, "{effect:?}");
        expected.extend(effect.files);
    }
    assert!(expected.len() >= plan.jobs.len(), "{:?}", expected.keys());
    let before = tree.files();
    let engine = Engine::new(&workers(2)).expect("an engine");
    let reports = engine
        .run(plan, &Silent)
        .unwrap_or_else(|e| panic!("{e:?}"));
    for report in reports {
        report.result.unwrap_or_else(|e| panic!("{e}"));
    }
    let mut actual = tree.files();
    actual.retain(|name, _| !before.contains_key(name));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&actual), names(&expected));
    for (name, bytes) in actual {
        assert!(bytes == expected[&name], "{name} is not what clang writes");
        std::fs::remove_file(tree.file(&name)).expect("it is there");
    }
}

fn demo_plan(tree: &Tree, texts: &[&str]) -> Plan {
    let shared = flags(texts);
    let jobs = DEMO.iter();
    Plan {
        jobs: jobs
            .map(|module| job(tree, module, &format!("{module}.native.o"), &shared))
            .collect(),
        ..Plan::default()
    }
}

#[test]
fn objects_hold_the_names_of_their_own_job() {
    let tree = Tree::demo(&["-O2", "-g"]);
    for texts in [
        &["-O2 -g -gsplit-dwarf=single"][..],
        &["-O2 -mllvm -lto-embed-bitcode=post-merge-pre-opt"],
        &["-O2 -mllvm -lto-embed-bitcode=optimized"],
    ] {
        as_clang(&tree, &demo_plan(&tree, texts));
    }
}

#[test]
fn a_command_line_in_an_object_counts() {
    let tree = Tree::demo(&["-O2"]);
    let embed = "-O2 -mllvm -lto-embed-bitcode=post-merge-pre-opt";
    let cache = tree.file("cache");
    for include in ["-Ix", "-Iy", "-Ix"] {
        let plan = demo_plan(&tree, &[embed, include]);
        let clang = &plan.jobs[0].command_line();
        let expected = &tree.observe(&clang[0], &clang[1..]).files["deck.native.o"];
        let options = Options {
            cache: Some(CacheOptions::new(&cache)),
            ..workers(1)
        };
        assert!(objects(&plan, &options)[0] == *expected, "{include}");
    }
}

#[test]
fn profiles_are_found_from_the_directory_of_the_plan() {
    let tree = Tree::demo(&["-O2", "-gline-tables-only"]);
    tree.write("s.prof", "shuffle:1000:10\n 1: 100\n");
    std::fs::create_dir(tree.file("profiles")).expect("a directory");
    tree.write("p.proftext", ":ir\nshuffle\n1\n1\n100\n");
    let args = ["merge", "p.proftext", "-o", "profiles/default.profdata"];
    succeed(&tree.run(PROFDATA, &args));
    assert_ne!(std::env::current_dir().expect("a directory"), tree.path());
    for profile in ["-fprofile-sample-use=s.prof", "-fprofile-use=profiles"] {
        as_clang(&tree, &demo_plan(&tree, &["-O2", profile]));
    }
}
