"""Kernels with the options that people build them with, one row for each.

What came of a row is kept in WORK/matrix.json, so that a run goes on where the last one
ended; another backlto, compiler or configuration makes a row new.
"""

import json
import time

from harness import kernel, oracle
from harness.dropin import Dropin
from harness.run import Failure, Unable, remove, say, sha
from harness.stages import Kbuild

ROWS = [kernel.Tree(f"{version}/{row}") for version in ("6.12", "7.2") for row in (
    "um/um", "hardened", "traced", "kasan", "kcsan", "kmsan", "tagged/arm64")] + [
    kernel.Tree(f"{version}/profiled") for version in ("7.2", "7.2-thin")]


def run(linker, work, rows):
    """Runs those ROWS that have not passed yet. Raises Failure if any fails."""
    table = Table(work / "matrix.json")
    backlto = linker.with_name("backlto")
    for tree in rows:
        stamp = f"{tree.stamp()}{sha(linker)} {sha(backlto)}"
        if not table.passed(tree, stamp):
            table.enter(tree, stamp, row(linker, backlto, work, tree))
    table.show(rows)
    failed = [tree.name for tree in rows if not table.passed(tree)]
    if failed:
        raise Failure(f"of the matrix, these fail: {', '.join(failed)}")


def row(linker, backlto, work, tree):
    """What came of TREE: make builds it, it boots and loads its modules, its objects are
    clang's and its modules ld.lld's."""
    start = time.monotonic()
    try:
        dropin = Dropin(linker, work, tree)
        modules = dropin.row()
        # With an index, make has compiled each object for the comparison already.
        if tree.has_index:
            objects = len(oracle.bitcode(dropin.obj))
        else:
            dropin.lend()
            stages = Kbuild(backlto, work, [tree])
            stages.run()
            objects = len(stages.trees[0].names)
            remove(stages.trees[0].obj, stages.trees[0].out)
        came = {"objects": objects, "modules": modules}
        remove(dropin.base)
    except (Failure, Unable, OSError) as error:
        say(f"{tree.name}: {error}")
        came = {"failed": str(error).splitlines()[-1]}
    return {**came, "seconds": round(time.monotonic() - start)}


class Table:
    """The rows that were run, in the file PATH."""

    def __init__(self, path):
        self.path = path
        self.rows = json.loads(path.read_text()) if path.exists() else {}

    def passed(self, tree, stamp=None):
        """Whether TREE has passed, as it is told by STAMP, if that is given."""
        came = self.rows.get(tree.name, {})
        return "objects" in came and stamp in (None, came["stamp"])

    def enter(self, tree, stamp, came):
        self.rows[tree.name] = {**came, "stamp": stamp, "date": time.strftime("%Y-%m-%d")}
        self.path.write_text(json.dumps(self.rows, indent=1))

    def show(self, rows):
        """As a table of Markdown."""
        say("| kernel | objects | modules | tried | result |\n|---|---|---|---|---|")
        for tree in rows:
            came = self.rows[tree.name]
            say(f"| {tree.name} | {came.get('objects', '')} | {came.get('modules', '')} | "
                f"{came['date']} | {came.get('failed', 'passes')} |")
