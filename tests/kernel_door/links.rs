//! What `ld.backlto` does in links that kbuild asks for.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::{AR, CLANG, LINKER, LLD, NM, READELF, Tree, link_content, stderr, succeed};
use crate::tree::Kernel::Distributed;
use crate::tree::{BITCODE, KernelTree, native};

/// How the kernel has its code.
const KERNEL: [&str; 3] = ["-O2", "-fno-pic", "-mcmodel=kernel"];
/// What shows in an object that its backend has been told it.
const SHOWN: &str = "-fstack-size-section";

const HOOKS: &str = "int (*hook)(int);
static int (*one_ops)(int);
static int calls;
int set(int (*to)(int)) { one_ops = to; return ++calls; }
int call(int x) { return one_ops ? one_ops(x) + hook(x) : calls; }
";
const USE: &str = "extern int (*hook)(int);
int set(int (*)(int));
int call(int);
static int twice(int x) { return 2 * x; }
int start(void) { hook = twice; return set(twice) + call(3); }
";

/// A directory with two bitcode modules, and the commands that kbuild would have
/// recorded for them. They say [`SHOWN`], which was not true.
fn tree() -> Tree {
    let tree = Tree::new();
    for (name, text) in [("hooks", HOOKS), ("use", USE)] {
        tree.compile(name, text, &KERNEL);
        record(&tree, name, &format!("{} {SHOWN}", KERNEL.join(" ")));
    }
    // No more than any directory may have.
    tree.write("include/config/auto.conf", "CONFIG_LTO_CLANG_THIN=y\n");
    tree
}

/// Has `name`.o compiled with `flags`, by what kbuild recorded.
fn record(tree: &Tree, name: &str, flags: &str) {
    let line = format!("savedcmd_{name}.o := {CLANG} {flags} -c -o {name}.o {name}.c\n");
    tree.write(&format!(".{name}.o.cmd"), line);
}

/// `linker`, to link both modules of `tree` to `output` as kbuild has it.
fn of_kbuild(tree: &Tree, linker: impl AsRef<Path>, output: &str) -> Command {
    let mut command = Command::new(linker.as_ref());
    from_kbuild(tree, command.args(["-r", "-o", output, "hooks.o", "use.o"]));
    command
}

/// `command`, to be run in `tree` as kbuild's make runs what it runs.
fn from_kbuild<'a>(tree: &Tree, command: &'a mut Command) -> &'a mut Command {
    command
        .current_dir(tree.path())
        .env("BACKLTO_CACHE_DIR", "")
        .envs([
            ("srctree", "/src"),
            ("objtree", "."),
            ("KBUILD_LDFLAGS", "-m elf_x86_64"),
        ])
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the linker runs");
    succeed(&output);
    output
}

/// The names of the sections of `object` that hold something.
fn sections(tree: &Tree, object: &str) -> Vec<String> {
    let output = tree.run(READELF, &["--sections", "--wide", object]);
    let table = String::from_utf8(output.stdout).expect("text");
    table
        .lines()
        .filter_map(|line| line.split_once(']'))
        .filter_map(|(_, rest)| rest.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// Whether the backends of `object` were told [`SHOWN`].
fn is_shown(tree: &Tree, object: &str) -> bool {
    sections(tree, object)
        .iter()
        .any(|name| name == ".stack_sizes")
}

#[test]
fn modules_are_compiled_as_kbuild_has_recorded() {
    let tree = tree();
    let said = run(&mut of_kbuild(&tree, LINKER, "module.o"));
    assert_eq!(stderr(&said), "");
    assert!(is_shown(&tree, "module.o"));
    assert!(sections(&tree, "module.o").contains(&".text.call".to_owned()));
}

/// Who takes no linker by another name (DKMS) gets it by LLD's.
#[test]
fn the_linker_by_lld_s_name_does_not_take_itself_for_lld() {
    let tree = tree();
    let script = format!(
        "mkdir standins real; ln -s {LINKER} standins/ld.lld; \
         ln -s \"$(command -v {LLD})\" real/ld.lld"
    );
    succeed(&tree.run("sh", &["-ec", &script]));
    let (standins, real) = (tree.file("standins"), tree.file("real"));
    let path = format!("{}:{}", standins.display(), real.display());
    let linker = standins.join("ld.lld");
    let said = run(of_kbuild(&tree, linker, "module.o").env("PATH", path));
    assert_eq!(stderr(&said), "");
    assert!(is_shown(&tree, "module.o"));
}

/// make would end at it, each time.
#[test]
fn kbuild_s_index_is_made_without_a_cache_or_a_reproducer_too() {
    let tree = KernelTree::new(Distributed);
    let archive = tree.fixup_command("built-in-fixup.a");
    tree.shell(&format!(
        "{archive}; {AR} t built-in-fixup.a > builtin.order; mkdir -m 770 kept"
    ));
    let link = tree.thin_link_command().replacen(LLD, LINKER, 1);
    for (settings, warning) in [
        ("BACKLTO_CACHE_DIR=kept", "the cache `kept`"),
        (
            "BACKLTO_REMOTE=grpc://localhost BACKLTO_REMOTE_CERT=mine.pem",
            "--remote-cert and --remote-key",
        ),
        ("BACKLTO_REMOTE=nonsense", "`nonsense`"),
        ("BACKLTO_SAVE_REPRO=drivers/module.o", ""),
    ] {
        let script = format!("srctree=. objtree=. KBUILD_LDFLAGS=x {settings} exec {link}");
        let effect = tree.tree.observe("sh", &["-c", &script]);
        assert!(effect.success, "{settings}: {effect:?}");
        match warning {
            "" => assert_eq!(effect.stderr, "", "{settings}"),
            _ => assert!(
                effect.stderr.starts_with("backlto: warning: ") && effect.stderr.contains(warning),
                "{settings}: {effect:?}"
            ),
        }
        for object in BITCODE.map(native) {
            assert!(effect.files.contains_key(&object), "{settings}: {effect:?}");
            assert!(effect.stdout.contains(&object), "{settings}: {effect:?}");
        }
    }
}

#[test]
fn a_directory_does_not_make_a_kernel() {
    let tree = tree();
    for variable in ["srctree", "objtree", "KBUILD_LDFLAGS"] {
        run(of_kbuild(&tree, LINKER, "linked.o").env_remove(variable));
        run(&mut of_kbuild(&tree, LLD, "expected.o"));
        assert!(link_content(&tree, "linked.o") == link_content(&tree, "expected.o"));
        assert!(!is_shown(&tree, "linked.o"));
    }
}

/// A record that is older than its object tells of the build before.
#[test]
fn without_a_record_a_module_is_compiled_as_by_ld_lld_and_that_is_said() {
    for (spoilt, why) in [
        ("old", "use.o.cmd` is older than `use.o`"),
        ("absent", "cannot read how `use.o` was made"),
        ("other", "does not end in `-c -o use.o`"),
    ] {
        let tree = tree();
        match spoilt {
            "old" => std::fs::File::options()
                .append(true)
                .open(tree.file(".use.o.cmd"))
                .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
                .expect("it gets a time"),
            "absent" => std::fs::remove_file(tree.file(".use.o.cmd")).expect("it was there"),
            _ => tree.write(".use.o.cmd", "savedcmd_use.o := true\n"),
        }
        let said = stderr(&run(&mut of_kbuild(&tree, LINKER, "mixed.o")));
        assert!(
            said.starts_with("backlto: warning: `use.o` is compiled with the flags of ld.lld's"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
        assert!(is_shown(&tree, "mixed.o"), "hooks.o has a record");

        std::fs::remove_file(tree.file(".hooks.o.cmd")).expect("it was there");
        let said = stderr(&run(&mut of_kbuild(&tree, LINKER, "linked.o")));
        assert!(said.contains("`hooks.o` (and 1 more)"), "{said}");
        run(&mut of_kbuild(&tree, LLD, "expected.o"));
        assert!(
            link_content(&tree, "linked.o") == link_content(&tree, "expected.o"),
            "{why}"
        );
    }
}

/// The recipe of a module with a single source compiles and links; there may be
/// something around the linker, or before the compiler.
#[test]
fn a_running_recipe_comes_before_any_record() {
    let tree = tree();
    tree.script("wrapper", &format!("env \"$@\"\n: {LINKER} has ended"));
    for launcher in ["", "env ", "env -- "] {
        for wrapper in ["", "./wrapper ", "sh ./wrapper "] {
            std::fs::remove_file(tree.file(".use.o.cmd")).ok();
            let flags = KERNEL.join(" ");
            let script = format!(
                "echo '  CC [M]  use.o'; {launcher}{CLANG} {flags} -flto=thin {SHOWN} -c -o use.o \
                 use.c; {wrapper}{LINKER} -r -o single.o use.o; true"
            );
            let mut shell = Command::new("sh");
            let said = stderr(&run(from_kbuild(&tree, shell.args(["-c", &script]))));
            assert_eq!(said, "", "{launcher}{wrapper}");
            assert!(is_shown(&tree, "single.o"), "{launcher}{wrapper}");
        }
    }
}

#[test]
fn what_the_linker_is_asked_is_added_to_the_record() {
    let tree = tree();
    for option in [
        "-plugin-opt=-emulated-tls",
        "--thinlto-remote-compiler-arg=-femulated-tls",
    ] {
        std::fs::write(
            tree.file("tls.c"),
            "__thread int t;\nint get(void) { return ++t; }\n",
        )
        .expect("written");
        tree.compile(
            "tls",
            &String::from_utf8(tree.read("tls.c")).expect("text"),
            &KERNEL,
        );
        record(&tree, "tls", &KERNEL.join(" "));
        run(of_kbuild(&tree, LINKER, "linked.o").args(["tls.o", option]));
        let symbols = tree.run(NM, &["linked.o"]);
        let symbols = String::from_utf8(symbols.stdout).expect("text");
        assert!(
            symbols.contains("__emutls_get_address"),
            "{option}: {symbols}"
        );
        assert!(is_shown(&tree, "linked.o"), "{option}");
    }
}

#[test]
fn what_the_linker_says_against_the_record_is_taken_and_told() {
    let tree = tree();
    for (option, told) in [
        ("--lto-O2", ""),
        (
            "--lto-O3",
            "the linker was told `-O3`, which is taken instead of kbuild's `-O2`",
        ),
        (
            "-plugin-opt=-code-model=large",
            "the linker was told `-mcmodel=large`, which is taken instead of kbuild's \
             `-mcmodel=kernel`",
        ),
    ] {
        let said = run(of_kbuild(&tree, LINKER, "linked.o").arg(option));
        let expected = match told {
            "" => String::new(),
            _ => format!("backlto: warning: {told}\n"),
        };
        assert_eq!(stderr(&said), expected, "{option}");
    }
}

/// `CONFIG_WERROR` is for the front end; the linker has an option of its own.
#[test]
fn a_warning_of_a_backend_ends_no_link_unless_the_linker_says_so() {
    let tree = Tree::new();
    let text = "int big(int x) { char room[2000];
        __asm__ volatile(\"\" : : \"r\"(room) : \"memory\"); return room[x]; }\n";
    let flags = [&KERNEL[..], &["-Wframe-larger-than=1024"]].concat();
    tree.compile("big", text, &flags);
    record(&tree, "big", &format!("{} -Werror", flags.join(" ")));
    let fatal = ["-Xclang", "-Werror"].map(|w| format!("--thinlto-remote-compiler-arg={w}"));
    for (asked, links) in [(&[][..], true), (&fatal[..], false)] {
        let mut linker = Command::new(LINKER);
        linker.args(["-r", "-o", "linked.o", "big.o"]).args(asked);
        let output = from_kbuild(&tree, &mut linker).output();
        let output = output.expect("the linker runs");
        let said = stderr(&output);
        assert!(said.contains("exceeds limit (1024)"), "{said}");
        assert_eq!(output.status.success(), links, "{said}");
    }
}

/// What AutoFDO and Propeller kernels have in `KBUILD_LDFLAGS`.
#[test]
fn profiles_that_the_linker_is_told_of_reach_each_object() {
    let tree = tree();
    tree.write("samples", "call:3000:1000\n 0: 1000\n 1: 10\n");
    tree.write("blocks", "v1\nf call\nc0\n");
    let options = [
        "--lto-sample-profile=samples",
        "--lto-basic-block-sections=blocks",
        "-plugin-opt=-enable-split-machine-functions",
        "-mllvm",
        "-enable-fs-discriminator=true",
        "--lto-O3",
        "--save-temps",
        "--thinlto-distributor-arg=-v",
    ];
    let said = run(of_kbuild(&tree, LINKER, "vmlinux.o").args(options));
    let said = String::from_utf8_lossy(&said.stdout).into_owned() + &stderr(&said);
    let commands: Vec<&str> = said.lines().filter(|l| l.contains(" -x ir ")).collect();
    assert_eq!(commands.len(), 2, "{said}");
    for command in commands {
        for flag in [
            "-fprofile-sample-use=samples",
            "-fbasic-block-sections=list=blocks",
            "-mllvm -enable-fs-discriminator=true",
            " -O3 ",
            SHOWN,
        ] {
            assert!(command.contains(flag), "no {flag} in {command}");
        }
        let (_, object) = command.split_once(" -o ").expect("an object");
        let object = object.split(' ').next().expect("its name");
        let ours = tree.read(object);
        succeed(&tree.run("sh", &["-c", command]));
        assert!(tree.read(object) == ours, "other bytes than of {command}");
    }
    let blocks = sections(&tree, "vmlinux.o");
    assert!(
        blocks.iter().any(|name| name.contains("call")),
        "{blocks:?}"
    );
}

/// `CONFIG_DEBUG_INFO_SPLIT`: LLD has the debug information in what it links.
#[test]
fn debug_information_is_not_split_from_objects_that_lld_removes() {
    let tree = Tree::new();
    for (split, output) in [("-gsplit-dwarf", "linked.o"), ("", "expected.o")] {
        let flags = format!("-O2 -fno-pic -gdwarf-5 {split}");
        for (name, text) in [("hooks", HOOKS), ("use", USE)] {
            // The bitcode is the same: it says what is to be split.
            tree.compile(
                name,
                text,
                &["-O2", "-fno-pic", "-gdwarf-5", "-gsplit-dwarf"],
            );
            record(&tree, name, &flags);
        }
        assert_eq!(stderr(&run(&mut of_kbuild(&tree, LINKER, output))), "");
    }
    assert!(tree.read("linked.o") == tree.read("expected.o"));
    assert!(sections(&tree, "linked.o").contains(&".debug_info".to_owned()));
    let split = tree.run("find", &[".", "-name", "*.dwo"]);
    assert_eq!(String::from_utf8_lossy(&split.stdout), "");
}

/// LLD would match each section of a kernel with hundreds of patterns.
#[test]
fn what_is_built_in_has_sections_for_promoted_variables_alone() {
    let tree = tree();
    run(&mut of_kbuild(&tree, LINKER, "vmlinux.o"));
    let found = sections(&tree, "vmlinux.o");
    assert!(
        !found.iter().any(|name| name.starts_with(".text.")),
        "{found:?}"
    );
    let symbols = tree.run(NM, &["vmlinux.o"]);
    let symbols = String::from_utf8(symbols.stdout).expect("text");
    let promoted = symbols.lines().find_map(|line| {
        line.split_whitespace()
            .last()
            .filter(|name| name.contains(".llvm."))
    });
    let promoted = promoted.unwrap_or_else(|| panic!("nothing is promoted: {symbols}"));
    assert!(
        found.iter().any(|name| name.ends_with(promoted)),
        "{promoted} is not alone in {found:?}"
    );

    // Without one, nothing differs from what kbuild's flags say.
    tree.compile("hooks", &HOOKS.replace("static", ""), &KERNEL);
    record(&tree, "hooks", &KERNEL.join(" "));
    run(&mut of_kbuild(&tree, LINKER, "vmlinux.o"));
    let found = sections(&tree, "vmlinux.o");
    let separate = |name: &String| {
        [".text.", ".data.", ".bss."]
            .iter()
            .any(|start| name.starts_with(start))
    };
    assert!(!found.iter().any(separate), "{found:?}");
}
