#!/usr/bin/env python3
"""What the links of a kernel's modules cost with ld.backlto, against ld.lld.

The modules of several objects in OBJ, a kernel's tree with its modules (without it, that of
Linux 6.12, kind `modules`, x86_64), are linked again as make has linked them: by ld.lld, which
compiles in its own process, by ld.backlto (PROGRAM) without a cache, and with everything in
the cache. Medians of ROUNDS, in turns.
"""

import os
import pathlib
import re
import shlex
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness import kernel
from harness.measure import arguments, in_turns
from harness.run import Unable, directory, llvm, main, program
from harness.source import source

TREE = kernel.Tree("6.12/modules")
WARM_UP = 1


def drive():
    options = arguments(__doc__, ("obj", {"type": directory}), rounds=5)
    obj = options.obj or built(options.program, options.work)
    links = list(module_links(obj))
    if not links:
        raise Unable(f"{obj} has no link of a module")
    lld = program(llvm("ld.lld"))
    cache = obj.with_name(f"{obj.name}.bench-cache")
    contenders = {"ld.lld": (lld, ""), "ld.backlto, no cache": (options.program, ""),
                  "ld.backlto, all in the cache": (options.program, str(cache))}
    # By which ld.backlto knows a link of kbuild's.
    os.environ.update(srctree=str(obj / "source"), objtree=".", KBUILD_LDFLAGS="")
    measured = []
    for link in links:
        commands = [([linker, *link], {"BACKLTO_CACHE_DIR": kept})
                    for linker, kept in contenders.values()]
        measured.append(in_turns(commands, obj, options.rounds, WARM_UP))
    costs = dict(zip(contenders, zip(*measured)))
    (obj / OUTPUT).unlink()
    print(f"{len(links)} links of modules, medians of {options.rounds} rounds in turns")
    theirs, their_cpu = zip(*costs["ld.lld"])
    for name, measured in costs.items():
        ours, cpu = zip(*measured)
        more = [(our - their) * 1000 for our, their in zip(ours, theirs)]
        print(f"  {name:29} {sum(ours):6.2f} s, {sum(ours) / sum(theirs):.2f} of ld.lld "
              f"({sum(cpu) / sum(their_cpu):.2f} of its CPU time), "
              f"a link {statistics.median(more):+.1f} ms (at most {max(more):+.1f} ms)")


# So that the modules stay what they are.
OUTPUT = "bench-module.o"


def module_links(obj):
    """The words of the links of bitcode that make has recorded in OBJ, without the linker."""
    for record in sorted(obj.rglob(".*.o.cmd")):
        line = re.match(r"savedcmd_\S+ := (.*)", record.read_text())
        # What follows is objtool, on the module.
        words = shlex.split(line[1].split(";")[0]) if line else []
        if "-r" in words and words[-1].endswith(".mod"):
            words[words.index("-o") + 1] = OUTPUT
            # The linker may be several words (a wrapper before it).
            yield words[next(i for i, word in enumerate(words) if word.startswith("-")):]


def built(linker, work):
    """The tree with its modules, as LINKER made them: the one that is there, or a new one."""
    obj = work / "bench-6.12-modules-x86_64"
    build = kernel.Build(TREE, source(TREE.version.source, work), obj, linker)
    if not build.is_complete():
        build.configure()
        build.make(obj / "make.log", "vmlinux", "modules")
        build.complete()
    return obj


if __name__ == "__main__":
    main(drive)
