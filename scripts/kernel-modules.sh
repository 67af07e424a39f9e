#!/bin/bash
# Usage: kernel-modules.sh ROOT
#
# Prints the path of each kernel module below ROOT, where make modules_install
# put them (INSTALL_MOD_PATH), on a line of its own: each after those it needs
# and those it asks for in a softdep.
set -euo pipefail

die() { printf 'kernel-modules: %s\n' "$*" >&2; exit 1; }

[[ $# == 1 ]] || { printf 'usage: kernel-modules.sh ROOT\n' >&2; exit 2; }
command -v modprobe >/dev/null || die "modprobe is not installed"
root=$(cd -- "$1" && pwd)
releases=("$root"/lib/modules/*)
[[ ${#releases[@]} == 1 && -f ${releases[0]}/modules.dep ]] ||
    die "$root does not hold the modules of one kernel"

mapfile -t names < <(find "${releases[0]}/kernel" -name '*.ko' -printf '%f\n' | sort)
((${#names[@]} > 0)) || die "$root has no modules"
# An empty configuration: this machine's may forbid modules or run programs
# instead.  --show-depends loads nothing; it prints "insmod PATH" for each
# module, dependencies first, and what several need several times.
modprobe --config /dev/null --dirname "$root" --set-version "${releases[0]##*/}" \
    --show-depends --all "${names[@]%.ko}" |
    sed -n 's/^insmod \(.*[^ ]\) *$/\1/p' | awk '!seen[$0]++'
