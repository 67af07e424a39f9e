#!/usr/bin/env python3
"""What a whole make takes after `touch init/main.c` (ClangBuiltLinux/linux issue 2021).

  kbuild             kbuild's own stages 2 to 4 (LTO_CLANG_THIN_DIST): a clang for each module
  ld.lld, cache      in process (LTO_CLANG_THIN), with --thinlto-cache-dir
  ld.backlto, dist   LD=ld.backlto (PROGRAM), LTO_CLANG_THIN_DIST
  ld.backlto         LD=ld.backlto, LTO_CLANG_THIN

and `backlto kbuild`, stages 2 to 4 alone after make has done the front end. Each has a tree of
its own of Linux 7.2, x86_64, defconfig (or another KIND of harness/kernel.py), with copies of
one front end. Medians of ROUNDS, in turns; before them, what the first make took from the front
end on, once.
"""

import pathlib
import shlex
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness import kernel
from harness.measure import arguments, cost
from harness.run import JOBS, directory, llvm, main, output, program, say
from harness.source import THIN_DIST, Copy, source

TOUCHED = "init/main.c"
# By this one the others are measured.
BASELINE = "kbuild"


def drive():
    options = arguments(__doc__, ("kind", {"default": "defconfig"}))
    backlto = options.program.with_name("backlto")
    home = directory(options.work / f"touched-{options.kind}")
    copy = Copy(source(kernel.VERSIONS["7.2"].source, options.work), home / "src")
    dist, thin = (kernel.Tree(f"{version}/{options.kind}") for version in ("7.2", "7.2-thin"))
    front_end = kernel.Build(dist, copy.path, home / "front-end")
    front_end.ensure_front_end()

    lld = program(llvm("ld.lld"))
    by_lld = shlex.join([str(lld), f"--thinlto-cache-dir={home / 'lld-cache'}"])
    trees = {
        BASELINE: Tree(front_end, dist, home / "kbuild", lld),
        "ld.lld, cache": Tree(front_end, thin, home / "lld", by_lld),
        "ld.backlto, dist": Tree(front_end, dist, home / "backlto-dist", options.program),
        "ld.backlto": Tree(front_end, thin, home / "backlto", options.program),
        "backlto kbuild": Stages(front_end, dist, home / "stages", lld, backlto),
    }
    for name, tree in trees.items():
        say(f"{name}: {tree.build_all():.1f} s, the first")

    walls = {name: [] for name in trees}
    for _ in range(options.rounds):
        for name, tree in trees.items():
            # A new file with the old text.
            copy.write(TOUCHED, copy.read(TOUCHED))
            walls[name].append(tree.again())
    print(f"{TOUCHED} touched, {JOBS} processors, medians of {options.rounds} rounds")
    for name, taken in walls.items():
        ratios = [ours / theirs for ours, theirs in zip(taken, walls[BASELINE])]
        print(f"  {name:18}{statistics.median(taken):8.2f} s, "
              f"{statistics.median(ratios):.2f} of {BASELINE}")


class Tree:
    """What make builds of TREE in OBJ with LINKER, from a copy of FRONT_END's tree."""

    def __init__(self, front_end, tree, obj, linker):
        front_end.copy(obj)
        cache = f"BACKLTO_CACHE_DIR={obj}.cache"
        self.build = kernel.Build(tree, front_end.source, obj, linker, (cache,))
        self.log = obj / "make.log"
        if tree.version.lto != THIN_DIST:
            output([front_end.source / "scripts/config", "--file", obj / ".config",
                    "-d", THIN_DIST, "-e", tree.version.lto])
        self.build.make(self.log, "olddefconfig")
        # Configures for the linker, and compiles what that and the choice of LTO change.
        self.build.front_end()

    def make(self, *goals):
        """The wall seconds of make."""
        start = time.monotonic()
        self.build.make(self.log, *goals)
        return time.monotonic() - start

    build_all = again = make


class Stages(Tree):
    """Stages 2 to 4 by `backlto kbuild`."""

    def __init__(self, front_end, tree, obj, linker, backlto):
        super().__init__(front_end, tree, obj, linker)
        self.command = [backlto, "kbuild", obj, "-q", "--cache-dir", f"{obj}.cache"]

    def build_all(self):
        return cost([self.command], None).wall

    def again(self):
        self.build.front_end()
        return self.build_all()


if __name__ == "__main__":
    main(drive)
