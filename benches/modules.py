#!/usr/bin/env python3
"""What the links of a kernel's modules cost with ld.backlto, against ld.lld.

The modules of several objects of Linux 6.12, kind `modules`, x86_64, are linked again as make
has linked them: by ld.lld, which compiles in its own process, by ld.backlto without a cache,
and with everything in the cache. Medians of ROUNDS, in turns.
"""

import os
import pathlib
import re
import shlex
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness import kernel
from harness.measure import arguments, measure
from harness.run import Unable, llvm, main, program
from harness.source import source

TREE = kernel.Tree("6.12/modules")
WARM_UP = 1


def drive():
    options = arguments(__doc__, rounds=5)
    build = built(options.program, options.work)
    links = list(module_links(build.obj, options.program))
    if not links:
        raise Unable(f"{build.obj} has no link of a module")
    lld = program(llvm("ld.lld"))
    cache = build.obj.with_suffix(".cache")
    contenders = {"ld.lld": (lld, ""), "ld.backlto, no cache": (options.program, ""),
                  "ld.backlto, all in the cache": (options.program, str(cache))}
    walls = {name: [] for name in contenders}
    for link in links:
        rounds = {name: [] for name in contenders}
        for _ in range(options.rounds + WARM_UP):
            for name, (linker, directory) in contenders.items():
                os.environ["BACKLTO_CACHE_DIR"] = directory
                rounds[name].append(measure([linker, *link], build.obj)[0])
        for name, times in rounds.items():
            walls[name].append(statistics.median(times[WARM_UP:]))
    (build.obj / OUTPUT).unlink()
    theirs = walls["ld.lld"]
    print(f"{len(links)} links of modules, medians of {options.rounds} rounds in turns")
    for name, times in walls.items():
        more = [ours - their for ours, their in zip(times, theirs)]
        print(f"  {name:29} {sum(times):6.2f} s, {sum(times) / sum(theirs):.2f} of ld.lld, a link "
              f"{statistics.median(more) * 1000:+.1f} ms (at most {max(more) * 1000:+.1f} ms)")


# So that the modules stay what they are.
OUTPUT = "bench-module.o"


def module_links(obj, linker):
    """The words of the links of bitcode that make has recorded in OBJ, without LINKER, which
    it has called."""
    for record in sorted(obj.rglob(".*.o.cmd")):
        line = re.match(r"savedcmd_\S+ := (.*)", record.read_text())
        # What follows is objtool, on the module.
        words = shlex.split(line[1].split(";")[0]) if line else []
        if words[:1] == [str(linker)] and "-r" in words and words[-1].endswith(".mod"):
            words[words.index("-o") + 1] = OUTPUT
            yield words[1:]


def built(linker, work):
    """The tree with its modules, as LINKER made them: the one that is there, or a new one."""
    obj = work / "bench-6.12-modules-x86_64"
    build = kernel.Build(TREE, source(TREE.version.source, work), obj, linker)
    if not build.is_complete():
        build.configure()
        build.make(obj / "make.log", "vmlinux", "modules")
        build.complete()
    return build


if __name__ == "__main__":
    main(drive)
