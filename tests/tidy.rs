//! The house rules that a machine can check. Each failure says what to do.

use std::path::{Path, PathBuf};

/// Every file below `folder` with one of `endings`, with its text.
fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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

/// The lines of source files for which `is_bad` holds.
fn lines_where(keep: impl Fn(&Path) -> bool, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in files("src", &["rs"]) {
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
        |path| !path.starts_with("src/llvm") && path != Path::new("src/sys.rs"),
        |line| line.contains("unsafe "),
    );
    report(
        &problems,
        "move this to src/llvm (LLVM) or src/sys.rs (the system)",
    );
}

#[test]
fn the_engine_does_not_know_the_kernel() {
    let words = ["kbuild", "vmlinux", "Kconfig", "CONFIG_", "objtool"];
    let problems = lines_where(
        |path| {
            !path.starts_with("src/front/kbuild")
                // The command line names every door; the doors' list too.
                && path != Path::new("src/main.rs")
                && path != Path::new("src/front/mod.rs")
                // So does the linker that stands before them.
                && path != Path::new("src/bin/ld-backlto.rs")
        },
        |line| words.iter().any(|word| line.contains(word)),
    );
    report(
        &problems,
        "what knows the kernel belongs in src/front/kbuild",
    );
}

#[test]
fn layers_point_one_way() {
    let below_front =
        |path: &Path| !path.starts_with("src/front") && path != Path::new("src/main.rs");
    let problems = lines_where(below_front, |line| line.contains("crate::front"));
    report(&problems, "the engine must not use a front door");

    let outside_llvm = |path: &Path| !path.starts_with("src/llvm");
    let problems = lines_where(outside_llvm, |line| {
        line.contains("inkwell::") || line.contains("llvm_sys::")
    });
    report(&problems, "LLVM's own types stay in src/llvm");
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let mut problems = Vec::new();
    for folder in ["src", "llvm-shims", "tests"] {
        for (path, text) in files(folder, &["rs", "cpp", "h"]) {
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
    for folder in ["src", "llvm-shims"] {
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

#[test]
fn every_shim_is_declared_and_mirrored() {
    let header = &files("llvm-shims", &["h"])
        .into_iter()
        .find(|(path, _)| path.ends_with("BackltoShims.h"))
        .expect("the header")
        .1;
    let mirror =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/llvm/ffi.rs"))
            .expect("the mirror");
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
