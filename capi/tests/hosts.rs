//! The C interface as its users have it: header, libraries, pkg-config file, and
//! the examples built by the system's compilers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("capi is in the project")
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    output
}

/// What `command` prints, as words.
#[track_caller]
fn words(command: &mut Command) -> Vec<String> {
    let output = succeed(command).stdout;
    let text = String::from_utf8(output).expect("ASCII");
    text.split_whitespace().map(str::to_owned).collect()
}

/// The library, as it would be installed; built once.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
        let mut build = Command::new(root().join("capi/build.sh"));
        succeed(build.arg(&out).arg(&out).arg("dev"));
        out
    })
}

fn pkg_config(options: &[&str]) -> Vec<String> {
    let directory = installed().join("lib/pkgconfig");
    words(
        Command::new("pkg-config")
            .env("PKG_CONFIG_PATH", directory)
            .args(options)
            .arg("backlto"),
    )
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Runs `host` and then the program that it has compiled; returns what it prints.
#[track_caller]
fn run(host: &Path) -> String {
    let tree = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(host);
    command.env("LD_LIBRARY_PATH", installed().join("lib"));
    let output = succeed(command.arg(triple()).arg(tree.path()));
    let program = tree.path().join("program");
    let objects = ["main.o", "answer.o"].map(|name| tree.path().join(name));
    succeed(Command::new("cc").arg("-o").arg(&program).args(&objects));
    succeed(&mut Command::new(&program));
    // `answer` went into `main`: nothing calls it any more.
    succeed(Command::new("cc").arg("-o").arg(&program).arg(&objects[0]));
    String::from_utf8(output.stdout).expect("ASCII")
}

#[test]
fn the_header_is_current() {
    let config = cbindgen::Config::from_file(root().join("capi/cbindgen.toml")).expect("it parses");
    let bindings = cbindgen::Builder::new()
        .with_crate(root().join("capi"))
        .with_config(config)
        .generate()
        .expect("the interface parses");
    let mut expected = Vec::new();
    bindings.write(&mut expected);
    let path = root().join("include/backlto.h");
    if std::env::var_os("BACKLTO_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("the header is written");
    }
    let actual = std::fs::read(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "include/backlto.h is out of date: run `BACKLTO_BLESS=1 cargo test -p backlto-capi`"
    );
}

#[test]
fn the_shared_library_exports_its_interface_alone() {
    use object::{Object, ObjectSymbol};
    let library = installed().join("lib/libbacklto.so");
    let bytes = std::fs::read(library).expect("the library");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let exported: BTreeSet<&str> = file
        .dynamic_symbols()
        .filter(object::ObjectSymbol::is_definition)
        .filter_map(|symbol| symbol.name().ok())
        .collect();
    let (ours, seams): (BTreeSet<_>, BTreeSet<_>) = exported
        .iter()
        .partition(|name| name.starts_with("backlto_"));
    assert_eq!(seams.len(), 3, "{seams:?}");
    // As many as the header has.
    let header = std::fs::read_to_string(root().join("include/backlto.h")).expect("the header");
    let code = header
        .lines()
        .filter(|line| !line.trim_start().starts_with(['/', '*']));
    let declared: BTreeSet<&str> = code
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '('))
        .filter_map(|word| word.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("backlto_"))
        .collect();
    assert_eq!(ours, declared.iter().collect());
    let names = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let soname = format!("libbacklto.so.{}\0", backlto_c::BACKLTO_ABI);
    assert!(names(soname.as_bytes()));
}

#[test]
fn a_program_in_c() {
    let source = root().join("examples/embed/embed.c");
    let tree = tempfile::tempdir().expect("a directory");
    let strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    let compile = |name: &str, libraries: &[String]| {
        let program = tree.path().join(name);
        let mut cc = Command::new("cc");
        cc.args(strict)
            .args(pkg_config(&["--cflags"]))
            .arg("-o")
            .arg(&program);
        succeed(cc.arg(&source).args(libraries));
        program
    };
    let shared = compile("shared", &pkg_config(&["--libs"]));
    assert!(run(&shared).contains("main: done"));
    let mut libraries = pkg_config(&["--static", "--libs"]);
    // Both libraries are there; the linker would take the other.
    for word in libraries.iter_mut().filter(|word| *word == "-lbacklto") {
        *word = "-l:libbacklto.a".to_owned();
    }
    let fixed = compile("static", &libraries);
    assert!(run(&fixed).contains("main: done"));
    // Without a directory it says how to use it, so the runs above did something;
    // and it starts where the shared library is not to be found.
    let output = Command::new(&fixed).output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && !error.contains("libbacklto.so"),
        "{error}"
    );
}

#[test]
fn a_host_that_uses_llvm_itself() {
    let source = root().join("examples/embed/host.cpp");
    let tree = tempfile::tempdir().expect("a directory");
    let major = backlto::BUILT_VERSION.split('.').next().expect("a version");
    let llvm = |option: &str| words(Command::new(format!("llvm-config-{major}")).arg(option));
    let rpath = format!("-Wl,-rpath,{}", llvm("--libdir")[0]);
    let compile = |name: &str, libraries: &[Vec<String>]| {
        let program = tree.path().join(name);
        let mut cxx = Command::new("c++");
        cxx.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-isystem"]);
        cxx.args(llvm("--includedir"))
            .args(pkg_config(&["--cflags"]))
            .arg("-o")
            .arg(&program);
        succeed(cxx.arg(&source).args(libraries.concat()).arg(&rpath));
        program
    };
    let ours = pkg_config(&["--libs"]);
    let theirs = [llvm("--ldflags"), llvm("--libs")].concat();
    let first = compile("first", &[ours.clone(), theirs.clone()]);
    let second = compile("second", &[theirs, ours]);
    let first = run(&first);
    assert!(
        first.contains("in memory") && first.contains("the host handles: the end"),
        "{first}"
    );
    let second = run(&second);
    assert!(second.contains("the host handles: the end"), "{second}");
}

/// Compiles the C program `text` in `tree`; returns what runs it.
#[track_caller]
fn program(tree: &Path, text: &str) -> Command {
    let (source, program) = (tree.join("program.c"), tree.join("program"));
    std::fs::write(&source, text).expect("the test's source");
    let mut cc = Command::new("cc");
    cc.args(pkg_config(&["--cflags"]))
        .arg(format!("-DLLVM_VERSION=\"{}\"", backlto::BUILT_VERSION))
        .arg("-o")
        .arg(&program)
        .arg(&source);
    succeed(cc.args(pkg_config(&["--libs"])));
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", installed().join("lib"));
    command
}

/// How many objects the cache in `directory` has.
fn cached_objects(directory: &Path) -> usize {
    let mut folders = vec![directory.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a directory of the cache") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(path).expect("a file of the cache");
                    count += usize::from(bytes.starts_with(b"\x7fELF"));
                }
            }
        }
    }
    count
}

#[test]
fn a_cache_is_kept_within_its_policy() {
    let tree = tempfile::tempdir().expect("a directory");
    let text = r#"
#include <backlto.h>
#include <assert.h>
#include <stdio.h>
int main(int count, char **words) {
  backlto_error *e = 0;
  backlto_engine_options options = {sizeof options};
  options.cache_directory = words[1];
  options.cache_policy = words[2];
  backlto_engine *engine = backlto_engine_new(&options, &e);
  assert(engine && count == 3);
  char text[200];
  sprintf(text, "target triple = \"%s\" define void @f() { ret void }", "x86_64-unknown-linux-gnu");
  backlto_bytes ir = {(const uint8_t *)text, 0};
  while (text[ir.size]) ir.size++;
  backlto_buffers *bitcode = backlto_thin_lto_bitcode("f.ll", ir, &e);
  assert(bitcode);
  backlto_module module = {"f.o", backlto_buffers_get(bitcode, 0)};
  backlto_thin_link_options link = {sizeof link};
  const char *used[] = {"f", 0};
  link.used = used;
  backlto_buffers *indexes = backlto_thin_link(&module, 1, &link, &e);
  assert(indexes);
  backlto_plan *plan = backlto_plan_new(true);
  assert(backlto_plan_add_file(plan, "f.o", module.bitcode, &e));
  assert(backlto_plan_add_file(plan, "f.o.thinlto.bc", backlto_buffers_get(indexes, 0), &e));
  backlto_codegen codegen = {sizeof codegen};
  codegen.target = "x86_64-unknown-linux-gnu";
  backlto_job job = {sizeof job};
  job.module = "f.o";
  job.codegen = &codegen;
  assert(backlto_plan_add_job(plan, &job, &e));
  backlto_reports *reports = backlto_run(engine, plan, 0, &e);
  assert(reports && backlto_reports_object(reports, 0).size > 0);
  backlto_reports_free(reports);
  backlto_plan_free(plan);
  backlto_buffers_free(indexes);
  backlto_buffers_free(bitcode);
  backlto_engine_free(engine);
  return 0;
}
"#;
    let mut host = program(tree.path(), text);
    let cache = tree.path().join("cache");
    succeed(
        host.arg(&cache)
            .arg("prune_interval=0s:cache_size_bytes=1g"),
    );
    assert_eq!(cached_objects(&cache), 1);
    let mut host = program(tree.path(), text);
    succeed(host.arg(&cache).arg("prune_interval=0s:cache_size_bytes=1"));
    assert_eq!(cached_objects(&cache), 0);
}

/// As plugins and languages with an interpreter load it.
#[test]
fn a_program_may_load_it_later() {
    let tree = tempfile::tempdir().expect("a directory");
    let text = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
  void *library = dlopen(words[count - 1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return puts(dlerror());
  _Bool (*shares_inputs)(void) = (_Bool (*)(void))dlsym(library, "backlto_shares_inputs");
  return !shares_inputs || !shares_inputs();
}
"#;
    let (source, program) = (tree.path().join("late.c"), tree.path().join("late"));
    std::fs::write(&source, text).expect("the test's source");
    succeed(Command::new("cc").arg("-o").arg(&program).arg(&source));
    succeed(Command::new(&program).arg(installed().join("lib/libbacklto.so")));
}

#[test]
fn misuse_is_an_error_and_no_crash() {
    succeed(
        Command::new("cc")
            .args([
                "-fsyntax-only",
                "-Wall",
                "-Werror",
                "-x",
                "c++",
                "-std=c++11",
            ])
            .arg(root().join("include/backlto.h")),
    );
    let tree = tempfile::tempdir().expect("a directory");
    let text = r#"
#include <backlto.h>
#include <assert.h>
#include <string.h>
static void is(backlto_error **error, backlto_kind kind, const char *text) {
  assert(*error && backlto_error_kind(*error) == kind);
  assert(strstr(backlto_error_message(*error), text));
  backlto_error_free(*error);
  *error = 0;
}
int main(void) {
  backlto_error *e = 0;
  backlto_plan *plan = backlto_plan_new(false);
  backlto_engine *engine = backlto_engine_new(0, &e);
  assert(engine && !e && backlto_abi() == 0);
  assert(!strcmp(backlto_llvm_version(), LLVM_VERSION));
  assert(!backlto_run(0, plan, 0, &e));
  is(&e, BACKLTO_KIND_ARGUMENT, "engine is NULL");
  assert(!backlto_run(engine, 0, 0, 0));
  backlto_job job = {0};
  assert(!backlto_plan_add_job(plan, &job, &e));
  is(&e, BACKLTO_KIND_ARGUMENT, "struct_size");
  job.struct_size = sizeof job;
  assert(!backlto_plan_add_job(plan, &job, &e));
  is(&e, BACKLTO_KIND_ARGUMENT, "no module");
  job.module = "\xff";
  assert(!backlto_plan_add_job(plan, &job, &e));
  is(&e, BACKLTO_KIND_ARGUMENT, "UTF-8");
  backlto_codegen codegen = {sizeof codegen};
  codegen.opt_level = '9';
  job.module = "absent.o";
  job.codegen = &codegen;
  assert(!backlto_plan_add_job(plan, &job, &e));
  is(&e, BACKLTO_KIND_ARGUMENT, "opt_level");
  /* A caller that knows no field but the first two. */
  job.struct_size = 2 * sizeof(void *);
  assert(backlto_plan_add_job(plan, &job, &e) && !e);
  assert(!backlto_run(engine, plan, 0, &e));
  is(&e, BACKLTO_KIND_INPUT, "absent.o");
  backlto_bytes junk = {(const uint8_t *)"junk", 4};
  assert(!backlto_thin_lto_bitcode("junk.ll", junk, &e));
  is(&e, BACKLTO_KIND_INPUT, "junk.ll");
  assert(backlto_reports_count(0) == 0 && backlto_buffers_get(0, 3).size == 0);
  backlto_reports_free(0);
  backlto_plan_free(plan);
  backlto_engine_free(engine);
  return 0;
}
"#;
    succeed(&mut program(tree.path(), text));
}
