//! `ld.backlto` and `backlto` as LLD's distributor: programs are linked as their
//! users link them, and run. Each backend's object is that of one clang for each
//! job; the programs are those that ld.lld makes with its own backends.

#[path = "linker_door/archives.rs"]
mod archives;
#[path = "linker_door/as_lld.rs"]
mod as_lld;
mod common;
#[path = "linker_door/contact.rs"]
mod contact;
#[path = "linker_door/fitting.rs"]
mod fitting;
#[path = "linker_door/forms.rs"]
mod forms;
#[path = "linker_door/jobs.rs"]
mod jobs;
#[path = "linker_door/killed.rs"]
mod killed;
#[path = "linker_door/names.rs"]
mod names;
#[path = "linker_door/options.rs"]
mod options;
#[path = "linker_door/pages.rs"]
mod pages;
#[path = "linker_door/tags.rs"]
mod tags;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    CLANG, LINKER, LLD, MAJOR, Tree, link_content, lld_distributes, needs_distribution, succeed,
};

/// The path of ld.lld: clang searches its own directories for bare names.
fn lld() -> PathBuf {
    let path = std::env::var_os("PATH").expect("PATH");
    std::env::split_paths(&path)
        .map(|directory| directory.join(LLD))
        .find(|program| program.is_file())
        .expect("ld.lld (`make setup` installs it)")
}

/// clang's word for the linker at `path`.
fn linked_by(path: impl AsRef<Path>) -> String {
    format!("--ld-path={}", path.as_ref().display())
}

/// Two modules, the first of which imports from the second; every program of
/// them prints [`SAYS`].
const MAIN: &str = r#"#include <stdio.h>
int scale(int);
int table[9];
static __thread int last;
__attribute__((noinline)) static int sum(void) {
  int all = 0;
  for (int i = 0; i < 9; i++)
    all += table[i];
  return all;
}
int main(void) {
  for (int i = 0; i < 9; i++)
    last = table[i] = scale(i);
  printf("%d %d\n", sum(), last);
}
"#;
const SCALE: &str = r#"extern int table[];
int unused(int x) { return x / table[x & 7]; }
int scale(int x) { return x * 3 + (table[0] != 0); }
"#;
const SAYS: &str = "108 24\n";

/// A tree with [`MAIN`] and [`SCALE`] as bitcode in `main.o` and `scale.o`.
fn two_modules(flags: &[&str]) -> Tree {
    let tree = Tree::new();
    let flags = [&["-O2"], flags].concat();
    tree.compile("main", MAIN, &flags);
    tree.compile("scale", SCALE, &flags);
    tree
}

/// Runs clang to link; it must succeed. What was printed is returned.
#[track_caller]
fn link(tree: &Tree, args: &[&str]) -> String {
    let output = tree.run(CLANG, &[&["-flto=thin", "-O2"], args].concat());
    succeed(&output);
    common::stderr(&output) + &String::from_utf8_lossy(&output.stdout)
}

/// What the program `name` of `tree` prints.
#[track_caller]
fn says(tree: &Tree, name: &str) -> String {
    let mut command = Command::new(tree.file(name));
    let output = command.current_dir(tree.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{name}: {e}"));
    succeed(&output);
    String::from_utf8(output.stdout).expect("text")
}

/// Compiles each job of the last link in `tree`, which was told `--save-temps`,
/// with a clang of its own. Returns the number of jobs; the objects that the link
/// left must have the same bytes.
#[track_caller]
fn one_clang_per_job(tree: &Tree) -> usize {
    let files = tree.files();
    let mut descriptions = files.keys().filter(|n| n.ends_with(".dist-file.json"));
    let name = descriptions.next().expect("the jobs were kept");
    assert_eq!(descriptions.next(), None, "of one link");
    let jobs: serde_json::Value = serde_json::from_slice(&files[name]).expect("JSON");
    let strings = |value: &serde_json::Value| -> Vec<String> {
        let values = value.as_array().expect("a list").iter();
        values
            .map(|v| v.as_str().expect("text").to_owned())
            .collect()
    };
    let common = strings(&jobs["common"]["args"]);
    let jobs = jobs["jobs"].as_array().expect("jobs");
    let mut different = String::new();
    for job in jobs {
        let output = &strings(&job["outputs"])[0];
        let linked = tree.read(output);
        std::fs::remove_file(tree.file(output)).expect("the object is removed");
        let args = [&common[1..], &strings(&job["args"])].concat();
        succeed(&tree.run(&common[0], &args));
        if tree.read(output) != linked {
            writeln!(different, "{output}").expect("a string takes it");
        }
    }
    assert!(
        different.is_empty(),
        "other bytes than clang's:\n{different}"
    );
    jobs.len()
}

/// Removes what `--save-temps` left of earlier links.
fn forget_jobs(tree: &Tree) {
    for name in tree.files().keys() {
        if name.ends_with(".dist-file.json") {
            std::fs::remove_file(tree.file(name)).expect("a file is removed");
        }
    }
}
