//! Links through `ld.backlto`: they take part by the environment, and fail for no
//! engine.

use std::process::{Command, Output};

use crate::common::{CLANG, LINKER, Tree, stderr, succeed};
use crate::engine::{Engine, Setup};

/// Links a program of two modules through `ld.backlto` in `tree`, with the engine at
/// `url`.
fn link(tree: &Tree, url: &str) -> Output {
    link_with(tree, url, "")
}

fn link_with(tree: &Tree, url: &str, header: &str) -> Output {
    for (name, text) in [
        ("a", "int b(int); int main(void) { return b(1); }\n"),
        ("b", "int b(int x) { return x * 2 - 2; }\n"),
    ] {
        tree.compile(name, text, &["-O2"]);
    }
    Command::new(CLANG)
        .args(["-flto=thin", "-O2", "a.o", "b.o", "-o", "program"])
        .arg(format!("-fuse-ld={LINKER}"))
        .current_dir(tree.path())
        .env("LC_ALL", "C")
        .env("BACKLTO_CACHE_DIR", tree.file("cache"))
        .env("BACKLTO_REMOTE", url)
        .env("BACKLTO_REMOTE_HEADER", header)
        .env("BACKLTO_REMOTE_WAIT", "60")
        .env("BACKLTO_REMOTE_LINGER", "60")
        .output()
        .expect("clang runs")
}

#[test]
fn a_link_finds_what_another_machine_has_linked() {
    let engine = Engine::start(Setup::default());
    let first = Tree::new();
    let output = link(&first, &engine.url());
    succeed(&output);
    assert_eq!(stderr(&output), "");
    let uploads = engine.held().uploads.len();
    assert!(uploads > 2, "{uploads}");
    // In another directory, where LLD has other names for everything.
    let second = Tree::new();
    succeed(&link(&second, &engine.url()));
    assert!(first.read("program") == second.read("program"));
    assert!(engine.calls("BatchReadBlobs") > 0);
    assert_eq!(engine.held().uploads.len(), uploads, "nothing new");
}

#[test]
fn no_link_fails_for_an_engine() {
    let plain = Tree::new();
    succeed(&link(&plain, ""));
    let engine = Engine::start(Setup::default());
    let no_instance = format!("{}/none", engine.url());
    let good = &*engine.url();
    for (url, header) in [
        ("nonsense", ""),
        (&*no_instance, ""),
        ("grpc://127.0.0.1:1", ""),
        (good, "no header"),
        (good, "a=@/no/such/file"),
    ] {
        let tree = Tree::new();
        let output = link_with(&tree, url, header);
        succeed(&output);
        assert!(plain.read("program") == tree.read("program"));
        let said = stderr(&output);
        assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    }
}
