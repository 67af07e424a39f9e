#!/usr/bin/env python3
"""A real kernel with a cache and compiles on real engines: buildbox-casd, and BuildGrid with
PostgreSQL; and a program of 10,000 modules.

Proved of buildbox-casd, with every object compared with clang's each time:
  - a build with an empty engine compiles everything, and uploads it within the linger;
  - on another machine (no cache here, the tree in another directory), at least 99 of 100
    objects come from the engine;
  - so they do when the engine is 50 ms away, or more are compiled, with the same bytes;
  - an engine that is killed in the middle costs a warning;
  - with one worker here, an engine with two machines compiles some; killed in the middle, none.
Of BuildGrid: that two of its machines compile some, and another machine finds at least 99 of
100 objects. Of the program: that the engine compiles some of it, that each object is the one
that is compiled here, and that another machine finds as many.
Printed is what each took, in seconds, and what each job that was sent cost here.

WORK is where the tree, the engine and what it keeps are; TREE as for test-kernel.py.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import time

from harness import kernel
from harness.check import require
from harness.engine import FAR, SLOW, Engine, SlowNetwork
from harness.grid import BuildGrid
from harness.run import directory, llvm, main, output, program, remove, say, sha
from harness.stages import Kbuild

# The program of many modules: the files that one clang compiles, and how many there are.
FILES, CLANGS = 100, 100
# Of so many of its objects is known that they are clang's.
SAMPLE = 100


class Project:
    """What is built with an engine, again and again."""

    def __init__(self, backlto, work):
        self.backlto, self.cache = backlto, work / "remote-cache"

    def measure(self, words, cwd="/"):
        """Runs backlto with WORDS; what JSON says in the end with what it cost in seconds, and
        what else was said of an engine."""
        trace = self.cache.with_name("remote-trace.json")
        start = time.monotonic()
        done = subprocess.run(
            [self.backlto, *words, "--json", "--trace", trace], cwd=cwd,
            env=dict(os.environ, BACKLTO_CACHE_DIR=str(self.cache)), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=False)
        seconds = time.monotonic() - start
        require(done.returncode == 0, f"{done.stderr}backlto fails")
        summary = json.loads(done.stdout.splitlines()[-1])
        spans = [event["args"] for event in json.loads(trace.read_text())["traceEvents"]
                 if event.get("args", {}).get("how") == "compiled"]
        here = sum(args["backend_cpu_us"] for args in spans) / 1e6
        summary["seconds"], summary["beside"] = seconds, summary["cpu_seconds"] - here
        return summary, [line for line in done.stderr.splitlines() if "remote" in line]


class Kernel(Project):
    """One tree."""

    def __init__(self, backlto, work, tree):
        super().__init__(backlto, work)
        self.work = work
        (self.tree,) = Kbuild(backlto, work, [tree]).trees
        self.first = self.tree.obj

    def build(self, *args, cold=True):
        """Stages 2 to 4, compared with clang; see `measure`. A COLD build finds nothing on
        this machine."""
        self.tree.forget()
        if cold:
            remove(self.cache)
        summary, said = self.measure(["kbuild", *args, self.tree.obj])
        self.tree.compare()
        return summary, said

    def move(self):
        """Another machine has the tree in another directory."""
        other = self.first.with_name(f"{self.first.name}-elsewhere")
        remove(other)
        output(["cp", "-a", self.first, other])
        self.tree.obj = other

    def cached(self):
        """An engine that is a cache alone."""
        with Engine(self.work, self.work / "remote-engine") as engine:
            plain, _ = self.build()
            objects = plain["count"]["compiled"]
            report("without an engine", plain)
            summary = self.silent("an engine that is empty", engine, "--remote-linger", "60")
            require(summary["remote"]["uploaded"] == objects, "not all objects were uploaded")
            self.move()
            summary = self.silent("another machine", engine)
            require(summary["count"]["remote"] >= 0.99 * objects, "too few objects were found")
            summary, _ = self.build(cold=False)
            report("the cache here", summary)
            with SlowNetwork(engine.port, FAR, SLOW) as far:
                self.silent("another machine, far away", far)
            self.killed(engine)

    def silent(self, what, engine, *args):
        """Builds with ENGINE, about which there is nothing to say."""
        summary, said = self.build("--remote", engine.url, *args)
        report(what, summary)
        require(not said, f"{said}")
        return summary

    def executed(self):
        """Two machines of an engine beside one worker here."""
        both = ("-j1", "--remote-jobs", "2", "--remote-linger", "60")
        alone, _ = self.build("-j1")
        report("one worker here", alone)
        with self.executing() as engine:
            self.silent("and two machines", engine, *both)
        with self.executing() as engine, SlowNetwork(engine.port, FAR, SLOW) as far:
            self.silent("and two machines, far away", far, *both)
        with self.executing() as engine:
            self.killed(engine, *both)

    def of_grid(self):
        """BuildGrid."""
        with BuildGrid(self.work, machines=2) as grid:
            both = ("-j1", "--remote-jobs", "2", "--remote-linger", "60")
            summary = self.silent("and two machines of BuildGrid", grid, *both)
            require(summary["count"]["executed"], "BuildGrid has compiled nothing")
            summary = self.silent("another machine with BuildGrid", grid)
            count = summary["count"]
            require(count["remote"] >= 0.99 * count["objects"], "too few objects were found")

    def executing(self):
        return Engine(self.work, self.work / "remote-engine", jobs=2)

    def killed(self, engine, *args):
        """The engine is killed while objects come from it."""
        self.tree.forget()
        remove(self.cache)
        build = subprocess.Popen(
            [self.backlto, "kbuild", "-q", *args, "--remote", engine.url, self.tree.obj], cwd="/",
            env=dict(os.environ, BACKLTO_CACHE_DIR=str(self.cache)), stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, encoding="utf-8")
        while build.poll() is None and not self.has_objects():
            time.sleep(0.005)
        engine.kill()
        _, errors = build.communicate()
        require(build.returncode == 0, f"{errors}a build fails when its engine is killed")
        said = [line for line in errors.splitlines() if "the remote cache" in line]
        require(len(said) <= 1, f"{said}")
        self.tree.compare()
        say(f"an engine that is killed: {''.join(said) or 'too late to be noticed'}")

    def has_objects(self):
        """Whether there is an object. Other files come and go meanwhile."""
        return any(name.endswith(".thinlto-native.o")
                   for _, _, names in os.walk(self.tree.obj) for name in names)


class Many(Project):
    """A program of many modules, each with a function that calls that of the next."""

    def __init__(self, backlto, work):
        super().__init__(backlto, work)
        self.work, self.home = work, work / "remote-many"
        remove(self.home)
        self.home.mkdir()
        self.names = [f"f{number}" for number in range(FILES * CLANGS)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self.front_end, range(CLANGS)))
        flags = ["--target=x86_64-linux-gnu", "-O2"]
        (self.home / "plan.json").write_text(json.dumps({"programs": [{
            "name": "many", "directory": ".", "output": "many", "flags": flags,
            "inputs": [f"{name}.o" for name in self.names],
            "thin_link": ["-r"], "link": ["-r"]}]}))

    def front_end(self, part):
        names = self.names[part * FILES:][:FILES]
        for name in names:
            follower = f"f{(int(name[1:]) + 1) % len(self.names)}"
            (self.home / f"{name}.c").write_text(
                f"int {follower}(int);\nint {name}(int x) {{\n"
                f"  for (int i = 0; i < x; i++) if (i % {len(name) + 2}) x = {follower}(x - i);\n"
                f"  return x + {int(name[1:])}; }}\n")
        output([llvm("clang"), "--target=x86_64-linux-gnu", "-O2", "-flto=thin", "-c",
                *(f"{name}.c" for name in names)], cwd=self.home)

    def build(self, what, *args):
        """Builds with nothing on this machine, and compares with the build before."""
        remove(self.cache, *self.home.glob(".plan*"), *self.home.glob("*.thinlto*"))
        summary, said = self.measure(["run", "plan.json", *args], self.home)
        report(what, summary)
        require(not said, f"{said}")
        objects = {name: sha(self.home / f"{name}.thinlto-native.o") for name in self.names}
        return summary["count"], objects

    def run(self):
        _, expected = self.build("10,000 modules")
        for name in self.names[::len(self.names) // SAMPLE]:
            compiled = self.home / "clang.o"
            output([llvm("clang"), "--target=x86_64-linux-gnu", "-O2", "-x", "ir",
                    f"-fthinlto-index={name}.o.thinlto.bc", "-c", "-o", compiled, f"{name}.o"],
                   cwd=self.home)
            require(sha(compiled) == expected[name], f"{name} is not clang's")
        with Engine(self.work, self.work / "remote-engine", jobs=2) as engine:
            both = ("-j1", "--remote-jobs", "2", "--remote-linger", "60")
            count, objects = self.build("and two machines", "--remote", engine.url, *both)
            require(count["executed"], "the engine has compiled nothing")
            require(objects == expected, "objects differ from those that were compiled here")
            count, objects = self.build("another machine", "--remote", engine.url)
            require(count["remote"] >= 0.99 * count["objects"], "too few objects were found")
            require(objects == expected, "objects differ from those that were compiled here")


def report(what, summary):
    """Prints what a build did, and what it cost here: CPU time but for LLVM's backends."""
    count, remote = summary["count"], summary["remote"]
    say(f"{what}: {count['remote']} found, {count['compiled']} compiled here and "
        f"{count['executed']} there in {summary['seconds']:.2f} s, "
        f"{summary['cpu_seconds']:.2f} s CPU, {summary['beside']:.2f} s beside backends")
    if remote:
        say(f"  {remote['calls']} calls, {remote['lots']} actions, "
            f"{remote['bytes_sent'] / 1e6:.1f} MB sent, "
            f"{remote['bytes_received'] / 1e6:.1f} MB received, {remote['uploaded']} uploaded")


# With the tree, in this order.
STEPS = {"cache": Kernel.cached, "compiles": Kernel.executed, "buildgrid": Kernel.of_grid}
MANY = "many"


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory, help="for sources and trees")
    parser.add_argument("tree", metavar="TREE", type=kernel.Tree)
    parser.add_argument("--step", action="append", choices=[*STEPS, MANY],
                        help="this step alone; may be repeated")
    options = parser.parse_args()
    wanted = options.step or [*STEPS, MANY]
    with_tree = [step for name, step in STEPS.items() if name in wanted]
    if with_tree:
        built = Kernel(options.program, options.work, options.tree)
        for step in with_tree:
            step(built)
    if MANY in wanted:
        Many(options.program, options.work).run()


if __name__ == "__main__":
    main(drive)
