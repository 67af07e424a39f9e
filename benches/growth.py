#!/usr/bin/env python3
"""What a link of many tiny modules costs, and how that grows with their number.

Programs of generated modules (COUNTS of them, with commas), each a function that calls one of
another module, are linked by ld.lld in process and by ld.backlto (PROGRAM) without a cache, in
turns; `backlto run` then says what of its CPU time is not LLVM's ThinLTO backend. Medians of
ROUNDS.
"""

import json
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness.measure import arguments, in_turns
from harness.oracle import each
from harness.run import directory, llvm, main, output

COUNTS = "1000,4000,5000,20000"
FLAGS = ["-O2", "-fPIE", "-ffunction-sections"]
# So many sources for each run of clang.
BATCH = 100
WARM_UP = 1


def drive():
    options = arguments(__doc__, ("counts", {"default": COUNTS}))
    backlto = options.program.with_name("backlto")
    print(f"{'modules':>8}{'ld.lld':>18}{'ld.backlto':>18}{'ratio':>8}"
          f"{'outside the backends':>24}{'peak memory':>14}")
    for count in map(int, options.counts.split(",")):
        folder = directory(options.work / f"bench-growth-{count}")
        modules = front_end(folder, count)
        # ld.lld as clang calls it, with what is left out where nothing is to start.
        words = ["-pie", "-O1", "--entry=f0", "-o", "program", "@modules"]
        (folder / "modules").write_text("\n".join(modules))
        commands = [([llvm("ld.lld"), *words], None),
                    ([options.program, *words], {"BACKLTO_CACHE_DIR": ""})]
        (lld, _), (ours, _) = in_turns(commands, folder, options.rounds, WARM_UP)
        outside, peak = zip(*(alone(backlto, folder, modules) for _ in range(options.rounds)))
        print(f"{count:8}{per_module(lld, count):>18}{per_module(ours, count):>18}"
              f"{ours / lld:8.2f}{per_module(statistics.median(outside), count):>24}"
              f"{statistics.median(peak) / 1e6:11.0f} MB", flush=True)


def per_module(seconds, count):
    """SECONDS in all, and for each of COUNT modules."""
    return f"{seconds:.2f} s, {seconds / count * 1000:.2f} ms"


def front_end(folder, count):
    """Bitcode of COUNT modules in FOLDER, where it is not yet. The names."""
    names = [f"m{number}" for number in range(count)]
    missing = [number for number, name in enumerate(names)
               if not (folder / f"{name}.o").exists()]
    for number in missing:
        # Chains of four: longer ones would be imported whole.
        callee = f"f{number + 1}" if number % 4 < 3 and number + 1 < count else "own"
        (folder / f"m{number}.c").write_text(
            f"int f{number + 1}(int);\n"
            f"static int own(int x) {{ return x * {number} + 1; }}\n"
            f"int f{number}(int x) {{ return {callee}(x - 1) + own(x); }}\n")
    batches = [missing[start:start + BATCH] for start in range(0, len(missing), BATCH)]
    each(lambda batch: output([llvm("clang"), *FLAGS, "-flto=thin", "-c",
                               *(f"m{number}.c" for number in batch)], cwd=folder), batches)
    return [f"{name}.o" for name in names]


def alone(backlto, folder, modules):
    """The CPU seconds of backlto besides LLVM's backends, thin link and last link, and its
    peak memory in bytes."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"programs": [{
        "name": "growth", "directory": ".", "flags": FLAGS, "inputs": modules,
        "thin_link": ["-pie", "--entry=f0"], "link": ["-pie", "--entry=f0"],
        "output": "by-plan"}]}))
    for native in folder.glob("*.thinlto-native.o"):
        native.unlink()
    said = output([backlto, "run", "--no-cache", "--json", plan],
                  env={**os.environ, "LD": llvm("ld.lld")})
    summary = json.loads(said.splitlines()[-1])
    if summary["event"] != "summary" or summary["count"]["compiled"] != len(modules):
        raise ValueError(f"not all {len(modules)} modules were compiled: {summary}")
    return (summary["cpu_seconds"] - summary["count"]["backend_cpu_seconds"],
            summary["peak_memory_bytes"])


if __name__ == "__main__":
    main(drive)
