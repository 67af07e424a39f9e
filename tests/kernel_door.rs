//! `backlto kbuild` on object trees in miniature: the files that kbuild itself
//! would leave, byte by byte, and one clear error where the tree is not right.

mod common;
#[path = "kernel_door/errors.rs"]
mod errors;
#[path = "kernel_door/killed.rs"]
mod killed;
#[path = "kernel_door/links.rs"]
mod links;
#[path = "kernel_door/makefiles.rs"]
mod makefiles;
#[path = "kernel_door/tree.rs"]
mod tree;

use std::process::Command;

use common::{AR, BACKLTO, CLANG, Effect, LINKER, LLD, MAJOR, stderr, succeed, tool};
use tree::Kernel::{Distributed, Thin};
use tree::{BITCODE, KERNELS, KernelTree, ORDER, cmd_file, escape_make, native};

/// The names of new and changed files.
fn names(effect: &Effect) -> Vec<&str> {
    effect.files.keys().map(String::as_str).collect()
}

#[track_caller]
fn text<'a>(effect: &'a Effect, name: &str) -> &'a str {
    let bytes = effect
        .files
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {effect:?}"));
    std::str::from_utf8(bytes).expect("text")
}

/// Checks that every file of `expected` is in `actual`, byte by byte.
#[track_caller]
fn assert_has_files(actual: &Effect, expected: &Effect) {
    assert!(actual.success, "{actual:?}");
    for (name, bytes) in &expected.files {
        assert!(
            actual.files.get(name) == Some(bytes),
            "{name} differs: {actual:?}"
        );
    }
}

/// What is recorded as the command for `target`, with single blanks: kbuild
/// does not tell more from one.
#[track_caller]
fn recorded(effect: &Effect, target: &str) -> String {
    let file = text(effect, &cmd_file(target));
    let line = file.lines().next().unwrap_or_default();
    let command = line
        .strip_prefix(&format!("savedcmd_{target} := "))
        .unwrap_or_else(|| panic!("{target}: {file}"));
    command.split_whitespace().collect::<Vec<_>>().join(" ")
}

// --- what is left behind ---------------------------------------------------

#[test]
fn objects_archives_and_vmlinux_o_are_those_that_kbuild_would_make() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let mut expected = tree.by_hand();
        // kbuild's has a symbol table that nobody reads; its members follow.
        expected.files.remove("built-in-fixup.a");
        let actual = tree.observe(&["."]);
        assert_has_files(&actual, &expected);

        let lines = |name| text(&actual, name).lines().collect::<Vec<_>>();
        assert_eq!(lines("builtin.order"), ORDER);
        assert_eq!(lines("vmlinux.thinlto-index"), BITCODE);
        let members = |archive: &str| {
            tree.tree.write(archive, &actual.files[archive]);
            let listed = tree.shell(&format!("{AR} t {archive}"));
            String::from_utf8_lossy(&listed.stdout).into_owned()
        };
        let objects = ORDER.map(|object| match BITCODE.contains(&object) {
            true => native(object),
            false => object.to_owned(),
        });
        assert!(
            members("vmlinux.a").lines().eq(objects),
            "{}",
            members("vmlinux.a")
        );
        if kernel == Distributed {
            assert!(members("built-in-fixup.a").lines().eq(ORDER));
        }
    }
}

/// Nothing but what kbuild of 7.2 has names for, so that its `make clean` and git's ignore
/// rules know it all. Those of 6.12 do not know all of it (docs/kernel.md, "By hand").
#[test]
fn no_other_file_is_left() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let actual = tree.observe(&["."]);
        let mut expected: Vec<String> = [
            ".tmp_initcalls.lds",
            "builtin.order",
            "vmlinux.a",
            "vmlinux.o",
            "vmlinux.thinlto-index",
        ]
        .map(str::to_owned)
        .into();
        expected.extend(["vmlinux.o", "vmlinux.thinlto-index"].map(cmd_file));
        for object in BITCODE {
            expected.push(format!("{object}.thinlto.bc"));
            expected.extend([native(object), cmd_file(&native(object))]);
        }
        if kernel == Distributed {
            expected.push("built-in-fixup.a".to_owned());
            expected.extend(["built-in-fixup.a", "builtin.order", "vmlinux.a"].map(cmd_file));
        }
        expected.sort();
        assert_eq!(names(&actual), expected, "{kernel:?}");
    }
}

/// Make compares these texts with what it would run; where they differ it does
/// everything again.
#[test]
fn commands_are_recorded_as_make_would_record_them() {
    let tree = KernelTree::new(Distributed);
    let actual = tree.observe(&["."]);
    let mut commands = vec![
        (
            "built-in-fixup.a".to_owned(),
            tree.fixup_command("built-in-fixup.a"),
        ),
        (
            "builtin.order".to_owned(),
            format!("{AR} t built-in-fixup.a > builtin.order"),
        ),
        ("vmlinux.thinlto-index".to_owned(), tree.thin_link_command()),
        ("vmlinux.a".to_owned(), tree.archive_command()),
        ("vmlinux.o".to_owned(), tree.link_command()),
    ];
    commands.extend(BITCODE.map(|object| (native(object), tree.back_end_command(object))));
    for (target, command) in commands {
        let expected: Vec<_> = command.split_whitespace().collect();
        assert_eq!(recorded(&actual, &target), escape_make(&expected.join(" ")));
    }
}

/// GNU make itself reads the records, and a shell runs what it found there.
#[test]
fn recorded_commands_give_the_same_bytes_again() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        succeed(&tree.kbuild(&["."]));
        let targets = BITCODE.map(native);
        for target in targets.iter().map(String::as_str).chain(["vmlinux.o"]) {
            let bytes = tree.tree.read(target);
            std::fs::remove_file(tree.tree.file(target)).expect("it is removed");
            let makefile = format!(
                "pound := \\#\ninclude {}\nall:\n\t@:$(file >command.sh,$(savedcmd_{target}))\n",
                cmd_file(target)
            );
            tree.tree.write("read.mk", makefile);
            tree.shell("make -s -f read.mk all");
            tree.shell("sh -e command.sh");
            assert!(tree.tree.read(target) == bytes, "{kernel:?}: {target}");
        }
    }
}

/// kbuild's stage 3 is `$(CC)` with the flags that it has saved.
#[test]
fn options_of_the_compiler_s_own_are_the_back_end_s_too() {
    let tree = KernelTree::new(Distributed);
    let object = "lib/string.o";
    let cc = format!("env CCACHE_DIR=/x/clang-cache {CLANG} -fstack-size-section");
    tree.compiled_by(object, &cc);
    let actual = tree.observe(&["."]);
    assert!(actual.success, "{actual:?}");
    let command = tree.back_end_command(object).replacen(CLANG, &cc, 1);
    let expected: Vec<_> = command.split_whitespace().collect();
    assert_eq!(
        recorded(&actual, &native(object)),
        escape_make(&expected.join(" "))
    );
    succeed(&tree.kbuild(&["."]));
    let ours = tree.tree.read(&native(object));
    assert!(ours == actual.files[&native(object)]);
    tree.shell(&command);
    assert!(tree.tree.read(&native(object)) == ours);
}

/// modpost of kernels without THIN_DIST looks for the versions of symbols
/// beside the object that it reads.
#[test]
fn symbol_versions_are_copied_where_modpost_looks_for_them() {
    for kernel in KERNELS {
        let actual = KernelTree::new(kernel).observe(&["."]);
        for object in BITCODE {
            let record = text(&actual, &cmd_file(&native(object)));
            let module = object.trim_end_matches(".o").replace('/', "_");
            let line = format!("\n#SYMVER {module} 0x0123abcd\n");
            assert_eq!(
                record.contains(&line),
                kernel == Thin,
                "{kernel:?}: {record}"
            );
            assert_eq!(
                record.matches("#SYMVER").count(),
                usize::from(kernel == Thin),
                "{record}"
            );
        }
    }
}

#[test]
fn a_second_run_gives_the_same() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        succeed(&tree.kbuild(&["."]));
        let second = tree.observe(&["."]);
        assert!(second.success, "{second:?}");
        assert_eq!(names(&second), Vec::<&str>::new(), "{second:?}");
    }
}

// --- how it is called --------------------------------------------------------

#[test]
fn each_stage_can_be_the_last() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let all = tree.observe(&["."]);
        // The first stage whose file it is, by a part of the name.
        let stages = ["thin-link", "objects", "archive", "vmlinux.o"];
        let stage_of = |name: &str| match name {
            "vmlinux.a" | ".vmlinux.a.cmd" => 2,
            "vmlinux.o" | ".vmlinux.o.cmd" | ".tmp_initcalls.lds" => 3,
            name if name.contains("thinlto-native.o") => 1,
            _ => 0,
        };
        for (number, stage) in stages.into_iter().enumerate() {
            let actual = tree.observe(&["--to", stage, "."]);
            let mut expected = names(&all);
            expected.retain(|name| stage_of(name) <= number);
            assert_eq!(names(&actual), expected, "{kernel:?} to {stage}");
            for name in expected {
                assert!(
                    actual.files[name] == all.files[name],
                    "{kernel:?} to {stage}: {name}"
                );
            }
        }
        // And one after the other, as a build would.
        for stage in stages {
            succeed(&tree.kbuild(&["--to", stage, "."]));
        }
        for (name, bytes) in &all.files {
            assert!(tree.tree.read(name) == *bytes, "{kernel:?}: {name}");
        }
    }
    let nonsense = KernelTree::new(Thin).kbuild(&["--to", "nonsense", "."]);
    assert_eq!(nonsense.status.code(), Some(2), "{nonsense:?}");
}

#[test]
fn the_tree_may_be_named_from_anywhere() {
    let tree = KernelTree::new(Distributed);
    let expected = tree.observe(&["."]);
    let absolute = tree.tree.path().display().to_string();
    let base = tree
        .tree
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy();
    let below = format!("../../../{base}/init/..");
    for (directory, args) in [
        (".", vec!["-C", "."]),
        ("lib/empty", vec!["../.."]),
        ("lib/empty", vec![&below]),
        ("/", vec![&absolute]),
        ("/", vec!["-C", &absolute]),
    ] {
        let script = format!("cd {directory} && exec \"$0\" -q kbuild \"$@\"");
        let mut line = vec!["-c", &script, BACKLTO];
        line.extend(&args);
        let actual = tree.tree.observe("sh", &line);
        assert!(actual.success, "{directory} {args:?}: {actual:?}");
        assert_eq!(names(&actual), names(&expected), "{directory} {args:?}");
        for (name, bytes) in &expected.files {
            assert!(actual.files[name] == *bytes, "{directory} {args:?}: {name}");
        }
    }
}

#[test]
fn steps_are_said_as_kbuild_says_them() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let said = tree.observe(&["-j2", "."]).stdout;
        let steps: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("  ") && !line.contains(" s  "))
            .collect();
        let mut expected = vec!["  LD      vmlinux.thinlto-index".to_owned()];
        if kernel == Distributed {
            expected.insert(0, "  AR      built-in-fixup.a".to_owned());
        }
        expected.extend(BITCODE.map(|object| format!("  BE      {}", native(object))));
        expected.extend(
            [
                "AR      vmlinux.a",
                "GEN     .tmp_initcalls.lds",
                "LD      vmlinux.o",
            ]
            .map(|step| format!("  {step}")),
        );
        assert_eq!(steps, expected);
        assert!(
            said.contains(&format!("{} objects (", BITCODE.len())),
            "{said}"
        );
        let quiet = tree.observe(&["-q", "."]);
        assert_eq!(format!("{}{}", quiet.stdout, quiet.stderr), "");
    }
}

/// Runs `backlto kbuild` on a good tree with `$LD` set to `ld`.
fn with_linker(ld: &str, args: &[&str]) -> std::process::Output {
    let tree = KernelTree::new(Thin);
    // Written by the shell: were it open here for writing, another test's child
    // could inherit that, and it would be busy.
    tree.shell(&format!(
        "printf '#!/bin/sh\\n[ \"$1\" = --version ] && echo LLD 19.1.7 || exec {LLD} \"$@\"\\n' \
         > old-lld; chmod +x old-lld"
    ));
    Command::new(BACKLTO)
        .env("BACKLTO_CACHE_DIR", "")
        .args(["-q", "kbuild"])
        .args(args)
        .arg(".")
        .current_dir(tree.tree.path())
        .env("LD", ld)
        .output()
        .expect("backlto runs")
}

#[test]
fn the_linker_is_the_one_that_was_chosen() {
    for (ld, args) in [
        (LLD, &[][..]),
        ("", &[]),
        // The option beats the variable.
        ("/nowhere/ld.lld", &["--ld", LLD]),
        ("/usr/bin/true", &["--ld", LLD]),
    ] {
        let output = with_linker(ld, args);
        succeed(&output);
        assert_eq!(stderr(&output), "", "LD={ld} {args:?}");
    }
    for (ld, args, needle) in [
        (
            "/nowhere/ld.lld",
            &[][..],
            "cannot run linker `/nowhere/ld.lld`: No such file",
        ),
        ("no-such-linker", &[], "cannot run linker `no-such-linker`"),
        ("true", &[], "linker `true` is not LLD"),
        ("", &["--ld", "ld"], "linker `ld` is not LLD: GNU ld"),
        (
            "",
            &["--ld", AR],
            concat!("linker `", tool!("llvm-ar"), "` is not LLD"),
        ),
    ] {
        let output = with_linker(ld, args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("backlto: error: ") && said.contains(needle),
            "{said}"
        );
        assert_eq!(said.matches("error:").count(), 1, "{said}");
    }
}

#[test]
fn a_system_without_lld_is_told_what_to_install() {
    let tree = KernelTree::new(Distributed);
    let output = Command::new(BACKLTO)
        .env("BACKLTO_CACHE_DIR", "")
        .args(["kbuild", "."])
        .current_dir(tree.tree.path())
        .env("PATH", "/nowhere")
        .env_remove("LD")
        .output()
        .expect("backlto runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("backlto: error: cannot find ld.lld: "),
        "{said}"
    );
    assert!(
        said.contains(&format!("install Debian's package lld-{MAJOR}")),
        "{said}"
    );
}

/// A whole build may be told that its linker is `ld.backlto`: by its name, by
/// another link to it, by a copy of it.
#[test]
fn a_linker_that_is_ld_backlto_is_the_ld_lld_that_it_would_call() {
    let tree = KernelTree::new(Distributed);
    let expected = tree.observe(&["."]);
    assert!(expected.success, "{expected:?}");
    tree.shell(&format!(
        "ln -s {LINKER} linked; cp {LINKER} copied; ln -s {LINKER} ld.backlto"
    ));
    let programs = std::path::Path::new(BACKLTO).parent().expect("a folder");
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").expect("PATH")
    );
    for (linker, lld) in [
        (LINKER, ""),
        ("./linked", ""),
        ("./copied", ""),
        ("./ld.backlto", LLD),
        ("./ld.backlto", "./ld.backlto"),
    ] {
        for (name, value) in [("LD", linker), ("X", "")] {
            // It used to wait for itself.
            let script = format!(
                "PATH={path} BACKLTO_LD={lld} {name}={value} exec timeout 100 {BACKLTO} \"$@\""
            );
            let option = ["--ld", linker];
            let option = if name == "LD" { &[][..] } else { &option };
            let args = [&["-c", &script, "sh"], option, &["kbuild", "."]].concat();
            let actual = tree.tree.observe("sh", &args);
            assert!(actual.success, "{linker} {name}: {actual:?}");
            assert!(
                actual.files == expected.files,
                "{linker} {name}: {actual:?}"
            );
        }
    }
}

/// Who takes no linker by another name (DKMS) gets `ld.backlto` by LLD's.
#[test]
fn a_link_to_ld_backlto_by_lld_s_name_is_passed_over() {
    let tree = KernelTree::new(Distributed);
    let expected = tree.observe(&["."]);
    assert!(expected.success, "{expected:?}");
    tree.shell(&format!(
        "mkdir standins real; ln -s {LINKER} standins/ld.lld; \
         ln -s \"$(command -v {LLD})\" real/ld.lld"
    ));
    let script = format!("PATH=$PWD/standins:$PWD/real exec {BACKLTO} kbuild .");
    let actual = tree.tree.observe("sh", &["-c", &script]);
    assert!(actual.success, "{actual:?}");
    assert!(actual.files == expected.files, "{actual:?}");
}

/// Without its program, every compile would be in vain.
#[test]
fn a_command_for_objects_that_is_not_there_is_noticed_before_anything_else() {
    let tree = KernelTree::new(Distributed);
    for command in ["nosuchcmd {}", "/no/such/cmd {}", "./nosuchcmd {}", "'' {}"] {
        let effect = tree.observe(&["--post", command, "."]);
        assert!(!effect.success, "{effect:?}");
        let expected = format!("backlto: error: `--post '{command}'` cannot run `");
        assert!(effect.stderr.starts_with(&expected), "{effect:?}");
        assert!(effect.files.is_empty(), "{effect:?}");
    }
    // One that is there runs in the tree, from wherever backlto is called.
    tree.shell("printf '#!/bin/sh\\necho $1 >>finished\\n' >finish; chmod +x finish");
    let objtree = tree.tree.path().display().to_string();
    let script = format!("cd / && exec {BACKLTO} kbuild --post './finish {{}}' {objtree}");
    let effect = tree.tree.observe("sh", &["-c", &script]);
    assert!(effect.success, "{effect:?}");
    assert_eq!(text(&effect, "finished").lines().count(), BITCODE.len());
}

/// The indexes of another LLVM may not fit, but they may.
#[test]
fn a_linker_of_another_version_draws_a_warning() {
    let output = with_linker("./old-lld", &[]);
    succeed(&output);
    let said = stderr(&output);
    assert!(
        said.starts_with("backlto: warning: linker `./old-lld` is LLD 19.1.7"),
        "{said}"
    );
    assert!(said.contains(&format!("name an {LLD} with --ld")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// make and the shell take names as bytes, and so must everything between them.
#[test]
fn a_tree_whose_name_is_not_text_is_built() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let script = format!(
            "odd=../$(printf 'n\\377t').$$ && cp -a . \"$odd\" && \
             {BACKLTO} -q --ld {LLD} kbuild \"$odd\" && cp \"$odd\"/vmlinux.o ours.o; \
             status=$?; rm -rf \"$odd\"; exit $status"
        );
        succeed(&tree.shell(&script));
        let expected = tree.observe(&["."]);
        assert!(expected.success, "{expected:?}");
        let ours = tree.shell("cat ours.o").stdout;
        assert!(
            expected.files["vmlinux.o"] == ours,
            "{kernel:?}: another vmlinux.o"
        );
    }
}
