//! Local symbols that another module imports get a name that no other has.

use crate::common::NM;
use crate::project::Project;

/// A function that others inline, with a local one that it calls and they then call too.
/// `edit` is of no concern to them.
fn library(edit: u32) -> String {
    format!(
        "static __attribute__((noinline)) int hidden(int x) {{ return x * 7 ^ 3; }}
int exposed(int x) {{ return hidden(x) + 1; }}
__attribute__((noinline)) int other(int x) {{ return x + {edit}; }}\n"
    )
}

const USER: &str = "int exposed(int);
int start(int x) { return exposed(x) + exposed(x + 2); }\n";

/// The name that `hidden` got in what was compiled of `module`.
fn hidden(project: &Project, module: &str) -> String {
    let object = format!("{module}.thinlto-native.o");
    let output = project.run(NM, &["-j", &object]);
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = names.lines().find(|name| name.starts_with("hidden.llvm."));
    found.unwrap_or_else(|| panic!("{names}")).to_owned()
}

#[test]
fn names_after_the_module_s_hash_compile_every_importer() {
    let project = Project::of(&[("main", USER), ("library", &library(1))]);
    project.build().compiled("main library");
    let before = hidden(&project, "main");
    project.edit("library", &library(2));
    project.build().compiled("main library");
    assert_ne!(hidden(&project, "main"), before);
}

#[test]
fn names_after_the_source_s_compile_no_importer() {
    let mut project = Project::of(&[("main", USER), ("library", &library(1))]);
    let option = ["-mllvm", "-use-source-filename-for-promoted-locals"];
    project.build().compiled("main library");
    // It is another object, so nothing that was kept without the option will do.
    project.set_flags(&option);
    project.build().compiled("main library");
    assert_eq!(hidden(&project, "main"), "hidden.llvm.library_c");
    assert_eq!(hidden(&project, "library"), "hidden.llvm.library_c");
    project.edit("library", &library(2));
    project.build().did("library", "", "main");
    project.set_flags(&[]);
    project.build().compiled("main library");
}
