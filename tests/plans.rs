//! Whole plans: jobs of many kinds in one process, each compiled as if it were
//! alone, and what `backlto run` says of them.

mod common;
#[path = "plans/door.rs"]
mod door;
#[path = "plans/names.rs"]
mod names;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};

use backlto::{CompilerCommand, Engine, Job, JobReport, Observer, Options, Plan, Silent};
use common::{BACKLTO, CLANG, DEMO, Tree, succeed};

/// A job of `tree` with the names that its backend compile has by custom.
fn job(tree: &Tree, module: &str, output: &str, flags: &Arc<[String]>) -> Job {
    Job {
        directory: tree.path().to_owned(),
        module: format!("{module}.o"),
        index: Some(format!("{module}.o.thinlto.bc")),
        output: output.to_owned(),
        command: CompilerCommand::Flags(Arc::clone(flags)),
        post: None,
    }
}

/// A flag set, with the compiler's name.
fn flags(texts: &[&str]) -> Arc<[String]> {
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    [CLANG]
        .into_iter()
        .chain(words)
        .map(str::to_owned)
        .collect()
}

/// Jobs with other LLVM options than the first ones of this process go to the
/// program.
fn workers(count: usize) -> Options {
    Options {
        workers: NonZeroUsize::new(count),
        helper: Some(BACKLTO.into()),
        ..Options::default()
    }
}

/// Runs `plan` and returns the objects in plan order, which it removes.
#[track_caller]
fn objects(plan: &Plan, options: &Options) -> Vec<Vec<u8>> {
    let engine = Engine::new(options).expect("an engine");
    let reports = engine.run(plan, &Silent).expect("the plan fits");
    assert_eq!(reports.len(), plan.jobs.len());
    let pairs = plan.jobs.iter().zip(&reports);
    pairs
        .map(|(job, report)| {
            let path = job.output_path();
            let size = report.result.as_ref().unwrap_or_else(|e| panic!("{e}"));
            let bytes = std::fs::read(&path).expect("the object");
            assert_eq!(bytes.len() as u64, *size, "{}", path.display());
            std::fs::remove_file(path).expect("the object is removed");
            bytes
        })
        .collect()
}

/// What clang makes of each job, run in the job's own directory.
fn expected_objects(plan: &Plan) -> Vec<Vec<u8>> {
    plan.jobs
        .iter()
        .map(|job| {
            let line = job.command_line();
            let mut clang = Process::new(&line[0]);
            clang.args(&line[1..]).current_dir(&job.directory);
            succeed(&clang.output().expect("clang runs"));
            let bytes = std::fs::read(job.output_path()).expect("clang's object");
            std::fs::remove_file(job.output_path()).expect("the object is removed");
            bytes
        })
        .collect()
}

/// Which jobs differ, by their outputs.
fn differences(plan: &Plan, one: &[Vec<u8>], other: &[Vec<u8>]) -> Vec<String> {
    let all = plan.jobs.iter().zip(one.iter().zip(other));
    all.filter(|(_, (one, other))| one != other)
        .map(|(job, _)| format!("{} with {:?}", job.output, job.command))
        .collect()
}

// --- one process, many kinds of jobs ---------------------------------------

/// Process-wide options, each of which can be seen in the object.
const OPTIONS: [&str; 4] = [
    "",
    "-mllvm -inline-threshold=-1000",
    "-mllvm -align-all-functions=7",
    "-mllvm -align-all-functions=7 -mllvm -inline-threshold=-1000",
];

const TARGETS: [&str; 4] = ["x86_64", "aarch64", "riscv64", "loongarch64"];

/// Every target with every set of options; the trees own the files.
fn mixed_plan() -> (Vec<Tree>, Plan) {
    let mut trees = Vec::new();
    let mut plan = Plan::default();
    for target in TARGETS {
        let target = format!("--target={target}-linux-gnu");
        let tree = Tree::demo(&[&target, "-O2"]);
        for (number, options) in OPTIONS.iter().enumerate() {
            let flags = flags(&[&target, "-O2", options]);
            for module in DEMO {
                plan.jobs
                    .push(job(&tree, module, &format!("{module}.{number}.o"), &flags));
            }
        }
        trees.push(tree);
    }
    (trees, plan)
}

#[test]
fn every_job_gets_its_own_target_and_options() {
    let (_trees, plan) = mixed_plan();
    let expected = expected_objects(&plan);
    // Options that changed nothing would show nothing.
    for of_target in expected.chunks(OPTIONS.len() * DEMO.len()) {
        let first_module: Vec<_> = of_target.iter().step_by(DEMO.len()).collect();
        let distinct: std::collections::BTreeSet<_> = first_module.iter().collect();
        assert_eq!(distinct.len(), OPTIONS.len());
    }

    for count in [1, 2, 8] {
        let actual = objects(&plan, &workers(count));
        let differences = differences(&plan, &expected, &actual);
        assert!(differences.is_empty(), "{count} workers: {differences:#?}");
    }

    // The same in other orders, with the targets and options well mixed.
    for step in [1, 5, 7, 11] {
        let count = plan.jobs.len();
        let order: Vec<usize> = (0..count).map(|i| count - 1 - i * step % count).collect();
        let permuted = Plan {
            jobs: order.iter().map(|&i| plan.jobs[i].clone()).collect(),
            ..Plan::default()
        };
        let expected: Vec<_> = order.iter().map(|&i| expected[i].clone()).collect();
        let actual = objects(&permuted, &workers(2));
        let differences = differences(&permuted, &expected, &actual);
        assert!(differences.is_empty(), "step {step}: {differences:#?}");
    }
}

/// Options of one run must not leak into the next.
#[test]
fn options_are_back_at_their_defaults_after_a_run() {
    let tree = Tree::demo(&["-O2"]);
    let plan = |options: &str| Plan {
        jobs: vec![job(&tree, "deck", "native.o", &flags(&["-O2", options]))],
        ..Plan::default()
    };
    for options in ["", OPTIONS[3], "", OPTIONS[1], OPTIONS[2], ""] {
        let plan = plan(options);
        let actual = objects(&plan, &workers(2));
        assert!(actual == expected_objects(&plan), "with `{options}`");
    }
}

/// A program that embeds the library may have threads of its own.
#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() {
    let (_trees, plan) = mixed_plan();
    let expected = expected_objects(&plan);
    std::thread::scope(|scope| {
        for number in 0..OPTIONS.len() {
            let (plan, expected) = (&plan, &expected);
            scope.spawn(move || {
                // Each thread has the jobs of one set of options.
                let own = |i: &usize| i / DEMO.len() % OPTIONS.len() == number;
                let mine: Vec<usize> = (0..plan.jobs.len()).filter(own).collect();
                let plan = Plan {
                    jobs: mine.iter().map(|&i| plan.jobs[i].clone()).collect(),
                    ..Plan::default()
                };
                let expected: Vec<_> = mine.iter().map(|&i| expected[i].clone()).collect();
                let actual = objects(&plan, &workers(2));
                let differences = differences(&plan, &expected, &actual);
                assert!(differences.is_empty(), "{differences:#?}");
            });
        }
    });
}

/// LLVM has no way to undo these: to reset its options is not enough.
#[test]
fn options_of_one_job_do_not_leak_into_another() {
    let tree = Tree::demo(&["-O2"]);
    let sets = [
        "",
        "-mllvm -regalloc=basic",
        "-mllvm -unroll-threshold=50",
        "-mllvm -opt-bisect-limit=0",
        "",
        "-mllvm -regalloc=basic",
    ];
    for step in [1, 5] {
        let mut plan = Plan::default();
        for i in 0..sets.len() {
            let number = i * step % sets.len();
            let flags = flags(&["-O2", sets[number]]);
            for module in DEMO {
                let output = format!("{module}.{number}.o");
                plan.jobs.push(job(&tree, module, &output, &flags));
            }
        }
        let expected = expected_objects(&plan);
        let differences = differences(&plan, &expected, &objects(&plan, &workers(2)));
        assert!(differences.is_empty(), "step {step}: {differences:#?}");
    }
}

/// In a host that names no program for it, the options of its first job, or its
/// own, are not changed behind its back.
#[test]
fn other_options_without_another_process_are_an_error() {
    let tree = Tree::demo(&["-O2"]);
    let all = ["", "-mllvm -align-all-functions=7"].map(|options| flags(&["-O2", options]));
    let plan = Plan {
        jobs: all
            .iter()
            .enumerate()
            .map(|(number, flags)| job(&tree, "rng", &format!("{number}.o"), flags))
            .collect(),
        ..Plan::default()
    };
    let options = Options {
        helper: None,
        // Where both are other ones, the first failure is not to hide the second.
        keep_going: true,
        ..workers(2)
    };
    let engine = Engine::new(&options).expect("an engine");
    let reports = engine.run(&plan, &Silent).expect("the plan fits");
    // Which of the two sets other tests were first with is not known.
    let failed: Vec<_> = reports
        .iter()
        .filter_map(|r| r.result.as_ref().err())
        .collect();
    assert!(!failed.is_empty());
    for error in failed {
        assert_eq!(error.kind(), backlto::error::Kind::Environment, "{error}");
        assert!(error.to_string().contains("-mllvm"), "{error}");
    }
}

/// Cancels when the last job starts.
struct Impatient<'a>(&'a Engine, usize);

impl Observer for Impatient<'_> {
    fn started(&self, number: usize, _: usize, _: &Job) {
        if number == self.1 {
            self.0.cancel();
        }
    }
}

/// A compile in this process cannot be ended; one in another can.
#[test]
fn a_cancelled_run_does_not_wait_for_other_processes() {
    let tree = Tree::demo(&["-O2"]);
    let script = format!(
        "printf '#!/bin/sh\\nBACKLTO_FAULT=hang:.o exec {BACKLTO} \"$@\"\\n' > h && chmod +x h"
    );
    succeed(&tree.run("sh", &["-c", &script]));
    let hang = flags(&["-O2", "-mllvm -inline-threshold=7"]);
    let here = flags(&["-O2"]);
    let plan = Plan {
        jobs: vec![
            job(&tree, "rng", "0.o", &here),
            job(&tree, "rng", "1.o", &hang),
        ],
        ..Plan::default()
    };
    let options = Options {
        helper: Some(tree.file("h")),
        ..workers(1)
    };
    let engine = Engine::new(&options).expect("an engine");
    let reports = engine
        .run(&plan, &Impatient(&engine, 1))
        .expect("the plan fits");
    let error = reports[1].result.as_ref().expect_err("it hangs");
    assert_eq!(error.kind(), backlto::error::Kind::Cancelled, "{error}");
}

// --- directories and names -----------------------------------------------------

/// Every name of a job, also one in its assembly, starts at its own directory.
#[test]
fn equal_names_in_different_directories_are_different_files() {
    let text = r#"int f(void) { __asm__ volatile(".pushsection .x\n.incbin \"blob\"\n.popsection"); return N; }"#;
    let flags = flags(&["-O2 -fsave-optimization-record"]);
    let trees: Vec<Tree> = (0..4).map(|_| Tree::new()).collect();
    let mut plan = Plan::default();
    for (number, tree) in trees.iter().enumerate() {
        tree.write("blob", format!("blob number {number}"));
        tree.compile("m", text, &["-O2", &format!("-DN={number}")]);
        tree.thin_link(&["m.o".to_owned()]);
        plan.jobs.push(job(tree, "m", "native.o", &flags));
    }
    let expected = expected_objects(&plan);
    let here = std::env::current_dir().expect("a directory");
    for count in [1, 3] {
        assert!(
            objects(&plan, &workers(count)) == expected,
            "{count} workers"
        );
        for (number, tree) in trees.iter().enumerate() {
            let names: Vec<String> = tree.files().into_keys().collect();
            let left = [
                "blob",
                "list",
                "m.c",
                "m.o",
                "m.o.thinlto.bc",
                "native.opt.yaml",
            ];
            assert_eq!(names, left, "in directory {number}");
            std::fs::remove_file(tree.file("native.opt.yaml")).expect("a record");
        }
    }
    assert_eq!(std::env::current_dir().expect("a directory"), here);
}

/// clang derives these from the object's name, which is another in every job
/// although the flags are shared.
#[test]
fn one_file_by_two_names_is_refused() {
    let tree = Tree::demo(&["-O2"]);
    std::os::unix::fs::symlink(".", tree.file("same")).expect("a link");
    let flags = flags(&["-O2"]);
    for other in ["./deck.native.o", "same/deck.native.o"] {
        let plan = Plan {
            jobs: vec![
                job(&tree, "deck", "deck.native.o", &flags),
                job(&tree, "sort", other, &flags),
            ],
            ..Plan::default()
        };
        let engine = Engine::new(&workers(1)).expect("an engine");
        let errors = engine.run(&plan, &Silent).expect_err(other);
        assert_eq!(
            errors.first().kind(),
            backlto::error::Kind::Plan,
            "{errors}"
        );
    }
}

#[test]
fn files_beside_the_objects_get_their_own_names() {
    let tree = Tree::demo(&["-O2", "-g", "-gsplit-dwarf"]);
    std::fs::create_dir(tree.file("sub")).expect("a directory");
    for flag in [
        "-gsplit-dwarf",
        "-fsave-optimization-record",
        "-fstack-usage",
    ] {
        let shared = flags(&["-O2 -g", flag]);
        let jobs = [
            ("deck", "deck.native.o"),
            ("sort", "sub/n.o"),
            ("rng", "sub/deck.native.o"),
        ];
        let plan = Plan {
            jobs: jobs
                .iter()
                .map(|(module, output)| job(&tree, module, output, &shared))
                .collect(),
            ..Plan::default()
        };
        let mut expected = BTreeMap::new();
        for job in &plan.jobs {
            let line = job.command_line();
            expected.extend(tree.observe(&line[0], &line[1..]).files);
        }
        assert_eq!(
            expected.len(),
            2 * jobs.len(),
            "{flag}: {:?}",
            expected.keys()
        );

        let before = tree.files();
        let engine = Engine::new(&workers(2)).expect("an engine");
        let reports = engine.run(&plan, &Silent).expect("the plan fits");
        assert!(reports.iter().all(|report| report.result.is_ok()), "{flag}");
        let mut actual = tree.files();
        actual.retain(|name, _| !before.contains_key(name));
        assert!(
            actual.keys().eq(expected.keys()),
            "{flag}: {:?}",
            actual.keys()
        );
        assert!(actual == expected, "{flag}");
        actual
            .keys()
            .for_each(|name| std::fs::remove_file(tree.file(name)).expect("it is there"));
    }
}

/// Without the seams LLVM opens every file again by name, and prints some of
/// its messages itself.
#[test]
fn jobs_read_the_mapped_inputs() {
    backlto::own_process().expect("LLVM is the one built against");
    assert!(backlto::shares_inputs(), "of this program");

    // The same for the program that users run.
    let doctor = Process::new(BACKLTO).arg("doctor").output();
    let said = String::from_utf8(doctor.expect("it starts").stdout).expect("UTF-8");
    assert!(
        said.contains("mapped once and shared by all jobs"),
        "{said}"
    );
}

// --- reports ---------------------------------------------------------------------

/// Writes down what it is told.
#[derive(Default)]
struct Witness(Mutex<Vec<(&'static str, usize, String)>>);

impl Witness {
    fn note(&self, what: &'static str, number: usize, job: &Job) {
        self.0
            .lock()
            .expect("no panic")
            .push((what, number, job.output.clone()));
    }
}

impl Observer for Witness {
    fn started(&self, number: usize, _: usize, job: &Job) {
        self.note("started", number, job);
    }

    fn finished(&self, number: usize, _: usize, job: &Job, _: &JobReport) {
        self.note("finished", number, job);
    }
}

/// Large modules go first, so that reports do not come in plan order by chance;
/// one job fails and one warns in between.
#[test]
fn reports_come_in_plan_order_and_a_failure_stops_nothing_that_is_to_go_on() {
    let large = |name: &str, count: usize| {
        (0..count)
            .map(|i| format!("int {name}{i}(int *a, int n) {{ int s = {i}; for (int i = 0; i < n; i++) s = s * 3 + a[i] % (i + 7); return s; }}\n"))
            .collect::<String>()
    };
    let sources = [
        ("a", large("a", 1)),
        ("b", "void f(void) { __asm__(\"bogus\"); }\n".to_owned()),
        (
            "c",
            "void use(char *); void g(void) { char x[999]; use(x); }\n".to_owned(),
        ),
        ("d", large("d", 40)),
        ("e", large("e", 4)),
    ];
    let sources: Vec<(&str, &str)> = sources
        .iter()
        .map(|(name, text)| (*name, &**text))
        .collect();
    let tree = Tree::thin_linked(&sources, &["-O2", "-Wframe-larger-than=500"]);
    let shared = flags(&["-O2", "-Idirectory"]);
    let plan = Plan {
        jobs: sources
            .iter()
            .map(|(name, _)| job(&tree, name, &format!("{name}.native.o"), &shared))
            .collect(),
        ..Plan::default()
    };
    let expected: Vec<_> = plan
        .jobs
        .iter()
        .map(|job| {
            let line = job.command_line();
            tree.observe(&line[0], &line[1..])
        })
        .collect();
    assert!(expected[1].stderr.contains("bogus") && expected[2].stderr.contains("exceeds limit"));

    for count in [1, 2, 8] {
        let witness = Witness::default();
        let options = Options {
            keep_going: true,
            ..workers(count)
        };
        let engine = Engine::new(&options).expect("an engine");
        let reports = engine.run(&plan, &witness).expect("the plan fits");
        assert_eq!(reports.len(), expected.len());
        for ((job, report), expected) in plan.jobs.iter().zip(&reports).zip(&expected) {
            assert_eq!(report.diagnostics, expected.stderr, "{}", job.output);
            assert_eq!(report.result.is_ok(), expected.success, "{}", job.output);
            let size = expected
                .files
                .get(&job.output)
                .map(|bytes| bytes.len() as u64);
            assert_eq!(report.result.as_ref().ok(), size.as_ref(), "{}", job.output);
            assert_eq!(
                job.output_path().exists(),
                expected.success,
                "{}",
                job.output
            );
        }
        let failure = reports[1].result.as_ref().expect_err("bad assembly");
        assert_eq!(failure.kind(), backlto::error::Kind::Codegen);

        let notes = witness.0.into_inner().expect("no panic");
        assert_eq!(notes.len(), 2 * plan.jobs.len());
        for (number, job) in plan.jobs.iter().enumerate() {
            let mine: Vec<_> = notes.iter().filter(|(_, n, _)| *n == number).collect();
            let expected = ["started", "finished"].map(|what| (what, number, job.output.clone()));
            assert!(mine.into_iter().eq(&expected), "{notes:?}");
        }
    }
}

#[test]
fn a_command_line_becomes_the_job_that_it_stands_for() {
    let tree = Tree::demo(&["-O2"]);
    let mut line = vec![CLANG.to_owned()];
    line.extend(Tree::backend_args("deck", "native.o", &["-O1", "-fPIC"]));
    let job = backlto::job_from_command_line(&line, tree.path().to_owned()).expect("a job");
    assert_eq!((&*job.module, &*job.output), ("deck.o", "native.o"));
    assert_eq!(job.index.as_deref(), Some("deck.o.thinlto.bc"));
    assert_eq!(job.module_path(), tree.file("deck.o"));
    assert_eq!(job.command_line(), line);
    let plan = Plan {
        jobs: vec![job],
        ..Plan::default()
    };
    assert!(objects(&plan, &workers(2)) == expected_objects(&plan));

    for (line, needle) in [
        ("clang -c x.c", "does not compile bitcode"),
        ("clang -x ir -c -o - x.o", "not standard input and output"),
        ("clang -x ir -c x.o y.o", "2 tools"),
        ("clang -x ir x.o", "-c"),
        ("clang -c", "no input files"),
    ] {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = backlto::job_from_command_line(&line, tree.path().to_owned());
        let text = error.expect_err("not a backend compile").to_string();
        assert!(text.contains(needle), "{line:?}: {text}");
    }
}
