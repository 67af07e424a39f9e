#!/usr/bin/env python3
"""distributor.py BACKLTO [ARG...] FILE.dist-file.json: LLD's distributor, for tests.

Has BACKLTO run the jobs, then one clang for each of them, and compares the objects.
Adds a line with their number to the file that $COMPARED names."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile


def differs(job, common, directory, number):
    """Whether clang's object for `job` is another one."""
    (output,) = job["outputs"]
    own = os.path.join(directory, f"{number}.o")
    args = [own if arg == output else arg for arg in job["args"]]
    subprocess.run([*common["args"], *args], check=True)
    with open(output, "rb") as ours, open(own, "rb") as clangs:
        return ours.read() != clangs.read()


def main():
    subprocess.run(sys.argv[1:], check=True)
    with open(sys.argv[-1], encoding="utf-8") as file:
        description = json.load(file)
    jobs, common = description["jobs"], description["common"]
    with (
        tempfile.TemporaryDirectory() as directory,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        def check(numbered):
            return differs(numbered[1], common, directory, numbered[0])

        different = list(pool.map(check, enumerate(jobs)))
    for job, wrong in zip(jobs, different):
        if wrong:
            print(f"distributor.py: other bytes than clang's: {job['inputs'][0]}", file=sys.stderr)
    if any(different):
        sys.exit(1)
    with open(os.environ["COMPARED"], "a", encoding="utf-8") as file:
        print(len(jobs), file=file)


try:
    main()
except subprocess.CalledProcessError as error:
    sys.exit(error.returncode)
