//! Code of a module that is decided by functions which it never imports.

use super::*;
use crate::common::OBJDUMP;

/// `b` hands the buffer of `a` on to `c`.
const SOURCES: [(&str, &str); 3] = [
    (
        "a",
        "int f(char *); int ext(int);
        int a(int x) { char buf[16]; buf[0] = x; return f(buf) + ext(x); }",
    ),
    (
        "b",
        "int g(char *); int ext(int);
        int f(char *p) { int x = g(p);
          x += ext(1); x += ext(2); x += ext(3); x += ext(4); x += ext(5); x += ext(6);
          x += ext(7); x += ext(8); x += ext(9); x += ext(10); x += ext(11); x += ext(12);
          return x; }",
    ),
    ("c", READ),
];
const READ: &str = "__attribute__((noinline)) int g(char *p) { return p[3]; }";

/// The instructions of the library that `tree` links to that set a memory tag.
fn tags(tree: &Tree, cache: &str) -> usize {
    let target = "--target=aarch64-linux-android34";
    let machine = "-march=armv8.5-a+memtag";
    let cache = format!("-Wl,--thinlto-cache-dir={cache}");
    let args = [
        target,
        machine,
        "-fsanitize=memtag-stack",
        "-shared",
        "-nostdlib",
        "a.o",
        "b.o",
        "c.o",
        "-o",
        "program",
        &cache,
        &linked_by(LINKER),
    ];
    link(tree, &args);
    let output = tree.run(
        OBJDUMP,
        &["-d", "--mattr=+mte", "--no-show-raw-insn", "program"],
    );
    succeed(&output);
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .filter(|line| line.contains("\tirg\t") || line.contains("\tstg\t"))
        .count()
}

#[test]
fn a_buffer_is_tagged_once_a_function_elsewhere_reads_beyond_it() {
    let tree = Tree::new();
    let flags = [
        "--target=aarch64-linux-android34",
        "-march=armv8.5-a+memtag",
        "-O2",
        "-fsanitize=memtag-stack",
        "-fvisibility=hidden",
        "-fPIC",
    ];
    for (name, text) in SOURCES {
        let text = match name {
            "a" => text.replace("int a(", "__attribute__((visibility(\"default\"))) int a("),
            _ => text.to_owned(),
        };
        let text = text.replace(
            "int ext(",
            "__attribute__((visibility(\"default\"))) int ext(",
        );
        tree.compile(name, &text, &flags);
    }
    let safe = tags(&tree, "kept");
    tree.compile("c", &READ.replace("p[3]", "p[30]"), &flags);
    let unsafe_ = tags(&tree, "fresh");
    assert!(unsafe_ > safe, "{safe} and {unsafe_}");
    assert_eq!(tags(&tree, "kept"), unsafe_);
}
