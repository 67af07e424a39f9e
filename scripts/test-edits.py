#!/usr/bin/env python3
"""Edit random programs at random, and look for objects that are stale.

Each program (harness/program.py) has 3 to 8 modules of C and C++ and is edited again and
again (harness/mutate.py). After each edit that compiles and links:

  - ld.backlto links it, with a cache that lives as long as the program;
  - backlto runs the same backends again, with an empty cache: every object must have the
    same bytes;
  - each CLANG-th time, so must those of one clang for each backend.

At the end the caches must have served objects by both of their keys, or nothing was proved.

Exit status: 0 if all is well, 1 at the first object that is not, with the words that
repeat it; 2 if the test could not be done.
"""

import argparse
import collections
import concurrent.futures
import itertools
import json
import os
import random
import shlex
import subprocess

from harness import mutate
from harness.run import JOBS, Failure, Unable, directory, llvm, main, output, program, remove, say

CLANG, LLD = llvm("clang"), llvm("ld.lld")
KEPT, FRESH = "kept", "fresh"
# Edits of one program.
ROUND = 50
# Edits that may be refused in a row.
PATIENCE = 200


class Refused(Exception):
    """clang or ld.lld does not take the program."""


def run(command, folder, error):
    """Runs COMMAND in FOLDER; ERROR is raised where it fails."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          env=os.environ | {"LLD": LLD}, check=False, encoding="utf-8",
                          errors="replace")
    if done.returncode:
        raise error(f"in {folder}: {shlex.join(map(str, command))}: status {done.returncode}\n"
                    f"{done.stderr}".rstrip())


class Tree:
    """A program in a directory of its own, as it is built after each edit."""

    def __init__(self, backlto, path):
        remove(path)
        self.path = directory(path)
        self.backlto, self.linker = backlto, backlto.with_name("ld.backlto")
        # What each object was compiled from.
        self.compiled = {}

    def write(self, name, text):
        (self.path / name).write_text(text)

    def front_end(self, made):
        """Compiles the modules of MADE that are not as they were; the words for the link."""
        self.write_profile(made)
        for module in made.modules:
            text = made.text(module)
            common = [flag for flag in made.flags if not module.native
                      or flag.startswith(("--target", "-march"))]
            words = [*common, *([] if module.native else ["-flto=thin"]), *module.flags,
                     *(["-std=c++20", "-fno-rtti", "-fno-exceptions"]
                       if module.language == "c++" else []), "-w"]
            made_of = [text, words, sorted(made.profile.items())]
            if self.compiled.get(module.name) == made_of:
                continue
            self.compiled.pop(module.name, None)
            self.write(module.source(), text)
            run([CLANG, *words, "-c", module.source(), "-o", f"{module.name}.o"], self.path,
                Refused)
            self.compiled[module.name] = made_of
        objects = [f"{module.name}.o" for module in made.modules if not module.archive]
        archived = [f"{module.name}.o" for module in made.modules if module.archive]
        if not archived:
            return objects
        remove(self.path / "all.a")
        run([llvm("llvm-ar"), "rcs", "all.a", *archived], self.path, Unable)
        return [*objects, "--whole-archive", "all.a", "--no-whole-archive"]

    def write_profile(self, made):
        counts = sorted(made.profile.items())
        if made.family == "samples":
            self.write(mutate.SAMPLES, "".join(f"{name}:{count * 3}:{count}\n 1: {count}\n"
                                        for name, count in counts))
        elif made.family in ("counts", "context"):
            # The hash of a function without branches, in the front end and in IR.
            own, kind = (0, ":fe") if made.family == "counts" else \
                (742261418966908927, ":csir")
            self.write("counts.proftext", f"{kind}\n" + "".join(
                f"{name}\n{own}\n1\n{count}\n\n" for name, count in counts))
            name = mutate.COUNTS if made.family == "counts" else mutate.CONTEXT
            run([llvm("llvm-profdata"), "merge", "-o", name, "counts.proftext"], self.path, Unable)

    def link(self, made):
        """Links MADE by ld.backlto; the jobs that were run."""
        objects = self.front_end(made)
        names = " ".join(f"i{number}; v{number};" for number in made.version_script)
        self.write("versions", f"{{ global: i1; {names} local: *; }};\n")
        for file in self.path.glob("out*.json"):
            remove(file)
        words = [word for kind in made.link.values() for word in kind]
        if made.family == "samples":
            words.append(f"--lto-sample-profile={mutate.SAMPLES}")
        if made.family == "context":
            words.append(f"--lto-cs-profile-file={mutate.CONTEXT}")
        if "-r" in words:
            words = ["-r", *made.link["level"], *made.link["imports"]]
        words += ["--unresolved-symbols=ignore-all", *objects, "-o", "out"]
        try:
            run([self.linker, *words, "--save-temps=resolution", f"--thinlto-cache-dir={KEPT}"],
                self.path, Failure)
        except Failure:
            # That is fine if ld.lld does not link it either.
            run([LLD, *words], self.path, Refused)
            raise
        descriptions = list(self.path.glob("out*.json"))
        if len(descriptions) != 1:
            raise Unable(f"{len(descriptions)} descriptions of jobs in {self.path}")
        return Jobs(self, descriptions[0])

    def counters(self):
        """What the cache has counted."""
        text = output([self.backlto, "--cache-dir", KEPT, "cache", "stats", "--json"],
                      cwd=self.path)
        return json.loads(text)["counters"]


class Jobs:
    """The backends of a link."""

    def __init__(self, tree, description):
        self.tree, self.description = tree, description
        described = json.loads(description.read_text())
        self.common, self.jobs = described["common"]["args"], described["jobs"]
        self.outputs = {job["inputs"][0]: tree.path / job["outputs"][0] for job in self.jobs}

    def take(self):
        """The objects, by their modules; they are removed."""
        taken = {}
        for module, path in self.outputs.items():
            taken[module] = path.read_bytes()
            remove(path)
        return taken

    def clean_up(self):
        for path in self.outputs.values():
            remove(path, path.with_name(f"{path.name}.thinlto.bc"))

    def by_backlto(self):
        """The objects, with an empty cache."""
        remove(self.tree.path / FRESH)
        run([self.tree.backlto, "-q", "--cache-dir", FRESH, "distribute", self.description],
            self.tree.path, Failure)
        return self.take()

    def by_clang(self):
        """The objects, by one clang for each."""
        for job in self.jobs:
            run([*self.common, *job["args"]], self.tree.path, Failure)
        return self.take()


class Test:
    """One program and all of its edits."""

    def __init__(self, options, number):
        self.options, self.number = options, number
        self.rng = random.Random(f"{options.seed}.{number}")
        self.tree = Tree(options.backlto, options.work / f"program-{number}")
        self.family = list(mutate.FAMILIES)[number % len(mutate.FAMILIES)]
        self.counts = dict.fromkeys(("builds", "objects", "by clang", "not accepted"), 0)

    def build(self, made, what):
        """Builds MADE, and compares every object."""
        jobs = self.tree.link(made)
        kept = jobs.take()
        self.compare(kept, jobs.by_backlto(), what, "the one of an empty cache")
        if self.counts["builds"] % self.options.clang == 0:
            self.compare(kept, jobs.by_clang(), what, "clang's")
            self.counts["by clang"] += len(kept)
        self.counts["builds"] += 1
        self.counts["objects"] += len(kept)
        jobs.clean_up()

    def compare(self, kept, other, what, whose):
        wrong = [module for module in kept if kept[module] != other[module]]
        if not wrong:
            return
        (self.tree.path / "wrong.o").write_bytes(kept[wrong[0]])
        (self.tree.path / "right.o").write_bytes(other[wrong[0]])
        raise Failure(f"program {self.number} ({self.family}), build {self.counts['builds']} "
                      f"({what}): {', '.join(wrong)} is not {whose}; see right.o and wrong.o in "
                      f"{self.tree.path}\nrepeat it with --seed {self.options.seed} "
                      f"--program {self.number}")

    def accepted(self, attempts):
        """The first of ATTEMPTS, programs and what they are, that clang and ld.lld take."""
        for made, what in itertools.islice(attempts, PATIENCE):
            try:
                self.build(made, what)
                return made
            except Refused as why:
                self.counts["not accepted"] += 1
                last = why
        raise Unable(f"program {self.number}: no edit of {PATIENCE} was accepted\n{last}")

    def attempts(self, built):
        """Edits of the last program BUILT; some go back to an earlier one."""
        while True:
            if mutate.one_in(self.rng, 12):
                yield self.rng.choice(built), "taken back"
            else:
                yield mutate.edited(self.rng, built[-1])

    def run(self, edits):
        """The program, then EDITS edits of it; what was counted."""
        first = iter(lambda: (mutate.program(self.rng, self.family), "first build"), None)
        built = [self.accepted(first)]
        for _ in range(edits):
            built.append(self.accepted(self.attempts(built)))
        counters = self.tree.counters()
        remove(self.tree.path)
        return self.counts | {"found by inputs": counters["hits_primary"],
                              "found after the import": counters["hits_after_import"],
                              "compiled": counters["misses"]}


def drive():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backlto", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory)
    parser.add_argument("--edits", metavar="N", type=int, default=1000)
    parser.add_argument("--seed", metavar="S", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--program", metavar="P", type=int, help="this one alone")
    parser.add_argument("--clang", metavar="N", type=int, default=10,
                        help="clang compiles every N-th build too (%(default)s)")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    per_program = min(ROUND, -(-options.edits // len(mutate.FAMILIES)))
    numbers = [options.program] if options.program is not None else \
        range(-(-options.edits // per_program))
    total = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        tests = [pool.submit(lambda n: Test(options, n).run(per_program), n) for n in numbers]
        try:
            for number, test in zip(numbers, tests):
                counts = test.result()
                total.update(counts)
                family = list(mutate.FAMILIES)[number % len(mutate.FAMILIES)]
                say(f"program {number} ({family}): {text(counts)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    say(f"all: {text(total)}")
    for how in ("found by inputs", "found after the import", "compiled", "by clang"):
        if not total[how]:
            raise Failure(f"no object was {how}, so this has shown nothing")


def text(counts):
    return ", ".join(f"{count} {what}" for what, count in counts.items())


if __name__ == "__main__":
    main(drive)
