#!/usr/bin/env python3
"""A real kernel with a cache and compiles on a real engine (buildbox-casd).

Proved, with every object compared with clang's each time:
  - a build with an empty engine compiles everything, and uploads it within the linger;
  - on another machine (no cache here, the tree in another directory), at least 99 of 100
    objects come from the engine;
  - so they do when the engine is 50 ms away, or more are compiled, with the same bytes;
  - an engine that is killed in the middle costs a warning;
  - with one worker here, an engine with two machines compiles some; killed in the middle, none.
Printed is what each took, in seconds.

WORK is where the tree, the engine and what it keeps are; TREE as for test-kernel.py.
"""

import argparse
import json
import os
import subprocess
import time

from harness import kernel
from harness.check import require
from harness.engine import Engine, SlowNetwork
from harness.run import directory, main, output, program, remove, say
from harness.stages import Kbuild

# Seconds in each direction, and bytes in a second: 50 ms for a call, 20 Mbit/s.
FAR, SLOW = 0.025, 2.5e6


class Test:
    """One tree, built again and again."""

    def __init__(self, backlto, work, tree):
        self.backlto, self.work = backlto, work
        (self.tree,) = Kbuild(backlto, work, [tree]).trees
        self.first = self.tree.obj
        self.cache = work / "remote-cache"

    def build(self, *args, cold=True):
        """Stages 2 to 4; what JSON says in the end, and what else was said. A COLD build
        finds nothing on this machine."""
        self.tree.forget()
        if cold:
            remove(self.cache)
        start = time.monotonic()
        done = subprocess.run(
            [self.backlto, "kbuild", "--json", *args, self.tree.obj], cwd="/",
            env=dict(os.environ, BACKLTO_CACHE_DIR=str(self.cache)), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=False)
        seconds = time.monotonic() - start
        require(done.returncode == 0, f"{done.stderr}backlto kbuild failed")
        self.tree.compare()
        said = [line for line in done.stderr.splitlines() if "remote" in line]
        return json.loads(done.stdout.splitlines()[-1]), said, seconds

    def move(self):
        """Another machine has the tree in another directory."""
        other = self.first.with_name(f"{self.first.name}-elsewhere")
        remove(other)
        output(["cp", "-a", self.first, other])
        self.tree.obj = other

    def run(self):
        with Engine(self.work, self.work / "remote-engine") as engine:
            plain, _, seconds = self.build()
            objects = plain["count"]["compiled"]
            say(f"without an engine: {objects} compiled in {seconds:.2f} s")
            summary, said, seconds = self.build("--remote", engine.url, "--remote-linger", "60")
            report("an engine that is empty", summary, seconds)
            require(not said, f"{said}")
            require(summary["remote"]["uploaded"] == objects, "not all objects were uploaded")
            self.move()
            summary, said, seconds = self.build("--remote", engine.url)
            report("another machine", summary, seconds)
            require(not said, f"{said}")
            require(summary["count"]["remote"] >= 0.99 * objects, "too few objects were found")
            _, _, seconds = self.build(cold=False)
            say(f"the cache here: {seconds:.2f} s")
            with SlowNetwork(engine.port, FAR, SLOW) as far:
                summary, said, seconds = self.build("--remote", far.url)
                report("another machine, far away", summary, seconds)
                require(not said, f"{said}")
            self.killed(engine)
        self.executed()

    def executed(self):
        """Two machines of an engine beside one worker here."""
        both = ("-j1", "--remote-jobs", "2", "--remote-linger", "60")
        _, _, seconds = self.build("-j1")
        say(f"one worker here: {seconds:.2f} s")
        with self.executing() as engine:
            summary, said, seconds = self.build("--remote", engine.url, *both)
            report("and two machines", summary, seconds)
            require(not said, f"{said}")
        with self.executing() as engine, SlowNetwork(engine.port, FAR, SLOW) as far:
            summary, said, seconds = self.build("--remote", far.url, *both)
            report("and two machines, far away", summary, seconds)
            require(not said, f"{said}")
        with self.executing() as engine:
            self.killed(engine, *both)

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


def report(what, summary, seconds):
    count, remote = summary["count"], summary["remote"]
    say(f"{what}: {count['remote']} found, {count['compiled']} compiled here and "
        f"{count['executed']} there in {seconds:.2f} s, "
        f"{summary['cpu_seconds']:.2f} s CPU; {remote['calls']} calls, "
        f"{remote['bytes_sent'] / 1e6:.1f} MB sent, {remote['bytes_received'] / 1e6:.1f} MB "
        f"received, {remote['uploaded']} uploaded")


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory, help="for sources and trees")
    parser.add_argument("tree", metavar="TREE", type=kernel.Tree)
    options = parser.parse_args()
    Test(options.program, options.work, options.tree).run()


if __name__ == "__main__":
    main(drive)
