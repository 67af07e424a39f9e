//! Input that is not what it should be, through both doors: an error that names
//! the file, exit status 1, and what an earlier run left is left alone. Never
//! success with a wrong object.

mod common;

use std::os::unix::fs::FileTypeExt;
use std::process::Output;

use common::spoil::{
    Dice, Door, FLAGS, MODULES, OLD, PATIENCE, assert_failed, assert_refused, assert_untouched,
    backlto, backlto_as_nobody, command, flip, output, program, replace_char6, run_for, set_mode,
};
use common::{AR, CLANG, LLD, MAJOR, NM, Tree, stderr, succeed};

/// Spoils the program and checks that both doors refuse it, and that the error
/// names `file`.
#[track_caller]
fn refused(what: &str, file: &str, spoil: impl Fn(&Tree)) {
    for door in Door::ALL {
        let tree = program();
        spoil(&tree);
        assert_refused(what, door, &door.enter(&tree), file, &tree);
    }
}

fn remove(tree: &Tree, name: &str) {
    std::fs::remove_file(tree.file(name)).expect("the file was there");
}

/// Puts an empty directory in a file's place.
fn make_directory(tree: &Tree, name: &str) {
    remove(tree, name);
    std::fs::create_dir(tree.file(name)).expect("the place is free");
}

/// Puts native code in a file's place.
fn make_native(tree: &Tree, name: &str) {
    succeed(&tree.run(CLANG, &["-c", "-o", name, "lone.c"]));
}

/// Puts an archive of itself in a module's place.
fn make_archive(tree: &Tree, module: &str) {
    let object = format!("{module}.o");
    succeed(&tree.run(AR, &["rc", "archive.a", &object]));
    tree.write(&object, tree.read("archive.a"));
}

// --- modules ---------------------------------------------------------------

#[test]
fn a_missing_module_is_an_error() {
    refused("missing", "/main.o`: No such file", |tree| {
        remove(tree, "main.o")
    });
}

#[test]
fn a_directory_in_place_of_a_module_is_an_error() {
    refused("directory", "/main.o`", |tree| {
        make_directory(tree, "main.o")
    });
}

/// Permissions do not bind root, so it lends the files to somebody else.
#[test]
fn an_unreadable_module_is_an_error() {
    for door in Door::ALL {
        let tree = program();
        set_mode(&tree, "main.o", 0o000);
        let Some(result) = backlto_as_nobody(&tree, 0o555, &door.args()) else {
            return;
        };
        assert_refused("unreadable", door, &result, "/main.o`", &tree);
        assert!(
            stderr(&result).contains("Permission denied"),
            "{}",
            stderr(&result)
        );
    }
}

#[test]
fn a_module_that_is_something_else_is_named_for_what_it_is() {
    refused(
        "empty",
        "/main.o` is not LLVM bitcode: it is empty",
        |tree| tree.write("main.o", ""),
    );
    refused("text", "/main.o` is not LLVM bitcode", |tree| {
        tree.write("main.o", "int main;\n")
    });
    refused(
        "native",
        "/main.o` is not LLVM bitcode: it is a native ELF file",
        |tree| {
            make_native(tree, "main.o");
        },
    );
    refused(
        "archive",
        "/main.o` is not LLVM bitcode: it is an archive",
        |tree| {
            make_archive(tree, "main");
        },
    );
}

#[test]
fn bitcode_for_another_architecture_is_an_error() {
    refused(
        "aarch64",
        "/main.o` is bitcode for aarch64, but its flags compile for x86_64",
        |tree| {
            let text = String::from_utf8(tree.read("main.c")).expect("the source is text");
            tree.compile("main", &text, &["--target=aarch64-linux-gnu", "-O2"]);
        },
    );
}

#[test]
fn bitcode_of_a_newer_llvm_is_an_error() {
    let newer = |tree: &Tree| {
        let mut bytes = tree.read("main.o");
        replace_char6(&mut bytes, &format!("LLVM{MAJOR}"), "LLVM99");
        tree.write("main.o", bytes);
    };
    let expected = "/main.o` was written by LLVM99.1.";
    refused("newer", expected, newer);
    // Nor can its index be read, which does not say why.
    refused("newer index", expected, |tree| {
        newer(tree);
        tree.write(
            "main.o.thinlto.bc",
            tree.read("main.o.thinlto.bc").split_off(64),
        );
    });
}

/// The thin link's decisions do not hold for what the module has become.
#[test]
fn a_module_newer_than_its_index_is_an_error() {
    refused(
        "newer module",
        "/main.o` changed after the thin link",
        |tree| {
            tree.compile("main", "int entry(int n) { return n; }\n", &FLAGS);
        },
    );
}

// --- indexes ---------------------------------------------------------------

const INDEX: &str = "main.o.thinlto.bc";

#[test]
fn a_missing_index_is_an_error() {
    refused("missing", "/main.o.thinlto.bc`", |tree| remove(tree, INDEX));
}

#[test]
fn a_directory_in_place_of_an_index_is_an_error() {
    refused("directory", "/main.o.thinlto.bc`", |tree| {
        make_directory(tree, INDEX)
    });
}

#[test]
fn an_index_that_is_something_else_is_an_error() {
    refused("text", "/main.o.thinlto.bc`", |tree| {
        tree.write(INDEX, "an index\n")
    });
    refused("module", "/main.o.thinlto.bc`", |tree| {
        tree.write(INDEX, tree.read("lone.o"))
    });
    refused("native", "/main.o.thinlto.bc`", |tree| {
        make_native(tree, INDEX)
    });
}

#[test]
fn the_index_of_another_module_is_an_error() {
    refused(
        "foreign",
        "/main.o.thinlto.bc` is not that of module `main.o`",
        |tree| {
            tree.write(INDEX, tree.read("lone.o.thinlto.bc"));
        },
    );
}

/// That is how a build says "compile it without ThinLTO", as a file or as
/// /dev/null.
#[test]
fn an_empty_index_means_a_plain_compile() {
    let tree = program();
    tree.write(INDEX, "");
    for index in [INDEX, "/dev/null"] {
        let args = |to: &str| {
            let mut args = FLAGS.map(str::to_owned).to_vec();
            args.push(format!("-fthinlto-index={index}"));
            args.extend(["-x", "ir", "-c", "-o", to, "main.o"].map(str::to_owned));
            args
        };
        succeed(&tree.run(CLANG, &args("clang.o")));
        let mut ours = vec!["cc".to_owned()];
        ours.extend(args("ours.o"));
        succeed(&backlto(&tree, &ours));
        assert!(tree.read("ours.o") == tree.read("clang.o"), "{index}");
        remove(&tree, "ours.o");
    }
    succeed(&Door::Run.enter(&tree));
    assert!(tree.read(&output("main")) == tree.read("clang.o"));
    // With its index, the module is compiled to something else.
    tree.write(INDEX, program().read(INDEX));
    succeed(&Door::Cc.enter(&tree));
    assert!(tree.read(&output("main")) != tree.read("clang.o"));
}

/// The thin link writes such an index for an archive's member that nothing
/// needs.
#[test]
fn a_module_that_the_link_does_not_need_becomes_an_empty_object() {
    let tree = program();
    let args =
        "-r --thinlto-index-only=list -o linked main.o helper.o --start-lib lone.o --end-lib";
    succeed(&tree.run(LLD, &args.split(' ').collect::<Vec<_>>()));
    let listed = tree.read("list");
    assert_eq!(
        listed, b"main.o\nhelper.o\n",
        "the linker wanted the module after all"
    );

    succeed(&tree.clang_backend("lone", "clang.o", &FLAGS));
    succeed(&tree.backlto_cc("lone", "ours.o", &FLAGS));
    assert!(tree.read("ours.o") == tree.read("clang.o"));
    assert!(!tree.read("ours.o").is_empty());
    let symbols = tree.run(NM, &["ours.o"]);
    assert!(
        !String::from_utf8_lossy(&symbols.stdout).contains("lone"),
        "{symbols:?}"
    );
    succeed(&Door::Run.enter(&tree));
    assert!(tree.read(&output("lone")) == tree.read("clang.o"));
}

// --- imports ---------------------------------------------------------------

#[test]
fn a_missing_import_is_an_error() {
    refused("missing", "/helper.o`", |tree| remove(tree, "helper.o"));
    refused("directory", "/helper.o`", |tree| {
        make_directory(tree, "helper.o")
    });
}

#[test]
fn an_import_that_is_not_bitcode_is_an_error() {
    refused("empty", "/helper.o` is not LLVM bitcode", |tree| {
        tree.write("helper.o", "")
    });
    refused("text", "/helper.o` is not LLVM bitcode", |tree| {
        tree.write("helper.o", "text")
    });
    refused("native", "/helper.o` is not LLVM bitcode", |tree| {
        make_native(tree, "helper.o")
    });
    refused("archive", "/helper.o` is not LLVM bitcode", |tree| {
        make_archive(tree, "helper")
    });
}

#[test]
fn an_import_newer_than_the_index_is_an_error() {
    refused(
        "newer import",
        "/helper.o` changed after the thin link",
        |tree| {
            tree.compile("helper", "int helper(int x) { return x; }\n", &FLAGS);
        },
    );
}

// --- damage ----------------------------------------------------------------

/// Damages `file` and sends the program through `door`. It must end in an error
/// that names one of its files, or in what clang makes of the same files.
#[track_caller]
fn refused_or_same(what: &str, door: Door, file: &str, damage: &dyn Fn(&mut Vec<u8>)) -> bool {
    let tree = program();
    let mut bytes = tree.read(file);
    damage(&mut bytes);
    tree.write(file, bytes);
    let result = door.enter(&tree);
    let failed = !result.status.success();
    if failed {
        // A damaged index may ask for an import of any name, so the name that
        // an error starts with can be any; all are in this directory.
        let here = tree.path().display().to_string();
        assert_failed(what, door, &result, &here, &tree);
        let text = stderr(&result);
        assert!(
            MODULES
                .iter()
                .any(|module| text.contains(&format!("/{module}.o"))),
            "{text}"
        );
    }
    for module in MODULES {
        let ours = tree.read(&output(module));
        if ours == OLD && (failed || door == Door::Cc && module != "main") {
            continue;
        }
        let clang = command(&tree, CLANG, &Tree::backend_args(module, "clang.o", &FLAGS));
        let clang = run_for(PATIENCE, clang).unwrap_or_else(|| panic!("{what}: clang hangs"));
        let says = format!("{what}, {door:?}, {module}: {}", stderr(&clang));
        assert!(
            clang.status.success(),
            "backlto succeeds, clang does not: {says}"
        );
        assert!(!ours.is_empty(), "an empty object: {says}");
        assert!(
            ours == tree.read("clang.o"),
            "not what clang writes: {says}"
        );
    }
    failed
}

/// Turns over one bit of `file` at a time, `count` times through `cc` and a
/// fifth of that through `run`. At least `bad` of the damages must be noticed,
/// or the test would show little.
#[track_caller]
fn flipped_bits_do_no_harm(file: &str, seed: u64, count: usize, bad: usize) {
    let bits = program().read(file).len() * 8;
    let mut dice = Dice(seed);
    for (door, count, bad) in [(Door::Cc, count, bad), (Door::Run, count / 5, bad / 5)] {
        let refused = (0..count)
            .filter(|_| {
                let bit = dice.below(bits);
                let what = format!("bit {bit} of {file}");
                refused_or_same(&what, door, file, &|bytes| flip(bytes, bit))
            })
            .count();
        assert!(
            refused >= bad,
            "{door:?}: only {refused} of {count} were refused"
        );
    }
}

#[test]
fn flipped_bits_in_a_module_are_noticed_or_harmless() {
    flipped_bits_do_no_harm("main.o", 1, 60, 40);
}

#[test]
fn flipped_bits_in_an_import_are_noticed_or_harmless() {
    flipped_bits_do_no_harm("helper.o", 2, 40, 25);
}

#[test]
fn flipped_bits_in_an_index_are_noticed_or_harmless() {
    flipped_bits_do_no_harm(INDEX, 3, 60, 25);
}

/// What is lost at the end may be a symbol table that no back end reads, so
/// that not every truncation is an error.
#[test]
fn truncated_files_are_noticed_or_harmless() {
    for file in ["main.o", "helper.o", INDEX] {
        let full = program().read(file).len();
        let lengths = [
            1,
            3,
            4,
            5,
            20,
            full / 4,
            full / 3,
            full / 2,
            full - 64,
            full - 4,
            full - 1,
        ];
        for length in lengths {
            let what = format!("{file} cut to {length} of {full} bytes");
            for door in Door::ALL {
                let refused = refused_or_same(&what, door, file, &|bytes| bytes.truncate(length));
                assert!(
                    refused || length > full / 2,
                    "{what} was accepted, {door:?}"
                );
            }
        }
    }
}

#[test]
fn a_block_of_zeroes_is_noticed_or_harmless() {
    // As a disk may leave it after power was lost.
    for file in ["main.o", "helper.o", INDEX] {
        let full = program().read(file).len();
        for start in [0, full / 3, full / 2] {
            let what = format!("{file} with zeroes from {start}");
            for door in Door::ALL {
                let refused = refused_or_same(&what, door, file, &|bytes| {
                    let end = (start + full / 4).min(bytes.len());
                    bytes[start..end].fill(0);
                });
                assert!(refused || file == INDEX, "{what} was accepted, {door:?}");
            }
        }
    }
}

/// Two single bits that were hard to deal with.
#[test]
fn damage_that_only_shows_late_is_noticed_or_harmless() {
    let late = [
        // The block that says who wrote the bitcode gets another number: only
        // clang minds, in a message that names no file.
        ("main.o", 37),
        // A vector of absurd size: the C++ library throws, where LLVM neither
        // throws nor catches.
        (INDEX, 1275),
    ];
    for (file, bit) in late {
        for door in Door::ALL {
            let what = format!("bit {bit} of {file}");
            refused_or_same(&what, door, file, &|bytes| flip(bytes, bit));
        }
    }
}

/// The real linker meets the module first here, and says so itself.
#[test]
fn a_thin_link_that_fails_stops_the_run() {
    let tree = program();
    let bytes = tree.read("main.o");
    tree.write("main.o", &bytes[..bytes.len() / 2]);
    let result = backlto(&tree, &["--ld", LLD, "run", "plan.json"]);
    let here = tree.path().display().to_string();
    assert_failed("truncated", Door::Run, &result, &here, &tree);
    assert!(
        stderr(&result).contains("the thin link failed"),
        "{}",
        stderr(&result)
    );
    assert!(stderr(&result).contains("main.o"), "{}", stderr(&result));
    for module in MODULES {
        assert!(tree.read(&output(module)) == OLD, "{module}");
    }
}

// --- flags -----------------------------------------------------------------

/// Checks that both doors refuse `flag` with clang's own `words`, before any
/// work. `cc` may leave it at those, as clang does.
#[track_caller]
fn flag_refused(flag: &str, words: &str) {
    for door in Door::ALL {
        let tree = program();
        let plan = String::from_utf8(tree.read("plan.json")).expect("the plan is text");
        tree.write(
            "plan.json",
            plan.replace("\"-O2\"", &format!("\"-O2\",\"{flag}\"")),
        );
        let mut args = door.args();
        if door == Door::Cc {
            args.insert(4, flag.to_owned());
        }
        let result = backlto(&tree, &args);
        let text = format!("{flag}, {door:?}: {}\n{}", result.status, stderr(&result));
        assert_eq!(result.status.code(), Some(1), "{text}");
        assert_eq!(text.matches(words).count(), 1, "not once `{words}`: {text}");
        assert_untouched(&tree, &text);

        let mut flags = FLAGS.to_vec();
        flags.push(flag);
        let clang = tree.clang_backend("main", "clang.o", &flags);
        let clang = stderr(&clang);
        assert!(clang.contains(words), "clang has other words: {clang}");
    }
}

#[test]
fn an_unknown_flag_is_an_error_in_clangs_words() {
    flag_refused("--fnord", "unknown argument: '--fnord'");
    flag_refused(
        "-mcmodel=fnord",
        "unsupported argument 'fnord' to option '-mcmodel='",
    );
}

#[test]
fn an_unknown_target_is_an_error_in_clangs_words() {
    flag_refused(
        "--target=fnord-linux-gnu",
        "unknown target triple 'fnord-unknown-linux-gnu'",
    );
}

// --- outputs ---------------------------------------------------------------

/// Compiles `main` to `to`.
fn compile_to(tree: &Tree, to: &str) -> Output {
    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("main", to, &FLAGS));
    backlto(tree, &args)
}

#[test]
fn a_missing_output_directory_is_an_error() {
    let tree = program();
    let result = compile_to(&tree, "gone/main.native.o");
    assert_failed("gone", Door::Cc, &result, "gone/main.native.o`", &tree);
    assert!(!tree.file("gone").exists());
}

/// The other modules of a plan are not held up by it.
#[test]
fn a_directory_in_place_of_an_output_is_an_error() {
    for door in Door::ALL {
        let tree = program();
        make_directory(&tree, &output("main"));
        // Without -k, what had not begun when it failed is left out.
        let args = [vec!["-k".to_owned()], door.args()].concat();
        let result = backlto(&tree, &args);
        assert_failed("directory", door, &result, "/main.thinlto-native.o`", &tree);
        assert!(tree.file(&output("main")).is_dir());
        let others = if door == Door::Run {
            ["helper", "lone"].as_slice()
        } else {
            &[]
        };
        for module in others {
            succeed(&tree.clang_backend(module, "clang.o", &FLAGS));
            assert!(
                tree.read(&output(module)) == tree.read("clang.o"),
                "{module}"
            );
        }
        assert!(tree.read("demo") == OLD, "it was linked without an object");
    }
}

/// Permissions do not bind root, so it lends the files to somebody else.
#[test]
fn a_read_only_output_directory_is_an_error() {
    for door in Door::ALL {
        let tree = program();
        // Every module has a reason to fail, each its own output.
        let args = [vec!["-k".to_owned()], door.args()].concat();
        let Some(result) = backlto_as_nobody(&tree, 0o555, &args) else {
            return;
        };
        assert_refused("read-only", door, &result, ".thinlto-native.o`", &tree);
        let expected = if door == Door::Cc { 1 } else { MODULES.len() };
        assert_eq!(
            common::spoil::errors(&result).len(),
            expected,
            "{}",
            stderr(&result)
        );
    }
}

/// Compilers are run like that to see what they say.
#[test]
fn the_null_device_takes_an_object_and_stays_what_it_is() {
    let tree = program();
    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("main", "/dev/null", &FLAGS));
    let Some(result) = backlto_as_nobody(&tree, 0o755, &args) else {
        return;
    };
    succeed(&result);
    let kind = std::fs::metadata("/dev/null").expect("there is a null device");
    assert!(kind.file_type().is_char_device());
}

// --- plans -----------------------------------------------------------------

/// Replaces the plan and checks that the run refuses it, with `words`.
#[track_caller]
fn plan_refused(what: &str, plan: &str, words: &[&str]) {
    let tree = program();
    tree.write("plan.json", plan);
    let result = Door::Run.enter(&tree);
    for word in words {
        assert_refused(what, Door::Run, &result, word, &tree);
    }
    assert_eq!(
        common::spoil::errors(&result).len(),
        1,
        "{what}: {}",
        stderr(&result)
    );
}

#[test]
fn a_plan_that_cannot_be_read_is_an_error() {
    let tree = program();
    remove(&tree, "plan.json");
    assert_refused(
        "missing",
        Door::Run,
        &Door::Run.enter(&tree),
        "`plan.json`",
        &tree,
    );

    plan_refused("empty", "", &["`plan.json`"]);
    plan_refused("text", "programs:\n  - demo\n", &["`plan.json`"]);
    plan_refused("cut off", "{\"programs\": [", &["`plan.json`"]);
    plan_refused("wrong type", "{\"programs\": 3}", &["`plan.json`"]);
    plan_refused("no programs", "{}", &["`plan.json`", "programs"]);
    plan_refused(
        "unknown field",
        "{\"programs\": [], \"jobs\": 4}",
        &["`plan.json`", "jobs"],
    );
    let unknown = "{\"programs\": [{\"name\": \"demo\", \"colour\": \"red\"}]}";
    plan_refused(
        "unknown field of a program",
        unknown,
        &["`plan.json`", "colour"],
    );
}

#[test]
fn two_modules_with_one_output_are_an_error() {
    let tree = program();
    // As the name of an object comes from that of the module.
    tree.write("main", tree.read("main.o"));
    let one = "{\"name\": \"demo\", \"directory\": \".\", \"flags\": [\"-O2\"], \
               \"inputs\": [\"main.o\", \"main\"], \"output\": \"demo\"}";
    tree.write("plan.json", format!("{{\"programs\": [{one}]}}"));
    tree.write("demo.thinlto-index", "main.o\nmain\n");
    tree.write("main.thinlto.bc", tree.read(INDEX));
    let result = Door::Run.enter(&tree);
    let text = stderr(&result);
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(text.contains("/main.o` and `"), "{text}");
    assert!(text.contains("would be compiled to `"), "{text}");
    assert!(tree.read(&output("main")) == OLD);
}

#[test]
fn a_plan_whose_directory_is_missing_is_an_error() {
    let plan = "{\"programs\": [{\"name\": \"demo\", \"directory\": \"gone\", \"flags\": [], \
                \"inputs\": [\"main.o\"], \"output\": \"demo\"}]}";
    plan_refused("directory", plan, &["/gone`"]);
}
