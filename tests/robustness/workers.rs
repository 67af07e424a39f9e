//! Worker processes of a program that embeds the library.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use backlto::error::Kind;
use backlto::{CompilerCommand, Engine, Job, JobReport, Options, Plan, Silent};

use super::*;
use crate::common::tool;

/// An engine with one worker, whose jobs all go to `helper`.
fn engine(helper: &Path) -> Engine {
    let options = Options {
        workers: NonZeroUsize::new(1),
        helper: Some(helper.to_owned()),
        timeout_per_object: Some(Duration::from_secs(60)),
        ..Options::default()
    };
    Engine::new(&options).expect("an engine")
}

/// Compiles the modules of `tree`.
fn compile(engine: &Engine, tree: &Tree) -> Vec<JobReport> {
    let command = CompilerCommand::flags([&["clang"], &FLAGS[..]].concat());
    let job = |module: &&str| Job {
        directory: tree.path().to_owned(),
        output: output(module),
        ..Job::new(format!("{module}.o"), command.clone())
    };
    let plan = Plan {
        jobs: MODULES.iter().map(job).collect(),
        ..Plan::default()
    };
    engine.run(&plan, &Silent).expect("a good plan")
}

/// One that has nothing to do when somebody kills it takes no job along.
#[test]
fn a_worker_process_that_is_killed_between_jobs_is_replaced() {
    let tree = program();
    // A name by which it can be told from others'.
    let helper = tree.file("a-helper");
    std::os::unix::fs::symlink(BACKLTO, &helper).expect("a link");
    let engine = engine(&helper);
    for _ in 0..2 {
        for report in compile(&engine, &tree) {
            assert!(report.result.is_ok(), "{:?}", report.result);
        }
        kill_worker(&helper);
    }
    for module in MODULES {
        succeed(&tree.clang_backend(module, "clang.o", &FLAGS));
        assert!(tree.read(&output(module)) == tree.read("clang.o"));
    }
}

/// Kills the one worker process that is `program`.
fn kill_worker(program: &Path) {
    let line = format!("{}\0worker\0", program.display());
    let entries = std::fs::read_dir("/proc").expect("there are processes");
    let workers: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let words = std::fs::read(path.join("cmdline")).ok()?;
            (words == line.as_bytes()).then(|| path.file_name().map(ToOwned::to_owned))?
        })
        .collect();
    assert_eq!(workers.len(), 1, "{workers:?}");
    let kill = Command::new("kill").arg("-KILL").args(&workers).status();
    assert!(kill.expect("kill runs").success());
}

/// Its objects would be taken for those of this process's LLVM.
#[test]
fn a_worker_process_with_other_libraries_is_refused() {
    let tree = program();
    tree.write("other.c", "int other;\n");
    let words = ["-shared", "-fPIC", "-o", "other.so", "other.c"];
    succeed(&tree.run(tool!("clang"), &words));
    let library = tree.file("other.so").display().to_string();
    tree.script(
        "helper",
        &format!("LD_PRELOAD='{library}' exec '{BACKLTO}' \"$@\""),
    );
    let reports = compile(&engine(&tree.file("helper")), &tree);
    let error = reports[0].result.as_ref().expect_err("it is not trusted");
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().contains("another LLVM"), "{error}");
    assert!(tree.read(&output(MODULES[0])) == OLD);
}
