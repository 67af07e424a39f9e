#!/usr/bin/env bash
# build.sh ARCH OUTDIR: stage 1, from source to ThinLTO bitcode and native objects.
set -euo pipefail

if (($# != 2)); then
    echo "usage: ${0##*/} x86_64|aarch64|riscv64|loongarch64 OUTDIR" >&2
    exit 2
fi
arch=$1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=arches.sh
. "$here/arches.sh"
codegen_flags "$arch"

clang=${CLANG:-clang-$("$here/../../scripts/llvm.sh")}
if ! command -v "$clang" >/dev/null; then
    echo "demo: no \`$clang\` on PATH; scripts/setup.sh installs it, or set CLANG" >&2
    exit 1
fi

mkdir -p "$2"
outdir=$(cd "$2" && pwd)

# Bitcode records the source name as given; a relative one keeps the objects
# the same wherever the checkout is.
cd "$here"
for source in "${sources[@]}"; do
    object=$outdir/${source%.*}.o
    case $source in
        *.c) "$clang" "${flags[@]}" -std=c11 -Wall -Wextra -flto=thin -c -o "$object" "$source" ;;
        *.S) "$clang" "${flags[@]}" -c -o "$object" "$source" ;;
    esac
done
