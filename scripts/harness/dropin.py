"""Kernels that make builds with a linker of ours, compared with a build by ld.lld."""

import re
import time

from harness import boot, kernel, oracle
from harness.check import equal, equal_files, require
from harness.external import External, code
from harness.package import GOAL, Packages
from harness.run import Failure, llvm, output, program, remove, say, sha
from harness.source import Copy, source

# Looked at by make each time; for ARCH=um, vmlinux gets its other name each time.
LOOKED_AT = re.compile(
    r"  (CALL|DESCEND|CHK|GEN +Makefile$|INSTALL +libsubcmd_headers$|LINK +linux$)")
# What the kernel itself leaves after make clean: the configuration, host programs,
# generated headers, and what is needed to build modules outside of its tree.
CLEAN = re.compile(
    r"(include|scripts|tools|arch/[a-z0-9]+/(include/generated|tools))/"
    r"|(\.config|\.config\.old|\.gitignore|\.version|Makefile|Module\.symvers|configure\.log"
    r"|source)$")
# Where make builds, and when, is in the kernel's banner.
BANNER = ("KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970")

ADDED_SYMBOL = """void backlto_added(void);
void backlto_added(void)
{
}
EXPORT_SYMBOL_GPL(backlto_added);
"""


def marker(what):
    """A string that is found again in the object."""
    return (f'static const char backlto_{what}[] __attribute__((used)) = '
            f'"backlto: changed {what}";\n')


def has(file, what):
    require(f"backlto: changed {what}".encode() in file.read_bytes(),
            f"the changed {what} did not reach {file}")


class Dropin:
    """A kernel that make builds with LINKER."""

    def __init__(self, linker, work, tree):
        self.work, self.tree = work, tree
        self.base = work / f"dropin-{self.tree.file_name()}"
        remove(self.base)
        self.base.mkdir()
        self.source = Copy(source(self.tree.version.source, work), self.base / "src")
        self.build = self.built_with(linker, self.base / "obj")
        self.lld = " ".join([str(program(llvm("ld.lld"))), *tree.arch.for_lld])
        self.reference = self.built_with(self.lld, self.base / "reference")
        self.obj, self.modules = self.build.obj, []
        self.packages = None

    def built_with(self, linker, obj):
        # make exports what is on its command line.
        cache = f"BACKLTO_CACHE_DIR={self.base / 'cache'}"
        return kernel.Build(self.tree, self.source.path, obj, linker, (*BANNER, cache))

    def say(self, text):
        say(f"ok: {self.tree.name}: {text}")

    def make(self, what, *words, build=None):
        """The log of what make said."""
        log = self.base / f"{what}.log"
        (build or self.build).make(log, *words, error=Failure)
        return log.read_text(errors="replace")

    def run(self, with_reference, lend, kept):
        self.first_build()
        self.module_versions()
        if with_reference:
            self.compare()
        before = self.sums()
        self.nothing_to_do(self.make("again"))
        equal(self.sums(), before, "make changed files where there was nothing to do")
        self.say("make again: nothing to do")
        external = self.external()
        if self.tree.kind.boots:
            self.boots(external)
        if lend:
            self.lend()
        self.changes()
        self.make("undone")
        equal(self.sums(), before, "after the changes were undone, these are not what they were")
        self.say("without the changes, vmlinux and the modules are what they were")
        if not kept:
            self.clean(with_reference)

    def row(self):
        """What it takes to say that a kernel is right, in as little time as that needs.
        The number of its modules."""
        self.first_build()
        self.module_versions()
        self.nothing_to_do(self.make("again"))
        # Where modules have to be signed, or exports that nobody uses are gone, there is no
        # place for those from outside.
        closed = self.build.is_set("MODULE_SIG_FORCE") or self.build.is_set("TRIM_UNUSED_KSYMS")
        self.boots([] if closed else self.external())
        self.compare()
        return len(self.modules)

    def first_build(self):
        start, packaged = time.monotonic(), self.tree.kind.packaged
        self.build.configure()
        self.make("first", *([GOAL] if packaged else []))
        for file in ("vmlinux", self.tree.arch.image):
            require((self.obj / file).is_file(), f"make left no {file}")
        if packaged:
            self.packages = Packages(self.build, self.base / "packages")
        self.modules = modules(self.obj)
        size = sum(file.stat().st_size for file in (self.base / "cache").rglob("*")
                   if file.is_file())
        self.say(f"make: vmlinux, {len(self.modules)} modules, {self.tree.arch.image} in "
                 f"{time.monotonic() - start:.0f} s, {size / 1e6:.0f} MB in the cache")
        if packaged:
            self.packages.compare(self.tree.arch.image, self.modules)
            self.say(f"{', '.join(self.packages.names)} have this kernel and these modules")

    def module_versions(self):
        """Modules carry the versions of Module.symvers, all of them."""
        if not self.build.is_set("MODVERSIONS"):
            return
        crcs = dict(line.split("\t")[1::-1]
                    for line in (self.obj / "Module.symvers").read_text().splitlines())
        carried = versions(self.obj)
        for module in self.modules:
            require(any(line.startswith(f"{module} ") for line in carried),
                    f"{module} has no versions")
        # A module's own symbols and those of others look the same in both places.
        for line in carried:
            _, crc, symbol = line.split()
            require(symbol == "module_layout" or crcs.get(symbol) == crc,
                    f"{line}: Module.symvers has {crcs.get(symbol)}")
        self.say(f"modules carry {len(carried)} versions, all from Module.symvers")

    def compare(self):
        """The same objects linked by ld.lld. Other text in the commands that link makes
        make run all of them again; what the front end wrote stays."""
        theirs, log = self.reference.obj, self.build_reference()
        if self.build.is_set("MODULES"):
            equal_files(self.obj / "Module.symvers", theirs / "Module.symvers")
        equal(self.modules, modules(theirs), "ld.lld has other modules")
        if self.build.is_set("MODVERSIONS"):
            equal(versions(self.obj), versions(theirs), "the versions in the modules differ")
        for module in self.modules:
            require(code(self.obj / module) == code(theirs / module),
                    f"{module} has other code or relocations than ld.lld's")
        self.say(f"Module.symvers, and versions, code and relocations in {len(self.modules)} "
                 "modules are ld.lld's")
        if self.tree.has_index:
            made = len(re.findall(r"^  CC .*\.thinlto-native\.o$", log, re.M))
            natives = sorted(self.obj.rglob("*.thinlto-native.o"))
            require(made == len(natives), f"make ran {made} back ends for {len(natives)} objects")
            for file in (*natives, *(self.obj / name for name in (
                    "builtin.order", oracle.INDEX, "vmlinux.a", "vmlinux.o"))):
                equal_files(file, theirs / file.relative_to(self.obj))
            self.say(f"the {made} native objects, vmlinux.a and vmlinux.o are make's and clang's")

    def build_reference(self):
        """Has make link a copy of the tree by ld.lld. What make said. It is done in the place of
        the tree, whose name may be in debug information."""
        kept = self.base / "kept"
        self.obj.rename(kept)
        output(["cp", "-a", "--reflink=auto", kept, self.obj])
        log = self.make("reference", build=self.built_with(self.lld, self.obj))
        remove(self.reference.obj)
        self.obj.rename(self.reference.obj)
        kept.rename(self.obj)
        return log

    def nothing_to_do(self, log):
        did = [line for line in log.splitlines()
               if re.match(r"  [A-Z]+ ", line) and not LOOKED_AT.match(line)]
        equal(did, [], "make did something where nothing had changed")

    def external(self):
        """Modules outside of the tree; those to load when the kernel boots."""
        if not self.build.is_set("MODULES"):
            return []
        headers = self.packages.headers() if self.packages else None
        return External(self.build, self.reference, self.base / "external", headers).run()

    def boots(self, external):
        paths = []
        if self.modules:
            root = self.packages.root if self.packages else self.install()
            paths = boot.installed_modules(root)
            require(len(paths) == len(self.modules), f"{root} has {len(paths)} modules")
        kind = self.tree.kind
        loaded = boot.boot(self.tree.arch, self.obj / self.tree.arch.image, paths + external,
                           self.work, kind.patience, kind.drivers)
        self.say(f"boots, {loaded} of {len(paths) + len(external)} modules loaded, "
                 f"{len(external)} from outside among them")

    def install(self):
        """Where make has installed the modules."""
        root = self.base / "root"
        remove(root)
        self.make("install", f"INSTALL_MOD_PATH={root}", "modules_install")
        return root

    def lend(self):
        """Leaves a copy of the tree to `kbuild`, as one that was never linked."""
        copy = self.build.copy(self.work / f"kbuild-{self.tree.file_name()}")
        remove(*copy.obj.glob("vmlinux*"), *copy.obj.glob(".vmlinux*"))
        copy.complete()

    def changes(self):
        """A handful of changes arrives."""
        header = self.source.path / "backlto-flag.h"
        header.write_text(marker("flag"))
        self.source.append("init/main.c", marker("source") + ADDED_SYMBOL)
        self.source.append("kernel/printk/internal.h", marker("header"))
        # For one object of vmlinux and for a module that has no other object.
        flag_words = [f"CFLAGS_{name}.o=-include {header}"
                      for name in ("do_mounts", "nls_iso8859-1")]
        self.source.append("fs/fat/cache.c", marker("module"))
        log = self.make("changed", *flag_words)
        for what in ("source", "header", "flag"):
            has(self.obj / "vmlinux", what)
        if "fs/fat/fat.ko" in self.modules:
            has(self.obj / "fs/fat/fat.ko", "module")
            has(self.obj / "fs/nls/nls_iso8859-1.ko", "flag")
        if self.build.is_set("MODULES"):
            require(re.search(r"\sbacklto_added\s+vmlinux\s+EXPORT_SYMBOL_GPL",
                              (self.obj / "Module.symvers").read_text()),
                    "the added symbol did not reach Module.symvers")
        # 7.2 calls the back ends CC too, of which it runs every one again.
        compiled = [line for line in re.findall(r"^  CC .*", log, re.M)
                    if not line.endswith(".thinlto-native.o")]
        require(len(compiled) < 30, f"make compiled {len(compiled)} files for a few changes")
        self.say("changes to a source, a header, a module and a flag arrive, "
                 f"{len(compiled)} files compiled")
        self.nothing_to_do(self.make("changed-again", *flag_words))
        self.source.revert(*self.source.edited)

    def clean(self, with_reference):
        self.make("clean", "clean")
        left = files(self.obj)
        equal([name for name in left if not CLEAN.match(name)], [], "make clean left these files")
        if with_reference:
            self.make("reference-clean", "clean", build=self.reference)
            equal(left, files(self.reference.obj), "make clean leaves other files than with ld.lld")
            remove(self.reference.obj)
        self.say(f"make clean leaves the {len(left)} files that it should")

    def sums(self):
        return [f"{name} {sha(self.obj / name)}"
                for name in (*modules(self.obj), "vmlinux.o", "vmlinux")]


def files(obj):
    """All but directories, relative to the tree."""
    return sorted(str(path.relative_to(obj)) for path in obj.rglob("*")
                  if path.is_symlink() or not path.is_dir())


def modules(obj):
    return [name for name in files(obj) if name.endswith(".ko")]


def versions(obj):
    """"module crc symbol" of all that each module imports."""
    return sorted(f"{module} {' '.join(line.split())}" for module in modules(obj)
                  for line in output(["modprobe", "--dump-modversions",
                                      obj / module]).splitlines())
