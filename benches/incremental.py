#!/usr/bin/env python3
"""What a rebuild of Linux 6.12, x86_64, takes when little or nothing changed.

Measured is `backlto kbuild`, from the thin link to vmlinux.o; the front end runs
before, and is not counted. Printed are medians. BASELINE is another backlto, one
without record and cache, that takes turns with this one in cold builds; without
it, the turns are those of `--no-cache`.
"""

import pathlib
import re
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from harness.edited import LIMIT_ARGS, Edited, in_function
from harness.measure import arguments, measure
from harness.run import JOBS, Failure, main, output, program, remove


class Bench:
    """A tree, and what to measure in it."""

    def __init__(self, backlto, work, rounds):
        self.kernel = Edited(backlto, work, "boot")
        self.kernel.front_end()
        self.obj, self.rounds = self.kernel.obj, rounds
        # Also warms the page cache.
        self.kernel.kbuild(*LIMIT_ARGS)

    def wall(self, *more):
        return measure(self.kernel.command("-q", *more))[0]

    def forget(self):
        """Takes away what backlto has built and knows of the tree."""
        remove(self.obj / ".tmp_backlto", *self.obj.rglob("*.thinlto-native.o"))

    def nothing(self):
        did = re.findall(r"^  [A-Z]+ +\S+", output(self.kernel.command()), re.M)
        if did:
            raise Failure(f"nothing changed, yet: {did}")
        return statistics.median(self.wall() for _ in range(self.rounds * 3))

    def edit(self, name, function):
        """The same line with another number, in every round; seconds, and what the last
        round did."""
        source = self.kernel.source
        in_function(name, function, 0)(source)
        self.kernel.front_end()
        self.kernel.kbuild()
        walls, counts = [], {}
        for number in range(1, self.rounds + 1):
            source.change(name, r"backlto_counter \+= \d+;", f"backlto_counter += {number};")
            self.kernel.front_end()
            before = self.kernel.natives()
            # Without -q it says what it did; that is a line for each object.
            start = time.monotonic()
            counts = self.kernel.kbuild()
            walls.append(time.monotonic() - start)
            after = self.kernel.natives()
            counts["changed"] = sum(before[name] != after[name] for name in after)
        source.revert(name)
        self.kernel.front_end()
        self.kernel.kbuild()
        return statistics.median(walls), counts

    def from_cache(self):
        """Every object out of the cache: to the objects, and to vmlinux.o."""
        objects, link = [], []
        for _ in range(self.rounds):
            self.forget()
            objects.append(self.wall("--to", "objects"))
            (self.obj / "vmlinux.o").unlink()
            link.append(self.wall())
        return statistics.median(objects), statistics.median(link)

    def cold(self, baseline):
        """Cold builds in turns: with record and cache, and without."""
        without = [baseline, "kbuild", self.obj, "-q"] if baseline \
            else self.kernel.command("-q", "--no-cache")
        ours, theirs = [], []
        for _ in range(self.rounds):
            for walls, command in ((ours, self.kernel.command("-q")), (theirs, without)):
                self.forget()
                remove(self.kernel.cache)
                walls.append(measure(command)[0])
        return statistics.median(ours), statistics.median(theirs)


def drive():
    options = arguments(__doc__, ("baseline", {"type": program}))
    bench = Bench(options.program, options.work, options.rounds)
    print(f"{len(bench.kernel.objects())} objects, {JOBS} jobs, medians of {options.rounds} rounds")
    print(f"  {'':34}{'wall':>9}  compiled  found after import  other bytes")
    print(f"  {'nothing changed':34}{bench.nothing():7.2f} s", flush=True)
    for name, function in (("init/main.c", "^void start_kernel"),
                           ("mm/slab_common.c", "^static unsigned int calculate_alignment")):
        wall, counts = bench.edit(name, function)
        print(f"  {'one line in ' + name:34}{wall:7.2f} s{counts['compiled']:10}"
              f"{counts['imported']:20}{counts['changed']:13}", flush=True)
    to_objects, link = bench.from_cache()
    print(f"  {'all objects from the cache':34}{to_objects:7.2f} s")
    print(f"  {'  and the link of vmlinux.o':34}{link:7.2f} s", flush=True)
    ours, theirs = bench.cold(options.baseline)
    what = "cold, the baseline" if options.baseline else "cold, --no-cache"
    print(f"  {'cold, with record and cache':34}{ours:7.2f} s")
    print(f"  {what:34}{theirs:7.2f} s")
    print(f"record and cache cost {(ours / theirs - 1) * 100:+.1f} %")


if __name__ == "__main__":
    main(drive)
