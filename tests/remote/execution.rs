//! Jobs that an engine compiles: with clang's bytes, whatever the engine does.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{BACKLTO, succeed};
use crate::engine::{Engine, Fault, Setup};
use crate::forget;
use crate::project::{Built, Project};

/// How many modules there are besides the first.
const OTHERS: usize = 7;

/// A program whose first module takes long to compile here, so that there is time for an
/// engine to compile the others. All but the first import from `shared`.
fn project() -> Project {
    let mut sources = vec![("first".to_owned(), long("first", 900))];
    for number in 0..OTHERS - 1 {
        let name = format!("m{number}");
        sources.push((name.clone(), long(&name, 400)));
    }
    sources.push((
        "shared".to_owned(),
        "int shared(int x) { return x * 5; }\n".to_owned(),
    ));
    let sources: Vec<(&str, &str)> = sources.iter().map(|(n, t)| (&**n, &**t)).collect();
    let mut project = Project::of(&sources);
    project.program = small_program(project.home());
    project
}

/// A module with much in it.
fn long(name: &str, statements: usize) -> String {
    let mut text = "int shared(int x);\n".to_owned();
    for function in 0..6 {
        let _ = writeln!(text, "void {name}_{function}(volatile int *a) {{");
        for line in 0..statements {
            let _ = writeln!(
                text,
                "a[{line}] = shared(a[{line}]) ^ {};",
                line * 7 + function
            );
        }
        text.push_str("}\n");
    }
    text
}

/// The program without what debuggers want to know, which is most of it.
fn small_program(place: &Path) -> PathBuf {
    let path = place.join("backlto");
    let mut strip = Command::new("llvm-strip-22");
    strip.args(["-o".as_ref(), path.as_os_str(), BACKLTO.as_ref()]);
    succeed(&strip.output().expect("llvm-strip runs"));
    path
}

fn engine() -> Engine {
    Engine::start(Setup {
        executes: true,
        ..Setup::default()
    })
}

/// Builds `project` with one worker here, which is busy with the first module for a while,
/// and two on the machines of `engine`, and checks every object.
#[track_caller]
fn build(project: &Project, engine: &Engine, args: &[&str]) -> Built {
    let url = engine.url();
    let own = [
        "-j1",
        "--remote",
        &url,
        "--remote-jobs",
        "2",
        "--remote-linger",
        "60",
    ];
    napping(project, &[&own, args].concat())
}

/// Builds `project` while LLVM naps over the first module here.
#[track_caller]
fn napping(project: &Project, args: &[&str]) -> Built {
    project.build_in(args, &[("BACKLTO_FAULT", "nap:first.o")])
}

#[test]
fn an_engine_compiles_what_would_have_to_wait_here() {
    let engine = engine();
    let project = project();
    let built = build(&project, &engine, &[]);
    assert!(built.executed.len() >= 3, "{built:?}");
    assert_eq!(built.warnings, [""; 0]);
    assert!(built.stdout.contains(" by the remote engine"), "{built:?}");
    let held = engine.held();
    let twice: Vec<_> = held
        .uploads
        .iter()
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    // Short jobs go together.
    assert!(held.calls["Execute"] <= built.executed.len());
    let here = project.home().display().to_string();
    let tells = |blob: &&Vec<u8>| {
        let is_message = blob.len() < 10_000 && !blob.starts_with(b"\x7fELF");
        is_message && String::from_utf8_lossy(blob).contains(&here)
    };
    assert!(
        held.blobs.values().find(tells).is_none(),
        "a path of this machine"
    );
    drop(held);

    // What the engine compiled is as good as what was compiled here.
    let executed = built.executed.clone();
    project.build().nothing();
    forget_but_cache(&project);
    let again = build(&project, &engine, &["--remote-cache-only"]);
    assert!(executed.is_subset(&again.cached), "{again:?}");
    std::fs::remove_dir_all(&project.cache).expect("the cache is removed");
    forget_but_cache(&project);
    let other = build(&project, &engine, &["--remote-wait=60"]);
    assert!(executed.is_subset(&other.remote), "{other:?}");
}

fn forget_but_cache(project: &Project) {
    std::fs::remove_file(project.record()).expect("the record is removed");
    for name in &project.modules {
        std::fs::remove_file(project.object(name)).expect("an object is removed");
    }
}

#[test]
fn it_is_a_cache_alone_unless_it_is_to_compile() {
    let engine = engine();
    let project = project();
    for args in [&[][..], &["--remote-jobs", "2", "--remote-cache-only"]] {
        let url = engine.url();
        let args = [&["-j1", "--remote", &url, "--remote-upload=no"], args].concat();
        assert!(napping(&project, &args).executed.is_empty());
        forget(&project);
    }
    assert_eq!(engine.calls("Execute"), 0);
    assert!(engine.held().blobs.is_empty());
}
