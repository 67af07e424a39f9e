//! Where no record tells how the tree is linked, its makefiles do.

use crate::common::{AR, BACKLTO, CLANG, Effect, LLVM_OF_MAKE, MAJOR, stderr};
use crate::tree::Kernel::{Distributed, Thin};
use crate::tree::{ARCHIVES, KERNELS, KernelTree, LINKER_FLAGS, cmd_file};

/// What the kernel's makefiles define, in few lines. Like the kernel's, it
/// needs to be told the compiler, and talks while it is read.
fn makefile(libraries: &str) -> String {
    format!(
        "$(info hello from the makefile)
ifeq ($(LLVM),)
$(error LLVM is not set)
endif
ifeq ($(ARCH),)
$(error ARCH is not set)
endif
include include/config/auto.conf
LD := ld.lld$(LLVM)
AR := llvm-ar$(LLVM)
srctree := .
KBUILD_LDFLAGS = {LINKER_FLAGS} $(EXTRA)
KBUILD_VMLINUX_OBJS := {ARCHIVES}
KBUILD_VMLINUX_LIBS := {libraries}
all:
\t@echo the wrong goal; exit 1
"
    )
}

/// The first bitcode object of a tree, whose record tells the compiler.
const FIRST: &str = "a.o";

/// A tree without records of its link.
fn unlinked(kernel: crate::tree::Kernel) -> KernelTree {
    let tree = KernelTree::new(kernel);
    for target in ["vmlinux.o", "vmlinux.a", "built-in-fixup.a"] {
        let _ = std::fs::remove_file(tree.tree.file(&cmd_file(target)));
    }
    tree
}

fn products(effect: &Effect) -> Vec<(&String, &Vec<u8>)> {
    effect
        .files
        .iter()
        .filter(|(name, _)| !name.ends_with(".cmd"))
        .collect()
}

#[test]
fn makefiles_tell_what_no_record_tells() {
    for kernel in KERNELS {
        let recorded = KernelTree::new(kernel).observe(&["."]);
        assert!(recorded.success, "{recorded:?}");
        let tree = unlinked(kernel);
        tree.tree.write("Makefile", makefile(""));
        let asked = tree.observe(&["."]);
        assert!(asked.success, "{asked:?}");
        assert!(!asked.stdout.contains("hello"), "{asked:?}");
        assert_eq!(asked.stderr, "");
        assert!(
            products(&asked) == products(&recorded),
            "{recorded:?} {asked:?}"
        );
    }
}

/// A configuration that is newer than the records may have changed them.
#[test]
fn records_older_than_the_configuration_are_not_used() {
    let tree = KernelTree::new(Distributed);
    let bad = tree.link_command().replace("vmlinux.o", "--no-such-flag");
    tree.record("vmlinux.o", &bad, "");
    tree.shell("touch -d 2001-01-01 .vmlinux.o.cmd");
    tree.tree.write("Makefile", makefile(""));
    let effect = tree.observe(&["."]);
    assert!(effect.success, "{effect:?}");
    assert!(effect.files.contains_key("vmlinux.o"), "{effect:?}");
}

/// `ARCH` is not always the name of a folder below `arch`.
#[test]
fn the_makefile_of_the_architecture_counts_by_any_of_its_names() {
    for arch in ["x86_64", "i386", "x86"] {
        let tree = KernelTree::new(Thin);
        let config = format!("#\n# Linux/{arch} 6.12.9 Kernel Configuration\n#\n");
        tree.tree.write(".config", config);
        tree.tree.write("Makefile", makefile(""));
        tree.shell("touch -d 2001-01-01 Makefile arch/x86/Makefile");
        let bad = tree.link_command().replace(" -r ", " --no-such-flag -r ");
        tree.record("vmlinux.o", &bad, "");
        let effect = tree.observe(&["."]);
        assert!(!effect.success, "{arch}: the record is not used");

        tree.shell("touch -d 2101-01-01 arch/x86/Makefile");
        let effect = tree.observe(&["."]);
        assert!(effect.success, "{arch}: {effect:?}");

        // Where the source tree is not what it was, nothing is known of it.
        std::fs::remove_file(tree.tree.file("arch/x86/Makefile")).expect("it is removed");
        let effect = tree.observe(&["."]);
        assert!(effect.success, "{arch}: {effect:?}");
    }
}

/// The final link searches libraries, which may have initcalls as well.
#[test]
fn libraries_are_linked_and_their_initcalls_ordered() {
    let tree = unlinked(Thin);
    tree.tree.write(
        "extra/extra.S",
        ".section \".initcall6.init..kmod_extra__1_1_extra\", \"a\"
         __initcall__kmod_extra__1_1_extra6: .quad 1\n.globl extra\nextra: .quad 2\n",
    );
    tree.shell(&format!(
        "{CLANG} --target=x86_64-linux-gnu -c -o extra/extra.o extra/extra.S; \
         {AR} cDPrST extra/lib.a extra/extra.o",
    ));
    tree.tree.write("Makefile", makefile("extra/lib.a"));
    let effect = tree.observe(&["."]);
    assert!(effect.success, "{effect:?}");
    let script = String::from_utf8_lossy(&effect.files[".tmp_initcalls.lds"]).into_owned();
    let last = "\t\t*(.initcall6.init..kmod_main__12_7_second) ;
\t\t*(.initcall6.init..kmod_extra__1_1_extra) ;\n\t}\n";
    assert!(script.contains(last), "{script}");
    let record = String::from_utf8_lossy(&effect.files[".vmlinux.o.cmd"]).into_owned();
    assert!(
        record.contains("--start-group extra/lib.a --end-group"),
        "{record}"
    );
}

#[test]
fn variables_are_passed_on_to_make() {
    for kernel in KERNELS {
        // With records at hand too: who gives variables means something by it.
        let tree = KernelTree::new(kernel);
        tree.tree.write("Makefile", makefile(""));
        let args = [
            "--make",
            "EXTRA=--no-such-flag",
            "--make",
            LLVM_OF_MAKE,
            ".",
        ];
        let effect = tree.observe(&args);
        assert!(!effect.success, "{effect:?}");
        assert!(effect.stderr.contains("no-such-flag"), "{effect:?}");
        let args = ["--make", "EXTRA=--error-limit=3", "."];
        let effect = tree.observe(&args);
        assert!(effect.success, "{effect:?}");
        let record = String::from_utf8_lossy(&effect.files[".vmlinux.o.cmd"]).into_owned();
        assert!(record.contains(" --error-limit=3 -r "), "{record}");
    }
}

/// Reading a kernel's makefiles takes seconds: make is asked again when one of
/// them, or what it is told, is another.
#[test]
fn make_is_asked_once() {
    let tree = unlinked(Thin);
    let text = format!("{}include more.mk\n$(shell echo >>asked)\n", makefile(""));
    tree.tree.write("Makefile", text);
    tree.tree.write("more.mk", "");
    let asked = |args: &[&str]| {
        crate::common::succeed(&tree.kbuild(args));
        tree.tree.read("asked").len()
    };
    assert_eq!(asked(&["."]), 1);
    assert_eq!(asked(&["."]), 1);
    tree.shell("touch Makefile more.mk");
    assert_eq!(asked(&["."]), 1);
    tree.tree
        .write("more.mk", "KBUILD_LDFLAGS += --error-limit=3\n");
    assert_eq!(asked(&["."]), 2);
    let record = String::from_utf8_lossy(&tree.tree.read(".vmlinux.o.cmd")).into_owned();
    assert!(record.contains(" --error-limit=3 -r "), "{record}");
    assert_eq!(asked(&["--make", LLVM_OF_MAKE, "--make", "X=1", "."]), 3);
}

/// Below another make, whose goals and flags are none of ours.
#[test]
fn a_make_around_us_does_not_disturb() {
    let tree = unlinked(Thin);
    tree.tree.write("Makefile", makefile(""));
    let rule = format!("all:\n\t+{} -q kbuild .\n", BACKLTO);
    tree.tree.write("outer.mk", rule);
    let output = tree.shell("make -j2 -k -f outer.mk all LLVM=wrong");
    assert_eq!(stderr(&output), "");
    assert!(tree.tree.file("vmlinux.o").exists());
}

#[test]
fn makefiles_that_do_not_tell_are_an_error() {
    for (text, needle) in [
        (None, "`KBUILD_VMLINUX_OBJS` is empty"),
        (Some("all:\n".to_owned()), "`KBUILD_VMLINUX_OBJS` is empty"),
        (
            Some("$(error no such architecture)\n".to_owned()),
            "no such architecture",
        ),
        (Some("nonsense\n".to_owned()), "cannot ask make how `"),
        (
            Some(makefile("").replace("KBUILD_LDFLAGS =", "KBUILD_LDFLAGS = 'x")),
            "KBUILD_LDFLAGS",
        ),
    ] {
        let tree = unlinked(Thin);
        if let Some(text) = &text {
            tree.tree.write("Makefile", text);
        }
        let effect = tree.observe(&["."]);
        assert!(!effect.success, "{text:?}: {effect:?}");
        assert_eq!(
            effect.stderr.matches("error:").count(),
            1,
            "{text:?}: {effect:?}"
        );
        assert!(effect.stderr.contains(needle), "{text:?}: {effect:?}");
        assert!(effect.files.is_empty(), "{text:?}: {effect:?}");
    }
}

/// The compiler that the records name is the one that make is told of.
#[test]
fn make_is_told_what_the_tree_tells() {
    let tree = unlinked(Thin);
    let makefile = "CC := its own\n$(error LLVM is $(LLVM), CC is $(CC), ARCH is $(ARCH))\n";
    tree.tree.write("Makefile", makefile);
    let record = tree.tree.read(&cmd_file(FIRST));
    let ours = format!("-{MAJOR}");
    let numbered = format!("/opt/bin/{CLANG}");
    let launched = format!("ccache {CLANG} -pipe");
    let with_variable = "env CCACHE_DIR=/x/clang-cache ccache clang";
    for (compiler, llvm, cc) in [
        (CLANG, &*ours, "its own"),
        ("/opt/bin/clang", "/opt/bin/", "its own"),
        (&*numbered, &*ours, &*numbered),
        (&*launched, &*ours, &*launched),
        (with_variable, "1", with_variable),
        ("env X=$$Y clang", "1", "env 'X=$Y' clang"),
    ] {
        tree.tree.write(&cmd_file(FIRST), &record);
        tree.compiled_by(FIRST, compiler);
        let effect = tree.observe(&["."]);
        let told = format!("LLVM is {llvm}, CC is {cc}, ARCH is x86.");
        assert!(effect.stderr.contains(&told), "{compiler}: {effect:?}");
    }
}

/// kbuild would take gcc, and find that the configuration does not fit that.
#[test]
fn a_compiler_that_nothing_tells_is_an_error_before_make_is_asked() {
    let tree = unlinked(Thin);
    let text = format!("$(shell echo >>asked)\n{}", makefile(""));
    tree.tree.write("Makefile", text);
    // Its flags are nobody's matter here.
    tree.compiled_by(FIRST, "mycc");
    let build = |given: &[&str], more: &[&str]| {
        let door = [BACKLTO, "kbuild", "--to", "thin-link", "."];
        let unset = ["-u", "LLVM"];
        let args = [&unset[..], given, &door, more].concat();
        tree.tree.observe("env", &args)
    };
    let effect = build(&[], &[]);
    assert!(!effect.success, "{effect:?}");
    let expected = "backlto: error: cannot tell which compiler built `";
    assert!(effect.stderr.starts_with(expected), "{effect:?}");
    assert!(effect.stderr.contains("--make LLVM=-22"), "{effect:?}");
    assert!(effect.files.is_empty(), "{effect:?}");
    for (given, more) in [
        (&[LLVM_OF_MAKE][..], &[][..]),
        (&[], &["--make", LLVM_OF_MAKE]),
    ] {
        let effect = build(given, more);
        assert!(effect.success, "{effect:?}");
        assert_eq!(effect.stderr, "");
    }
}

/// What the kernel's makefiles do where a variable is not what it was when the tree was
/// configured: conf writes the configuration anew, with defaults for what is new to it.
const SYNC: &str = "CC := clang$(LLVM)
include include/config/auto.conf.cmd
include/config/auto.conf.cmd:
\t@test -z \"$$KCONFIG_NOSILENTUPDATE\" || \\
\t{ echo '*** The configuration requires explicit update.' >&2; exit 1; }
\t@echo '# CONFIG_LTO_CLANG_THIN is not set' >.config; echo >$@
FORCE:
";

#[test]
fn the_configuration_is_as_it_was_when_make_has_been_asked() {
    let launched = format!("ccache {CLANG}");
    for (cc, args) in [
        (&*launched, &["."][..]),
        (CLANG, &["--make", "CC=gcc", "."]),
    ] {
        let tree = unlinked(Thin);
        tree.compiled_by(FIRST, cc);
        let configured =
            format!("ifneq \"$(CC)\" \"{cc}\"\ninclude/config/auto.conf.cmd: FORCE\nendif\n");
        tree.tree.write("include/config/auto.conf.cmd", configured);
        tree.tree.write("Makefile", makefile("") + SYNC);
        let effect = tree.observe(args);
        assert!(!effect.files.contains_key(".config"), "{cc}: {effect:?}");
        if cc == launched {
            assert!(effect.success, "{effect:?}");
            assert_eq!(effect.stderr, "");
        } else {
            assert!(!effect.success, "{effect:?}");
            assert!(effect.files.is_empty(), "{effect:?}");
            let reason = "is linked: *** The configuration requires explicit update.";
            assert!(effect.stderr.contains(reason), "{effect:?}");
            assert!(effect.stderr.contains("--make LLVM=-22"), "{effect:?}");
        }
    }
}
