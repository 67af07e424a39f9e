#!/usr/bin/env python3
"""Whole Linux kernels, built by backlto and compared with what clang and ld.lld make.

  kbuild   `backlto kbuild` does stages 2 to 4 in trees whose front end is done. Proved, for
           the first tree by itself and then for all of them in one run:
             - every bitcode object is compiled, and equals the one that clang writes with
               the recorded flags; so does all that clang says of it;
             - vmlinux.o equals the one that is linked from clang's objects;
             - with an index (7.2), make then does nothing of stages 2 and 3, and the
               kernel boots in QEMU, if it has a console;
             - of several trees, one that fails leaves the others alone.
  dropin   make builds a kernel with LD=ld.backlto as anybody would. Proved:
             - vmlinux, the modules and the boot image come out, and make has nothing to do
               afterwards;
             - each module carries the versions of its symbols as Module.symvers has them;
             - modules outside of the tree have the code that they have with ld.lld, built
               beside their sources, apart from them, and for an installed kernel by a user
               who may not write there;
             - the kernel boots in QEMU and loads its modules and those from outside, which
               can be unloaded again;
             - changes to a source, a header, a module and a flag arrive, without many
               other compiles; without them the old bytes are back;
             - make clean leaves nothing of it;
             - with --reference: Module.symvers, the versions in the modules and what make
               clean leaves are those of ld.lld; with an index, so are all native objects,
               the archive and vmlinux.o. ld.lld-22 as LINKER has to pass, too.

A tree is VERSION/KIND or VERSION/KIND/ARCH (see harness/kernel.py). `kbuild` builds the front
ends, except of trees that `dropin --lend` has left to it.

Exit status: 0 if all is well, 1 if something is not as it should be, 2 if the test could
not be done.
"""

import argparse
import collections
import os
import re
import subprocess
import time

from harness import boot, kernel, oracle
from harness.external import External
from harness.run import Failure, directory, main, output, program, remove, say, sha
from harness.source import Copy, source

RECORD = ".tmp_backlto"


def require(condition, message):
    if not condition:
        raise Failure(message)


def equal(ours, theirs, message):
    """That OURS and THEIRS, of any kind, are equal; where they are collections of lines,
    the first few that only one has are told."""
    if ours == theirs:
        return
    ours, theirs = collections.Counter(ours), collections.Counter(theirs)
    lines = [f"- {line}" for line in theirs - ours] + [f"+ {line}" for line in ours - theirs]
    raise Failure("\n".join([*lines[:20], message]))


def equal_files(ours, theirs):
    require(ours.is_file() and ours.read_bytes() == theirs.read_bytes(),
            f"{ours} is not {theirs}")


# --- backlto kbuild -----------------------------------------------------------

class Kbuild:
    """`backlto kbuild` in trees whose front end is done."""

    def __init__(self, backlto, work, trees):
        self.backlto, self.work = backlto, work
        self.trees = [Compared(self.prepared(tree)) for tree in trees]

    def prepared(self, tree):
        obj = self.work / f"kbuild-{tree.file_name()}"
        start = time.monotonic()
        build = kernel.with_front_end(tree, self.work, obj)
        say(f"{tree.name}: front end in {time.monotonic() - start:.0f} s")
        # What comes now leaves more in the tree than the front end.
        remove(obj / kernel.STAMP)
        return build

    def backlto_kbuild(self, *trees):
        """Its status and what it wrote. From elsewhere on purpose: paths mean what they
        mean in the tree. Without a cache: every object is to be compiled."""
        return subprocess.run(
            [self.backlto, "kbuild", *trees], cwd="/", env=dict(os.environ, BACKLTO_CACHE_DIR=""),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="surrogateescape", check=False)

    def run(self):
        first, *others = self.trees
        self.compare([first], [first.obj])
        first.go_on(self.work)
        if others:
            self.compare(self.trees, [f"--arch={tree.arch.target}={tree.obj}"
                                      for tree in self.trees])
            self.one_fails(*self.trees[-2:])

    def compare(self, trees, words):
        """One run in TREES, all of which are compared with clang's."""
        names = ", ".join(tree.name for tree in trees)
        for tree in trees:
            tree.forget()
        start = time.monotonic()
        done = self.backlto_kbuild(*words)
        require(done.returncode == 0, f"{done.stderr}backlto kbuild failed in {names}")
        say(f"{names}: stages 2 to 4 in {time.monotonic() - start:.0f} s")
        if len(trees) > 1:
            for tree in trees:
                require(re.search(rf"^  {tree.arch.make}: \d+ objects", done.stdout, re.M),
                        f"the summary has no line for {tree.name}")
        for tree in trees:
            tree.compare()
        objects = sum(len(tree.names) for tree in trees)
        require(re.search(rf"^{objects} objects ", done.stdout, re.M)
                and not re.search(r"^\d+ compiled, ", done.stdout, re.M),
                f"{names}: not all {objects} objects were compiled:\n{done.stdout[-2000:]}")
        # The linker may speak for itself: a kernel without modules links libraries of
        # bitcode.
        said = [line for line in done.stderr.splitlines() if not line.startswith("ld.lld")]
        equal(said, [line for tree in trees for line in tree.messages()],
              f"{names}: the messages differ from clang's")
        say(f"{names}: {len(said)} lines of messages, as clang's")

    def one_fails(self, broken, other):
        """An empty module in BROKEN does not keep OTHER from being finished."""
        module = broken.obj / oracle.bitcode(broken.obj)[0]
        text = module.read_bytes()
        module.write_bytes(b"")
        remove(other.obj / "vmlinux.o")
        done = self.backlto_kbuild(broken.obj, other.obj)
        module.write_bytes(text)
        require(done.returncode == 1, f"status {done.returncode} for a tree with an empty module")
        require((other.obj / "vmlinux.o").is_file(), f"{other.name} was not finished")
        say("a tree that fails leaves the others alone")


class Compared:
    """A tree, and what clang makes of it, which is found out once."""

    def __init__(self, build):
        self.build, self.obj = build, build.obj
        self.name, self.arch = build.tree.name, build.tree.arch
        self.out = self.obj.with_name(f"{self.obj.name}.clang")
        self.names, self.indexes = [], []
        remove(self.out)
        self.out.mkdir()

    def forget(self):
        """Takes away what stages 2 to 4 have left."""
        remove(self.obj / RECORD, *(self.obj / name for name in (
            "vmlinux.o", "vmlinux.a", "builtin.order", oracle.INDEX)),
            *self.obj.rglob("*.thinlto*"))

    def compare(self):
        """That every object and vmlinux.o are clang's."""
        self.reference()
        for name in self.names:
            result = oracle.native(name)
            equal_files(self.obj / result, oracle.results(self.out, name)[0])
            record = self.obj / oracle.cmd_file(result)
            require(record.is_file() and record.stat().st_size, f"no {record}")
        equal(oracle.archived(self.obj, "vmlinux.a"), oracle.members(self.obj, self.obj),
              f"vmlinux.a of {self.name} has other members than builtin.order says")
        equal_files(self.obj / "vmlinux.o", self.out / "vmlinux.o")
        say(f"{self.name}: {len(self.names)} objects and vmlinux.o are clang's")

    def reference(self):
        """Has clang compile and link, unless it has done so from the same indexes."""
        indexes = [(name, sha(self.obj / f"{name}.thinlto.bc"))
                   for name in oracle.bitcode(self.obj)]
        if indexes == self.indexes:
            return
        self.names, self.indexes = oracle.reference(self.obj, self.out), indexes
        oracle.link(self.obj, self.out, self.out)

    def messages(self):
        """What clang says, in the order of the link."""
        return [line for name in self.names for line in
                oracle.results(self.out, name)[1].read_text(errors="surrogateescape").splitlines()]

    def go_on(self, work):
        """make goes on from there, and the kernel boots."""
        if not self.build.tree.has_index:
            return
        before = self.dates()
        log = self.obj.with_name(f"{self.obj.name}.log")
        self.build.make(log, "vmlinux", error=Failure)
        equal(self.dates(), before, f"make did stages 2 and 3 of {self.name} again")
        say(f"{self.name}: make finishes the kernel and leaves stages 2 and 3 alone")
        if self.build.tree.kind.boots:
            self.build.make(log, os.path.basename(self.arch.image), error=Failure)
            boot.boot(self.arch, self.obj / self.arch.image, [], work)
            say(f"{self.name}: boots")

    def dates(self):
        files = [*self.obj.rglob("*.thinlto*"), self.obj / "vmlinux.a", self.obj / "builtin.order"]
        return [f"{file} {file.stat().st_mtime_ns}" for file in sorted(files)]


# --- make with LD=ld.backlto --------------------------------------------------

# Looked at by make each time.
LOOKED_AT = re.compile(r"  (CALL|DESCEND|CHK|GEN +Makefile$|INSTALL +libsubcmd_headers$)")
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
        self.reference = self.built_with(program("ld.lld-22"), self.base / "reference")
        self.obj, self.modules = self.build.obj, []

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

    def run(self, with_reference, lend):
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
        self.clean(with_reference)

    def first_build(self):
        start = time.monotonic()
        self.build.configure()
        self.make("first")
        for file in ("vmlinux", self.tree.arch.image):
            require((self.obj / file).is_file(), f"make left no {file}")
        self.modules = modules(self.obj)
        self.say(f"make: vmlinux, {len(self.modules)} modules, {self.tree.arch.image} in "
                 f"{time.monotonic() - start:.0f} s")

    def module_versions(self):
        """Modules carry the versions of Module.symvers, all of them."""
        if not self.build.is_set("MODULES"):
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
        theirs = self.build.copy(self.reference.obj).obj
        log = self.make("reference", build=self.reference)
        if self.build.is_set("MODULES"):
            equal_files(self.obj / "Module.symvers", theirs / "Module.symvers")
        equal(self.modules, modules(theirs), "ld.lld has other modules")
        equal(versions(self.obj), versions(theirs), "the versions in the modules differ")
        self.say(f"Module.symvers and the versions in {len(self.modules)} modules are ld.lld's")
        if self.tree.has_index:
            made = len(re.findall(r"^  CC .*\.thinlto-native\.o$", log, re.M))
            natives = sorted(self.obj.rglob("*.thinlto-native.o"))
            require(made == len(natives), f"make ran {made} back ends for {len(natives)} objects")
            for file in (*natives, *(self.obj / name for name in (
                    "builtin.order", oracle.INDEX, "vmlinux.a", "vmlinux.o"))):
                equal_files(file, theirs / file.relative_to(self.obj))
            self.say(f"the {made} native objects, vmlinux.a and vmlinux.o are make's and clang's")

    def nothing_to_do(self, log):
        did = [line for line in log.splitlines()
               if re.match(r"  [A-Z]+ ", line) and not LOOKED_AT.match(line)]
        equal(did, [], "make did something where nothing had changed")

    def external(self):
        """Modules outside of the tree; those to load when the kernel boots."""
        if not self.build.is_set("MODULES"):
            return []
        return External(self.build, self.reference, self.base / "external").run()

    def boots(self, external):
        paths = []
        if self.modules:
            root = self.base / "root"
            remove(root)
            self.make("install", f"INSTALL_MOD_PATH={root}", "modules_install")
            paths = boot.installed_modules(root)
            require(len(paths) == len(self.modules), f"{root} has {len(paths)} modules")
        boot.boot(self.tree.arch, self.obj / self.tree.arch.image, paths + external, self.work)
        self.say(f"boots, {len(paths)} modules and {len(external)} from outside loaded")

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


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    tests = parser.add_subparsers(dest="test", required=True, metavar="kbuild|dropin")
    kbuild = tests.add_parser("kbuild", help="backlto kbuild in one tree or several")
    kbuild.add_argument("program", metavar="BACKLTO", type=program)
    dropin = tests.add_parser("dropin", help="make with LD=ld.backlto, one tree after the other")
    dropin.add_argument("--reference", action="store_true", help="compare with ld.lld's build")
    dropin.add_argument("--lend", action="store_true", help="leave the trees to a later kbuild")
    dropin.add_argument("program", metavar="LINKER", type=program)
    for test in (kbuild, dropin):
        test.add_argument("work", metavar="WORK", type=directory, help="for sources and trees")
        test.add_argument("trees", metavar="TREE", type=kernel.Tree, nargs="+")
    options = parser.parse_args()
    if options.test == "kbuild":
        Kbuild(options.program, options.work, options.trees).run()
        return
    for tree in options.trees:
        Dropin(options.program, options.work, tree).run(options.reference, options.lend)


if __name__ == "__main__":
    main(drive)
