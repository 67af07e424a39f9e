#!/usr/bin/env python3
"""Stages 2 to 4 of Linux 6.12, x86_64: backlto, kbuild's way and ld.lld.

All run on one tree, in turns, so that a slow minute of the machine hits all of
them alike. Printed are medians, and ratios of medians.
"""

import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

from harness import kernel, oracle
from harness.measure import arguments, measure
from harness.run import JOBS, main, output


def drive():
    options = arguments(__doc__)
    build = kernel.with_front_end(kernel.Tree("6.12/boot"), options.work,
                                  options.work / "bench-6.12-boot-x86_64")
    obj = build.obj
    kbuild = [options.program, "kbuild", obj, "-q", "--no-cache"]

    # Warms the page cache and writes the index and records the others need.
    measure(kbuild, obj)
    contenders = {
        "backlto, stage 2": [*kbuild, "--to", "thin-link"],
        "backlto, stages 2 and 3": [*kbuild, "--to", "objects"],
        "backlto, stages 2 to 4": kbuild,
        "kbuild, stage 3": ["make", "-rR", "-f", HERE / "stage3.mk", f"-j{JOBS}",
                            f"srctree={build.source}", "quiet=quiet_"],
        # By itself, from the recorded link.
        "ld.lld, stages 2 to 4": [*oracle.link_command(obj, "bench-lld.o", "@builtin.order"),
                                  f"--thinlto-jobs={JOBS}"],
    }
    results = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            forget(obj)
            results[name].append(measure(command, obj))
    (obj / "bench-lld.o").unlink()

    wall = {name: statistics.median(w for w, _ in runs) for name, runs in results.items()}
    cpu = {name: statistics.median(c for _, c in runs) for name, runs in results.items()}
    print(f"{len(oracle.bitcode(obj))} objects, {JOBS} jobs, medians of {options.rounds} rounds "
          "in turns")
    for name in contenders:
        print(f"  {name:24} {wall[name]:7.2f} s wall {cpu[name]:7.2f} s CPU")
    backends = wall["backlto, stages 2 and 3"] - wall["backlto, stage 2"]
    whole = wall["backlto, stages 2 to 4"]
    print(f"stage 3 / kbuild's stage 3:        {backends / wall['kbuild, stage 3']:.3f}")
    print(f"stages 2 to 4 / ld.lld in process: {whole / wall['ld.lld, stages 2 to 4']:.3f}")

    # What a run says of itself: CPU, its share in LLVM's backend, peak memory.
    forget(obj)
    text = output([word for word in kbuild if word != "-q"])
    print("report: ", next(line for line in text.splitlines() if " objects (" in line))
    start_up = statistics.median(measure([options.program, "--version"])[0] for _ in range(20))
    print(f"backlto --version: {start_up * 1000:.0f} ms")


def forget(obj):
    """All backends are to run again: backlto has no record, and make sees new indexes."""
    (obj / ".tmp_backlto").unlink(missing_ok=True)
    for index in obj.rglob("*.thinlto.bc"):
        index.touch()


if __name__ == "__main__":
    main(drive)
