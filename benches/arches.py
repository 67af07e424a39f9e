#!/usr/bin/env python3
"""Four kernels in one run: how much more than their backends does it take?

usage: arches.py BACKLTO WORKDIR [ROUNDS [KIND]]

Trees of Linux 6.12 for four architectures, of a KIND of kernel-tree.sh (boot
without it; the smaller ones without modules are of less use here, since their
last link compiles libraries). Compared with the CPU seconds of all backends,
divided by the cores, plus the longest thin link and the longest last link,
which nothing can overlap with. A backend counts from the moment when LLVM has
the module; what the whole of backlto takes, reading modules included, stands
beside it.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "scripts"
ARCHES = ("x86_64", "aarch64", "riscv64", "loongarch64")


def trees(work: pathlib.Path, kind: str) -> dict[str, pathlib.Path]:
    """The trees with their front ends done, built where they are not there."""
    found = {}
    for arch in ARCHES:
        obj = work / (f"obj-6.12-{kind}" + ("" if arch == "x86_64" else f"-{arch}"))
        if not (obj / "built-in.a").exists():
            source = subprocess.run(
                [SCRIPTS / "kernel-source.sh", "6.12", work],
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.strip()
            lto = ["LTO_CLANG_THIN", kind]
            subprocess.run([SCRIPTS / "kernel-tree.sh", source, obj, arch, *lto], check=True)
            subprocess.run([SCRIPTS / "kernel-frontend.sh", source, obj, arch], check=True)
        found[arch] = obj
    return found


def main() -> None:
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    backlto = str(pathlib.Path(sys.argv[1]).resolve())
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    objs = trees(pathlib.Path(sys.argv[2]).resolve(), sys.argv[4] if len(sys.argv) > 4 else "boot")
    cores = os.cpu_count()
    command = [backlto, "kbuild", "--no-cache", "--json", "--trace"]
    wall, bound, own = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        trace = pathlib.Path(directory) / "trace.json"
        for _ in range(rounds + 1):
            for obj in objs.values():
                (obj / ".tmp_backlto").unlink(missing_ok=True)
            start = time.monotonic()
            output = subprocess.run(
                [*command, trace, *(f"--arch={arch}={obj}" for arch, obj in objs.items())],
                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            ).stdout
            wall.append(time.monotonic() - start)
            summary = json.loads(output.splitlines()[-1])
            steps = {}
            for event in json.loads(trace.read_text())["traceEvents"]:
                if event.get("cat") == "step":
                    steps.setdefault(event["name"], []).append(event["dur"] / 1e6)
            alone = sum(max(times) for times in steps.values())
            bound.append(summary["count"]["backend_cpu_seconds"] / cores + alone)
            own.append(summary["cpu_seconds"] / cores + alone)
    # The first round warms the page cache.
    wall, bound, own = (statistics.median(times[1:]) for times in (wall, bound, own))
    print(f"{summary['count']['objects']} objects of {len(objs)} kernels, {cores} cores, {rounds} rounds")
    print(f"  one run                                     {wall:7.2f} s")
    print(f"  backends / cores + longest thin link + link {bound:7.2f} s, ratio {wall / bound:.3f}")
    print(f"  all of backlto / cores + the same           {own:7.2f} s, ratio {wall / own:.3f}")


if __name__ == "__main__":
    main()
