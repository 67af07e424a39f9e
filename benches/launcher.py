#!/usr/bin/env python3
"""What backlto cc costs in front of clang: a small backend without the cache and out of it, and
a front end, which clang does itself. Medians of ROUNDS, in turns."""

import os
import pathlib
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from harness.measure import arguments, measure
from harness.run import llvm, main, output

MODULES = ["deck", "sort", "rng"]
WARM_UP = 3
CLANG = llvm("clang")


def drive():
    options = arguments(__doc__, rounds=40)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        home = pathlib.Path(folder)
        front = ["-O2", "-ffreestanding", f"-I{ROOT}/examples/demo", "-c"]
        for name in MODULES:
            source = f"{ROOT}/examples/demo/{name}.c"
            output([CLANG, *front, "-flto=thin", source, "-o", f"{name}.o"], cwd=home)
        output([llvm("ld.lld"), "-r", "--thinlto-index-only=list", "-o", "linked",
                *(f"{name}.o" for name in MODULES)], cwd=home)
        backend = [CLANG, "-O2", "-x", "ir", "-fthinlto-index=deck.o.thinlto.bc", "-c",
                   "-o", "out.o", "deck.o"]
        front = [CLANG, *front, f"{ROOT}/examples/demo/deck.c", "-o", "front.o"]
        ours = [options.program, "cc"]
        os.environ["BACKLTO_CACHE_DIR"] = str(home / "cache")
        contenders = {
            "clang, backend": backend,
            "cc, no cache": [options.program, "--no-cache", "cc", *backend],
            "cc, out of the cache": [*ours, *backend],
            "clang, front end": front,
            "cc, front end": [*ours, *front],
        }
        rounds = [[measure(command, home)[:2] for command in contenders.values()]
                  for _ in range(options.rounds + WARM_UP)][WARM_UP:]
        for what, column in zip(contenders, zip(*rounds)):
            wall, cpu = (statistics.median(values) * 1000 for values in zip(*column))
            print(f"{what:22}{wall:7.1f} ms, {cpu:7.1f} ms of CPU")


if __name__ == "__main__":
    main(drive)
