//! Trees that are not right: one error that names the file, exit status 1, and
//! nothing written that make could take for its own work.

use crate::common::{AR, BACKLTO, CLANG, LLD, LLVM_OF_MAKE, MAJOR, Tree, stderr, succeed};
use crate::tree::Kernel::{Distributed, Thin};
use crate::tree::{BITCODE, KERNELS, KernelTree, cmd_file, native};

/// Spoils a good tree and checks that it is refused in one line, which contains
/// `needle`, before anything was written.
#[track_caller]
fn refused(needle: &str, spoil: impl Fn(&KernelTree)) {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        spoil(&tree);
        let effect = tree.observe(&["."]);
        assert!(!effect.success, "{kernel:?}, {needle}: {effect:?}");
        assert!(effect.files.is_empty(), "{kernel:?}, {needle}: {effect:?}");
        let errors: Vec<&str> = effect
            .stderr
            .lines()
            .filter(|line| line.contains("error:"))
            .collect();
        assert_eq!(errors.len(), 1, "{kernel:?}, {needle}: {effect:?}");
        assert!(errors[0].starts_with("backlto: error: "), "{effect:?}");
        assert!(
            errors[0].contains(needle),
            "{kernel:?}: no `{needle}` in {effect:?}"
        );
    }
}

/// Checks an error that is found after the thin link: no native object, no archive.
#[track_caller]
fn refused_after_the_thin_link(needles: &[&str], spoil: impl Fn(&KernelTree)) {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        spoil(&tree);
        let effect = tree.observe(&["."]);
        assert!(!effect.success, "{kernel:?}, {needles:?}: {effect:?}");
        let errors: Vec<&str> = effect
            .stderr
            .lines()
            .filter(|line| line.contains("error:"))
            .collect();
        assert_eq!(errors.len(), needles.len(), "{kernel:?}: {effect:?}");
        for (error, needle) in errors.iter().zip(needles) {
            assert!(error.starts_with("backlto: error: "), "{effect:?}");
            assert!(
                error.contains(needle),
                "{kernel:?}: no `{needle}` in {effect:?}"
            );
        }
        let made = |name: &&String| name.contains("thinlto-native") || name.contains("vmlinux.a");
        assert_eq!(
            effect.files.keys().find(made),
            None,
            "{kernel:?}: {effect:?}"
        );
    }
}

fn remove(tree: &KernelTree, name: &str) {
    std::fs::remove_file(tree.tree.file(name)).expect("the file was there");
}

/// Changes the text of `name`.
fn edit(tree: &KernelTree, name: &str, change: impl Fn(&str) -> String) {
    let text = String::from_utf8(tree.tree.read(name)).expect("text");
    let changed = change(&text);
    assert_ne!(changed, text, "{name}");
    tree.tree.write(name, changed);
}

// --- not a tree to work on -----------------------------------------------------

#[test]
fn a_directory_that_is_no_object_tree_is_an_error() {
    let tree = Tree::new();
    tree.write("a file", "");
    tree.write("empty/x", "");
    for (name, needle) in [
        ("nowhere", "nowhere` is not a directory"),
        ("a file", "a file` is not a directory"),
        ("empty", "empty` is not a configured kernel object tree"),
    ] {
        let output = tree.run(BACKLTO, &["kbuild", name]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("backlto: error: ") && said.contains(needle),
            "{said}"
        );
        assert!(said.contains("auto.conf"), "{said}");
    }
    // Without a name, it is the tree where one stands.
    let here = stderr(&tree.run(BACKLTO, &["kbuild"]));
    assert!(
        here.contains("is not a configured kernel object tree"),
        "{here}"
    );
    let twice = tree.run(BACKLTO, &["kbuild", "-C", ".", "../", "."]);
    assert_eq!(twice.status.code(), Some(1));
    let said = stderr(&twice);
    assert!(said.contains("`.` is named twice"), "{said}");
}

#[test]
fn a_tree_without_thin_lto_is_an_error() {
    for (config, needle) in [
        ("CONFIG_LTO_NONE=y\n", "is configured with no LTO"),
        ("", "is configured with no LTO"),
        (
            "# CONFIG_LTO_CLANG_THIN is not set\n",
            "is configured with no LTO",
        ),
        (
            "CONFIG_LTO_CLANG_THINNER=y\nCONFIG_LTO_CLANG_THIN=n\n",
            "is configured with no LTO",
        ),
        ("CONFIG_LTO_CLANG_FULL=y\n", "is configured with full LTO"),
    ] {
        refused(needle, |tree| {
            tree.tree.write("include/config/auto.conf", config)
        });
    }
}

#[test]
fn a_tree_that_was_not_built_is_an_error() {
    refused("built-in.a`: No such file", |tree| {
        remove(tree, "built-in.a")
    });
    refused("no object of `", |tree| {
        for object in BITCODE {
            tree.shell(&format!("echo 'int x;' | {CLANG} -x c -c -o {object} -"));
        }
    });
}

/// Adds `config` to the configuration of a tree and returns that.
fn configured_with(config: &str) -> KernelTree {
    let tree = KernelTree::new(Thin);
    let name = "include/config/auto.conf";
    let text = String::from_utf8(tree.tree.read(name)).expect("text");
    let path = tree.tree.file(name);
    let metadata = path.metadata().expect("a file");
    tree.tree.write(name, text + config);
    // The link was recorded with this configuration.
    let file = std::fs::File::options().write(true).open(path);
    file.expect("it opens")
        .set_modified(metadata.modified().expect("a time"))
        .expect("it is set");
    tree
}

/// What `doctor` says of `tree`, and whether all is well.
fn doctor(tree: &KernelTree) -> (bool, String) {
    let output = tree.tree.run(BACKLTO, &["--ld", LLD, "doctor", "."]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}

#[test]
fn doctor_looks_at_a_tree_and_says_what_to_do_next() {
    let (well, said) = doctor(&configured_with(&format!(
        "CONFIG_CLANG_VERSION={MAJOR}0108\n"
    )));
    assert!(said.contains("CONFIG_LTO_CLANG_THIN\n"), "{said}");
    assert!(said.contains("front end    done: `"), "{said}");
    assert!(
        well && said.contains("record       of no earlier build"),
        "{said}"
    );

    let tree = configured_with("CONFIG_CLANG_VERSION=180108\n");
    let (well, said) = doctor(&tree);
    assert!(
        !well && said.contains("is configured for clang 18, but"),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "`make {LLVM_OF_MAKE} O=. olddefconfig all` builds it"
        )),
        "{said}"
    );
    // Its bitcode may do, so that is no error of a build.
    let output = tree.kbuild(&["."]);
    succeed(&output);
    assert!(stderr(&output).contains("warning: `"), "{output:?}");
    assert!(
        stderr(&output).contains("is configured for clang 18, but"),
        "{output:?}"
    );

    let tree = KernelTree::new(Thin);
    remove(&tree, "built-in.a");
    let (well, said) = doctor(&tree);
    assert!(!well && said.contains("FAILED  front end"), "{said}");
    assert!(
        said.contains(&format!(
            "the front end is not done (`make {LLVM_OF_MAKE} O=.`)"
        )),
        "{said}"
    );
    tree.tree
        .write("include/config/auto.conf", "CONFIG_LTO_NONE=y\n");
    let (well, said) = doctor(&tree);
    assert!(
        !well && said.contains("is configured with no LTO"),
        "{said}"
    );
    assert!(
        said.contains("-d LTO_NONE -d LTO_CLANG_FULL -e LTO_CLANG_THIN"),
        "{said}"
    );
    // What is no tree at all is nobody's business.
    let output = Tree::new().run(BACKLTO, &["--ld", LLD, "doctor"]);
    succeed(&output);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("front end"));
}

// --- objects and archives --------------------------------------------------------

#[test]
fn a_missing_object_is_an_error() {
    refused("`init/options.o` is part of vmlinux, but missing", |tree| {
        remove(tree, "init/options.o");
    });
    refused("`lib/memory.o` is part of vmlinux, but missing", |tree| {
        remove(tree, "lib/memory.o")
    });
}

#[test]
fn an_archive_that_is_not_thin_is_an_error() {
    for archive in ["built-in.a", "lib/lib.a"] {
        let needle = format!("/{archive}`: it is not a thin archive");
        refused(&needle, |tree| {
            tree.shell(&format!("rm {archive}; {AR} cDPrS {archive} a.o aa.o"));
        });
    }
}

#[test]
fn a_missing_or_damaged_archive_is_an_error() {
    refused("cannot read archive `", |tree| remove(tree, "lib/lib.a"));
    refused("/lib/lib.a`", |tree| {
        tree.tree.write("lib/lib.a", "!<thin>\nnonsense")
    });
    refused("/built-in.a`", |tree| {
        tree.tree.write("built-in.a", "no archive")
    });
    refused("/built-in.a`", |tree| tree.tree.write("built-in.a", ""));
}

#[test]
fn a_missing_list_of_head_objects_is_an_error() {
    refused("/scripts/head-object-list.txt`", |tree| {
        remove(tree, "scripts/head-object-list.txt")
    });
}

#[test]
fn objects_without_an_initcall_are_an_error() {
    for kernel in KERNELS {
        let tree = KernelTree::with(kernel, |tree| {
            let header = "#define INITCALL(level, id, suffix, function) void *id = function\n";
            tree.write("include/kconfig.h", header);
            let main = "int console(void) { return 1; }\n";
            tree.write("init/main.c", main);
            tree.write("arch/x86/kernel/head_64.S", "nop\n");
        });
        let effect = tree.observe(&["."]);
        assert!(!effect.success, "{effect:?}");
        assert!(effect.stderr.contains("has an initcall"), "{effect:?}");
        assert!(!effect.files.contains_key("vmlinux.o"), "{effect:?}");
    }
}

// --- records -------------------------------------------------------------------

#[test]
fn a_missing_record_is_an_error() {
    refused_after_the_thin_link(
        &["cannot read how `init/options.o` was made from `"],
        |tree| remove(tree, &cmd_file("init/options.o")),
    );
}

#[test]
fn every_bad_record_is_named() {
    refused_after_the_thin_link(
        &[
            "/dir/.a.o.cmd`",
            "/init/.main.o.cmd` has no `savedcmd_init/main.o` line",
        ],
        |tree| {
            remove(tree, &cmd_file("dir/a.o"));
            // That of another object, whose name ends in the same way.
            edit(tree, &cmd_file("init/main.o"), |text| {
                text.replace("savedcmd_init/main.o", "savedcmd_x/init/main.o")
                    .replace("saved_c_flags_init/main.o", "saved_c_flags_x/init/main.o")
            });
        },
    );
}

#[test]
fn a_record_with_unbalanced_quotes_is_an_error() {
    refused_after_the_thin_link(&["/init/.main.o.cmd` has unbalanced quotes"], |tree| {
        edit(tree, &cmd_file("init/main.o"), |text| {
            text.replace(" -O2 ", " -O2 'oops ")
        });
    });
}

#[test]
fn a_record_of_something_else_is_an_error() {
    for (record, needle) in [
        (
            "savedcmd_init/main.o := ; true\n",
            "records an empty command",
        ),
        (
            "savedcmd_init/main.o := -O2 -c -o init/main.o x.c\n",
            "without a compiler",
        ),
        ("\n", "has no `savedcmd_init/main.o` line"),
        ("", "has no `savedcmd_init/main.o` line"),
    ] {
        refused_after_the_thin_link(&[needle], |tree| {
            tree.tree.write(&cmd_file("init/main.o"), record);
        });
    }
    // Kernels without THIN_DIST save no flags, so the end must be as expected.
    let tree = KernelTree::new(Thin);
    let record = "savedcmd_init/main.o := clang -O2 -o init/main.o -c x.c\n";
    tree.tree.write(&cmd_file("init/main.o"), record);
    let effect = tree.observe(&["."]);
    assert!(!effect.success, "{effect:?}");
    assert!(
        effect
            .stderr
            .contains("does not end in `-c -o init/main.o`"),
        "{effect:?}"
    );
}

/// Before Linux 6.2 they were spelled so.
#[test]
fn records_of_older_kernels_are_read() {
    let tree = KernelTree::new(Thin);
    let expected = tree.observe(&["."]);
    for object in BITCODE {
        edit(&tree, &cmd_file(object), |text| {
            text.replace("savedcmd_", "cmd_")
        });
    }
    let actual = tree.observe(&["."]);
    assert!(actual.success, "{actual:?}");
    assert!(actual.files == expected.files);
}

// --- a stage that fails ------------------------------------------------------------

/// The other objects are made, as asked for; make is left without records that say so, and
/// nothing is linked.
#[test]
fn a_failed_back_end_stops_the_build_and_leaves_no_record() {
    for kernel in KERNELS {
        let tree = KernelTree::with(kernel, |tree| {
            let text = "int options(int x) { __asm__ volatile(\"bogus\"); return x; }\n";
            tree.write("init/options.c", text);
        });
        succeed(&tree.kbuild(&["--to", "thin-link", "."]));
        let effect = tree.observe(&["-k", "."]);
        assert!(!effect.success, "{effect:?}");
        assert!(
            effect
                .stderr
                .contains("invalid instruction mnemonic 'bogus'"),
            "{effect:?}"
        );
        let error = "backlto: error: failed to compile `";
        assert_eq!(effect.stderr.matches(error).count(), 1, "{effect:?}");
        assert!(effect.stderr.contains("/init/options.o`"), "{effect:?}");
        let made: Vec<String> = BITCODE
            .into_iter()
            .filter(|object| *object != "init/options.o")
            .map(native)
            .collect();
        let new: Vec<&String> = effect.files.keys().collect();
        assert!(made.iter().all(|name| new.contains(&name)), "{new:?}");
        assert_eq!(new.len(), made.len(), "{new:?}");
    }
}

#[test]
fn warnings_of_the_back_end_are_printed_and_stop_nothing() {
    for kernel in KERNELS {
        let tree = KernelTree::with(kernel, |tree| {
            let text = "int options(int x) { char big[2000];
                __asm__ volatile(\"\" : : \"r\"(big) : \"memory\"); return big[x]; }\n";
            tree.write("init/options.c", text);
        });
        succeed(&tree.kbuild(&["--to", "thin-link", "."]));
        let command = tree.back_end_command("init/options.o");
        let expected = tree.tree.observe("sh", &["-c", &command]);
        assert!(
            expected.stderr.contains("exceeds limit (1024)"),
            "{expected:?}"
        );
        let actual = tree.observe(&["-q", "."]);
        assert!(actual.success, "{actual:?}");
        assert_eq!(actual.stderr, expected.stderr);
    }
}

#[test]
fn a_failed_thin_link_leaves_no_list() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        succeed(&tree.kbuild(&["."]));
        // Two strong definitions of one symbol.
        std::fs::copy(tree.tree.file("a.o"), tree.tree.file("aa.o")).expect("a copy");
        let output = tree.kbuild(&["-q", "."]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("duplicate symbol: a"), "{said}");
        assert!(
            said.contains("backlto: error: the thin link failed in `"),
            "{said}"
        );
        assert!(!tree.tree.file("vmlinux.thinlto-index").exists());
    }
}

#[test]
fn a_failed_final_link_is_an_error() {
    let tree = KernelTree::new(Distributed);
    let command = tree
        .link_command()
        .replace("--whole-archive", "--no-such-flag --whole-archive");
    tree.record("vmlinux.o", &command, "");
    let effect = tree.observe(&["."]);
    assert!(!effect.success, "{effect:?}");
    assert!(effect.stderr.contains("no-such-flag"), "{effect:?}");
    assert!(
        effect
            .stderr
            .contains("backlto: error: the link of vmlinux.o failed"),
        "{effect:?}"
    );
    assert!(!effect.files.contains_key("vmlinux.o"), "{effect:?}");
}
