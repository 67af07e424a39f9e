#!/usr/bin/env python3
"""What `backlto simulate` predicts, compared with what happens: two workers here, and an engine
(buildbox-casd) with two machines, near and 50 ms away at 20 Mbit/s.

Machines that are this machine share its cores, so four compiles at a time on two cores would
take twice as long each, which no prediction knows. Compiles are therefore made to sleep
(BACKLTO_FAULT=last:), here and there, and take hardly any CPU: durations are waited for, and all
else is real: scheduler, dispatcher, engine, actions, bytes. What an action costs this engine
beside its compiles is measured first, in a run that is not compared; what the line to it is
like says `backlto doctor --remote`.

Proved: of each pair, the two differ by at most a tenth.
"""

import argparse
import json
import os
import random
import re

from harness.check import require
from harness.engine import FAR, SLOW, Engine, SlowNetwork
from harness.run import directory, llvm, main, output, program, remove, say

MODULES = 60
SEED = 15
TENTH = 0.1
# What keeps a compile waiting, in the environment of whatever compiles.
SLEEP = {"BACKLTO_FAULT": "last:.o"}


class Test:
    """A program whose compiles sleep."""

    def __init__(self, backlto, work):
        self.work = work / "prediction"
        self.engines = work
        remove(self.work)
        self.work.mkdir()
        # Debug information would travel and say nothing.
        self.backlto = self.work / "backlto"
        output([llvm("llvm-strip"), "-o", self.backlto, backlto])
        self.names = self.modules()

    def modules(self):
        """Modules of 20 to 200 kB, with how many milliseconds each sleeps in its name."""
        chance = random.Random(SEED)
        names = []
        for number in range(MODULES):
            name = f"m{number}-{int(200 * 20 ** chance.random())}.o"
            data = "".join(f"\\{byte:03o}" for byte in
                           chance.randbytes(int(20_000 * 10 ** chance.random())))
            source = self.work / "module.c"
            source.write_text(f'const char data{number}[] = "{data}";\n'
                              f"int next{number + 1}(int);\n"
                              f"__attribute__((weak)) int next{number + 1}(int x) {{ return x; }}\n"
                              f"int next{number}(int x) {{ return next{number + 1}(x) + "
                              f"data{number}[x]; }}\n")
            output([llvm("clang"), "-O2", "-fPIC", "-flto=thin", "-c", source, "-o", self.work / name])
            names.append(name)
        (self.work / "plan.json").write_text(json.dumps({"programs": [{
            "name": "sleepers", "directory": ".", "flags": ["-O2", "-fPIC"], "inputs": names,
            "thin_link": ["-shared"], "link": ["-shared"], "output": "sleepers.so"}]}))
        return names

    def build(self, *args):
        """The seconds from the start of the first compile to the end of the last, and what
        JSON says in the end."""
        remove(*self.work.glob("*.thinlto-native.o"), self.work / "cache")
        lines = output([self.backlto, "run", "--json", *args, "plan.json"], cwd=self.work,
                       env=dict(os.environ, BACKLTO_CACHE_DIR=str(self.work / "cache"), **SLEEP))
        events = [json.loads(line) for line in lines.splitlines()]
        starts = [event["seconds"] for event in events if event["event"] == "started"]
        ends = [event["seconds"] for event in events if event["event"] == "finished"]
        require(len(ends) == MODULES, f"{len(ends)} of {MODULES} compiles ended")
        return max(ends) - min(starts), events[-1]

    def beside(self, url):
        """A build with the engine at URL."""
        return self.build("-j2", "--remote", url, "--remote-jobs", "2", "--remote-linger", "60")

    def executing(self):
        return Engine(self.engines, self.work / "engine", jobs=2, variables=SLEEP)

    def predict(self, record, *line):
        """What is predicted by RECORD for two workers, alone and beside two machines."""
        text = output([self.backlto, "simulate", record, "--json", "--workers", "2",
                       "--remote-workers", "2", *line])
        (row,) = json.loads(text)["rows"]
        (beside,) = row["remote"]
        return row["seconds"], beside

    def run(self):
        seconds, _ = self.build("-j2")
        record = self.work / "alone"
        record.write_bytes((self.work / ".plan.json.backlto").read_bytes())
        alone, _ = self.predict(record)
        self.compare("two workers", alone, seconds)
        with self.executing() as engine:
            _, summary = self.beside(engine.url)
        overhead = summary["remote"]["overhead_seconds"] / summary["remote"]["lots"]
        say(f"an action takes {1e3 * overhead:.0f} ms beside its compiles")
        with self.executing() as engine:
            self.compare_engine("and two machines", record, overhead, engine)
        with self.executing() as engine, SlowNetwork(engine.port, FAR, SLOW) as slow:
            self.compare_engine("far away", record, overhead, slow)

    def line(self, url):
        """The milliseconds of a call to URL, and the megabits in a second on the way there."""
        text = output([self.backlto, "doctor", "--remote", url])
        call, rate = re.search(r"round trip ([\d.]+) ms, ([\d.]+) MB/s there", text).groups()
        return float(call), 8 * float(rate)

    def compare_engine(self, what, record, overhead, engine):
        call, rate = self.line(engine.url)
        seconds, summary = self.beside(engine.url)
        _, told = self.predict(record, "--rtt", str(call), "--bandwidth", str(rate),
                               "--overhead", str(1e3 * overhead))
        say(f"  a call takes {call} ms, {rate:.0f} Mbit/s")
        count, remote = summary["count"], summary["remote"]
        say(f"  {count['executed']} of {MODULES} compiled there ({told['there']} predicted) in "
            f"{remote['lots']} actions ({told['actions']}), {remote['bytes_sent'] / 1e6:.1f} MB "
            f"sent ({told['bytes_sent'] / 1e6:.1f})")
        self.compare(what, told["seconds"], seconds)

    def compare(self, what, predicted, measured):
        say(f"{what}: {measured:.2f} s, predicted {predicted:.2f} s: "
            f"{100 * (measured / predicted - 1):+.1f} %")
        require(abs(measured / predicted - 1) <= TENTH, f"{what}: not as was predicted")


def drive():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory, help="for the engine and modules")
    options = parser.parse_args()
    Test(options.program, options.work).run()


if __name__ == "__main__":
    main(drive)
