#!/usr/bin/env python3
"""LLD's distributor (--thinlto-distributor=), as simple as can be: one clang for each job, as
many at a time as there are processors. What backlto has to beat."""

import concurrent.futures
import json
import os
import subprocess
import sys

with open(sys.argv[-1], encoding="utf-8") as file:
    description = json.load(file)
common = description["common"]["args"]
with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    runs = pool.map(lambda job: subprocess.run([*common, *job["args"]], check=False).returncode,
                    description["jobs"])
    sys.exit(max(runs, default=0))
