//! The house rules that a machine can check. Each failure says what to do.

#[path = "tidy/modules.rs"]
mod modules;

use std::path::{Path, PathBuf};

/// The top of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the programs' crate is in the project")
}

/// Every file below `folder` with one of `endings`, with its text.
fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if endings
                .iter()
                .any(|e| path.extension().is_some_and(|x| x == *e))
            {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                found.push((
                    path.strip_prefix(root).expect("below root").to_owned(),
                    text,
                ));
            }
        }
    }
    assert!(!found.is_empty(), "no file in {folder}");
    found.sort();
    found
}

/// The lines of `text` that are code, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn report(problems: &[String], advice: &str) {
    assert!(problems.is_empty(), "{advice}:\n{}", problems.join("\n"));
}

/// The lines of the source files in `folders` for which `is_bad` holds.
fn lines_where(
    folders: &[&str],
    keep: impl Fn(&Path) -> bool,
    is_bad: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| files(folder, &["rs"])) {
        if keep(&path) {
            for (number, line) in code(&text).filter(|(_, line)| is_bad(line)) {
                problems.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    problems
}

#[test]
fn unsafe_code_stays_in_two_places() {
    let problems = lines_where(
        &["src", "cli/src"],
        |path| !path.starts_with("src/llvm") && path != Path::new("src/sys.rs"),
        |line| line.contains("unsafe "),
    );
    report(
        &problems,
        "move this to src/llvm (LLVM) or src/sys.rs (the system)",
    );
}

#[test]
fn only_its_own_door_knows_the_kernel() {
    let words = ["kbuild", "vmlinux", "Kconfig", "CONFIG_", "objtool"];
    let knows = |line: &str| words.iter().any(|word| line.contains(word));
    let problems = lines_where(&["src"], |_| true, knows);
    report(&problems, "the engine does not know the kernel");

    // The command line names every door, and so do the linker before them and the fuzz targets;
    // two doors ask the kernel's for what it knows of a tree.
    let may = [
        "cli/src/main.rs",
        "cli/src/ld_backlto.rs",
        "cli/src/meant.rs",
        "cli/src/fuzz.rs",
        "cli/src/doors/doctor.rs",
        "cli/src/doors/records.rs",
    ];
    let problems = lines_where(
        &["cli/src"],
        |path| !path.starts_with("cli/src/kbuild") && !may.iter().any(|p| path == Path::new(p)),
        knows,
    );
    report(&problems, "what knows the kernel belongs in cli/src/kbuild");
}

#[test]
fn llvm_s_own_types_stay_behind_one_module() {
    let problems = lines_where(
        &["src"],
        |path| !path.starts_with("src/llvm"),
        |line| line.contains("inkwell::") || line.contains("llvm_sys::"),
    );
    report(&problems, "LLVM's own types stay in src/llvm");
}

/// The crates whose modules depend on each other in one direction only.
const WITHOUT_CIRCLES: [&str; 3] = ["src", "cli/src", "capi/src"];

#[test]
fn modules_depend_on_each_other_in_one_direction() {
    let mut problems = Vec::new();
    for source in WITHOUT_CIRCLES {
        let files = files(source, &["rs"]);
        let below = |(path, text)| (Path::strip_prefix(path, source).expect("below"), text);
        let files = files.iter().map(|(path, text)| (&**path, &**text));
        let circles = modules::Modules::read(files.map(below)).circles();
        problems.extend(circles.iter().map(|circle| format!("{source}: {circle}")));
    }
    report(
        &problems,
        "move what both need into a module of its own, below both",
    );
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let mut problems = Vec::new();
    for folder in [
        "src",
        "cli/src",
        "cli/assets",
        "capi/src",
        "llvm-shims",
        "tests",
    ] {
        for (path, text) in files(folder, &["rs", "cpp", "h", "html", "css", "js"]) {
            let lines = text.lines().count();
            if lines > 800 {
                problems.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    report(&problems, "which noun is hiding in this file?");
}

#[test]
fn nothing_is_left_to_do_without_a_reason() {
    let mut problems = Vec::new();
    for folder in ["src", "cli/src", "capi/src", "llvm-shims"] {
        for (path, text) in files(folder, &["rs", "cpp", "h"]) {
            for (number, line) in text.lines().enumerate() {
                if ["TODO", "FIXME", "todo!", "unimplemented!"]
                    .iter()
                    .any(|w| line.contains(w))
                {
                    problems.push(format!("{}:{}", path.display(), number + 1));
                }
            }
        }
    }
    report(&problems, "do it, or write down in DESIGN.md why not");
}

/// The text within quotes in `line` that starts with `start`.
fn quoted<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let mut parts = line.split('"').skip(1).step_by(2);
    parts.find(|part| part.starts_with(start))
}

#[test]
fn every_variable_is_on_the_page_of_variables() {
    let page = std::fs::read_to_string(root().join("docs/environment.md")).expect("the page");
    let mut problems = Vec::new();
    let mut count = 0;
    for (path, text) in ["src", "cli/src"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
    {
        // The fuzz targets are no program of anybody's.
        if path.ends_with("fuzz.rs") {
            continue;
        }
        let lines = code(&text).filter(|(_, line)| !line.contains("env!(\"BACKLTO_"));
        for (number, line) in lines {
            let Some(name) = quoted(line, "BACKLTO_") else {
                continue;
            };
            count += 1;
            let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            if is_name && !page.contains(&format!("`{name}`")) {
                problems.push(format!("{}:{number}: {name}", path.display()));
            }
        }
    }
    assert!(count > 12, "this check sees no variables");
    report(&problems, "write down in docs/environment.md what it does");
}

#[test]
fn every_shim_is_declared_and_mirrored() {
    let header = &files("llvm-shims", &["h"])
        .into_iter()
        .find(|(path, _)| path.ends_with("BackltoShims.h"))
        .expect("the header")
        .1;
    let mirror = std::fs::read_to_string(root().join("src/llvm/ffi.rs")).expect("the mirror");
    let functions = |text: &str, before: &str| -> Vec<String> {
        let mut names: Vec<String> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '(' && c != '_')
            .filter_map(|word| word.split_once('('))
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.starts_with(before))
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let declared = functions(header, "Backlto");
    assert!(declared.len() > 10, "{declared:?}");
    assert_eq!(declared, functions(&mirror, "Backlto"));
}

#[test]
fn the_linker_door_does_not_load_llvm() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_ld-backlto")).expect("the program");
    // The names of needed libraries stand in the dynamic string table.
    let names = |needle: &[u8]| program.windows(needle.len()).any(|w| w == needle);
    assert!(names(b"libc.so"), "this check sees no library at all");
    assert!(!names(b"libLLVM.so") && !names(b"libclang-cpp"));
}
