//! The cache: damaged, forged, read-only, full, elsewhere, shared; and what it
//! says again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{BACKLTO, not_shown, stderr, succeed};
use crate::mounted::Mounted;
use crate::project::{ALL, Project, UTIL};

/// Has the next build take nothing from the tree.
pub(crate) fn forget(project: &Project) {
    let _ = std::fs::remove_file(project.record());
    for name in &project.modules {
        let _ = std::fs::remove_file(project.object(name));
    }
}

/// Files below `directory`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn shelf(project: &Project, name: &str) -> Vec<PathBuf> {
    let found = files(&project.cache.join("v1").join(name));
    assert!(!found.is_empty(), "nothing in {name}");
    found
}

/// Replaces a file that is read-only.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("it is removed");
    std::fs::write(path, bytes).expect("it is written");
}

type Damage = dyn Fn(&mut Vec<u8>);

#[test]
fn what_is_damaged_is_compiled() {
    for shelf_name in ["objects", "actions"] {
        let project = Project::built();
        let damages: [&Damage; 4] = [
            &|bytes| bytes[0] ^= 1,
            &|bytes| *bytes.last_mut().unwrap() ^= 0x80,
            &|bytes| bytes.truncate(bytes.len() / 2),
            &Vec::clear,
        ];
        for damage in damages {
            for path in shelf(&project, shelf_name) {
                let mut bytes = std::fs::read(&path).unwrap();
                damage(&mut bytes);
                overwrite(&path, &bytes);
            }
            forget(&project);
            let built = project.build();
            built.compiled(ALL);
            assert!(built.warnings[0].ends_with("was damaged"), "{built:?}");
            forget(&project);
            let built = project.build();
            built.did("", ALL, "");
            assert_eq!(built.warnings, [""; 0]);
        }
    }
}

/// Each file is whole, under a name that is not its own.
#[test]
fn what_is_forged_is_compiled() {
    for shelf_name in ["objects", "actions"] {
        let project = Project::built();
        let paths = shelf(&project, shelf_name);
        let contents: Vec<_> = paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        for (number, path) in paths.iter().enumerate() {
            overwrite(path, &contents[(number + 1) % contents.len()]);
        }
        forget(&project);
        project.build().compiled(ALL);
        project.build().nothing();
    }
    // Entries without objects.
    let project = Project::built();
    for path in shelf(&project, "objects") {
        std::fs::remove_file(path).unwrap();
    }
    forget(&project);
    project.build().compiled(ALL);
    // Things that are no files.
    let project = Project::built();
    for path in [shelf(&project, "objects"), shelf(&project, "actions")].concat() {
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }
    forget(&project);
    project.build().compiled(ALL);
    let project = Project::built();
    for path in [shelf(&project, "objects"), shelf(&project, "actions")].concat() {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(project.object("main"), &path).unwrap();
    }
    forget(&project);
    project.build().compiled(ALL);
}

#[test]
fn verify_finds_what_is_damaged() {
    let project = Project::built();
    let objects = shelf(&project, "objects");
    overwrite(&objects[1], b"other");
    let verify = || project.run(BACKLTO, &["cache", "verify", "--json"]);
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["problems"][0]["file"], objects[1].to_str().unwrap());
    succeed(&verify());
    forget(&project);
    let built = project.build();
    assert_eq!(
        (built.compiled.len(), built.cached.len()),
        (1, 4),
        "{built:?}"
    );
}

#[test]
fn clear_empties_it() {
    let project = Project::built();
    succeed(&project.run(BACKLTO, &["cache", "clear"]));
    assert_eq!(files(&project.cache), Vec::<PathBuf>::new());
    project.build().nothing();
    forget(&project);
    project.build().compiled(ALL);
}

#[test]
fn no_cache_means_none() {
    let mut project = Project::new();
    project.build_with(&["--no-cache"]).compiled(ALL);
    assert!(!project.cache.exists());
    // The record needs no cache.
    project.build_with(&["--no-cache"]).nothing();
    project.build();
    forget(&project);
    project.build().compiled(ALL);
    forget(&project);
    project.build_with(&["--no-cache"]).compiled(ALL);
    // An empty name is no directory.
    let before = files(project.home());
    let cache = std::mem::take(&mut project.cache);
    forget(&project);
    project.build().compiled(ALL);
    assert_eq!(files(project.home()).len(), before.len());
    project.cache = cache;
    // The option beats the variable.
    let other = project.home().join("other cache");
    forget(&project);
    let other = other.to_str().unwrap();
    project.build_with(&["--cache-dir", other]).compiled(ALL);
    forget(&project);
    project.build_with(&["--cache-dir", other]).did("", ALL, "");
}

#[test]
fn what_was_said_is_said_again() {
    let project = Project::built();
    let large = "void use(char *); void alone(void) { char a[999]; use(a); }\n";
    // The front end puts the limit into the module.
    project.edit_with("alone", large, &["-Wframe-larger-than=100"]);
    let warned = |output: &std::process::Output| stderr(output).contains("[-Wframe-larger-than]");
    forget(&project);
    let output = project.try_build(&[]);
    assert!(warned(&output), "{}", stderr(&output));
    // That these messages are clang's, build() checks.
    forget(&project);
    project.build().did("", ALL, "");
    forget(&project);
    assert!(warned(&project.try_build(&[])));
    // As with make, what is there has nothing to say.
    assert_eq!(stderr(&project.try_build(&[])), "");
}

/// What LLVM says when the imported code turns out to be known.
#[test]
fn what_was_said_is_said_again_after_the_import() {
    let sources = [
        (
            "warns",
            "void use(char *); int other(int);
            int warns(int x) { char a[999]; use(a); return other(x) + 1; }\n",
        ),
        (
            "other",
            "int other(int x) { return x + 1; }\n
            __attribute__((noinline)) int never(int x) { return x * 5; }\n",
        ),
    ];
    let project = Project::of(&sources);
    project.edit_with("warns", sources[0].1, &["-Wframe-larger-than=100"]);
    let output = project.try_build(&[]);
    assert!(
        stderr(&output).contains("[-Wframe-larger-than]"),
        "{}",
        stderr(&output)
    );
    project.edit("other", &sources[1].1.replace("x * 5", "x * 7"));
    project.build().did("other", "", "warns");
}

/// A terminal has clang's driver add such flags.
#[test]
fn how_messages_look_is_no_part_of_an_object() {
    let sources = [
        (
            "warns",
            "void use(char *);\nint warns(int x) { char a[999]; use(a); return x + 1; }\n",
        ),
        ("silent", "int silent(int x) { return x + 1; }\n"),
    ];
    let mut project = Project::of(&sources);
    project.edit_with("warns", sources[0].1, &["-Wframe-larger-than=100"]);
    project.build().compiled("warns silent");
    let flags: Vec<String> = project.flags().map(str::to_owned).collect();
    let mut colours: Vec<&str> = flags.iter().map(String::as_str).collect();
    colours.extend(["-fcolor-diagnostics", "-fmessage-length=40"]);
    project.set_flags(&colours);
    project.build().nothing();
    for module in ["warns", "silent"] {
        std::fs::remove_file(project.object(module)).unwrap();
    }
    // What is said is said in colour, and need not be wrong for that.
    project.build().did("warns", "silent", "");
    std::fs::remove_file(project.object("warns")).unwrap();
    project.build().did("", "warns", "");
}

/// The imported module does not tell that what was imported is for another vendor.
#[test]
fn what_is_said_while_importing_is_not_lost() {
    let sources = [
        (
            "caller",
            "int other(int); int caller(int x) { return other(x) + 1; }\n",
        ),
        ("other", "int other(int x) { return x + 1; }\n"),
    ];
    let project = Project::of(&sources);
    assert_eq!(project.build().warnings, [""; 0]);
    project.edit_with("other", sources[1].1, &["--target=x86_64-pc-linux-gnu"]);
    let output = project.try_build(&[]);
    assert!(
        stderr(&output).contains("different target triples"),
        "{}",
        stderr(&output)
    );
    project.edit("other", &sources[1].1.replace("x + 1", "x + 2"));
    project.build();
}

#[test]
fn a_read_only_cache_gives_what_it_has() {
    let Some(mounted) = Mounted::new("8m") else {
        return;
    };
    let mut project = Project::new();
    project.cache = mounted.path().join("cache");
    project.build().compiled(ALL);
    let before = files(mounted.path());
    if !mounted.close() {
        return;
    }
    forget(&project);
    project.build().did("", ALL, "");
    project.edit("alone", "int alone(int x) { return x ^ 99; }\n");
    project.build().compiled("alone");
    forget(&project);
    project.build().did("alone", "main util blob inner", "");
    assert_eq!(files(mounted.path()), before);
}

#[test]
fn a_full_cache_fails_no_build() {
    let Some(mounted) = Mounted::new("24k") else {
        return;
    };
    let mut project = Project::new();
    project.cache = mounted.path().join("cache");
    let built = project.build();
    built.compiled(ALL);
    assert!(
        built.warnings[0].contains("No space left on device"),
        "{built:?}"
    );
    forget(&project);
    let built = project.build();
    let found = built.cached.len() + built.imported.len();
    assert_eq!(built.compiled.len() + found, 5);
    project.build().nothing();
}

#[test]
fn a_full_disk_fails_the_build_and_keeps_nothing_wrong() {
    let Some(mounted) = Mounted::new("300k") else {
        return;
    };
    let mut project = Project::built();
    let place = mounted.path().join("project");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(project.directory())
        .arg(&place)
        .output();
    succeed(&copied.unwrap());
    std::os::unix::fs::symlink(&place, project.home().join("full")).unwrap();
    std::fs::remove_dir_all(project.directory()).unwrap();
    project.move_to("full");
    project.build().nothing();
    // All but a few blocks are taken: of the objects, of the record, of what the
    // linker writes, each may be the one that does not fit.
    project.edit("alone", "int alone(int x) { return x * 123; }\n");
    project.edit("util", &UTIL.replace("x * 2", "x * 15"));
    let ballast = mounted.path().join("ballast");
    let mut failures = 0;
    for left in [0_usize, 4, 8, 12, 16, 24, 32, 48, 64] {
        let free = free_kilobytes(mounted.path());
        std::fs::write(&ballast, vec![1; free.saturating_sub(left) * 1024]).unwrap();
        let output = project.try_build(&[]);
        failures += u32::from(!output.status.success());
        std::fs::remove_file(&ballast).unwrap();
    }
    assert!(failures > 0, "the disk was never full");
    project.build();
    project.build().nothing();
}

fn free_kilobytes(directory: &Path) -> usize {
    let output = Command::new("df")
        .args(["-k", "--output=avail"])
        .arg(directory)
        .output();
    let text = String::from_utf8(output.expect("df runs").stdout).expect("text");
    let number = text.lines().last().expect("a number");
    number.trim().parse().expect("a number")
}

#[test]
fn the_cache_may_be_on_another_file_system() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return not_shown("skipped: no /dev/shm");
    };
    let mut project = Project::new();
    let device = |path: &Path| path.metadata().expect("a directory").dev();
    if device(elsewhere.path()) == device(project.home()) {
        return not_shown("skipped: /dev/shm is the same file system");
    }
    project.cache = elsewhere.path().join("cache");
    project.build().compiled(ALL);
    forget(&project);
    project.build().did("", ALL, "");
}

/// What the user does to an object does not reach the cache.
#[test]
fn objects_are_the_users_own() {
    let project = Project::built();
    forget(&project);
    project.build().did("", ALL, "");
    for name in &project.modules {
        std::fs::write(project.object(name), "mine").unwrap();
    }
    project.build().only_from_cache(ALL);
    succeed(&project.run(BACKLTO, &["cache", "verify"]));
}

#[test]
fn two_builds_at_once_share_a_cache() {
    for round in 0..6 {
        let mut one = Project::new();
        let mut other = Project::new();
        let cache = one.home().join("shared");
        (one.cache, other.cache) = (cache.clone(), cache);
        // Some of it is new in each round, some is the same in both.
        let text = format!("int alone(int x) {{ return x + {round}; }}\n");
        other.edit("alone", &text);
        for project in [&one, &other] {
            project.plan();
        }
        let start = |project: &Project| {
            let mut command = project.command(BACKLTO);
            command
                .args(["run", "plan.json", "-q"])
                .spawn()
                .expect("backlto starts")
        };
        let mut running = [start(&one), start(&other)];
        for child in &mut running {
            assert!(child.wait().expect("it ends").success());
        }
        for project in [&one, &other] {
            project.assert_as_clang();
            project.build().nothing();
            forget(project);
            project.build().did("", ALL, "");
        }
        succeed(&one.run(BACKLTO, &["cache", "verify"]));
    }
}

/// An object that the cache has by what is imported has no place before LLVM has
/// stopped: a job that fails leaves what was there.
#[test]
fn what_was_found_in_a_crash_is_not_placed() {
    let project = Project::built();
    let object = project.object("main");
    project.edit(
        "util",
        &format!("{UTIL}int more(int x) {{ return x + 9; }}\n"),
    );
    std::fs::write(&object, "what was there").expect("an object is written");
    let crash = || {
        project
            .command(BACKLTO)
            .args(["-j1", "run", "plan.json"])
            .env("BACKLTO_FAULT", "late-segv:main.o")
            .output()
            .expect("backlto starts")
    };
    let result = crash();
    assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
    assert!(stderr(&result).contains("signal 11"), "{}", stderr(&result));
    let left = std::fs::read(&object).expect("it is there");
    assert!(left == b"what was there", "an object was placed");
    // Without the fault, the cache has it.
    let built = project.build();
    assert!(built.imported.contains("main"), "{built:?}");
}

/// Files beside the object are written cold, warm, and when nothing has changed.
#[test]
fn files_beside_an_object_are_always_written() {
    let mut project = Project::new();
    for flags in [
        &["--serialize-diagnostics", "said"][..],
        &["-ftime-trace=said"],
        &["-foptimization-record-file=said"],
        &["-Xclang", "-stats-file=said"],
    ] {
        project.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        for _ in 0..3 {
            let _ = std::fs::remove_file(project.file("said"));
            succeed(&project.try_build(&["-j1"]));
            assert!(project.file("said").is_file(), "{flags:?}");
        }
    }
    for refused in [
        &["-fproc-stat-report=said"][..],
        &["-mllvm", "-info-output-file=said"],
    ] {
        project.flags = refused.iter().map(|flag| (*flag).to_owned()).collect();
        let result = project.try_build(&[]);
        assert_eq!(result.status.code(), Some(1), "{refused:?}");
        assert!(
            stderr(&result).contains("reports on a process"),
            "{}",
            stderr(&result)
        );
    }
}
