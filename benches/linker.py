#!/usr/bin/env python3
"""What ld.backlto adds to ld.lld where it has nothing to do: --version, and a link of
native objects. Medians of RUNS each, in turns."""

import argparse
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness.measure import measure  # noqa: E402
from harness.run import main, output, program  # noqa: E402

OBJECTS = 200
WARM_UP = 5


def drive():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("linker", metavar="LINKER", type=program)
    parser.add_argument("runs", metavar="RUNS", type=int, nargs="?", default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        names = [f"f{number}" for number in range(OBJECTS)]
        for name in names:
            (home / f"{name}.c").write_text(f"int {name}(int x) {{ return x; }}\n")
        output(["clang-22", "-O1", "-c", *(f"{name}.c" for name in names)], cwd=home)
        link = ["-r", "-o", "all.o", *(f"{name}.o" for name in names)]
        for what, words in (("--version", ["--version"]), (f"{OBJECTS} native objects", link)):
            lld, ours = compare([[linker, *words] for linker in (program("ld.lld-22"),
                                                                 options.linker)],
                                home, options.runs)
            print(f"{what + ':':20}ld.lld {lld:6.2f} ms, ld.backlto {ours - lld:+.2f} ms")


def compare(commands, home, runs):
    """The median milliseconds of each of COMMANDS."""
    rounds = [[measure(command, home)[0] for command in commands]
              for _ in range(runs + WARM_UP)][WARM_UP:]
    return [statistics.median(walls) * 1000 for walls in zip(*rounds)]


if __name__ == "__main__":
    main(drive)
