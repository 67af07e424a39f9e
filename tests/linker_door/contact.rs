//! What `ld.backlto` says of itself.

use super::*;
use crate::common::stderr;

/// Links with `LINKER` and `variables`; it must succeed. Returns what it said.
#[track_caller]
fn link_with(tree: &Tree, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(CLANG);
    command
        .args(["-flto=thin", "-O2", "main.o", "scale.o", "-o", "program"])
        .arg(linked_by(LINKER))
        .current_dir(tree.path())
        .env("BACKLTO_CACHE_DIR", tree.file("cache"))
        .envs(variables.iter().copied());
    let output = command.output().expect("clang runs");
    succeed(&output);
    assert_eq!(says(tree, "program"), SAYS);
    stderr(&output)
}

#[test]
fn a_link_says_in_a_line_what_it_did_if_asked_to() {
    let tree = two_modules(&[]);
    assert_eq!(link_with(&tree, &[("BACKLTO_SUMMARY", "")]), "");
    assert_eq!(link_with(&tree, &[("BACKLTO_SUMMARY", "0")]), "");
    let said = link_with(&tree, &[("BACKLTO_SUMMARY", "1")]);
    let line = "backlto: note: 2 backends: 0 compiled, 2 from the cache, in ";
    let rest = said.strip_prefix(line).unwrap_or_else(|| panic!("{said}"));
    let seconds = rest.strip_suffix(" s (program)\n");
    assert!(seconds.is_some_and(|s| s.parse::<f64>().is_ok()), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn each_link_leaves_a_report_where_that_is_asked_for() {
    let tree = two_modules(&[]);
    std::fs::create_dir(tree.file("reports")).expect("a directory");
    let [reports, page] =
        ["reports", "page.html"].map(|name| tree.file(name).display().to_string());
    link_with(&tree, &[("BACKLTO_REPORT", "")]);
    link_with(&tree, &[("BACKLTO_REPORT", &reports)]);
    link_with(&tree, &[("BACKLTO_REPORT", &page)]);
    let [called, named] = ["reports/backlto-program.html", "page.html"]
        .map(|name| String::from_utf8(tree.read(name)).expect("a page is UTF-8"));
    for page in [called, named] {
        assert!(page.contains(r#""link":"program""#) && page.contains(r#""name":"main.o""#));
    }
    assert_eq!(
        std::fs::read_dir(tree.file("reports"))
            .expect("it is there")
            .count(),
        1
    );
}

#[test]
fn its_version_is_that_of_lld_and_its_own() {
    let tree = Tree::new();
    let lld = tree.run(LLD, &["--version"]);
    let ours = tree.run(LINKER, &["--version"]);
    succeed(&ours);
    let [lld, ours] = [lld, ours].map(|output| String::from_utf8(output.stdout).expect("text"));
    let own = ours.strip_prefix(&lld).expect("LLD's comes first");
    assert!(
        own.starts_with("ld.backlto ") && own.lines().count() == 1,
        "{own}"
    );
}

/// What it would be told, or would make of the bitcode, is nobody's business then.
#[test]
fn an_lld_of_another_llvm_links_alone_and_that_is_said() {
    let tree = two_modules(&[]);
    let script = format!("[ \"$1\" = --version ] && echo 'LLD 18.1.8' && exit\nexec {LLD} \"$@\"");
    tree.script("lld-of-old", &script);
    let lld = tree.file("lld-of-old").display().to_string();
    let said = link_with(&tree, &[("BACKLTO_LD", &lld), ("BACKLTO_SUMMARY", "1")]);
    let words = format!(
        "lld-of-old` is LLD 18.1.8, and backlto compiles with LLVM {MAJOR}: ld.lld runs the \
         backends itself; install backlto for that LLVM, or name another one with BACKLTO_LD"
    );
    assert!(
        said.contains(&words) && !said.contains("2 backends"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // A link without bitcode is none of its business.
    tree.write("native.c", "int main(void) { return 0; }\n");
    let args = ["native.c", "-o", "native", &linked_by(LINKER)];
    let mut command = Command::new(CLANG);
    let output = command
        .args(args)
        .current_dir(tree.path())
        .env("BACKLTO_LD", &lld)
        .output();
    let output = output.expect("clang runs");
    succeed(&output);
    assert_eq!(stderr(&output), "");
}
