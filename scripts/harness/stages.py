"""`backlto kbuild` in trees whose front end is done, compared with clang and ld.lld."""

import os
import re
import subprocess
import time

from harness import boot, kernel, oracle
from harness.check import equal, equal_files, require
from harness.run import Failure, remove, say, sha

RECORD = ".tmp_backlto"


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
            if (self.out / oracle.debug_file(name)).exists():
                equal_files(self.obj / oracle.debug_file(name),
                            self.out / oracle.debug_file(name))
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
            boot.boot(self.arch, self.obj / self.arch.image, [], work,
                      self.build.tree.kind.patience)
            say(f"{self.name}: boots")

    def dates(self):
        files = [*self.obj.rglob("*.thinlto*"), self.obj / "vmlinux.a", self.obj / "builtin.order"]
        return [f"{file} {file.stat().st_mtime_ns}" for file in sorted(files)]
