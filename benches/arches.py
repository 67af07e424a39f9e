#!/usr/bin/env python3
"""Four kernels in one run: how much more than their backends does it take?

Trees of Linux 6.12 for four architectures, of a KIND of harness/kernel.py (the smaller
ones without modules are of less use here, since their last link compiles libraries).
Compared with the CPU seconds of all backends, divided by the cores, plus the longest
thin link and the longest last link, which nothing can overlap with. A backend counts
from the moment when LLVM has the module; what the whole of backlto takes, reading
modules included, stands beside it.
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness import kernel
from harness.measure import arguments
from harness.run import JOBS, main, output


def drive():
    options = arguments(__doc__, ("kind", {"choices": kernel.KINDS, "default": "boot"}))
    machines = [name for name, arch in kernel.ARCHES.items() if not arch.is_program()]
    trees = [kernel.Tree(f"6.12/{options.kind}/{name}") for name in machines]
    builds = [kernel.with_front_end(tree, options.work, options.work / f"bench-{tree.file_name()}")
              for tree in trees]
    # The first round warms the page cache.
    rounds = [one_run(options.program, builds) for _ in range(options.rounds + 1)][1:]
    wall, bound, own = (statistics.median(times) for times in list(zip(*rounds))[:3])
    print(f"{rounds[0][3]} objects of {len(builds)} kernels, {JOBS} cores, {options.rounds} rounds")
    print(f"  one run                                     {wall:7.2f} s")
    print(f"  backends / cores + longest thin link + link {bound:7.2f} s, ratio {wall / bound:.3f}")
    print(f"  all of backlto / cores + the same           {own:7.2f} s, ratio {wall / own:.3f}")


def one_run(backlto, builds):
    """Wall seconds, those of the backends and those of all of backlto if all cores were
    busy, and the number of objects."""
    for build in builds:
        (build.obj / ".tmp_backlto").unlink(missing_ok=True)
    arches = [f"--arch={build.tree.arch.target}={build.obj}" for build in builds]
    with tempfile.TemporaryDirectory() as home:
        trace = pathlib.Path(home) / "trace.json"
        start = time.monotonic()
        said = output([backlto, "kbuild", "--no-cache", "--json", "--trace", trace, *arches])
        wall = time.monotonic() - start
        steps = {}
        for event in json.loads(trace.read_text())["traceEvents"]:
            if event.get("cat") == "step":
                steps.setdefault(event["name"], []).append(event["dur"] / 1e6)
    summary = json.loads(said.splitlines()[-1])
    alone = sum(max(times) for times in steps.values())
    return (wall, summary["count"]["backend_cpu_seconds"] / JOBS + alone,
            summary["cpu_seconds"] / JOBS + alone, summary["count"]["objects"])


if __name__ == "__main__":
    main(drive)
