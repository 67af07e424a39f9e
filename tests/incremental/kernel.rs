//! Kernel trees in miniature, built again after a change. What is there
//! afterwards is compared with stages 2 to 4 done by hand in a copy.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{AR, BACKLTO, stderr, succeed};
use crate::tree::Kernel::{Distributed, Thin};
use crate::tree::{BITCODE, KERNELS, Kernel, KernelTree, cmd_file, native};

const RECORD: &str = ".tmp_backlto";

struct Built {
    kernel: KernelTree,
    cache: tempfile::TempDir,
    limit: u32,
    /// What is run on each object, and what that adds to it.
    post: Option<(&'static str, &'static str)>,
}

/// What one build printed: objects, and other steps.
#[derive(Debug, Default, PartialEq)]
struct Did {
    objects: Vec<String>,
    steps: Vec<String>,
}

impl Did {
    #[track_caller]
    fn only(&self, objects: &[&str], steps: &[&str]) {
        let objects = objects.iter().map(|&object| object.to_owned()).collect();
        let steps = steps.iter().map(|&step| step.to_owned()).collect();
        assert_eq!(*self, Did { objects, steps });
    }
}

const LINK: [&str; 2] = ["GEN .tmp_initcalls.lds", "LD vmlinux.o"];
const INDEX_AND_LINK: [&str; 3] = [
    "LD vmlinux.thinlto-index",
    "GEN .tmp_initcalls.lds",
    "LD vmlinux.o",
];

impl Built {
    fn new(kernel: Kernel) -> Built {
        let built = Built {
            kernel: KernelTree::new(kernel),
            cache: tempfile::tempdir().expect("a temporary directory"),
            limit: 5,
            post: None,
        };
        assert_eq!(built.build().objects.len(), BITCODE.len());
        built
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.kernel.tree.file(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        self.kernel.tree.read(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.kernel.tree.write(name, bytes);
    }

    /// Replaces a text in a file, which must be there.
    #[track_caller]
    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).expect("text");
        assert!(text.contains(from), "no {from} in {name}: {text}");
        self.write(name, text.replace(from, to));
    }

    /// What the front end was run with for `object`, as a shell reads it.
    fn front_end(&self, object: &str) -> String {
        let text = String::from_utf8(self.read(&cmd_file(object))).expect("text");
        let line = text.lines().next().expect("a command");
        let (_, command) = line.split_once(" := ").expect("a command");
        let (command, _) = command.split_once(" ; ").expect("objtool");
        command.replace("$(pound)", "#").replace("$$", "$")
    }

    /// Changes the source of `object` and compiles it.
    #[track_caller]
    fn edit(&self, object: &str, from: &str, to: &str) {
        self.replace(&object.replace(".o", ".c"), from, to);
        self.kernel.shell(&self.front_end(object));
    }

    fn backlto(&self, args: &[&str]) -> Output {
        let cache = self.cache.path().to_str().expect("a plain name");
        let mut all = args.to_vec();
        all.extend(["--cache-dir", cache]);
        self.kernel.tree.run(BACKLTO, &all)
    }

    fn kbuild(&self, args: &[&str]) -> Output {
        let mut all = vec!["kbuild", "."];
        if let Some((command, _)) = self.post {
            all.extend(["--post", command]);
        }
        all.extend(args);
        self.backlto(&all)
    }

    /// Builds, and checks everything.
    #[track_caller]
    fn build(&self) -> Did {
        let output = self.kbuild(&[]);
        succeed(&output);
        self.assert_as_by_hand();
        did(&output)
    }

    #[track_caller]
    fn assert_as_by_hand(&self) {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let here = self.kernel.tree.path();
        let mut cp = Command::new("cp");
        cp.args(["-a", "."]).arg(copy.path()).current_dir(here);
        succeed(&cp.output().expect("cp runs"));
        let limit = |command: String| {
            command.replace("instr-limit=5", &format!("instr-limit={}", self.limit))
        };
        // Without a symbol table: for that, llvm-ar reads assembly, and what it
        // pulls in.
        let fixup = self.kernel.fixup_command("built-in-fixup.a");
        let mut script = format!(
            "find . -name '*.thinlto*' -delete
            rm -f {RECORD} vmlinux.a vmlinux.o builtin.order built-in-fixup.a
            {}\n{AR} t built-in-fixup.a > builtin.order\n{}\n",
            fixup.replace(" mPi", " mSPi"),
            limit(self.kernel.thin_link_command()),
        );
        for object in BITCODE {
            script += &format!("{}\n", self.back_end(object));
            if let Some((_, added)) = self.post {
                script += &format!("printf '{added}' >> {}\n", native(object));
            }
        }
        script += &format!(
            "{}\n{}\n",
            self.kernel.archive_command(),
            limit(self.kernel.link_command())
        );
        let mut sh = Command::new("sh");
        sh.args(["-exc", &script]).current_dir(copy.path());
        succeed(&sh.output().expect("sh runs"));
        let mut names = [
            "builtin.order",
            "vmlinux.thinlto-index",
            "vmlinux.a",
            "vmlinux.o",
        ]
        .map(str::to_owned)
        .to_vec();
        for object in BITCODE {
            names.extend([native(object), format!("{object}.thinlto.bc")]);
        }
        for name in names {
            let expected =
                std::fs::read(copy.path().join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(self.read(&name) == expected, "{name} is not as by hand");
        }
    }

    /// The back end's command, out of the front end's.
    fn back_end(&self, object: &str) -> String {
        let command = self.front_end(object);
        let (flags, _) = command
            .split_once(&format!(" -c -o {object} "))
            .expect("a compile");
        let flags: Vec<&str> = flags
            .split(' ')
            .filter(|word| !word.starts_with("-Wp,"))
            .collect();
        format!(
            "{} -x ir -fno-lto -Wno-unused-command-line-argument \
             -fthinlto-index={object}.thinlto.bc -c -o {} {object}",
            flags.join(" "),
            native(object)
        )
    }

    fn explain(&self, object: &str) -> String {
        let output = self.kernel.tree.run(BACKLTO, &["explain", object]);
        succeed(&output);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Checks what `explain` says of the next build before it, and of the build
    /// after it.
    #[track_caller]
    fn because(&self, object: &str, reason: &str) {
        let before = self.explain(object);
        let now = format!("now          stale: {reason}");
        assert!(before.contains(&now), "no `{reason}` in {before}");
        self.build();
        let after = self.explain(object);
        let because = format!("because      {reason}");
        assert!(after.contains(&because), "no `{reason}` in {after}");
        assert!(after.contains("now          up to date"), "{after}");
    }

    /// When each file was written.
    fn times(&self) -> BTreeMap<String, std::time::SystemTime> {
        let named = |name: &String| {
            let named = name.contains(".thinlto") || name.starts_with("vmlinux");
            named && !name.ends_with(".cmd")
        };
        let files = self.kernel.tree.files().into_keys().filter(named);
        files
            .map(|name| {
                let metadata = std::fs::metadata(self.file(&name)).expect("a file");
                (name, metadata.modified().expect("a time"))
            })
            .collect()
    }
}

fn did(output: &Output) -> Did {
    let mut did = Did::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split_whitespace();
        match (line.starts_with("  "), words.next(), words.next()) {
            (true, Some("BE"), Some(object)) => did.objects.push(object.to_owned()),
            (true, Some(what @ ("LD" | "AR" | "GEN")), Some(file)) => {
                did.steps.push(format!("{what} {file}"));
            }
            _ => {}
        }
    }
    did
}

#[test]
fn nothing_is_done_twice() {
    for kernel in KERNELS {
        let built = Built::new(kernel);
        let before = built.times();
        built.build().only(&[], &[]);
        assert_eq!(built.times(), before);
    }
}

#[test]
fn a_change_goes_as_far_as_it_reaches() {
    let built = Built::new(Distributed);
    // It is imported and inlined all the way up.
    built.edit("lib/string.o", "x * 7", "x * 9");
    let did = built.build();
    let all = ["init/main.o", "init/options.o", "lib/string.o"];
    assert_eq!(did.objects, all.map(native));
    for step in INDEX_AND_LINK {
        assert!(did.steps.iter().any(|done| done == step), "{did:?}");
    }
    // Compiled again, to the same.
    built.edit("lib/string.o", "x * 9", "x * 9 ");
    built.build().only(&[], &[]);
    // Assembly concerns the last link alone.
    let assemble = |from: &str, to: &str| {
        built.replace("lib/memory.S", from, to);
        built.kernel.shell(&built.front_end("lib/memory.o"));
    };
    assemble("movl", "nop; movl");
    let did = built.build();
    assert!(did.objects.is_empty(), "{did:?}");
    assert!(did.steps.contains(&"LD vmlinux.o".to_owned()), "{did:?}");
}

#[test]
fn the_thin_link_is_done_again_when_its_files_are_not_as_it_left_them() {
    for kernel in KERNELS {
        let built = Built::new(kernel);
        let index = "a.o.thinlto.bc";
        for bytes in [&b""[..], b"damaged", &built.read("aa.o.thinlto.bc")] {
            built.write(index, bytes);
            built.build().only(&[], &["LD vmlinux.thinlto-index"]);
        }
        std::fs::remove_file(built.file(index)).unwrap();
        built.build().only(&[], &["LD vmlinux.thinlto-index"]);
        for list in ["", "a.o\n", "a.o\nnone.o\n"] {
            built.write("vmlinux.thinlto-index", list);
            built.build().only(&[], &["LD vmlinux.thinlto-index"]);
        }
    }
}

#[test]
fn archive_and_link_are_done_again_when_their_files_are_not_as_they_left_them() {
    for kernel in KERNELS {
        let built = Built::new(kernel);
        built.write("vmlinux.o", "damaged");
        built.build().only(&[], &LINK);
        std::fs::remove_file(built.file("vmlinux.o")).unwrap();
        built.build().only(&[], &LINK);
        built.write(".tmp_initcalls.lds", "SECTIONS { }\n");
        built.build().only(&[], &LINK);
        built.write("vmlinux.a", "damaged");
        built.build().only(&[], &["AR vmlinux.a"]);
        built.write("builtin.order", "a.o\n");
        built.build().only(&[], &[]);
    }
}

#[test]
fn another_import_limit_is_a_change() {
    for kernel in KERNELS {
        let mut built = Built::new(kernel);
        for limit in [0, 100, 5] {
            built.limit = limit;
            let recorded = cmd_file("vmlinux.o");
            let text = String::from_utf8(built.read(&recorded)).unwrap();
            let (before, rest) = text.split_once("instr-limit=").unwrap();
            let (_, after) = rest.split_once(' ').unwrap();
            built.write(&recorded, format!("{before}instr-limit={limit} {after}"));
            let did = built.build();
            assert!(did.steps.contains(&INDEX_AND_LINK[0].to_owned()), "{did:?}");
        }
        built.build().only(&[], &[]);
    }
}

#[test]
fn what_was_built_to_an_earlier_stage_is_finished() {
    let built = Built::new(Distributed);
    built.edit("lib/string.o", "x * 7", "x * 3");
    for stage in ["thin-link", "objects", "archive"] {
        succeed(&built.kbuild(&["--to", stage]));
    }
    built.build().only(&[], &LINK);
    built.edit("lib/string.o", "x * 3", "x * 7");
    succeed(&built.kbuild(&["--to", "thin-link"]));
    built.edit("lib/string.o", "x * 7", "x * 3");
    built.build();
}

#[test]
fn a_copy_of_a_tree_is_served_from_the_cache() {
    let built = Built::new(Distributed);
    let copy = Built {
        kernel: KernelTree::new(Distributed),
        ..built
    };
    assert_eq!(copy.build().objects.len(), BITCODE.len());
    let record: serde_json::Value = serde_json::from_slice(&copy.read(RECORD)).unwrap();
    for (name, job) in record["objects"].as_object().unwrap() {
        assert_eq!(job["how"], "cached", "{name}");
    }
}

#[test]
fn make_finds_nothing_older_than_what_it_is_made_of() {
    for kernel in KERNELS {
        let built = Built::new(kernel);
        // Compiled again, to the same, and later.
        let later = std::time::SystemTime::now() - std::time::Duration::from_millis(1);
        for object in BITCODE {
            let file = std::fs::File::options()
                .append(true)
                .open(built.file(object))
                .unwrap();
            file.set_modified(later).unwrap();
        }
        built.build().only(&[], &[]);
        let time = |name: &str| {
            std::fs::metadata(built.file(name))
                .unwrap()
                .modified()
                .unwrap()
        };
        for object in BITCODE {
            assert!(time(&native(object)) >= time(object), "{object}");
        }
    }
}

const SCRIPT: &str = "#!/bin/sh\nprintf 'one' >> \"$1\"\n";

fn write_script(built: &Built, name: &str, text: &str) {
    built.write(name, text);
    built.kernel.shell(&format!("chmod +x {name}"));
}

#[test]
fn another_program_to_run_on_objects_is_a_change() {
    let mut built = Built::new(Thin);
    write_script(&built, "one.sh", SCRIPT);
    write_script(&built, "two.sh", &SCRIPT.replace("one", "two"));
    let all = BITCODE.len();
    built.post = Some(("./one.sh {}", "one"));
    assert_eq!(built.build().objects.len(), all);
    built.build().only(&[], &[]);
    built.post = Some(("./two.sh {}", "two"));
    assert_eq!(built.build().objects.len(), all);
    built.build().only(&[], &[]);
    // What such a program made is not for others.
    built.post = None;
    assert_eq!(built.build().objects.len(), all);
}

#[test]
fn a_program_to_run_on_objects_counts_with_its_content() {
    let mut built = Built::new(Thin);
    write_script(&built, "post.sh", SCRIPT);
    built.post = Some(("./post.sh {}", "one"));
    built.build();
    write_script(&built, "post.sh", &SCRIPT.replace("one", "two"));
    built.post = Some(("./post.sh {}", "two"));
    assert_eq!(built.build().objects.len(), BITCODE.len());
    built.build().only(&[], &[]);
}

#[test]
fn a_record_that_is_damaged_does_no_harm() {
    for kernel in KERNELS {
        let built = Built::new(kernel);
        let good = built.read(RECORD);
        for bytes in [&b""[..], b"{", &good[..good.len() / 3], b"\xff\xff"] {
            built.write(RECORD, bytes);
            assert_eq!(built.build().objects.len(), BITCODE.len());
            built.build().only(&[], &[]);
        }
        // One that knows of another state of the tree.
        built.edit("lib/string.o", "x * 7", "x * 8");
        built.build();
        built.write(RECORD, &good);
        built.build();
        built.edit("lib/string.o", "x * 8", "x * 7");
        built.build();
    }
}

// --- explain ----------------------------------------------------------------

#[test]
fn explain_knows_what_was_never_built() {
    let built = Built::new(Thin);
    let text = built.explain("aa.o");
    assert!(
        text.contains("object       aa.thinlto-native.o ("),
        "{text}"
    );
    assert!(text.contains("built        compiled in "), "{text}");
    assert!(
        text.contains("because      nothing is known of an earlier build"),
        "{text}"
    );
    assert!(text.contains("now          up to date"), "{text}");
    assert!(text.contains(" -Os "), "{text}");
    let import = text
        .lines()
        .any(|line| line.starts_with("import       dir/a.o ("));
    assert!(import, "{text}");
    for (object, needle) in [
        ("lib/memory.o", "nothing is known of"),
        ("/nowhere/x.o", "no directory above it has"),
    ] {
        let output = built.kernel.tree.run(BACKLTO, &["explain", object]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(needle), "{}", stderr(&output));
    }
}

#[test]
fn simulate_replays_what_was_compiled() {
    let built = Built::new(Thin);
    let simulate = |record: &str| {
        let workers = ["--workers", "1,64"];
        let words = [&["simulate", record][..], &workers].concat();
        built.kernel.tree.run(BACKLTO, &words)
    };
    for record in [".", "lib", ".tmp_backlto"] {
        let output = simulate(record);
        succeed(&output);
        let text = String::from_utf8(output.stdout).expect("text");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..2], [&*BITCODE.len().to_string(), "compiles,"]);
        // One has no choice; of more than there are jobs, one has the longest.
        for (line, workers) in lines[2..].iter().zip(["1", "64"]) {
            assert_eq!((line[0], line[2], line[3]), (workers, "1.000", "1.000"));
        }
        assert_eq!(lines.len(), 4);
    }
    let output = simulate("other");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nothing is known of compiles in `other`"));
}

#[test]
fn explain_gives_the_reason_before_and_after() {
    let built = Built::new(Distributed);
    built.edit("aa.o", "* 3", "* 4");
    built.because("aa.thinlto-native.o", "its module `aa.o` changed from ");
    built.edit("aa.o", "* 4", "* 5");
    built.because("a.o", "`aa.o`, from which it imports, changed");

    built.edit("aa.o", "* 5", "* 6");
    succeed(&built.kbuild(&["--to", "thin-link"]));
    built.because("a.o", "its summary index changed from ");

    let object = native("lib/string.o");
    let good = built.read(&object);
    built.write(&object, "damaged");
    built.because(&object, "the object was changed");
    assert_eq!(built.read(&object), good);
    std::fs::remove_file(built.file(&object)).unwrap();
    built.because(&object, "the object is not there");
    assert!(built.explain(&object).contains("taken from the cache"));

    built.replace(&cmd_file("lib/string.o"), " -O2 ", " -O1 ");
    let text = built.explain("lib/string.o");
    assert!(text.contains("flags now"), "{text}");
    built.because("lib/string.o", "its flags changed");

    let text = String::from_utf8(built.read(RECORD)).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = record["dependencies"].as_array_mut().unwrap();
    let compiler = list.iter_mut().find(|one| one["part"] == "compiler");
    compiler.unwrap()["digest"] = "1".repeat(64).into();
    built.write(RECORD, record.to_string());
    built.because("lib/string.o", "backlto or LLVM is another build");
}

#[test]
fn explain_names_the_files_of_assembly() {
    let built = Built::new(Thin);
    // Nobody imports from this: clang looks for the files of those, too.
    built.write("data.bin", "one");
    let text =
        "__asm__(\".pushsection .rodata.x,\\\"a\\\"\\n.incbin \\\"data.bin\\\"\\n.popsection\");\n";
    built.edit(
        "init/options.o",
        "int options",
        &format!("{text}int options"),
    );
    built.build();
    let explained = built.explain("init/options.o");
    assert!(explained.contains("asm-file     data.bin ("), "{explained}");
    built.write("data.bin", "two");
    built.because(
        "init/options.o",
        "`data.bin`, which its assembly names, changed",
    );
    // Along the include path.
    std::fs::create_dir(built.file("more")).unwrap();
    built.replace(&cmd_file("init/options.o"), " -O2 ", " -O2 -Wa,-Imore ");
    built.build();
    let object = native("init/options.o");
    std::fs::rename(built.file("data.bin"), built.file("more/data.bin")).unwrap();
    built.because(&object, "`data.bin`, which its assembly names, changed");
}

#[test]
fn explain_knows_of_programs_run_on_objects() {
    let mut built = Built::new(Thin);
    write_script(&built, "post.sh", SCRIPT);
    built.post = Some(("./post.sh {}", "one"));
    built.build();
    let text = built.explain("aa.o");
    assert!(
        text.contains("because      the program to run on it changed"),
        "{text}"
    );
}

/// A build of a whole tree that is killed at any moment.
#[test]
fn a_tree_after_a_kill_is_right() {
    let built = Built::new(Distributed);
    let path = |name: &str| built.file(name);
    for round in 0..12_u32 {
        let (from, to) = match round % 2 {
            0 => ("x * 7", "x * 6"),
            _ => ("x * 6", "x * 7"),
        };
        built.edit("lib/string.o", from, to);
        if round % 3 == 0 {
            let _ = std::fs::remove_file(path(RECORD));
        }
        let mut command = Command::new(BACKLTO);
        command
            .args(["kbuild", ".", "-q", "--cache-dir"])
            .arg(built.cache.path())
            .current_dir(path(""))
            .env("LC_ALL", "C");
        let mut child = command.spawn().expect("backlto starts");
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 15));
        let _ = child.kill();
        let _ = child.wait();
        built.build();
        built.build().only(&[], &[]);
    }
    assert!(
        !leftovers(built.kernel.tree.path()),
        "temporary files pile up"
    );
}

/// More than the few that kills may leave.
fn leftovers(directory: &Path) -> bool {
    let names = std::fs::read_dir(directory).expect("the tree can be listed");
    let temporary = names.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().contains("backlto-tmp")
    });
    temporary.count() > 12
}
