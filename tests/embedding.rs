//! The library in a program of somebody else: modules and objects in memory, no
//! clang flags, an LLVM that the host uses too.

mod common;
#[path = "embedding/options.rs"]
mod options;
#[path = "embedding/places.rs"]
mod places;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backlto::error::Kind;
use backlto::reproducer::Reproducer;
use backlto::{
    CacheOptions, CompilerCommand, Engine, Job, JobReport, Linkage, Module, Observer, Options,
    Origin, Plan, ReproducerOptions, Severity, Silent, ThinLinkOptions, thin_link,
    thin_lto_bitcode,
};
use common::{CLANG, DEMO, LLD, Tree, succeed, tool};

fn one_worker() -> Options {
    Options {
        workers: NonZeroUsize::new(1),
        ..Options::default()
    }
}

fn flags(words: &[&str]) -> CompilerCommand {
    CompilerCommand::flags(words.iter().copied())
}

/// The modules of `tree`, read into memory.
fn modules(tree: &Tree, names: &[&str]) -> Vec<Module> {
    let module = |name: &&str| Module::new(format!("{name}.o"), tree.read(&format!("{name}.o")));
    names.iter().map(module).collect()
}

#[track_caller]
fn run(engine: &Engine, plan: &Plan, observer: &dyn Observer) -> Vec<JobReport> {
    engine
        .run(plan, observer)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The objects that `plan` leaves in memory.
#[track_caller]
fn objects(plan: &Plan, options: &Options) -> Vec<Vec<u8>> {
    let engine = Engine::new(options).expect("an engine");
    let reports = run(&engine, plan, &Silent);
    let object = |report: JobReport| match (report.result, report.object) {
        (Ok(size), Some(object)) if size == object.len() as u64 => object,
        (result, _) => panic!("{result:?}"),
    };
    reports.into_iter().map(object).collect()
}

/// What clang's backend makes of modules of `tree` that were thin-linked.
fn objects_by_clang(tree: &Tree, names: &[&str], flags: &[&str]) -> Vec<Vec<u8>> {
    let object = |name: &&str| {
        succeed(&tree.clang_backend(name, "expected.o", flags));
        tree.read("expected.o")
    };
    names.iter().map(object).collect()
}

// --- the thin link -----------------------------------------------------------------

/// What the linker leaves beside the modules.
fn indexes_by_lld(tree: &Tree, names: &[&str], args: &[&str]) -> Vec<Vec<u8>> {
    let mut line = args.to_vec();
    line.extend(["--thinlto-index-only=list", "-o", "linked"]);
    let objects: Vec<String> = names.iter().map(|name| format!("{name}.o")).collect();
    line.extend(objects.iter().map(String::as_str));
    succeed(&tree.run(LLD, &line));
    let index = |object: &String| tree.read(&format!("{object}.thinlto.bc"));
    objects.iter().map(index).collect()
}

/// Weak, common, COMDAT, hidden, one that nobody uses, one found by its section.
const SYMBOLS: [(&str, &str); 3] = [
    (
        "one.cpp",
        "inline int both(int x) { static int n; return n += x; }
         extern \"C\" { __attribute__((weak)) int weak(void) { return 1; } extern int common; int other(int);
         __attribute__((visibility(\"hidden\"))) int hidden(int x) { return x * 3; }
         int unused(void) { return 9; }
         __attribute__((section(\"set\"), used)) int in_set = 4; int also_in_set __attribute__((section(\"set\"))) = 5;
         int main() { return both(2) + weak() + common + other(3); } }",
    ),
    (
        "two.cpp",
        "inline int both(int x) { static int n; return n += x; }
         extern \"C\" { int weak(void) { return 2; } int hidden(int); extern int __start_set[];
         int other(int x) { return both(x) + hidden(x) + __start_set[0]; } int alone(void) { return both(1); } }",
    ),
    ("three.c", "int common; int weak(void); int third(void) { return common + weak(); }"),
];

#[test]
fn indexes_are_those_of_the_linker() {
    let tree = Tree::new();
    for (source, text) in SYMBOLS {
        tree.compile_source(source, text, &["-O2", "-fPIC", "-fcommon"]);
    }
    let names = ["one", "two", "three"];
    let modules = modules(&tree, &names);
    let mut seen = BTreeSet::new();
    for (linkage, used, args) in [
        (Linkage::Relocatable, vec![], vec!["-r"]),
        (Linkage::Executable, vec!["main"], vec!["-e", "main"]),
        (
            Linkage::Executable,
            vec!["main", "unused"],
            vec!["-e", "main", "--undefined=unused"],
        ),
        (Linkage::SharedLibrary, vec![], vec!["-shared"]),
    ] {
        let options = ThinLinkOptions {
            linkage,
            used: used.iter().map(|name| (*name).to_owned()).collect(),
            ..ThinLinkOptions::default()
        };
        let expected = indexes_by_lld(&tree, &names, &args);
        let actual = thin_link(&modules, &options).expect("a thin link");
        assert_eq!(actual.len(), names.len());
        for ((name, actual), expected) in names.iter().zip(&actual).zip(&expected) {
            assert!(actual == expected, "{name} with {args:?}");
        }
        seen.insert(actual);
    }
    // Had the options no effect, equality would mean little.
    assert!(seen.len() >= 3, "only {} differ", seen.len());
}

#[test]
fn a_thin_link_says_what_is_wrong() {
    let tree = Tree::new();
    tree.compile("a", "int twice(void) { return 1; }", &["-O2"]);
    tree.compile("b", "int twice(void) { return 2; }", &["-O2"]);
    let mut both = modules(&tree, &["a", "b"]);
    let failure = |modules: &[Module]| {
        let result = thin_link(modules, &ThinLinkOptions::default());
        result.expect_err("it must not work").to_string()
    };
    let text = failure(&both);
    assert!(
        text.contains("duplicate symbol 'twice' in 'a.o' and 'b.o'"),
        "{text}"
    );
    tree.compile("b", "int f(void) { return 2; }", &["-O2", "-flto=full"]);
    both[1] = Module::new("b.o", tree.read("b.o"));
    assert!(failure(&both).contains("'b.o': it holds code without a ThinLTO summary"));
    both[1] = Module::new("b.o", &b"\x7fELF"[..]);
    assert!(failure(&both).contains("'b.o': "), "{}", failure(&both));
    let text = thin_lto_bitcode("x.ll", b"define i32 @f() { ret void }").expect_err("bad IR");
    assert!(text.to_string().contains("x.ll:1:"), "{text}");
}

#[test]
fn ir_becomes_the_bitcode_that_opt_writes() {
    let tree = Tree::new();
    let text = "@0 = private constant i32 7\ndefine ptr @f() { ret ptr @0 }\n";
    tree.write("m.ll", text);
    let args = [
        "-passes=name-anon-globals",
        "--thinlto-bc",
        "-o",
        "m.o",
        "m.ll",
    ];
    succeed(&tree.run(tool!("opt"), &args));
    let ours = thin_lto_bitcode("m.ll", text.as_bytes()).expect("good IR");
    assert!(ours == tree.read("m.o"));
    // Bitcode is taken as well.
    assert!(thin_lto_bitcode("m.ll", &ours).is_ok());
}

// --- in memory -----------------------------------------------------------------------

#[test]
fn modules_in_memory_become_the_objects_that_clang_writes() {
    let tree = Tree::demo(&["-O2"]);
    let expected = objects_by_clang(&tree, &DEMO, &["-O2"]);
    let modules = modules(&tree, &DEMO);
    let options = ThinLinkOptions {
        linkage: Linkage::Relocatable,
        ..ThinLinkOptions::default()
    };
    let indexes = thin_link(&modules, &options).expect("a thin link");
    let plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    let before = tree.files();
    for job in &plan.jobs {
        // Nothing of that name is on disk.
        assert!(!job.module_path().exists() && !job.output_path().exists());
    }
    assert!(objects(&plan, &Options::default()) == expected);
    assert!(plan.jobs.iter().all(|job| !job.output_path().exists()));
    assert!(tree.files() == before);
}

#[test]
fn modules_and_indexes_that_do_not_pair_up_are_refused() {
    let modules = ["a", "b"].map(|name| Module::new(name, &b"BC"[..]));
    for count in [0, 1, 3] {
        let error = Plan::in_memory(&modules, vec![Vec::new(); count], &flags(&[CLANG]))
            .expect_err("they do not pair up");
        assert_eq!(error.kind(), Kind::Plan);
        let text = format!("cannot plan 2 modules with {count} indexes");
        assert_eq!(error.to_string(), text);
        assert!(error.advice().is_some());
    }
}

#[test]
fn all_that_is_wrong_with_a_plan_is_one_error_value() {
    let tree = Tree::new();
    let job = |name: &str| Job {
        directory: tree.path().to_owned(),
        ..Job::new(name, flags(&[CLANG, "-O2"]))
    };
    let plan = Plan {
        jobs: vec![job("one.o"), job("two.o")],
        ..Plan::default()
    };
    let engine = Engine::new(&one_worker()).expect("an engine");
    let run = || engine.run(&plan, &Silent);
    let errors = run().expect_err("there are no files");
    assert_eq!(errors.len(), 2);
    for (error, name) in errors.iter().zip(["one.o", "two.o"]) {
        assert_eq!(error.kind(), Kind::Input);
        assert!(
            error
                .message()
                .contains(&tree.file(name).display().to_string())
        );
        let reason = error.source().expect("the system's reason");
        let reason = reason.downcast_ref::<std::io::Error>();
        assert_eq!(
            reason.map(std::io::Error::kind),
            Some(std::io::ErrorKind::NotFound)
        );
    }
    assert_eq!(errors.to_string().lines().count(), 2);
    // `?` in a function with one error keeps them all.
    let one = || -> backlto::Result<()> { run().map(drop).map_err(Into::into) };
    assert!(
        one()
            .expect_err("both")
            .to_string()
            .ends_with(&errors.to_string())
    );
}

#[test]
fn what_is_in_memory_comes_before_what_is_on_disk() {
    let tree = Tree::demo(&["-O2"]);
    let expected = objects_by_clang(&tree, &DEMO, &["-O2"]);
    let job = |name: &&str| Job {
        directory: tree.path().to_owned(),
        ..Job::new(format!("{name}.o"), flags(&[CLANG, "-O2"]))
    };
    let mut plan = Plan {
        jobs: DEMO.iter().map(job).collect(),
        in_memory: true,
        ..Plan::default()
    };
    // One of the modules, by its whole path; the rest stay files.
    let moved = tree.file("sort.o");
    plan.files.insert(moved.clone(), tree.read("sort.o").into());
    tree.write("sort.o", "no bitcode");
    assert!(objects(&plan, &Options::default()) == expected);
    plan.files.clear();
    let engine = Engine::new(&one_worker()).expect("an engine");
    let errors = engine
        .run(&plan, &Silent)
        .expect_err("the file on disk is none");
    assert!(
        errors.first().to_string().contains("not LLVM bitcode"),
        "{errors:?}"
    );
}

#[test]
fn objects_in_memory_come_from_the_cache_too() {
    let tree = Tree::demo(&["-O2"]);
    let modules = modules(&tree, &DEMO);
    let indexes = thin_link(&modules, &ThinLinkOptions::default()).expect("a thin link");
    let plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    let cache = tempfile::tempdir().expect("a directory");
    let options = Options {
        cache: Some(CacheOptions::new(cache.path())),
        ..one_worker()
    };
    let run = |origin: Origin| -> Vec<_> {
        let engine = Engine::new(&options).expect("an engine");
        let reports = run(&engine, &plan, &Silent);
        assert!(
            reports.iter().all(|report| report.origin == origin),
            "{reports:?}"
        );
        reports
            .into_iter()
            .map(|report| report.object.expect("an object"))
            .collect()
    };
    let compiled = run(Origin::Compiled);
    assert!(compiled == objects(&plan, &one_worker()));
    assert!(compiled == run(Origin::Cached));
}

/// What was in memory is in the reproducer, under the names that the index has.
#[test]
fn a_plan_in_memory_leaves_reproducers() {
    let tree = Tree::demo(&["-O2"]);
    let mut modules = modules(&tree, &DEMO);
    for (module, name) in modules
        .iter_mut()
        .zip(["in/deck.o", "/nowhere/sort.o", "../rng.o"])
    {
        module.name = name.to_owned();
    }
    let indexes = thin_link(&modules, &ThinLinkOptions::default()).expect("indexes");
    let plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    let expected = objects(&plan, &one_worker());

    let options = Options {
        reproducers: Some(ReproducerOptions {
            of: modules
                .iter()
                .map(|module| (&*module.name).into())
                .collect(),
            ..ReproducerOptions::new(tree.path())
        }),
        ..one_worker()
    };
    let engine = Engine::new(&options).expect("an engine");
    for (report, expected) in run(&engine, &plan, &Silent).into_iter().zip(expected) {
        let archive = report.reproducer.expect("a reproducer");
        assert!(report.object.is_some_and(|object| object == expected));
        let elsewhere = Tree::new();
        let again = Reproducer::unpack(&archive, elsewhere.path()).expect("it is whole");
        let engine = Engine::new(&one_worker()).expect("an engine");
        let again_plan = again.plan().expect("a plan");
        for report in run(&engine, &again_plan, &Silent) {
            report.result.unwrap_or_else(|e| panic!("{e}"));
        }
        let object = std::fs::read(again.output()).expect("an object");
        assert!(object == expected, "{}", archive.display());
    }
}

#[test]
fn a_program_may_finish_an_object_in_memory() {
    let tree = Tree::demo(&["-O2"]);
    let modules = modules(&tree, &["rng"]);
    let indexes = thin_link(&modules, &ThinLinkOptions::default()).expect("a thin link");
    let mut plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    let whole = objects(&plan, &one_worker());
    let post = ["sh", "-c", "printf tail >> \"$1\"", "sh", "{}"].map(str::to_owned);
    plan.jobs[0].post = Some(Arc::new(post));
    assert!(objects(&plan, &one_worker())[0] == [&whole[0], &b"tail"[..]].concat());
}

// --- events ------------------------------------------------------------------------

/// Writes down what it is told.
#[derive(Default)]
struct Witness(Mutex<Vec<String>>);

impl Witness {
    fn note(&self, text: String) {
        self.0.lock().expect("no panic").push(text);
    }
}

impl Observer for Witness {
    fn started(&self, number: usize, _: usize, _: &Job) {
        self.note(format!("{number} started"));
    }
    fn diagnostic(&self, number: usize, _: &Job, diagnostic: &backlto::Diagnostic) {
        let first = diagnostic.text.lines().next().unwrap_or_default();
        self.note(format!("{number} {:?} {first}", diagnostic.severity));
    }
    fn finished(&self, number: usize, _: usize, _: &Job, report: &JobReport) {
        self.note(format!("{number} finished {}", report.result.is_ok()));
    }
}

#[test]
fn an_observer_is_told_everything_in_order() {
    let tree = Tree::new();
    let flags_of_both = ["-O2", "-Wframe-larger-than=500"];
    tree.compile(
        "good",
        "void use(char *); void g(void) { char x[999]; use(x); }",
        &flags_of_both,
    );
    tree.compile(
        "bad",
        "void f(void) { __asm__(\"bogus\"); }",
        &flags_of_both,
    );
    let modules = modules(&tree, &["good", "bad"]);
    let options = ThinLinkOptions {
        linkage: Linkage::Relocatable,
        ..ThinLinkOptions::default()
    };
    let indexes = thin_link(&modules, &options).expect("a thin link");
    let plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    let witness = Witness::default();
    let engine = Engine::new(&one_worker()).expect("an engine");
    let reports = run(&engine, &plan, &witness);
    assert!(reports[1].object.is_none() && reports[0].object.is_some());
    let notes = witness.0.into_inner().expect("no panic");
    let of = |number: &str| -> Vec<&str> {
        notes
            .iter()
            .filter_map(|note| note.strip_prefix(number))
            .collect()
    };
    let (good, bad) = (of("0 "), of("1 "));
    assert_eq!((good[0], bad[0]), ("started", "started"));
    let warning = format!("{:?} ", Severity::Warning);
    assert!(
        good[1].starts_with(&warning) && good[1].contains("stack frame size"),
        "{notes:?}"
    );
    assert_eq!(good.last(), Some(&"finished true"), "{notes:?}");
    assert!(
        bad[1].starts_with("Error ") && bad[1].contains("bogus"),
        "{notes:?}"
    );
    assert_eq!(bad.last(), Some(&"finished false"), "{notes:?}");
}

/// Cancels once the first job has ended.
struct Impatient<'a>(&'a Engine, AtomicUsize);

impl Observer for Impatient<'_> {
    fn finished(&self, _: usize, _: usize, _: &Job, report: &JobReport) {
        if report.result.is_ok() {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.cancel();
        }
    }
}

#[test]
fn a_cancelled_run_ends_and_says_which_jobs_did_not() {
    let tree = Tree::demo(&["-O2"]);
    let modules = modules(&tree, &DEMO);
    let indexes = thin_link(&modules, &ThinLinkOptions::default()).expect("a thin link");
    let mut plan = Plan::in_memory(&modules, indexes, &flags(&[CLANG, "-O2"])).expect("a plan");
    for copy in 1..30 {
        for number in 0..DEMO.len() {
            let job = plan.jobs[number].clone();
            plan.jobs.push(Job {
                output: format!("{copy}.{}", job.output),
                ..job
            });
        }
    }
    let engine = Engine::new(&one_worker()).expect("an engine");
    let observer = Impatient(&engine, AtomicUsize::new(0));
    let reports = run(&engine, &plan, &observer);
    assert_eq!(reports.len(), plan.jobs.len());
    let cancelled = |report: &&JobReport| {
        let kind = report.result.as_ref().err().map(backlto::Error::kind);
        kind == Some(Kind::Cancelled)
    };
    let count = reports.iter().filter(cancelled).count();
    assert_eq!(count + observer.1.load(Ordering::Relaxed), reports.len());
    assert!(count > reports.len() / 2, "{count} of {}", reports.len());
    // So does every later one.
    let reports = run(&engine, &plan, &Silent);
    assert_eq!(reports.iter().filter(cancelled).count(), reports.len());
}

// --- the examples --------------------------------------------------------------------

#[allow(dead_code)]
#[path = "../examples/embed.rs"]
mod example;

#[test]
fn the_example_makes_a_program_that_runs() {
    let tree = Tree::new();
    let mut line = vec!["-o".to_owned(), "program".to_owned()];
    for (name, object) in example::objects().expect("the example") {
        tree.write(&name, object);
        line.push(name);
    }
    succeed(&tree.run(CLANG, &line));
    succeed(&tree.run("./program", &[] as &[&str]));
    // `answer` went into `main`: nothing calls it any more.
    succeed(&tree.run(CLANG, &["-o", "alone", "main.native.o"]));
}
