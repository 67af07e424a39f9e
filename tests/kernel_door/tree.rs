//! A kernel object tree in miniature, as `make` leaves it before stage 2: what
//! is in it, what kbuild would make of it, and what it would record.

#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::OnceLock;

use crate::common::{AR, BACKLTO, CLANG, Effect, LLD, Tree, succeed};

/// Which kernel the tree is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// `CONFIG_LTO_CLANG_THIN`: make itself would leave ThinLTO to the linker.
    Thin,
    /// `CONFIG_LTO_CLANG_THIN_DIST`: make knows stages 2 and 3.
    Distributed,
}
use Kernel::{Distributed, Thin};

/// Both kernels.
pub const KERNELS: [Kernel; 2] = [Thin, Distributed];

/// How an object came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bitcode,
    /// C that had to become native code at once.
    Early,
    Assembly,
}
use Kind::{Assembly, Bitcode, Early};

/// An object of the tree.
struct Object {
    /// Without `.o`.
    name: &'static str,
    kind: Kind,
    /// What make was told for this file alone, as a shell reads it.
    flags: &'static str,
    text: &'static str,
}

/// In the order in which the archives list them, which is not the link order:
/// the second to last is a head object.
const OBJECTS: &[Object] = &[
    // The name of each of the next three is a part of the others'.
    Object {
        name: "a",
        kind: Bitcode,
        flags: "",
        text: "int aa(int); int a(int x) { return aa(x) + 1; }\n",
    },
    Object {
        name: "aa",
        kind: Bitcode,
        flags: "-Os",
        text: "int dir_a(int); int aa(int x) { return dir_a(x) * 3; }\n",
    },
    Object {
        name: "dir/a",
        kind: Bitcode,
        flags: "-DKBUILD_X=1",
        text: "int memory(int); int dir_a(int x) { return memory(x) ^ KBUILD_X; }
            static int dir_init(void) { return dir_a(4); }
            INITCALL(\"6\", kmod_dir__9_1_dir_init, 6, dir_init);\n",
    },
    Object {
        name: "init/main",
        kind: Bitcode,
        flags: "",
        text: "int a(int); int string(int); int early(int); int entry(void);
            static int second(void) { return a(2); }
            static int first(void) { return string(1); }
            static int console(void) { return early(1); }
            static int soon(void) { return 0; }
            INITCALL(\"6\", kmod_main__12_7_second, 6, second);
            INITCALL(\"6\", kmod_main__3_8_first, 6, first);
            INITCALL(\"early\", kmod_main__4_9_soon, early, soon);
            __attribute__((used, section(\".con_initcall.init..kmod_main__5_9_console\")))
            static void *__initcall__kmod_main__5_9_consolecon = console;
            int start_kernel(void) { return a(1) + string(2) + early(3) + entry(); }\n",
    },
    Object {
        name: "init/early",
        kind: Early,
        flags: "",
        text: "int early(int x) { return x - 5; }\n",
    },
    Object {
        name: "init/quoted",
        kind: Bitcode,
        // One text for the preprocessor and one for the back end, both with
        // what make or a shell would stumble over.
        flags: r#"-DTEXT='"it'\''s $HOME #1"' -g '-fdebug-prefix-map=$(pwd) #'='it'\''s'"#,
        text: "const char *quoted(void) { return TEXT; }
            int shown(int x) { return x * sizeof(TEXT); }\n",
    },
    Object {
        name: "init/options",
        kind: Bitcode,
        flags: "'-mllvm' -align-all-functions=7",
        text: "int string(int); int options(int x) { return string(x) + 2; }\n",
    },
    Object {
        name: "arch/x86/kernel/entry",
        kind: Assembly,
        flags: "-D__ASSEMBLY__",
        text: ".globl entry\n.text\nentry: xorl %eax, %eax\nret\n",
    },
    Object {
        name: "arch/x86/kernel/head_64",
        kind: Assembly,
        flags: "-D__ASSEMBLY__",
        text: ".globl startup_64\n.text\nstartup_64: jmp start_kernel\n",
    },
    Object {
        name: "lib/string",
        kind: Bitcode,
        flags: "",
        text: "int string(int x) { return x * 7; }\n",
    },
    Object {
        name: "lib/memory",
        kind: Assembly,
        flags: "-D__ASSEMBLY__",
        text: ".globl memory\n.text\nmemory: movl %edi, %eax\nret\n",
    },
];

/// The objects in link order: those of a line of `head-object-list.txt` first.
pub const ORDER: [&str; 11] = [
    "arch/x86/kernel/head_64.o",
    "a.o",
    "aa.o",
    "dir/a.o",
    "init/main.o",
    "init/early.o",
    "init/quoted.o",
    "init/options.o",
    "arch/x86/kernel/entry.o",
    "lib/string.o",
    "lib/memory.o",
];

/// Every bitcode object, in link order.
pub const BITCODE: [&str; 7] = [
    "a.o",
    "aa.o",
    "dir/a.o",
    "init/main.o",
    "init/quoted.o",
    "init/options.o",
    "lib/string.o",
];

/// The initcalls of one level stand in link order, those of one object in the
/// order of their counters.
const INITCALLS: &str = "SECTIONS {
\t.initcall6.init : {
\t\t*(.initcall6.init..kmod_dir__9_1_dir_init) ;
\t\t*(.initcall6.init..kmod_main__3_8_first) ;
\t\t*(.initcall6.init..kmod_main__12_7_second) ;
\t}
\t.con_initcall.init : {
\t\t*(.con_initcall.init..kmod_main__5_9_console) ;
\t}
\t.initcallearly.init : {
\t\t*(.initcallearly.init..kmod_main__4_9_soon) ;
\t}
}
";

/// What every object is compiled with, and the back end too.
const FLAGS: &str = "-D__KERNEL__ --target=x86_64-linux-gnu -fintegrated-as \
    -Werror=unused-command-line-argument -std=gnu11 -fno-PIE -fno-strict-aliasing -mno-sse \
    -mno-red-zone -mcmodel=kernel -O2 -fno-stack-protector -Wframe-larger-than=1024";

/// What only the front end for bitcode is told.
const LTO: &str = "-fno-lto -flto=thin -fsplit-lto-unit -fvisibility=hidden";

/// `KBUILD_LDFLAGS`.
pub const LINKER_FLAGS: &str = "-m elf_x86_64 -mllvm -import-instr-limit=5 -z noexecstack";

/// The archives that make up vmlinux, `KBUILD_VMLINUX_OBJS`.
pub const ARCHIVES: &str = "./built-in.a  lib/lib.a";

const HEAD_LIST: &str = "# Head objects\n#\narch/alpha/kernel/head.o\narch/x86/kernel/head_64.o\n";

/// Included before every C file, as `kconfig.h` is.
const HEADER: &str = "#define INITCALL(level, id, suffix, function) \\
    static void *__initcall__##id##suffix \\
    __attribute__((used, section(\".initcall\" level \".init..\" #id))) = function\n";

/// `text` as kbuild's `make-cmd` escapes it for a `.cmd` file.
pub fn escape_make(text: &str) -> String {
    text.replace('$', "$$").replace('#', "$(pound)")
}

/// `dir/.x.o.cmd` for `dir/x.o`.
pub fn cmd_file(target: &str) -> String {
    match target.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/.{name}.cmd"),
        None => format!(".{target}.cmd"),
    }
}

/// The native object of bitcode object `object`.
pub fn native(object: &str) -> String {
    format!(
        "{}.thinlto-native.o",
        object.strip_suffix(".o").expect("an object")
    )
}

/// A tree, in a temporary directory that holds nothing else but its sources'
/// list of head objects.
pub struct KernelTree {
    pub tree: Tree,
    pub kernel: Kernel,
}

impl KernelTree {
    /// A tree whose front end is done. It runs once for each kernel.
    pub fn new(kernel: Kernel) -> KernelTree {
        static BUILT: [OnceLock<BTreeMap<String, Vec<u8>>>; 2] = [OnceLock::new(), OnceLock::new()];
        let files =
            BUILT[kernel as usize].get_or_init(|| KernelTree::with(kernel, |_| {}).tree.files());
        let tree = KernelTree {
            tree: Tree::new(),
            kernel,
        };
        for (name, bytes) in files {
            tree.tree.write(name, bytes);
        }
        tree.records();
        tree
    }

    /// Makes the tree with a change to the tree before its front end runs.
    pub fn with(kernel: Kernel, change: impl Fn(&Tree)) -> KernelTree {
        let tree = KernelTree {
            tree: Tree::new(),
            kernel,
        };
        tree.configure();
        change(&tree.tree);
        for object in OBJECTS {
            tree.front_end(object);
        }
        tree.archives();
        tree.records();
        tree
    }

    fn configure(&self) {
        let distributed = match self.kernel {
            Thin => "",
            Distributed => "CONFIG_LTO_CLANG_THIN_DIST=y\n",
        };
        let config = format!(
            "# CONFIG_LTO_CLANG_FULL is not set\nCONFIG_LTO=y\n{distributed}CONFIG_LTO_CLANG_THIN=y\n"
        );
        self.tree.write("include/config/auto.conf", config);
        self.tree
            .write(".config", "#\n# Linux/x86 6.12.9 Kernel Configuration\n#\n");
        self.tree.write("include/kconfig.h", HEADER);
        self.tree.write("scripts/head-object-list.txt", HEAD_LIST);
        // The source tree is the object tree.
        for makefile in ["Makefile", "arch/x86/Makefile"] {
            self.tree
                .write(makefile, "# not read when records tell how to link\n");
        }
    }

    /// Compiles `object` and records how, in kbuild's syntax.
    fn front_end(&self, object: &Object) {
        let (name, suffix) = (object.name, if object.kind == Assembly { "S" } else { "c" });
        let source = format!("{name}.{suffix}");
        if !self.tree.file(&source).exists() {
            self.tree.write(&source, object.text);
        }
        let target = format!("{name}.o");
        let dependencies = cmd_file(&target).replace(".cmd", ".d");
        let kernel_flags = match object.kind {
            Bitcode => format!("-include ./include/kconfig.h {FLAGS} {LTO}"),
            Early => format!("-include ./include/kconfig.h {FLAGS}"),
            Assembly => "-D__KERNEL__ --target=x86_64-linux-gnu".to_owned(),
        };
        let module = name.replace('/', "_");
        let command = format!(
            "{CLANG} -Wp,-MMD,{dependencies} -nostdinc -I./include -I ./include/generated \
             {kernel_flags} {}    -DKBUILD_MODFILE='\"{name}\"' -DKBUILD_BASENAME='\"{module}\"' \
             -D__KBUILD_MODNAME=kmod_{module} -c -o {target} {source} ",
            object.flags
        );
        self.shell(&command);
        // objtool is not there: whoever ran this whole line would fail.
        let mut text = format!(
            "savedcmd_{target} := {} ; ./tools/objtool/objtool --hacks=noinstr {target}\n\n\
             source_{target} := {source}\n\ndeps_{target} := \\\n    include/kconfig.h \\\n\n\
             {target}: $(deps_{target})\n\n$(deps_{target}):\n",
            escape_make(&command)
        );
        if object.kind == Bitcode {
            text += &format!("\n#SYMVER {module} 0x0123abcd\n");
            if self.kernel == Distributed {
                text += &format!("\nsaved_c_flags_{target} := {}\n", self.saved_flags(object));
            }
        }
        self.tree.write(&cmd_file(&target), text);
    }

    /// What kbuild saves for the back end: no escapes for make.
    fn saved_flags(&self, object: &Object) -> String {
        let name = object.name;
        format!(
            "{FLAGS} {LTO} {} -DKBUILD_MODFILE='\"{name}\"'",
            object.flags
        )
    }

    /// `$(CC) $(be_flags)` for bitcode object `object`, as a shell reads it.
    pub fn back_end_command(&self, object: &str) -> String {
        let flags = self.saved_flags(find(object));
        format!(
            "{CLANG} {flags} -x ir -fno-lto -Wno-unused-command-line-argument \
             -fthinlto-index={object}.thinlto.bc -c -o {} {object}",
            native(object)
        )
    }

    fn archives(&self) {
        let ar = |archive: &str, members: &[&str]| {
            self.shell(&format!("{AR} cDPrST {archive} {}", members.join(" ")));
        };
        ar("dir/built-in.a", &["dir/a.o"]);
        ar(
            "init/built-in.a",
            &[
                "init/main.o",
                "init/early.o",
                "init/quoted.o",
                "init/options.o",
            ],
        );
        ar(
            "arch/x86/kernel/built-in.a",
            &["arch/x86/kernel/entry.o", "arch/x86/kernel/head_64.o"],
        );
        ar("arch/x86/built-in.a", &["arch/x86/kernel/built-in.a"]);
        ar("lib/lib.a", &["lib/string.o", "lib/memory.o"]);
        self.shell("mkdir -p lib/empty");
        ar("lib/empty/built-in.a", &[]);
        ar(
            "built-in.a",
            &[
                "a.o",
                "aa.o",
                "./dir/built-in.a",
                "./init/built-in.a",
                "./lib/empty/built-in.a",
                "./arch/x86/built-in.a",
            ],
        );
    }

    /// What an earlier build recorded of stages 2 and 4.
    fn records(&self) {
        let archive = match self.kernel {
            Thin => "vmlinux.a",
            Distributed => "built-in-fixup.a",
        };
        self.record(archive, &self.fixup_command(archive), "");
        self.record(
            "vmlinux.o",
            &self.link_command(),
            " ; ./tools/objtool/objtool --ibt --link vmlinux.o\n\n\
             vmlinux.o: $(wildcard ./tools/objtool/objtool)",
        );
    }

    /// Writes the `.cmd` file of `target`.
    pub fn record(&self, target: &str, command: &str, more: &str) {
        let text = format!("savedcmd_{target} := {}{more}\n", escape_make(command));
        self.tree.write(&cmd_file(target), text);
    }

    /// Has `object` compiled by `cc`, what make was told is the compiler, by what was
    /// recorded.
    pub fn compiled_by(&self, object: &str, cc: &str) {
        let name = cmd_file(object);
        let text = String::from_utf8(self.tree.read(&name)).expect("text");
        self.tree.write(&name, text.replacen(CLANG, cc, 1));
    }

    /// kbuild's command for the archive of all objects.
    pub fn fixup_command(&self, archive: &str) -> String {
        let list = self.tree.file("scripts/head-object-list.txt");
        let thin = if self.kernel == Thin { "T" } else { "" };
        format!(
            "rm -f {archive}; {AR} cDPrST {archive} {ARCHIVES}; \
             {AR} mPi{thin} $({AR} t {archive} | sed -n 1p) {archive} \
             $({AR} t {archive} | grep -F -f {})",
            list.display()
        )
    }

    /// kbuild's command for `vmlinux.o`.
    pub fn link_command(&self) -> String {
        format!(
            "{LLD} {LINKER_FLAGS} -r -o vmlinux.o -T .tmp_initcalls.lds --whole-archive vmlinux.a \
             --no-whole-archive --start-group --end-group"
        )
    }

    /// Runs `script` here; it must succeed.
    #[track_caller]
    pub fn shell(&self, script: &str) -> Output {
        let output = self.tree.run("sh", &["-ec", script]);
        succeed(&output);
        output
    }

    /// Stages 2 to 4 by hand, with the commands that kbuild has for them. What
    /// they left is taken away again.
    pub fn by_hand(&self) -> Effect {
        let archive = self.archive_command();
        let order = format!("{AR} t built-in-fixup.a > builtin.order");
        let index = self.thin_link_command();
        let mut script = format!(
            "{}\n{order}\n{index}\n",
            self.fixup_command("built-in-fixup.a")
        );
        for object in BITCODE {
            script += &format!("{}\n", self.back_end_command(object));
        }
        script += &format!("{archive}\ncat > .tmp_initcalls.lds <<'END'\n{INITCALLS}END\n");
        script += &self.link_command();
        let effect = self.tree.observe("sh", &["-ec", &script]);
        assert!(effect.success, "{effect:?}");
        effect
    }

    /// kbuild's command for the thin link.
    pub fn thin_link_command(&self) -> String {
        format!("{LLD} {LINKER_FLAGS} -r --thinlto-index-only=vmlinux.thinlto-index @builtin.order")
    }

    /// kbuild's command for `vmlinux.a` on THIN_DIST kernels.
    pub fn archive_command(&self) -> String {
        format!(
            "rm -f vmlinux.a; while read -r obj; do if grep -Fqx ${{obj}} vmlinux.thinlto-index; \
             then echo ${{obj%.o}}.thinlto-native.o; else echo ${{obj}}; fi; \
             done < builtin.order | xargs {AR} cDPrS --thin vmlinux.a"
        )
    }

    /// Runs `backlto kbuild` with `args` in the tree.
    pub fn kbuild(&self, args: &[&str]) -> Output {
        self.tree.run(BACKLTO, &[&["kbuild"], args].concat())
    }

    /// Runs the door, and returns the new and changed files, which it takes away.
    pub fn observe(&self, args: &[&str]) -> Effect {
        self.tree.observe(BACKLTO, &[&["kbuild"], args].concat())
    }
}

fn find(object: &str) -> &'static Object {
    let name = object.strip_suffix(".o").expect("an object");
    OBJECTS
        .iter()
        .find(|object| object.name == name)
        .expect("an object of the tree")
}
