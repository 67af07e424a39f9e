#!/usr/bin/env python3
"""What a rebuild of Linux 6.12, x86_64, takes when little or nothing changed.

usage: incremental.py BACKLTO WORKDIR [ROUNDS [BASELINE]]

Measured is `backlto kbuild`, from the thin link to vmlinux.o; the front end runs
before, and is not counted. Printed are medians. BASELINE is another backlto, one
without record and cache, that takes turns with this one in cold builds; without
it, the turns are those of `--no-cache`.
"""

import importlib.util
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

import kernel

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"


def load_test():
    """test-incremental.py, which has a source that may be edited."""
    path = SCRIPTS / "test-incremental.py"
    spec = importlib.util.spec_from_file_location("test_incremental", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEST = load_test()
RECORD = ".tmp_backlto"


class Bench:
    """A tree, its cache, and what to run in it."""

    def __init__(self, backlto: str, work: pathlib.Path) -> None:
        original = TEST.run([SCRIPTS / "kernel-source.sh", "6.12", work]).strip()
        work = work / "incremental-boot"
        work.mkdir(exist_ok=True)
        self.backlto = backlto
        self.source = TEST.Source(pathlib.Path(original), work / "src")
        self.cache = work / "bench-cache"
        self.kernel = TEST.Kernel(backlto, self.source, work / "obj", self.cache, "boot")
        self.obj = self.kernel.obj
        self.kernel.front_end()

    def command(self, *more: str, backlto: str | None = None) -> list[str]:
        return [backlto or self.backlto, "kbuild", str(self.obj), "-q", *more]

    def with_cache(self, *more: str) -> list[str]:
        return self.command("--cache-dir", str(self.cache), *more)

    def wall(self, command: list[str]) -> float:
        return kernel.measure(command, self.obj)[0]

    def forget(self) -> None:
        """Takes away what backlto has built and knows of the tree."""
        (self.obj / RECORD).unlink(missing_ok=True)
        for native in self.obj.glob("**/*.thinlto-native.o"):
            native.unlink()

    def nothing(self, rounds: int) -> float:
        text = TEST.run([word for word in self.with_cache() if word != "-q"])
        did = re.findall(r"^  [A-Z]+ +\S+", text, re.M)
        if did:
            sys.exit(f"nothing changed, yet: {did}")
        return statistics.median(self.wall(self.with_cache()) for _ in range(rounds * 3))

    def edit(self, name: str, function: str, rounds: int) -> tuple[float, dict[str, int]]:
        """The same line with another number, in every round."""
        TEST.in_function(name, function, 0)(self.source)
        self.kernel.front_end()
        subprocess.run(self.with_cache(), check=True)
        walls, counts = [], {}
        for number in range(1, rounds + 1):
            self.source.change(name, r"backlto_counter \+= \d+;", f"backlto_counter += {number};")
            self.kernel.front_end()
            before = self.kernel.natives()
            # Without -q it says what it did; that is a line for each object.
            start = kernel.time.monotonic()
            counts = self.kernel.kbuild("--cache-dir", str(self.cache))
            walls.append(kernel.time.monotonic() - start)
            after = self.kernel.natives()
            counts["changed"] = sum(before[name] != after[name] for name in after)
        self.source.revert(name)
        self.kernel.front_end()
        subprocess.run(self.with_cache(), check=True)
        return statistics.median(walls), counts

    def from_cache(self, rounds: int) -> tuple[float, float]:
        """Every object out of the cache: to the objects, and to vmlinux.o."""
        objects, link = [], []
        for _ in range(rounds):
            self.forget()
            objects.append(self.wall(self.with_cache("--to", "objects")))
            (self.obj / "vmlinux.o").unlink()
            link.append(self.wall(self.with_cache()))
        return statistics.median(objects), statistics.median(link)

    def cold(self, rounds: int, baseline: str | None) -> tuple[float, float]:
        """Cold builds in turns: with record and cache, and without."""
        without = self.command(backlto=baseline) if baseline else self.command("--no-cache")
        ours, theirs = [], []
        for _ in range(rounds):
            for walls, command in ((ours, self.with_cache()), (theirs, without)):
                self.forget()
                shutil.rmtree(self.cache, ignore_errors=True)
                walls.append(self.wall(command))
        return statistics.median(ours), statistics.median(theirs)


def main() -> None:
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    work = pathlib.Path(sys.argv[2]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    baseline = str(pathlib.Path(sys.argv[4]).resolve()) if len(sys.argv) > 4 else None
    bench = Bench(str(pathlib.Path(sys.argv[1]).resolve()), work)

    # Also warms the page cache.
    subprocess.run(bench.with_cache(*TEST.LIMIT_ARGS), check=True)
    objects = len(bench.kernel.objects())
    print(f"{objects} objects, {kernel.JOBS} jobs, medians of {rounds} rounds")
    print(f"  {'':34}{'wall':>9}  compiled  found after import  other bytes")
    print(f"  {'nothing changed':34}{bench.nothing(rounds):7.2f} s", flush=True)
    for name, function in (("init/main.c", "^void start_kernel"),
                           ("mm/slab_common.c", "^static unsigned int calculate_alignment")):
        wall, counts = bench.edit(name, function, rounds)
        print(f"  {'one line in ' + name:34}{wall:7.2f} s{counts['compiled']:10}"
              f"{counts['imported']:20}{counts['changed']:13}", flush=True)
    to_objects, link = bench.from_cache(rounds)
    print(f"  {'all objects from the cache':34}{to_objects:7.2f} s")
    print(f"  {'  and the link of vmlinux.o':34}{link:7.2f} s", flush=True)
    ours, theirs = bench.cold(rounds, baseline)
    what = "cold, the baseline" if baseline else "cold, --no-cache"
    print(f"  {'cold, with record and cache':34}{ours:7.2f} s")
    print(f"  {what:34}{theirs:7.2f} s")
    print(f"record and cache cost {(ours / theirs - 1) * 100:+.1f} %")


if __name__ == "__main__":
    main()
