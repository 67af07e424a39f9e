#!/usr/bin/env bash
# llvm.sh [MAJOR]: the major version of the LLVM to build and test with: MAJOR, else
# $BACKLTO_LLVM, else the newest whose development files are installed, else the one
# that scripts/setup.sh installs.
set -euo pipefail

supported=(23 22 21 20 19)
default=22

asked=${1:-${BACKLTO_LLVM:-}}
if [[ -n $asked ]]; then
    if [[ " ${supported[*]} " != *" $asked "* ]]; then
        echo "llvm: there is no support for LLVM \`$asked\`, but for: ${supported[*]}" >&2
        exit 2
    fi
    echo "$asked"
    exit 0
fi
for major in "${supported[@]}"; do
    if libdir=$("llvm-config-$major" --libdir 2>/dev/null) && [[ -e $libdir/libclang-cpp.so ]] &&
        [[ -e $("llvm-config-$major" --includedir)/clang/CodeGen/CodeGenAction.h ]] &&
        command -v "clang-$major" >/dev/null && command -v "ld.lld-$major" >/dev/null; then
        echo "$major"
        exit 0
    fi
done
echo "$default"
