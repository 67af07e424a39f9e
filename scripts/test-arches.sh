#!/bin/bash
# Usage: test-arches.sh BACKLTO WORKDIR
#
# Builds the front ends of four small Linux 6.12 kernels (the x86_64 one that
# test-kernel.sh has left is taken if it is there), has backlto do stages 2 to 4
# of all in one run, and compares every object with clang's.
set -euo pipefail

die() { printf 'test-arches: %s\n' "$*" >&2; exit 1; }
say() { printf 'test-arches: %s\n' "$*"; }

[[ $# == 2 ]] || { printf 'usage: test-arches.sh BACKLTO WORKDIR\n' >&2; exit 2; }
backlto=$(realpath -- "$1")
scripts=$(cd -- "$(dirname -- "$0")" && pwd)
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
# Every object is to be compiled.
export BACKLTO_CACHE_DIR=

src=$("$scripts/kernel-source.sh" 6.12 "$work")
declare -A trees=([x86_64]=$work/obj-6.12-small)
for arch in aarch64 riscv64 loongarch64; do
    trees[$arch]=$work/obj-6.12-small-$arch
    rm -rf -- "${trees[$arch]}"
done
for arch in "${!trees[@]}"; do
    [[ -f ${trees[$arch]}/built-in.a ]] && continue
    say "front end of Linux 6.12 for $arch"
    "$scripts/kernel-tree.sh" "$src" "${trees[$arch]}" "$arch" LTO_CLANG_THIN small
    "$scripts/kernel-frontend.sh" "$src" "${trees[$arch]}" "$arch"
done

say "stages 2 to 4 of all four"
arches=()
for arch in "${!trees[@]}"; do
    rm -f -- "${trees[$arch]}/.tmp_backlto"
    arches+=(--arch "$arch=${trees[$arch]}")
done
out=$work/arches.out
(cd / && "$backlto" kbuild "${arches[@]}") >"$out" 2>"$work/arches.err" || {
    cat -- "$work/arches.err" >&2
    die "backlto failed"
}
[[ $(grep -c '^  [a-z0-9_]*: [0-9]* objects' "$out") == 4 ]] || die "no line for each arch in the summary"

for arch in "${!trees[@]}"; do
    obj=${trees[$arch]}
    rm -rf -- "$obj.clang"
    python3 "$scripts/kernel-reference.py" "$obj" "$obj.clang" >/dev/null
    equal=0
    while read -r module; do
        native=${module%.o}.thinlto-native.o
        cmp -- "$obj/$native" "$obj.clang/$native" || die "$arch: $native is not clang's"
        equal=$((equal + 1))
    done <"$obj/vmlinux.thinlto-index"
    [[ -s $obj/vmlinux.o ]] || die "$arch: no vmlinux.o"
    say "$arch: $equal objects are byte-identical"
done

# One that fails does not keep the others from being finished.
broken=${trees[riscv64]}
module=$(head -n 1 -- "$broken/vmlinux.thinlto-index")
cp -- "$broken/$module" "$broken/$module.kept"
: >"$broken/$module"
rm -f -- "${trees[aarch64]}/vmlinux.o"
status=0
(cd / && "$backlto" kbuild "$broken" "${trees[aarch64]}") >"$out" 2>&1 || status=$?
mv -- "$broken/$module.kept" "$broken/$module"
[[ $status == 1 ]] || die "status $status for a tree with an empty module"
[[ -s ${trees[aarch64]}/vmlinux.o ]] || die "the other tree was not finished"
say "a tree that fails leaves the others alone"
