"""A Linux 6.12 kernel for x86_64 whose source is edited again and again, and `backlto
kbuild` at work in its tree."""

import os
import re

from harness import kernel, oracle
from harness.run import LLVM, Unable, directory, output, sha
from harness.source import Copy, source

# What kbuild tells the linker of imports, and what backlto has to be told of make to see
# that it is another now.
LIMIT = re.compile(r"-import-instr-limit=\d+")
LIMIT_ARGS = ("--make", f"LLVM=-{LLVM}", "--make", "ARCH=x86")


class Edited:
    """The tree of KIND below WORK."""

    def __init__(self, backlto, work, kind):
        tree = kernel.Tree(f"6.12/{kind}")
        self.home = directory(work / f"incremental-{kind}")
        self.source = Copy(source(tree.version.source, work), self.home / "src")
        self.obj = self.home / "obj"
        self.backlto, self.cache = backlto, self.home / "cache"
        self.build = kernel.Build(tree, self.source.path, self.obj)
        self.build.ensure_front_end()

    def front_end(self):
        self.build.front_end()

    def command(self, *more):
        return [self.backlto, "kbuild", self.obj, "--cache-dir", self.cache, *more]

    def kbuild(self, *more):
        """Stages 2 to 4; what became of the objects."""
        text = output(self.command(*more), env=dict(os.environ, LD=oracle.LLD))
        objects = int(re.search(r"^(\d+) objects ", text, re.M)[1])
        split = re.search(r"^(\d+) compiled, (\d+) up to date"
                          r"(?:, (\d+) from the cache \((\d+) of them)?", text, re.M)
        compiled, here, found, imported = (int(n or 0) for n in split.groups()) if split \
            else (objects, 0, 0, 0)
        if compiled + here + found != objects:
            raise Unable(f"the numbers of this summary do not add up:\n{text}")
        return {"compiled": compiled, "cached": found - imported, "imported": imported,
                "there": here}

    def objects(self):
        return oracle.bitcode(self.obj)

    def native(self, name):
        return self.obj / oracle.native(name)

    def natives(self):
        """What the objects are, by the names of their bitcode."""
        return {name: sha(self.native(name)) for name in self.objects()}

    def import_limit(self):
        return LIMIT.search(self.source.read("Makefile"))[0]


# --- edits ---------------------------------------------------------------------

def counter(number):
    """A statement that is neither nothing nor harmful."""
    return f"\t{{ static volatile int backlto_counter; backlto_counter += {number}; }}\n"


def in_function(name, start, number):
    """An edit: a statement more, in the function that starts with START."""
    return lambda s: s.change(name, rf"({start}[^;{{}}]*\n{{\n)", rf"\g<1>{counter(number)}")
