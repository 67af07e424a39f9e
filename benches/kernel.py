#!/usr/bin/env python3
"""Stages 2 to 4 of Linux 6.12, x86_64: backlto, kbuild's way and ld.lld.

usage: kernel.py BACKLTO WORKDIR [ROUNDS]

All run on one tree, in turns, so that a slow minute of the machine hits all of
them alike. Printed are medians, and ratios of medians.
"""

import os
import pathlib
import re
import resource
import shlex
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "scripts"
JOBS = os.cpu_count()


def tree(work: pathlib.Path) -> pathlib.Path:
    """The 6.12 tree with its front end done, built when it is not there."""
    obj = work / "bench-6.12"
    if (obj / "built-in.a").exists():
        return obj
    source = subprocess.run(
        [SCRIPTS / "kernel-source.sh", "6.12", work], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    for script, more in (("kernel-tree.sh", ["LTO_CLANG_THIN", "boot"]), ("kernel-frontend.sh", [])):
        subprocess.run([SCRIPTS / script, source, obj, "x86_64", *more], check=True)
    return obj


def measure(command: list[str], directory: pathlib.Path) -> tuple[float, float]:
    """Wall and CPU seconds of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(
        command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_process_link(obj: pathlib.Path) -> list[str]:
    """ld.lld doing stages 2 to 4 by itself, from the recorded link."""
    text = (obj / ".vmlinux.o.cmd").read_text()
    words = shlex.split(re.search(r"^savedcmd_vmlinux\.o := (.*)", text, re.M)[1])
    words[words.index("vmlinux.o")] = "bench-lld.o"
    at = words.index("vmlinux.a")
    words[at : at + 1] = ["@builtin.order"]
    return words + [f"--thinlto-jobs={JOBS}"]


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    backlto = str(pathlib.Path(sys.argv[1]).resolve())
    work = pathlib.Path(sys.argv[2]).resolve()
    rounds = int(sys.argv[3]) if len(sys.argv) == 4 else 3
    work.mkdir(parents=True, exist_ok=True)
    obj = tree(work)
    kbuild = [backlto, "kbuild", str(obj), "-q"]

    # Warms the page cache and writes the index and records the others need.
    measure(kbuild, obj)
    objects = len((obj / "vmlinux.thinlto-index").read_text().splitlines())
    source = f"srctree={(obj / 'source').resolve()}"
    stage3 = str(HERE / "stage3.mk")
    contenders = {
        "backlto, stage 2": [*kbuild, "--to", "thin-link"],
        "backlto, stages 2 and 3": [*kbuild, "--to", "objects"],
        "backlto, stages 2 to 4": kbuild,
        "kbuild, stage 3": ["make", "-rR", "-f", stage3, f"-j{JOBS}", source, "quiet=quiet_"],
        "ld.lld, stages 2 to 4": in_process_link(obj),
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            # The thin link rewrites every index, so all backends run again.
            for index in obj.glob("**/*.thinlto.bc"):
                index.touch()
            results[name].append(measure(command, obj))
    (obj / "bench-lld.o").unlink()

    wall = {name: statistics.median(w for w, _ in runs) for name, runs in results.items()}
    cpu = {name: statistics.median(c for _, c in runs) for name, runs in results.items()}
    print(f"{objects} objects, {JOBS} jobs, medians of {rounds} rounds in turns")
    for name in contenders:
        print(f"  {name:24} {wall[name]:7.2f} s wall {cpu[name]:7.2f} s CPU")
    backends = wall["backlto, stages 2 and 3"] - wall["backlto, stage 2"]
    whole = wall["backlto, stages 2 to 4"]
    print(f"stage 3 / kbuild's stage 3:        {backends / wall['kbuild, stage 3']:.3f}")
    print(f"stages 2 to 4 / ld.lld in process: {whole / wall['ld.lld, stages 2 to 4']:.3f}")

    # What a run says of itself: CPU, its share in LLVM's backend, peak memory.
    text = subprocess.run(
        [backlto, "kbuild", str(obj), "--to", "objects"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ).stdout
    print("report: ", next(line for line in text.splitlines() if " objects (" in line))
    start_up = statistics.median(measure([backlto, "--version"], obj)[0] for _ in range(20))
    print(f"backlto --version: {start_up * 1000:.0f} ms")


if __name__ == "__main__":
    main()
