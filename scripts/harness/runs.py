"""Runs that never were, as backlto keeps what happened in one."""

import heapq
import random

KINDS = ["compiled"] * 6 + ["cached", "cached-after-import", "remote", "up-to-date"]
FOLDERS = ["mm", "fs/ext4", "fs", "kernel/sched", "kernel", "net/core", "net/ipv4", "drivers/pci",
           "lib", "init", "größe"]
# Names that a page must not take for its own.
ODD = ["odd/</script><script>window.fooled = true</script>.o", "odd/<!--<script>.o",
       "odd/<b>fett</b> &amp; ü.o", "odd/'\"`${1}.o"]


def run(modules, workers, seed):
    """A run of so many MODULES on WORKERS, the same for each SEED."""
    rng = random.Random(seed)
    names = ODD + [f"{rng.choice(FOLDERS)}/file_{number}.o" for number in range(modules - len(ODD))]
    begin = 1.5
    free = [(begin, worker) for worker in range(workers)]
    made, memory = [], []
    for number, name in enumerate(names):
        how = rng.choice(KINDS)
        seconds = rng.lognormvariate(-2.2, 1.0) * (1 if how == "compiled" else 0.05)
        size = int(seconds * 400_000) + rng.randrange(4_000, 60_000)
        module = {"name": name, "how": how, "bytes": size, "object_bytes": size // 2,
                  "compile_seconds": round(max(seconds, 0.02), 6)}
        # Few are imported by many.
        imports = {int(number * rng.random() ** 3) for _ in range(rng.randrange(8))} - {number}
        module["imports"] = sorted(imports)
        if number % 97 == 13:
            del module["how"]
            module["error"] = f"LLVM crashed over `{name}`"
        if how != "up-to-date":
            now, worker = heapq.heappop(free)
            heapq.heappush(free, (now + seconds, worker))
            module["span"] = {"worker": worker, "begin": round(now, 6),
                              "seconds": round(seconds, 6)}
            module["cpu_seconds"] = round(seconds * 0.93, 6)
            module["why"] = [f"`{rng.choice(names)}`, from which it imports, changed"]
            if not memory or now - memory[-1][0] >= 0.05:
                memory.append([round(now, 6), 80_000_000 + rng.randrange(120_000_000)])
        made.append(module)
    end = max(now for now, _ in free)
    functions = [{"name": f"function_{n}", "module": rng.randrange(modules),
                  "seconds": round(0.4 / (1 + n), 6)} for n in range(200)]
    passes = [{"name": name, "seconds": round(end / (2 + n), 6)} for n, name in enumerate(
        ["InstCombinePass", "GVNPass", "SROAPass", "X86 DAG->DAG Instruction Selection"])]
    cache = {"found": modules // 5, "found_after_import": modules // 10, "missed": modules // 2,
             "bytes_read": 10_000_000, "bytes_written": 40_000_000, "seconds_saved": 33.25}
    return {
        "version": 1, "backlto": "0.1.0", "llvm": "22.1.8", "directory": "/home/user/build",
        "link": None, "began": 1_760_000_000, "seconds": round(end + 1.25, 6), "workers": workers,
        "cpu_seconds": round((end - begin) * workers, 6), "peak_memory": 210_000_000,
        "memory": memory, "places": [""], "modules": made, "functions": functions, "passes": passes,
        "steps": [{"name": "the thin link", "begin": 0.1, "seconds": 1.3},
                  {"name": "the final link", "begin": round(end + 0.1, 6), "seconds": 1.0}],
        "cache": cache, "remote": None,
    }
