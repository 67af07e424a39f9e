"""What the benchmarks share: their command lines, and seconds of programs."""

import argparse
import resource
import subprocess
import time

from harness.run import directory, program


def arguments(text, *more, rounds=3):
    """The words PROGRAM WORK [ROUNDS] of the command line, and MORE: (name, options)."""
    parser = argparse.ArgumentParser(description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="PROGRAM", type=program)
    parser.add_argument("work", metavar="WORK", type=directory)
    parser.add_argument("rounds", metavar="ROUNDS", type=int, nargs="?", default=rounds)
    for name, options in more:
        parser.add_argument(name, metavar=name.upper(), nargs="?", **options)
    return parser.parse_args()


def measure(command, folder=None):
    """Wall and CPU seconds of COMMAND, which must succeed; what it says is dropped."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
