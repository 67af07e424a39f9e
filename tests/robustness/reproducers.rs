//! A crash of LLVM leaves a file that repeats the compile anywhere, by backlto and by
//! clang.

use std::path::PathBuf;
use std::process::Output;

use crate::common::spoil::{Door, FLAGS, MODULES, backlto, command, errors, output, program};
use crate::common::{BACKLTO, CLANG, LLD, Tree, needs_distribution, stderr, succeed, tool};
use crate::{PARTS, RUN, long_program};

/// Runs backlto in `tree` while the compile of `module` crashes everywhere.
#[track_caller]
fn crash(tree: &Tree, args: &[String], module: &str) -> Output {
    let mut command = command(tree, BACKLTO, args);
    command.env("BACKLTO_FAULT", format!("segv:{module}"));
    let result = command.output().expect("backlto starts");
    assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
    result
}

/// The reproducers in `directory` of `tree`, sorted.
fn reproducers(tree: &Tree, directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(tree.file(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .collect();
    found.sort();
    found
}

/// The one reproducer in `tree`.
#[track_caller]
fn the_reproducer(tree: &Tree) -> PathBuf {
    let found = reproducers(tree, ".");
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().expect("one")
}

/// What each way of repeating the compile of `archive` gives, far from where it was
/// made: backlto's door, with and without clang, and the script.
#[track_caller]
fn repeated(archive: &PathBuf) -> Vec<(&'static str, Vec<u8>)> {
    let elsewhere = Tree::new();
    std::fs::copy(archive, elsewhere.file("r.tar.zst")).expect("a file can be copied");
    let mut objects = Vec::new();
    for (way, more) in [
        ("backlto", &[][..]),
        ("--clang", &[concat!("--clang=", tool!("clang"))]),
    ] {
        let mut args = vec!["repro", "r.tar.zst", "-o", "object.o"];
        args.extend(more);
        succeed(&backlto(&elsewhere, &args));
        objects.push((way, elsewhere.read("object.o")));
        std::fs::remove_file(elsewhere.file("object.o")).expect("an object");
    }
    succeed(&elsewhere.run("tar", &["--zstd", "-xf", "r.tar.zst"]));
    let unpacked = std::fs::read_dir(elsewhere.path()).expect("a directory");
    let unpacked = unpacked
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.is_dir())
        .expect("one directory");
    let text = std::fs::read_to_string(unpacked.join("repro.json")).expect("a description");
    let description: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let place = |key: &str| description[key].as_str().expect("a name").to_owned();
    let object = unpacked.join(place("directory")).join(place("output"));
    for (way, script) in [
        ("run.sh", "BACKLTO=$1 exec sh \"$0\""),
        ("run.sh clang", "CLANG=$2 exec sh \"$0\" clang"),
    ] {
        let run = unpacked.join("run.sh").display().to_string();
        succeed(&elsewhere.run("sh", &["-c", script, &run, BACKLTO, CLANG]));
        objects.push((way, std::fs::read(&object).expect("an object")));
        std::fs::remove_file(&object).expect("an object");
    }
    objects
}

/// Checks that every way to repeat the one reproducer in `tree` gives `expected`.
#[track_caller]
fn assert_repeats(tree: &Tree, expected: &[u8]) {
    for (way, object) in repeated(&the_reproducer(tree)) {
        assert!(object == expected, "{way}: another object");
    }
}

#[test]
fn a_crash_leaves_a_file_that_repeats_the_compile() {
    for door in Door::ALL {
        let tree = program();
        succeed(&tree.clang_backend("main", "clang.o", &FLAGS));
        let result = crash(&tree, &door.args(), "main.o");
        let text = stderr(&result);
        assert!(
            text.contains("backlto repro ") && text.contains("backlto-repro-main.tar.zst"),
            "{text}"
        );
        assert_repeats(&tree, &tree.read("clang.o"));
    }
}

/// A crash that repeats itself ends as a compile does that fails.
#[test]
fn a_reproducer_that_crashes_fails() {
    let tree = program();
    crash(&tree, &Door::Cc.args(), "main.o");
    let archive = the_reproducer(&tree);
    let args = ["repro".to_owned(), archive.display().to_string()];
    let result = crash(&tree, &args, "main.o");
    assert_eq!(errors(&result).len(), 1, "{}", stderr(&result));
    assert!(stderr(&result).contains("signal 11"), "{}", stderr(&result));
    // No reproducer of a reproducer.
    the_reproducer(&tree);
}

/// What a kernel's compiles have: files that assembly and flags name, names that lead
/// upwards, code models, `-mllvm`.
#[test]
fn files_of_flags_and_assembly_are_in_it() {
    let tree = Tree::new();
    let include = format!("-Wa,-I{}", tree.file("elsewhere").display());
    tree.write("elsewhere/data.bin", "from the include path");
    tree.write("beside.inc", ".byte 7\n");
    tree.write("list.txt", "!f\n");
    tree.write("g.c", "int g(int x) { return x * 3; }\n");
    tree.write(
        "work/f.c",
        "int g(int);\n\
         int f(int x) {\n\
           __asm__ volatile(\".pushsection .rodata\\n.incbin \\\"data.bin\\\"\\n\"\n\
             \".include \\\"../beside.inc\\\"\\n.popsection\");\n\
           return g(x) + 1;\n\
         }\n",
    );
    let front = [
        "--target=x86_64-linux-gnu",
        "-O2",
        "-mcmodel=kernel",
        "-ffreestanding",
    ];
    let script = format!(
        "cd work && {CLANG} -flto=thin {0} {include} -c f.c ../g.c && mv g.o .. && \
         {LLD} -r --thinlto-index-only=list -o linked f.o ../g.o",
        front.join(" ")
    );
    succeed(&tree.run("sh", &["-c", &script]));
    let back = [
        include.as_str(),
        "-mllvm",
        "-import-instr-limit=40",
        "-fbasic-block-sections=list=../list.txt",
    ];
    let flags = [&front[..], &back].concat();
    let args = |output: &str| {
        let mut args: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        args.extend(
            [
                "-x",
                "ir",
                "-fthinlto-index=f.o.thinlto.bc",
                "-c",
                "-o",
                output,
                "f.o",
            ]
            .map(str::to_owned),
        );
        args
    };
    let inside = |program: &str, args: &[String]| {
        let mut command = command(&tree, program, args);
        command.current_dir(tree.file("work"));
        command
    };
    succeed(
        &inside(CLANG, &args("clang.o"))
            .output()
            .expect("clang starts"),
    );
    let mut cc = vec!["--repro-dir".to_owned(), "..".to_owned(), "cc".to_owned()];
    cc.extend(args("f.native.o"));
    // At its end, LLVM has shown what assembly names.
    let crashed = inside(BACKLTO, &cc)
        .env("BACKLTO_FAULT", "late-segv:f.o")
        .output()
        .expect("backlto starts");
    assert_eq!(crashed.status.code(), Some(1), "{}", stderr(&crashed));
    cc.splice(0..0, ["--save-repro".to_owned(), "f.native.o".to_owned()]);
    succeed(&inside(BACKLTO, &cc).output().expect("backlto starts"));
    let archives = reproducers(&tree, ".");
    assert_eq!(archives.len(), 2, "{archives:?}");
    let expected = tree.read("work/clang.o");
    // Far from here also means that nothing is read here.
    for name in ["elsewhere", "work", "beside.inc", "list.txt", "g.o"] {
        std::fs::rename(tree.file(name), tree.file(&format!("{name}.away"))).expect("a rename");
    }
    for archive in &archives {
        for (way, object) in repeated(archive) {
            assert!(object == expected, "{way}: another object");
        }
    }
}

/// The program door: LLD's names for jobs are not a person's.
#[test]
fn a_link_leaves_reproducers_too() {
    if needs_distribution() {
        return;
    }
    let tree = Tree::demo(&FLAGS);
    let linker = format!(
        "exec {LLD} --thinlto-distributor={BACKLTO} --thinlto-distributor-arg=distribute \
         --thinlto-remote-compiler={CLANG} -shared --entry=0 -o demo.so deck.o sort.o rng.o --save-temps"
    );
    let link = |variable: &str, value: &str| {
        let mut link = command(&tree, "sh", &["-c", &linker]);
        link.env("BACKLTO_REPRO_DIR", "saved").env(variable, value);
        link.output().expect("a shell")
    };
    std::fs::create_dir(tree.file("saved")).expect("a directory");
    let result = link("BACKLTO_FAULT", "segv:sort.o");
    assert!(!result.status.success(), "{}", stderr(&result));
    let crashed = reproducers(&tree, "saved");
    assert_eq!(crashed.len(), 1, "{}", stderr(&result));
    succeed(&link("BACKLTO_SAVE_REPRO", "sort.o"));
    let saved = reproducers(&tree, "saved");
    assert_eq!(saved.len(), 2, "{saved:?}");
    let mut objects = Vec::new();
    for archive in &saved {
        objects.extend(repeated(archive));
    }
    for (way, object) in &objects[1..] {
        assert!(*object == objects[0].1, "{way}: another object");
    }
    let linked = tree.files();
    let is_linked = |bytes: &Vec<u8>| *bytes == objects[0].1;
    assert!(
        linked
            .iter()
            .any(|(name, bytes)| name.contains("sort") && is_linked(bytes)),
        "the link had another object: {:?}",
        linked.keys()
    );
}

/// Modules with absolute names are read in memory; clang is told what it needs.
#[test]
fn absolute_names_work_elsewhere() {
    let tree = Tree::demo(&FLAGS);
    let modules =
        ["deck", "sort", "rng"].map(|name| tree.file(&format!("{name}.o")).display().to_string());
    tree.thin_link(&modules);
    let compile = |program: &str, first: &[&str], output: &str| {
        let mut args: Vec<String> = first
            .iter()
            .chain(&FLAGS)
            .map(|a| (*a).to_owned())
            .collect();
        args.extend([
            "-x".to_owned(),
            "ir".to_owned(),
            format!("-fthinlto-index={}.thinlto.bc", modules[0]),
        ]);
        args.extend([
            "-c".to_owned(),
            "-o".to_owned(),
            output.to_owned(),
            modules[0].clone(),
        ]);
        succeed(&tree.run(program, &args));
    };
    compile(CLANG, &[], "clang.o");
    let output = tree.file("native.o").display().to_string();
    compile(BACKLTO, &["--save-repro", "native.o", "cc"], &output);
    // While the modules are where the index has them, clang does it too.
    assert_repeats(&tree, &tree.read("clang.o"));
    let archive = the_reproducer(&tree);
    for module in &modules {
        std::fs::remove_file(module).expect("a module");
    }
    let archive = archive.display().to_string();
    succeed(&backlto(&tree, &["repro", &archive, "-o", "ours.o"]));
    assert!(tree.read("ours.o") == tree.read("clang.o"));
    let result = backlto(&tree, &["repro", &archive, "--clang"]);
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("clang needs `"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn what_crashes_everywhere_leaves_three_and_replaces_none() {
    let tree = long_program();
    let mut args: Vec<String> = RUN.map(str::to_owned).into();
    args.splice(0..0, ["-j4", "-k"].map(str::to_owned));
    let result = crash(&tree, &args, ".o");
    assert_eq!(errors(&result).len(), PARTS.len(), "{}", stderr(&result));
    let first = reproducers(&tree, ".");
    assert_eq!(first.len(), 3, "{first:?}");
    let before: Vec<Vec<u8>> = first
        .iter()
        .map(|path| std::fs::read(path).expect("it is there"))
        .collect();
    crash(&tree, &args, ".o");
    assert_eq!(reproducers(&tree, ".").len(), 6);
    for (path, bytes) in first.iter().zip(&before) {
        assert!(
            std::fs::read(path).expect("it is there") == *bytes,
            "{}",
            path.display()
        );
    }
    // Runs that crash for ever do not fill it either.
    let tree = program();
    let mut last = String::new();
    for _ in 0..11 {
        last = stderr(&crash(&tree, &Door::Cc.args(), "main.o"));
    }
    assert!(last.contains("there are 10 of that name"), "{last}");
    assert_eq!(reproducers(&tree, ".").len(), 10);
}

#[test]
fn there_need_not_be_any() {
    let tree = program();
    let mut args = Door::Cc.args();
    args.splice(0..0, ["--repro-dir".to_owned(), String::new()]);
    let result = crash(&tree, &args, "main.o");
    assert!(!stderr(&result).contains("repro"), "{}", stderr(&result));
    // A place that is not there is said, and changes nothing else.
    args[1] = "absent".to_owned();
    let result = crash(&tree, &args, "main.o");
    assert!(
        stderr(&result).contains("cannot write a reproducer to"),
        "{}",
        stderr(&result)
    );
    assert_eq!(errors(&result).len(), 1);
    assert_eq!(reproducers(&tree, "."), [""; 0].map(PathBuf::from));
}

/// Asked for, it comes of what is up to date or cached, too; and must come.
#[test]
fn one_is_written_whenever_it_is_asked_for() {
    let tree = program();
    let run = |more: &[&str]| {
        let mut args = vec!["--cache-dir", "cache", "--ld", LLD];
        args.extend(more);
        args.extend(["run", "plan.json"]);
        backlto(&tree, &args)
    };
    succeed(&run(&[]));
    let before = tree.read(&output("main"));
    succeed(&run(&["--save-repro", "./main.o"]));
    assert!(tree.read(&output("main")) == before);
    assert_repeats(&tree, &before);
    let result = run(&["--save-repro", "no-such.o"]);
    assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
    assert!(
        errors(&result)[0].contains("no reproducer of `no-such.o`"),
        "{}",
        stderr(&result)
    );
    for module in MODULES {
        assert!(!tree.read(&output(module)).is_empty());
    }
}

/// An archive of one file `name` of `kind`, below a top that looks right.
fn archive_with(tree: &Tree, name: &str, kind: &str) -> String {
    let script = format!(
        "import io, subprocess, tarfile\n\
         out = io.BytesIO()\n\
         with tarfile.open(fileobj=out, mode='w') as tar:\n\
         \x20   info = tarfile.TarInfo('{name}')\n\
         \x20   info.size = 4 if '{kind}' == 'file' else 0\n\
         \x20   info.type = {{'file': tarfile.REGTYPE, 'link': tarfile.SYMTYPE, 'hard': tarfile.LNKTYPE}}['{kind}']\n\
         \x20   info.linkname = '../../outside' if info.size == 0 else ''\n\
         \x20   tar.addfile(info, io.BytesIO(b'evil'[:info.size]))\n\
         data = subprocess.run(['zstd', '-c'], input=out.getvalue(), stdout=subprocess.PIPE, check=True).stdout\n\
         open('bad.tar.zst', 'wb').write(data)\n"
    );
    succeed(&tree.run("python3", &["-c", &script]));
    "bad.tar.zst".to_owned()
}

#[test]
fn no_archive_writes_outside() {
    let tree = Tree::new();
    tree.write("tmp/keep", "");
    for (name, kind) in [
        ("../outside", "file"),
        ("x/../../outside", "file"),
        ("/outside-of-backlto", "file"),
        ("x/link", "link"),
        ("x/link", "hard"),
    ] {
        let archive = archive_with(&tree, name, kind);
        let mut repro = command(&tree, BACKLTO, &["repro", &archive]);
        repro.env("TMPDIR", tree.file("tmp"));
        let result = repro.output().expect("backlto starts");
        assert_eq!(result.status.code(), Some(1), "{name}: {}", stderr(&result));
        assert!(
            errors(&result)[0].contains("cannot unpack `bad.tar.zst`"),
            "{}",
            stderr(&result)
        );
        assert!(!tree.file("outside").exists() && !tree.file("tmp/outside").exists());
        assert!(!PathBuf::from("/outside-of-backlto").exists());
        let left: Vec<_> = std::fs::read_dir(tree.file("tmp"))
            .expect("a directory")
            .collect();
        assert_eq!(left.len(), 1, "{name}: something is left");
    }
}

#[test]
fn a_damaged_archive_is_an_error() {
    let tree = program();
    succeed(&backlto(
        &tree,
        &[
            &["--save-repro", "main.o"][..],
            &Door::Cc
                .args()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ]
        .concat(),
    ));
    let archive = the_reproducer(&tree);
    let whole = std::fs::read(&archive).expect("it is there");
    for length in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        tree.write("cut.tar.zst", &whole[..length]);
        let result = backlto(&tree, &["repro", "cut.tar.zst"]);
        assert_eq!(result.status.code(), Some(1), "{length}");
        assert_eq!(errors(&result).len(), 1, "{length}: {}", stderr(&result));
    }
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        tree.write("bad.tar.zst", &damaged);
        // It is found, or does no harm; nothing panics.
        backlto(&tree, &["-q", "repro", "bad.tar.zst"]);
    }
    let result = backlto(&tree, &["repro", "absent.tar.zst"]);
    assert!(
        errors(&result)[0].contains("absent.tar.zst"),
        "{}",
        stderr(&result)
    );
}
