//! Pipes and devices in the place of files, and names that are not text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::RUN;
use crate::common::spoil::{
    Door, FLAGS, OLD, PATIENCE, backlto, command, errors, output, program, run_for,
};
use crate::common::{BACKLTO, LLD, Tree, stderr, succeed};

/// Nobody writes to the one, and the other never ends. Of what backlto reads to know
/// its work, and of its own state, neither is taken.
#[test]
fn what_is_no_file_is_not_waited_for() {
    for device in ["pipe", "zero"] {
        let place = |tree: &Tree, name: &str| {
            let _ = std::fs::remove_file(tree.file(name));
            match device {
                "pipe" => succeed(&tree.run("mkfifo", &[name])),
                _ => std::os::unix::fs::symlink("/dev/zero", tree.file(name)).expect("a link"),
            }
        };
        // What is wrong with the input is said, and nothing is touched.
        for (name, args) in [
            ("plan.json", &RUN[..]),
            ("main.o", &RUN),
            (
                "jobs.dist-file.json",
                &["distribute", "jobs.dist-file.json"],
            ),
            ("case.tar.zst", &["repro", "case.tar.zst"]),
        ] {
            let tree = program();
            place(&tree, name);
            let mut run = command(&tree, BACKLTO, args);
            run.env("LD", LLD);
            if name == "main.o" {
                run = command(&tree, BACKLTO, &Door::Run.args());
            }
            let result = run_for(PATIENCE, run);
            let result = result.unwrap_or_else(|| panic!("{device} as {name}: backlto hangs"));
            assert_eq!(result.status.code(), Some(1), "{device} as {name}");
            let said = errors(&result);
            assert!(
                said.iter()
                    .any(|line| line.contains(name) && line.contains("not a regular file")),
                "{device} as {name}: {}",
                stderr(&result)
            );
            assert!(tree.read(&output("main")) == OLD, "{device} as {name}");
        }
        // Without a record, all is built; that it stays so is said.
        let tree = program();
        let record = ".plan.json.backlto";
        place(&tree, record);
        let result = backlto(&tree, &RUN);
        succeed(&result);
        let said = stderr(&result);
        assert!(
            said.contains("the next run will not know of this one"),
            "{device}: {said}"
        );
        assert!(
            tree.file(record)
                .symlink_metadata()
                .is_ok_and(|there| !there.is_file())
        );
        succeed(&tree.clang_backend("main", "clang.o", &FLAGS));
        assert!(tree.read(&output("main")) == tree.read("clang.o"));
        // Nor does a cache wait.
        let tree = program();
        std::fs::create_dir_all(tree.file("cache/v1")).expect("a directory");
        place(&tree, "cache/v1/stats");
        succeed(&backlto(
            &tree,
            &[&["--cache-dir", "cache"], &RUN[..]].concat(),
        ));
    }
}

/// File names are bytes; module names go through JSON, where they have to be text.
#[test]
fn names_that_are_not_text_work_or_are_refused() {
    let odd = OsStr::from_bytes(b"n\xfft");
    let tree = program();
    let inside = tree.path().join(odd);
    std::fs::create_dir(&inside).expect("a directory");
    for (name, bytes) in tree.files() {
        std::fs::write(inside.join(name), bytes).expect("a file");
    }
    succeed(&tree.clang_backend("main", "clang.o", &FLAGS));
    let expected = tree.read("clang.o");
    let in_odd_directory = |args: &[&OsStr]| {
        let mut command = command(&tree, BACKLTO, args);
        command.current_dir(&inside);
        run_for(PATIENCE, command).expect("backlto ends")
    };
    let words = |args: &[String]| {
        args.iter()
            .map(|arg| OsStr::new(arg).to_owned())
            .collect::<Vec<_>>()
    };

    // A directory: all doors work in it.
    for args in [&Door::Cc.args()[..], &RUN.map(str::to_owned)] {
        let object = inside.join(output("main"));
        std::fs::write(&object, OLD).expect("an old object");
        let args = words(args);
        let args: Vec<&OsStr> = args.iter().map(|arg| &**arg).collect();
        succeed(&in_odd_directory(&args));
        assert!(
            std::fs::read(&object).expect("an object") == expected,
            "{args:?}"
        );
    }
    // From outside, by its name.
    let plan = inside.join("plan.json");
    let _ = std::fs::remove_file(inside.join(".plan.json.backlto"));
    succeed(&backlto(
        &tree,
        &[
            OsStr::new("--ld"),
            OsStr::new(LLD),
            OsStr::new("run"),
            plan.as_os_str(),
        ],
    ));

    // A module and an output: clang takes them.
    let odd_module = OsStr::from_bytes(b"m\xff.o");
    std::fs::copy(tree.file("main.o"), inside.join(odd_module)).expect("a module");
    let cc = words(&Door::Cc.args());
    for (old, new) in [("main.o", odd_module), (&*output("main"), odd_module)] {
        let mut args: Vec<&OsStr> = cc.iter().map(|arg| &**arg).collect();
        for arg in args.iter_mut().filter(|arg| ***arg == *OsStr::new(old)) {
            *arg = new;
        }
        succeed(&in_odd_directory(&args));
    }
    let object = std::fs::read(inside.join(odd_module)).expect("the object");
    assert!(object == expected, "under an odd name");
    let mut text = tree.read("plan.json");
    let at = text
        .windows(6)
        .position(|window| window == b"main.o")
        .expect("a module");
    text[at] = 0xff;
    tree.write("plan.json", text);
    let result = backlto(&tree, &RUN);
    assert_eq!(result.status.code(), Some(1));
    assert!(
        errors(&result)[0].contains("plan.json"),
        "{}",
        stderr(&result)
    );
}
