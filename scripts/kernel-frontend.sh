#!/bin/bash
# Usage: kernel-frontend.sh SRC OBJ ARCH
#
# Builds what goes into vmlinux up to the bitcode objects and the archives that
# hold them (built-in.a, lib.a ...) in OBJ, which kernel-tree.sh configured
# from SRC for ARCH, and stops before the thin link.  make's output goes to
# OBJ/frontend.log, of which stderr gets the end if something fails.
set -euo pipefail

die() { printf 'kernel-frontend: %s\n' "$*" >&2; exit 1; }
usage() { printf 'usage: kernel-frontend.sh SRC OBJ ARCH\n' >&2; exit 2; }

[[ $# == 3 ]] || usage
case $3 in
x86 | x86_64) arch=x86 ;;
arm64 | aarch64) arch=arm64 ;;
riscv | riscv64) arch=riscv ;;
loongarch | loongarch64) arch=loongarch ;;
*) usage ;;
esac
[[ -f $1/Makefile ]] || die "$1 is no kernel source"
[[ -f $2/.config ]] || die "$2 is not configured (kernel-tree.sh)"
src=$(cd -- "$1" && pwd)
obj=$(cd -- "$2" && pwd)

# "." is the phony goal that descends into the whole tree; all objects and
# archives of vmlinux hang on it, and it hangs on "prepare" only.  Naming the
# archives instead would not do: a goal like built-in.a is a "single target",
# which builds only the parts of the tree that lead to it.
if ! make -C "$src" O="$obj" LLVM=-22 ARCH="$arch" -j"$(nproc)" . >"$obj/frontend.log" 2>&1; then
    tail -n 40 "$obj/frontend.log" >&2
    die "the front end failed; the whole log is $obj/frontend.log"
fi
[[ -f $obj/built-in.a ]] || die "make left no $obj/built-in.a"
