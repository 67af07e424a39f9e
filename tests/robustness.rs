//! A bad day: full disks, kills, two runs at once, files that change under the
//! run, odd names. Objects are whole or not there, and every end is clear.

mod common;
#[path = "robustness/crashers.rs"]
mod crashers;
#[path = "robustness/crashes.rs"]
mod crashes;
#[path = "robustness/failures.rs"]
mod failures;
#[path = "robustness/limits.rs"]
mod limits;
#[path = "robustness/odd_files.rs"]
mod odd_files;
#[path = "robustness/processes.rs"]
mod processes;
#[path = "robustness/reproducers.rs"]
mod reproducers;
#[path = "robustness/signals.rs"]
mod signals;
#[path = "robustness/unread.rs"]
mod unread;
#[path = "robustness/workers.rs"]
mod workers;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::spoil::{
    Dice, Door, FLAGS, MODULES, OLD, PATIENCE, assert_failed, assert_refused, backlto,
    backlto_as_nobody, command, errors, output, plan, program, run_for,
};
use common::{BACKLTO, LLD, Tree, not_shown, stderr, succeed};

// --- a plan that takes a while ----------------------------------------------

/// Enough modules that some are done and some are not, most of the time.
const PARTS: [&str; 8] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];

/// A program of [`PARTS`], each of which takes a back end a tenth of a second
/// and draws two warnings there.
fn long_program() -> Tree {
    let tree = Tree::new();
    let mut flags = FLAGS.to_vec();
    flags.push("-Wframe-larger-than=100");
    for (number, part) in PARTS.iter().enumerate() {
        let next = PARTS[(number + 1) % PARTS.len()];
        let mut text = format!(
            "int {next}_helper(int);\nint {part}_helper(int x) {{ return x ^ {number}; }}\n"
        );
        for i in 0..10 {
            text += &format!(
                "int {part}_work{i}(int *a, int n) {{
                   int s = {i};
                   for (int i = 0; i < n; i++)
                     switch (a[i] % 7) {{
                     case 0: s += {next}_helper(a[i]); break;
                     case 1: s ^= a[n - i - 1] * {i}; break;
                     case 2: for (int j = 0; j < i; j++) s += a[j] << (j & {i}); break;
                     case 3: s = s / (a[i] | 1); break;
                     default: s -= a[i] + {i};
                     }}
                   return s;
                 }}\n"
            );
        }
        for (frame, size) in [("one", 400), ("two", 500 + number)] {
            text += &format!(
                "void use(char *);
                 void {part}_{frame}(void) {{ char big[{size}]; use(big); }}\n"
            );
        }
        tree.compile(part, &text, &flags);
    }
    tree.write("plan.json", plan(".", &PARTS));
    tree
}

/// The arguments that run the plan with the linker that the tests use.
const RUN: [&str; 4] = ["--ld", LLD, "run", "plan.json"];

/// The objects of [`PARTS`] and the program, as an undisturbed run writes them.
fn reference(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
    succeed(&backlto(tree, &RUN));
    for part in PARTS {
        succeed(&tree.clang_backend(part, "clang.o", &FLAGS));
        assert!(tree.read(&output(part)) == tree.read("clang.o"), "{part}");
    }
    let names = PARTS.map(output).into_iter().chain(["demo".to_owned()]);
    names.map(|name| (name.clone(), tree.read(&name))).collect()
}

// --- kills and company --------------------------------------------------------

#[test]
fn a_killed_run_leaves_whole_objects_and_can_be_repeated() {
    let tree = long_program();
    let start = Instant::now();
    let reference = reference(&tree);
    // The reference took clang's time too; half of it is about one run.
    let whole = start.elapsed() / 2;
    let rounds = 24;
    let mut in_the_middle = 0;
    for round in 0..rounds {
        for name in reference.keys() {
            tree.write(name, OLD);
        }
        let mut child = command(&tree, BACKLTO, &RUN)
            // The linker dies with it, as when a terminal is closed.
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("backlto starts");
        std::thread::sleep(whole * round / rounds);
        let kill = format!("kill -s KILL -- -{}", child.id());
        tree.run("sh", &["-c", &kill]);
        child.wait().expect("a killed child ends");

        let mut new = 0;
        for (name, whole) in &reference {
            // ld.lld takes the old program away first.
            if name == "demo" && !tree.file(name).exists() {
                continue;
            }
            let found = tree.read(name);
            assert!(
                found == OLD || found == *whole,
                "`{name}` is half written, round {round}"
            );
            new += usize::from(found == *whole);
        }
        in_the_middle += usize::from((1..PARTS.len()).contains(&new));
        // An object has a name of its own for the moment in which it takes the
        // place of an old one; it is whole by then.
        for name in tree
            .leftovers()
            .iter()
            .filter(|name| name.contains("backlto"))
        {
            let found = tree.read(name);
            // The record tells by itself whether it is whole.
            assert!(
                name.starts_with("..plan.json.backlto")
                    || reference.values().any(|whole| found == *whole),
                "{name} is half written"
            );
            std::fs::remove_file(tree.file(name)).expect("a leftover can be removed");
        }
    }
    assert!(in_the_middle > 0, "no kill met a run between two objects");
    succeed(&backlto(&tree, &RUN));
    for (name, whole) in &reference {
        assert!(tree.read(name) == *whole, "{name}");
    }
}

#[test]
fn two_runs_at_once_of_one_plan_both_succeed() {
    let tree = long_program();
    let reference = reference(&tree);
    for round in 0..5 {
        for name in reference.keys() {
            std::fs::remove_file(tree.file(name)).expect("an object is removed");
        }
        let results: Vec<Output> = std::thread::scope(|scope| {
            let threads = [0, 1].map(|_| scope.spawn(|| backlto(&tree, &RUN)));
            threads
                .into_iter()
                .map(|thread| thread.join().expect("the run ends"))
                .collect()
        });
        results.iter().for_each(succeed);
        for (name, whole) in &reference {
            assert!(tree.read(name) == *whole, "{name}, round {round}");
        }
        assert_eq!(tree.leftovers(), [""; 0]);
    }
}

#[test]
fn the_number_of_workers_shows_in_nothing_but_the_time() {
    let tree = long_program();
    let mut seen: Vec<(String, String, BTreeMap<String, Vec<u8>>)> = Vec::new();
    for workers in ["-j1", "-j4", "-j4", "-j3"] {
        let mut args = vec![workers];
        args.extend(RUN);
        let _ = std::fs::remove_file(tree.file(".plan.json.backlto"));
        let result = backlto(&tree, &args);
        succeed(&result);
        let said = String::from_utf8(result.stdout.clone()).expect("text");
        // The summary has times, and which modules took the longest.
        let said: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains(" objects/s") && !line.contains(" s  "))
            .collect();
        seen.push((said.join("\n"), stderr(&result), tree.files()));
    }
    let (said, warned, _) = &seen[0];
    assert_eq!(said.matches("  BE  ").count(), PARTS.len(), "{said}");
    assert_eq!(
        warned.matches("exceeds limit (100)").count(),
        2 * PARTS.len(),
        "{warned}"
    );
    for other in &seen[1..] {
        assert_eq!(other.0, *said);
        assert_eq!(other.1, *warned);
        assert!(other.2 == seen[0].2, "other bytes");
    }
}

// --- full disks ----------------------------------------------------------------

/// A file system of 64 KiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, where mounting is not allowed.
    fn mount(at: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).expect("a mount point is made");
        let args = ["-t", "tmpfs", "-o", "size=64k", "backlto-test"];
        let result = Command::new("mount").args(args).arg(at).output();
        match result {
            Ok(output) if output.status.success() => Some(SmallDisk(at.to_owned())),
            Ok(output) => {
                not_shown(&format!(
                    "skipped: cannot mount a small disk: {}",
                    stderr(&output).trim_end()
                ));
                None
            }
            Err(e) => {
                not_shown(&format!("skipped: cannot run mount: {e}"));
                None
            }
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the disk can be listed");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        // Panicking here would hide the reason for which the test ends.
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("`{}` is still mounted", self.0.display());
        }
    }
}

/// Makes the object of `main` larger than the disk.
fn enlarge_main(tree: &Tree) {
    let text = String::from_utf8(tree.read("main.c")).expect("the source is text");
    tree.compile(
        "main",
        &format!("{text}char ballast[100000] = {{1}};\n"),
        &FLAGS,
    );
    let objects = MODULES.map(|module| format!("{module}.o"));
    tree.thin_link(&objects);
}

#[test]
fn a_full_disk_is_an_error_and_the_old_object_stays() {
    let tree = program();
    enlarge_main(&tree);
    let Some(disk) = SmallDisk::mount(&tree.file("disk")) else {
        return;
    };
    tree.write("disk/main.native.o", OLD);

    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("main", "disk/main.native.o", &FLAGS));
    // More than once: room that a failure does not give back is lost for the
    // next.
    for _ in 0..3 {
        let result = backlto(&tree, &args);
        assert_failed("full disk", Door::Cc, &result, "disk/main.native.o`", &tree);
        assert!(
            stderr(&result).contains("No space left on device"),
            "{}",
            stderr(&result)
        );
        assert!(tree.read("disk/main.native.o") == OLD);
        assert_eq!(disk.files(), ["main.native.o"]);
    }

    // The disk as such can be written to.
    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("lone", "disk/lone.native.o", &FLAGS));
    succeed(&backlto(&tree, &args));
    succeed(&tree.clang_backend("lone", "clang.o", &FLAGS));
    assert!(tree.read("disk/lone.native.o") == tree.read("clang.o"));
}

/// In a plan, the objects that still fit are written, and nothing is linked.
#[test]
fn a_disk_that_fills_up_fails_only_the_objects_that_do_not_fit() {
    let tree = program();
    enlarge_main(&tree);
    let Some(disk) = SmallDisk::mount(&tree.file("disk")) else {
        return;
    };
    for module in MODULES {
        for name in [format!("{module}.o"), format!("{module}.o.thinlto.bc")] {
            std::os::unix::fs::symlink(tree.file(&name), disk.0.join(&name)).expect("a link");
        }
        tree.write(&format!("disk/{}", output(module)), OLD);
    }
    tree.write("disk/demo", OLD);
    tree.write("disk/demo.thinlto-index", tree.read("demo.thinlto-index"));
    let before = disk.files();
    tree.write("plan.json", plan("disk", &MODULES));

    let mut args = Door::Run.args();
    args.insert(0, "-k".to_owned());
    // It is found from the plan's directory.
    args.iter_mut()
        .filter(|arg| arg.starts_with("./"))
        .for_each(|linker| {
            *linker = tree.file(linker).display().to_string();
        });
    let result = backlto(&tree, &args);
    assert_failed(
        "full disk",
        Door::Run,
        &result,
        "/main.thinlto-native.o`",
        &tree,
    );
    assert_eq!(errors(&result).len(), 1, "{}", stderr(&result));
    assert_eq!(disk.files(), before);
    assert!(
        tree.read("disk/demo") == OLD,
        "it was linked without an object"
    );
    for module in MODULES {
        let found = tree.read(&format!("disk/{}", output(module)));
        succeed(&tree.clang_backend(module, "clang.o", &FLAGS));
        let expected = if module == "main" {
            OLD.to_vec()
        } else {
            tree.read("clang.o")
        };
        assert!(found == expected, "{module}");
    }
}

/// The device that is always full is not replaced by a file either.
#[test]
fn a_device_that_is_full_is_an_error() {
    let tree = program();
    let mut args = vec!["cc".to_owned()];
    args.extend(Tree::backend_args("main", "/dev/full", &FLAGS));
    let Some(result) = backlto_as_nobody(&tree, 0o755, &args) else {
        return;
    };
    assert_failed("full device", Door::Cc, &result, "`/dev/full`", &tree);
    assert!(
        stderr(&result).contains("No space left on device"),
        "{}",
        stderr(&result)
    );
    let kind = std::fs::metadata("/dev/full").expect("there is a full device");
    assert!(kind.file_type().is_char_device());
}

// --- files that change -----------------------------------------------------------

/// What another process may do to a file that is being read.
#[derive(Clone, Copy, Debug)]
enum Change {
    Truncate,
    Overwrite,
    WriteAgain,
}

impl Change {
    fn apply(self, path: &Path, content: &[u8], dice: &mut Dice) {
        use std::os::unix::fs::FileExt;
        let open = || {
            std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("it is there")
        };
        match self {
            Change::Truncate => {
                let length = dice.below(content.len());
                open().set_len(length as u64).expect("a file can be cut");
            }
            Change::Overwrite => {
                let at = dice.below(content.len() - 100_000) as u64;
                open()
                    .write_all_at(&[0x5a; 100_000], at)
                    .expect("a file can be written");
            }
            // As a compiler does that is run again: shorter for a moment.
            Change::WriteAgain => std::fs::write(path, content).expect("a file can be written"),
        }
    }
}

/// Reading a mapped page that is gone raises SIGBUS, at any time and on any
/// thread.
#[test]
fn a_file_that_changes_while_it_is_read_gives_an_error_or_the_right_object() {
    let mut dice = Dice(7);
    let tree = Tree::new();
    // 8 MB, so that there is time and that many pages are read late.
    let blob: Vec<u8> = (0..1_000_000)
        .flat_map(|_| dice.roll().to_le_bytes())
        .collect();
    tree.write("blob.bin", blob);
    let text = "const unsigned char blob[] = {\n#embed \"blob.bin\"\n};
        int at(int i) { return blob[i]; }\n";
    tree.compile(
        "blob",
        text,
        &["--target=x86_64-linux-gnu", "-O2", "-std=c23"],
    );
    tree.compile(
        "user",
        "int at(int); int f(int i) { return at(i) + at(i + 1); }\n",
        &FLAGS,
    );
    tree.thin_link(&["user.o", "blob.o"].map(str::to_owned));
    let content = tree.read("blob.o");

    // One compiles the file, the other imports from it.
    let mut jobs = Vec::new();
    for module in ["blob", "user"] {
        succeed(&tree.clang_backend(module, "clang.o", &FLAGS));
        let start = Instant::now();
        succeed(&tree.backlto_cc(module, "ours.o", &FLAGS));
        jobs.push((module, tree.read("clang.o"), start.elapsed()));
    }
    let (mut noticed, mut missed) = (0, 0);
    for round in 0..60 {
        let (module, reference, time) = &jobs[round % 2];
        let change = [Change::Truncate, Change::Overwrite, Change::WriteAgain][round / 2 % 3];
        tree.write("blob.o", &content);
        tree.write(&output(module), OLD);
        // So that the time stamps before and after the change differ.
        std::thread::sleep(Duration::from_millis(20));
        let micros = usize::try_from(time.as_micros()).expect("it is short");
        let delay = Duration::from_micros(dice.below(micros) as u64);
        let mut args = vec!["cc".to_owned()];
        args.extend(Tree::backend_args(module, &output(module), &FLAGS));
        let result = std::thread::scope(|scope| {
            let running = scope.spawn(|| backlto(&tree, &args));
            std::thread::sleep(delay);
            change.apply(&tree.file("blob.o"), &content, &mut dice);
            running.join().expect("backlto ends, and not on a signal")
        });
        let what = format!("{change:?} after {delay:?}, {module}: {}", stderr(&result));
        let found = tree.read(&output(module));
        if result.status.success() {
            missed += 1;
            assert!(found == *reference, "wrong object: {what}");
        } else {
            noticed += 1;
            assert_failed(&what, Door::Cc, &result, "/blob.o`", &tree);
            assert!(found == OLD, "{what}");
        }
    }
    assert!(
        noticed > 5,
        "only {noticed} of {} changes came in time",
        noticed + missed
    );
}

// --- names and modes -----------------------------------------------------------

#[test]
fn directories_may_have_any_name() {
    let tree = program();
    for module in MODULES {
        succeed(&tree.clang_backend(module, &format!("{module}.clang.o"), &FLAGS));
    }
    let odd = "it's a \"directory\" with $HOME, `ticks`, ñ, € and a\nline";
    for module in MODULES {
        for name in [format!("{module}.o"), format!("{module}.o.thinlto.bc")] {
            tree.write(&format!("{odd}/{name}"), tree.read(&name));
        }
    }
    tree.write(&format!("{odd}/plan.json"), plan(".", &MODULES));

    let check = |module: &str, name: &str| {
        let found = tree.read(&format!("{odd}/{name}"));
        assert!(found == tree.read(&format!("{module}.clang.o")), "{module}");
    };
    let mut cc = Tree::backend_args("main", "cc.o", &FLAGS);
    cc.insert(0, "cc".to_owned());
    let mut inside = command(&tree, BACKLTO, &cc);
    inside.current_dir(tree.file(odd));
    succeed(&run_for(PATIENCE, inside).expect("backlto ends"));
    check("main", "cc.o");

    let path = format!("{odd}/plan.json");
    succeed(&backlto(&tree, &["--ld", LLD, "run", &path]));
    for module in MODULES {
        check(module, &output(module));
    }
    assert!(!tree.read(&format!("{odd}/demo")).is_empty());
}

/// Module names go through the linker and the index too, which lets through all
/// but bytes above 127: ld.lld 22 spoils those.
#[test]
fn modules_may_have_odd_names() {
    let tree = program();
    let odd = "a \"module\", it's $ODD & <so on>";
    tree.write(&format!("{odd}.o"), tree.read("main.o"));
    tree.write("plan.json", plan(".", &[odd, "helper"]));
    succeed(&backlto(&tree, &["--ld", LLD, "run", "plan.json"]));
    succeed(&tree.clang_backend(odd, "clang.o", &FLAGS));
    assert!(tree.read(&output(odd)) == tree.read("clang.o"));
    succeed(&tree.backlto_cc(odd, "ours.o", &FLAGS));
    assert!(tree.read("ours.o") == tree.read("clang.o"));
}

/// Should the linker stop spoiling them, this will compile; until then the
/// index does not know the module, and no object must come of that.
#[test]
fn modules_with_names_that_the_linker_spoils_are_refused_or_right() {
    let tree = program();
    let odd = "größer";
    tree.write(&format!("{odd}.o"), tree.read("main.o"));
    tree.write(&output(odd), OLD);
    tree.write("plan.json", plan(".", &[odd, "helper"]));
    let result = backlto(&tree, &["--ld", LLD, "run", "plan.json"]);
    if result.status.success() {
        succeed(&tree.clang_backend("main", "clang.o", &FLAGS));
        assert!(tree.read(&output(odd)) == tree.read("clang.o"));
    } else {
        assert_refused("umlaut", Door::Run, &result, "/größer.o", &tree);
        assert!(tree.read(&output(odd)) == OLD);
    }
}

#[test]
fn the_mode_of_objects_follows_the_umask() {
    for (mask, mode) in [
        ("077", 0o600),
        ("022", 0o644),
        ("002", 0o664),
        ("027", 0o640),
    ] {
        for door in Door::ALL {
            // An object's mode is new each time, whether it was there or not.
            for old in [true, false] {
                let tree = program();
                let object = tree.file(&output("main"));
                if !old {
                    std::fs::remove_file(&object).expect("an old object");
                }
                let mut args = vec!["-c".to_owned(), format!("umask {mask}; exec \"$0\" \"$@\"")];
                args.push(BACKLTO.to_owned());
                args.extend(door.args());
                succeed(&tree.run("sh", &args));
                let found = std::fs::metadata(&object)
                    .expect("an object")
                    .permissions()
                    .mode();
                assert_eq!(found & 0o7777, mode, "umask {mask}, {door:?}, old: {old}");
            }
        }
    }
}
