"""Trees of Linux kernels: configuration, front end, make.

A tree is named VERSION/KIND or VERSION/KIND/ARCH, as in 6.12/small/arm64. What these
words mean stands in the tables VERSIONS, KINDS and ARCHES.
"""

import dataclasses
import pathlib
import re
import shlex

from harness.boot import LIMIT
from harness.run import JOBS, LLVM, Unable, llvm, logged, output, remove, require
from harness.source import THIN_DIST, knows, source

THIN = "LTO_CLANG_THIN"
# Written when a front end is complete.
STAMP = ".front-end"
# Made up: samples and blocks of a few functions that every kernel has.
PROFILES = pathlib.Path(__file__).parent / "profiles"


@dataclasses.dataclass(frozen=True)
class Version:
    """A kernel's source (source.py), and which LTO to choose there."""

    source: str
    lto: str
    # What younger kernels call an option.
    names: dict = dataclasses.field(default_factory=dict)


VERSIONS = {
    "6.12": Version("6.12", THIN),
    "7.2": Version("7.2", THIN_DIST, {"CFI_CLANG": "CFI"}),
    "7.2-thin": Version("7.2", THIN, {"CFI_CLANG": "CFI"}),
}


@dataclasses.dataclass(frozen=True)
class Arch:
    """An architecture: `make` is the kernel's name for it, `target` LLVM's and QEMU's. The
    one that is a program has no `console`."""

    make: str
    target: str
    image: str  # what QEMU starts
    console: str
    # Without the driver for its serial port a kernel boots mutely in QEMU; nor does a
    # riscv one start that cannot read how QEMU 7.2 describes processors.
    options: tuple = ()
    modules: tuple = ()  # of this architecture only, with assembly
    machine: tuple = ("-M", "virt")
    # Flags for init: integer registers only. A kernel configured this small may not let
    # a process use the others, and clang takes vector registers even to copy 16 bytes.
    flags: tuple = ("-mgeneral-regs-only",)
    memory: int = 512  # MB
    variables: tuple = ()  # of make
    # What ld.lld has to be told so that its own backends do what kbuild's flags say.
    for_lld: tuple = ()

    def is_program(self):
        """Whether a kernel runs as a program of this machine, without QEMU."""
        return self.console is None


ARCHES = {
    "x86_64": Arch("x86", "x86_64", "arch/x86/boot/bzImage", "ttyS0", machine=(),
                   for_lld=("-mllvm", "-align-loops=1"),
                   modules=("CRYPTO_SERPENT_SSE2_X86_64", "CRYPTO_TWOFISH_X86_64")),
    "arm64": Arch("arm64", "aarch64", "arch/arm64/boot/Image", "ttyAMA0",
                  options=("SERIAL_AMBA_PL011", "SERIAL_AMBA_PL011_CONSOLE"),
                  modules=("CRYPTO_AES_ARM64_CE_BLK",),
                  machine=("-M", "virt", "-cpu", "cortex-a57")),
    "riscv": Arch("riscv", "riscv64", "arch/riscv/boot/Image", "ttyS0",
                  options=("SERIAL_OF_PLATFORM", "RISCV_ISA_FALLBACK"),
                  flags=("-march=rv64ima", "-mabi=lp64")),
    # QEMU insists on more than 1 GB here. The image is the ELF file.
    "loongarch": Arch("loongarch", "loongarch64", "vmlinux", "ttyS0",
                      options=("SERIAL_OF_PLATFORM",), flags=("-mno-lsx",), memory=2048),
    # clang links it, by GNU ld, and for two last objects of bitcode it has to be told so.
    "um": Arch("um", "x86_64", "linux", None, memory=128,
               variables=("LD_FLAGS_CMDLINE=-flto=thin",)),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A configuration, on top of the one that `base` makes."""

    options: tuple
    modules: tuple = ()
    without: tuple = ()
    boots: bool = True  # with the options of the architecture
    own_modules: bool = False  # with the modules of the architecture
    packaged: bool = False  # make bindeb-pkg builds it
    drivers: bool = False  # some modules are for devices that QEMU has not
    patience: int = LIMIT  # seconds that a boot may take
    variables: tuple = ()  # of make
    base: tuple = ("tinyconfig",)  # goals of make


def words(*texts):
    return tuple(" ".join(texts).split())


BOOT = words("64BIT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE BLOCK SMP MODULES BINFMT_ELF",
             "BLK_DEV_INITRD PROC_FS SYSFS DEVTMPFS")
NETWORK = words("PCI NET INET")
FOR_MODULES = words("MODVERSIONS MODULE_UNLOAD BLK_DEV VIRTIO_MENU")
FEW_MODULES = words("VIRTIO_MMIO VIRTIO_BLK BLK_DEV_LOOP BLK_DEV_NULL_BLK FAT_FS VFAT_FS",
                    "ISO9660_FS NLS_CODEPAGE_437 NLS_ISO8859_1")
MORE_MODULES = words("EXT4_FS BTRFS_FS FUSE_FS OVERLAY_FS NLS_UTF8 VIRTIO_PCI VIRTIO_NET DUMMY",
                     "VETH CRYPTO_SERPENT CRYPTO_TWOFISH CRYPTO_XTS CRYPTO_GCM CRYPTO_RMD160")
# Modules that need neither a device nor the network.
SIMPLE_MODULES = words("FUSE_FS OVERLAY_FS NLS_UTF8 CRYPTO_SERPENT")
PLAIN = words("64BIT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE MODULES MODULE_UNLOAD BINFMT_ELF",
              "BLK_DEV_INITRD PROC_FS SYSFS DEVTMPFS NLS CRYPTO DEBUG_KERNEL")
# On by themselves, and a good part of the time. Besides, LoongArch's driver for the PC's
# keyboard crashes the kernel where there is no PCI.
WITHOUT = words("VT INPUT SERIO HID_SUPPORT IPV6 ETHTOOL_NETLINK",
                "RD_GZIP RD_BZIP2 RD_LZMA RD_XZ RD_LZO RD_LZ4 RD_ZSTD")
KINDS = {
    # The least that still is a kernel with a block layer.
    "small": Kind(words("64BIT PRINTK BLOCK"), boots=False),
    # What a static init needs in QEMU, and the network stack for more code.
    "boot": Kind(BOOT + NETWORK),
    # Boots with a dozen modules, without the network.
    "modules-small": Kind(BOOT + FOR_MODULES, FEW_MODULES, WITHOUT),
    # Three dozen modules: file systems up to btrfs, drivers, ciphers; one object or many,
    # some with assembly.
    "modules": Kind(BOOT + NETWORK + FOR_MODULES + words("NETDEVICES NET_CORE CRYPTO"),
                    FEW_MODULES + MORE_MODULES, WITHOUT, own_modules=True),
    # The rows of the matrix (matrix.py): what changes code or what is linked, in as few
    # kernels as can be, since some options exclude others. Debian's kernels look for signed
    # modules in a blacklist of SHA-256 sums, and fail without it.
    "hardened": Kind(
        BOOT + FOR_MODULES + words(
            "CC_OPTIMIZE_FOR_PERFORMANCE CPU_MITIGATIONS MITIGATION_RETPOLINE X86_KERNEL_IBT",
            "CFI_CLANG FINEIBT IA32_EMULATION STACKPROTECTOR STACKPROTECTOR_STRONG",
            "FORTIFY_SOURCE RANDSTRUCT_FULL ZERO_CALL_USED_REGS INIT_STACK_ALL_PATTERN",
            "UBSAN UBSAN_BOUNDS TRIM_UNUSED_KSYMS MODULE_SIG MODULE_SIG_FORCE MODULE_SIG_ALL",
            "CRYPTO_SHA256 MODULE_COMPRESS MODULE_COMPRESS_XZ"),
        FEW_MODULES, WITHOUT + words("CC_OPTIMIZE_FOR_SIZE INIT_STACK_NONE INIT_STACK_ALL_ZERO",
                                     "MODULE_COMPRESS_GZIP")),
    "traced": Kind(
        PLAIN + words("FTRACE FUNCTION_TRACER DYNAMIC_FTRACE FUNCTION_GRAPH_TRACER KPROBES",
                      "KALLSYMS_ALL LIVEPATCH DEBUG_INFO_DWARF5 BPF_SYSCALL DEBUG_INFO_BTF",
                      "INIT_STACK_ALL_ZERO UNWINDER_ORC SAMPLES"),
        SIMPLE_MODULES + words("SAMPLE_LIVEPATCH"), WITHOUT),
    "kasan": Kind(PLAIN + words("KASAN KASAN_GENERIC KASAN_INLINE KCOV UBSAN UBSAN_BOUNDS"),
                  SIMPLE_MODULES, WITHOUT + words("SLUB_TINY KASAN_OUTLINE")),
    # Instrumented kernels are slow in QEMU.
    "kcsan": Kind(PLAIN + words("SMP KCSAN DEBUG_INFO_DWARF5 DEBUG_INFO_SPLIT"),
                  SIMPLE_MODULES, WITHOUT, packaged=True, patience=900),
    "kmsan": Kind(PLAIN + words("KMSAN"), SIMPLE_MODULES, WITHOUT, patience=900),
    "tagged": Kind(
        PLAIN + words("CFI_CLANG SHADOW_CALL_STACK KASAN KASAN_SW_TAGS COMPAT MODVERSIONS"),
        SIMPLE_MODULES, WITHOUT + words("SLUB_TINY KASAN_GENERIC")),
    # From 6.13 on.
    "profiled": Kind(PLAIN + words("AUTOFDO_CLANG PROPELLER_CLANG"), SIMPLE_MODULES, WITHOUT,
                     variables=(f"CLANG_AUTOFDO_PROFILE={PROFILES}/samples.txt",
                                f"CLANG_PROPELLER_PROFILE_PREFIX={PROFILES}/blocks")),
    # For ARCH=um, where a kernel is a program.
    "um": Kind(words("64BIT PRINTK TTY NULL_CHAN MODULES MODVERSIONS MODULE_UNLOAD BINFMT_ELF",
                     "BLK_DEV_INITRD PROC_FS SYSFS DEVTMPFS NLS CRYPTO"),
               SIMPLE_MODULES, words("VT INPUT RD_GZIP RD_BZIP2 RD_LZMA RD_XZ RD_LZO RD_LZ4 RD_ZSTD")),
    # What the architecture's maintainers build: some 2,900 C files on x86_64.
    "defconfig": Kind((), base=("defconfig",)),
    # The same with all that can be a module as one; but for what the console is.
    "large": Kind(words("SERIAL_8250 SERIAL_8250_CONSOLE MODULE_UNLOAD MODVERSIONS"),
                  drivers=True, patience=1800, base=("defconfig", "yes2modconfig")),
}


def choice(table, word, what):
    if word not in table:
        raise Unable(f"unknown {what} {word} ({', '.join(table)})")
    return table[word]


class Tree:
    """What is built: a version, a kind, an architecture."""

    def __init__(self, name):
        parts = name.split("/")
        if len(parts) not in (2, 3):
            raise Unable(f"{name} is not VERSION/KIND or VERSION/KIND/ARCH")
        version, kind, arch = parts if len(parts) == 3 else (*parts, "x86_64")
        self.name = f"{version}/{kind}/{arch}"
        self.version = choice(VERSIONS, version, "version")
        self.kind = choice(KINDS, kind, "kind")
        self.arch = choice(ARCHES, arch, "architecture")
        self.has_index = self.version.lto == THIN_DIST

    def file_name(self):
        return self.name.replace("/", "-")

    def settings(self):
        """Options that are on, modules, and options that are off."""
        kind, arch = self.kind, self.arch
        options = (self.version.names.get(name, name) for name in kind.options)
        return (*options, *(arch.options if kind.boots else ()), self.version.lto), \
            (*kind.modules, *(arch.modules if kind.own_modules else ())), \
            ("LTO_NONE", *kind.without)

    def stamp(self):
        """Changes when a tree of this name has to be built again."""
        given = " ".join([self.name, str(self.settings()), *self.kind.variables])
        return f"{given}\n{output([llvm('clang'), '--version'])}"


class Build:
    """TREE, built from SOURCE in OBJ, with LINKER or the one that LLVM= names.

    A tree that was configured with one linker and is built with another configures itself
    again, so it is the same for both.
    """

    def __init__(self, tree, source_, obj, linker=None, variables=()):
        self.tree, self.source, self.obj = tree, source_, obj
        self.variables = [f"LLVM=-{LLVM}", f"ARCH={tree.arch.make}", *tree.arch.variables,
                          *tree.kind.variables, *variables]
        if linker:
            self.variables.append(f"LD={linker}")

    def make(self, log, *goals, error=Unable):
        """make's output goes to the file LOG."""
        what = shlex.join(["make", *goals])
        logged(["make", "-C", self.source, f"O={self.obj}", *self.variables, f"-j{JOBS}", *goals],
               log, f"{what} of {self.tree.name}", error)

    def configure(self):
        """A new tree, in the place of an old one."""
        # Kconfig answers a missing tool by withholding the LTO choice.
        require("make", *(llvm(tool) for tool in
                          ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy")))
        lto = self.tree.version.lto
        if not knows(self.source, lto):
            raise Unable(f"{self.source} does not know CONFIG_{lto}")
        remove(self.obj)
        self.obj.mkdir(parents=True)
        log, config = self.obj / "configure.log", self.obj / ".config"
        self.make(log, *self.tree.kind.base)
        on, modules, off = self.tree.settings()
        edits = [word for flag, names in (("-d", off), ("-e", on), ("-m", modules))
                 for name in names for word in (flag, name)]
        output([self.source / "scripts/config", "--file", config, *edits])
        self.make(log, "olddefconfig")
        # It drops what it cannot satisfy without a word, and what something built in
        # selects is not a module any more.
        wanted = [f"CONFIG_{name}=y" for name in on] + [f"CONFIG_{name}=m" for name in modules]
        missing = sorted(set(wanted) - set(config.read_text().splitlines()))
        if missing:
            raise Unable(f"{self.tree.name}: these did not stick: {', '.join(missing)}")

    def front_end(self):
        """What goes into vmlinux up to the bitcode objects and the archives that hold
        them; stops before the thin link."""
        # "." is the phony goal that descends into the whole tree; all objects and archives
        # of vmlinux hang on it, and it hangs on "prepare" only. Naming the archives would
        # not do: a goal like built-in.a is a "single target", which builds only the parts
        # of the tree that lead to it.
        self.make(self.obj / "front-end.log", ".")
        if not (self.obj / "built-in.a").exists():
            raise Unable(f"make left no {self.obj}/built-in.a")

    def is_set(self, option):
        return re.search(rf"^CONFIG_{option}=y$", (self.obj / ".config").read_text(), re.M)

    def complete(self):
        """Says that the front end is done, for a later `with_front_end`."""
        (self.obj / STAMP).write_text(self.tree.stamp())

    def is_complete(self):
        stamp = self.obj / STAMP
        return stamp.exists() and stamp.read_text() == self.tree.stamp()

    def ensure_front_end(self):
        """The front end, where it is not done yet."""
        if not self.is_complete():
            self.configure()
            self.front_end()
            self.complete()

    def copy(self, obj):
        """The same tree again, in OBJ."""
        remove(obj)
        output(["cp", "-a", "--reflink=auto", self.obj, obj])
        return Build(self.tree, self.source, obj)


def with_front_end(tree, work, obj):
    """The build of TREE in OBJ with its front end done: the one that is there, or a new
    one with the source in WORK."""
    build = Build(tree, source(tree.version.source, work), obj)
    build.ensure_front_end()
    return build
