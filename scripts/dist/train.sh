#!/usr/bin/env bash
# train.sh BACKLTO COUNTS OUT WORK: work for an instrumented backlto that is like what users
# have: C and C++ for four architectures, and the kernels below WORK whose front end is done,
# if there are any. COUNTS is the file that BACKLTO writes in the end; there is one for each run
# in OUT/profiles then.
set -euo pipefail

if (($# != 4)); then
    echo "usage: ${0##*/} BACKLTO COUNTS OUT WORK" >&2
    exit 2
fi
backlto=$(realpath -- "$1")
counts=$2
mkdir -p -- "$3/profiles"
out=$(cd -- "$3" && pwd)
work=$4
cd -- "$(dirname -- "$0")/../.."
export BACKLTO_CACHE_DIR=''

say() { printf 'dist: %s\n' "$*" >&2; }

# train NAME WORD...: runs backlto. Its counts are there when the last process that it started
# is gone, and with it the last end of the pipe.
train() {
    say "profile: $1, $(date +%T)"
    rm -f -- "$counts"
    if ! "$backlto" "${@:2}" 2>&1 | cat >"$out/log"; then
        tail -n 20 -- "$out/log" >&2
        say "profile: \`backlto ${*:2}\` failed"
        return 1
    fi
    mv -- "$counts" "$out/profiles/$1"
}

demo() {
    local arch
    for arch in x86_64 aarch64 riscv64 loongarch64; do
        examples/demo/build.sh "$arch" "$out/demo/$arch"
    done
    examples/demo/plan.sh "$out/demo" >"$out/demo/plan.json"
    train demo run "$out/demo/plan.json"
}

# Sets `includes` to where C++ for any architecture finds its headers. The system's are for this
# machine; two files hide from them that they are used for another.
find_headers() {
    local directory
    mkdir -p -- "$out/headers/bits" "$out/headers/gnu"
    printf '#define __WORDSIZE 64\n#define __WORDSIZE_TIME64_COMPAT32 0\n' \
        >"$out/headers/bits/wordsize.h"
    : >"$out/headers/gnu/stubs-32.h"
    includes=(-isystem "$out/headers" -isystem "$(llvm-config-22 --includedir)")
    while read -r directory; do
        includes+=(-isystem "$directory")
    done < <("${CXX:-c++}" -E -x c++ -v /dev/null 2>&1 >/dev/null |
        sed -n '/^#include </,/^End/s/^ //p' | grep -v /gcc/)
}

# cxx NAME ARCHITECTURE EMULATION FLAG...: the shims, front end and back ends: C++ that needs no
# more than building backlto does.
cxx() {
    local directory=$out/$1 flags sources inputs words
    mkdir -- "$directory"
    sources=(llvm-shims/{Archive,Backend,Bitcode,Flags,Names,Remainder,Seams,ThinLink}.cpp)
    inputs=("${sources[@]##*/}")
    flags=("--target=$2-linux-gnu" "${@:4}")
    printf '%s\n' "${inputs[@]%.cpp}" | xargs -P "$(nproc)" -I{} clang++-22 "${flags[@]}" -w \
        -flto=thin -std=c++17 -fno-rtti "${includes[@]}" \
        -c "llvm-shims/{}.cpp" -o "$directory/{}.o"
    words=$(printf ', "%s"' "${flags[@]}")
    inputs=$(printf ', "%s.o"' "${inputs[@]%.cpp}")
    cat >"$directory/plan.json" <<JSON
{ "programs": [ {
    "name": "$1", "directory": "$directory", "output": "shims.o",
    "flags": [${words#, }], "inputs": [${inputs#, }],
    "thin_link": ["-m", "$3", "-r"], "link": ["-m", "$3", "-r"]
} ] }
JSON
    train "$1" run "$directory/plan.json"
}

# kernel TREE: a copy of it, so that nothing in TREE is touched.
kernel() {
    local name=${1##*/}
    cp -a --reflink=auto -- "$1" "$out/$name"
    rm -f -- "$out/$name/.tmp_backlto"
    train "$name" kbuild --to objects "$out/$name"
    rm -rf -- "${out:?}/$name"
}

demo
find_headers
cxx x86_64-O2-g x86_64 elf_x86_64 -O2 -g
cxx x86_64-O3 x86_64 elf_x86_64 -O3 -march=x86-64-v3
cxx aarch64-Os aarch64 aarch64linux -Os
cxx riscv64-O2 riscv64 elf64lriscv -O2
cxx loongarch64-O2-g loongarch64 elf64loongarch -O2 -g

# Trees of the tests. The larger ones say no more than the small ones, and take hours.
for tree in "$work"/kbuild-*small*; do
    if [[ -f $tree/vmlinux.thinlto-index ]]; then
        kernel "$tree"
    fi
done
