//! The pages on build tools say what their examples do; `scripts/test-buildtools.sh`
//! builds those.

use crate::common::root;

fn file(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// `text` without line ends and the marks of lines to come.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "\\");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn pages_show_the_files_of_their_examples() {
    for (page, shown) in [
        ("cmake", "backlto.cmake"),
        ("meson", "backlto.ini"),
        ("cargo", ".cargo/config.toml"),
    ] {
        let text = file(&format!("docs/{page}.md"));
        let shown = file(&format!("examples/{page}/{shown}"));
        assert!(text.contains(&shown), "docs/{page}.md has something else");
    }
}

#[test]
fn pages_show_the_commands_that_are_tested() {
    let script = one_line(&file("scripts/test-buildtools.sh"));
    for page in ["cmake", "meson", "autotools", "cargo"] {
        let text = file(&format!("docs/{page}.md"));
        let (_, rest) = text.split_once("```console\n").expect("commands");
        let (commands, _) = rest.split_once("```").expect("their end");
        for command in commands.split("\n$ ").map(|c| c.trim_start_matches("$ ")) {
            // What a program prints stands below its command.
            let command = command.split("\n3 words").next().unwrap_or_default();
            let command = one_line(command);
            assert!(script.contains(&command), "docs/{page}.md: {command}");
        }
    }
}
