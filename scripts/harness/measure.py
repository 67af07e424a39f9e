"""What the benchmarks share: their command lines, and what programs cost."""

import argparse
import dataclasses
import os
import shlex
import statistics
import subprocess
import time

from harness.run import Unable, directory, program


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


@dataclasses.dataclass(frozen=True)
class Cost:
    """What some commands took together."""

    wall: float  # seconds
    cpu: float  # seconds, of all its processes
    peak: float  # MB of its largest process


def cost(steps, folder, variables=None):
    """The Cost of the commands STEPS, one after the other in FOLDER, or where this
    program is, with VARIABLES of the environment; all must succeed. What they say is dropped."""
    environment = {**os.environ, **(variables or {})}
    start, cpu, peak = time.perf_counter(), 0.0, 0.0
    for command in steps:
        process = subprocess.Popen(command, cwd=folder, env=environment,
                                   stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Unable(f"{shlex.join(map(str, command))}: status {process.returncode}")
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss / 1000)
    return Cost(time.perf_counter() - start, cpu, peak)


def measure(command, folder=None):
    """Wall and CPU seconds of COMMAND, which must succeed; what it says is dropped."""
    once = cost([command], folder)
    return once.wall, once.cpu


def in_turns(commands, folder, rounds, warm_up):
    """The median wall and CPU seconds of each of COMMANDS, pairs of a command and of variables
    of its environment, in ROUNDS after so many to WARM_UP."""
    costs = [[cost([command], folder, variables) for command, variables in commands]
             for _ in range(warm_up + rounds)][warm_up:]
    return [(statistics.median(once.wall for once in column),
             statistics.median(once.cpu for once in column)) for column in zip(*costs)]
