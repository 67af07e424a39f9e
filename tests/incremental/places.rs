//! Places in the sources: inline assembly carries them, messages alone name them.

use crate::project::Project;

/// A function with inline assembly and another that imports it. `before` stands before it.
fn assembly(before: &str, text: &str) -> String {
    format!(
        "{before}int guarded(int x) {{
    __asm__ volatile(\"{text}\" : \"+r\"(x));
    if (x) {{ __asm__ volatile(\"nop\"); return 1; }}
    __asm__ volatile(\"nop\");
    return x; }}\n"
    )
}

const USER: &str = "int guarded(int);
int start(int x) { return guarded(x) + guarded(x + 1); }\n";

#[test]
fn a_comment_above_inline_assembly_compiles_nothing() {
    let project = Project::of(&[("main", USER), ("guard", &assembly("", "nop"))]);
    project.build().compiled("main guard");
    project.edit("guard", &assembly("/* A comment. */\n", "nop"));
    // The objects are compared with clang's after each build.
    project.build().did("", "", "main guard");
    project.edit("guard", &assembly("/* A comment. */\n", "nop; nop"));
    project.build().compiled("main guard");
}

/// What is said of assembly names its place: it has to be said anew.
#[test]
fn what_is_said_of_a_place_is_said_of_where_it_is_now() {
    let warns = |before: &str| assembly(before, ".warning \\\"look\\\"");
    let project = Project::of(&[("main", USER), ("guard", &warns(""))]);
    project.build().compiled("main guard");
    project.edit("guard", &warns("/* A comment. */\n"));
    project.build().compiled("main guard");
    project.build().nothing();
}
