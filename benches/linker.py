#!/usr/bin/env python3
"""What ld.backlto adds to ld.lld where it has nothing to do: --version, and a link of
native objects. Medians of ROUNDS, in turns."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness.measure import arguments, in_turns
from harness.run import llvm, main, output, program

OBJECTS = 200
WARM_UP = 5


def drive():
    options = arguments(__doc__, rounds=100)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        home = pathlib.Path(folder)
        names = [f"f{number}" for number in range(OBJECTS)]
        for name in names:
            (home / f"{name}.c").write_text(f"int {name}(int x) {{ return x; }}\n")
        output([llvm("clang"), "-O1", "-c", *(f"{name}.c" for name in names)], cwd=home)
        link = ["-r", "-o", "all.o", *(f"{name}.o" for name in names)]
        for what, words in (("--version", ["--version"]), (f"{OBJECTS} native objects", link)):
            commands = [([linker, *words], {})
                        for linker in (program(llvm("ld.lld")), options.program)]
            costs = in_turns(commands, home, options.rounds, WARM_UP)
            lld, ours = (wall * 1000 for wall, _ in costs)
            print(f"{what + ':':20}ld.lld {lld:6.2f} ms, ld.backlto {ours - lld:+.2f} ms")


if __name__ == "__main__":
    main(drive)
