#!/bin/bash
# Usage: linker.sh LD_BACKLTO
#
# What ld.backlto adds to ld.lld where it has nothing to do: --version, and a
# link of native objects.
set -euo pipefail

[[ $# == 1 ]] || { printf 'usage: linker.sh LD_BACKLTO\n' >&2; exit 2; }
linker=$(realpath -s -- "$1")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"
objects=()
for i in $(seq 200); do
    printf 'int f%d(int x) { return x + %d; }\n' "$i" "$i" >"f$i.c"
    objects+=("f$i.o")
done
clang-22 -O1 -c ./*.c
hyperfine --shell=none --warmup 5 --runs 100 --export-csv result.csv \
    'ld.lld-22 --version' "$linker --version" \
    "ld.lld-22 -r -o all.o ${objects[*]}" "$linker -r -o all.o ${objects[*]}" >/dev/null 2>&1
python3 - <<'PYTHON'
import csv
with open("result.csv", newline="") as file:
    median = [float(row["median"]) * 1000 for row in csv.DictReader(file)]
print(f"--version:          ld.lld {median[0]:6.2f} ms, ld.backlto {median[1] - median[0]:+.2f} ms")
print(f"200 native objects: ld.lld {median[2]:6.2f} ms, ld.backlto {median[3] - median[2]:+.2f} ms")
PYTHON
