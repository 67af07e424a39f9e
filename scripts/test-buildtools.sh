#!/usr/bin/env bash
# test-buildtools.sh BACKLTO WORK [TOOL...]: builds examples/TOOL (cmake, meson, autotools,
# cargo; all of them without a name) as docs/TOOL.md says, tests them, and checks that
# backlto ran the backends of each link.
# In shell, as are the commands of these pages.
set -euo pipefail

die() {
    printf 'test-buildtools: %s\n' "$*" >&2
    exit 1
}
if (($# < 2)); then
    echo "usage: ${0##*/} BACKLTO WORK [TOOL...]" >&2
    exit 2
fi
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
backlto=$(realpath -- "$1")
linker=${backlto%/*}/ld.backlto
[[ -x $linker ]] || die "no ld.backlto beside $backlto"
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
tools=("${@:3}")
((${#tools[@]} > 0)) || tools=(cmake meson autotools cargo)

# What users have on PATH after `make install`; this backlto writes down its calls.
bin=$work/bin
rm -rf -- "$bin"
mkdir -- "$bin"
cp -- "$linker" "$bin/ld.backlto"
# shellcheck disable=SC2016 # for the shell that runs it
printf '#!/bin/sh\necho "$@" >>"$BACKLTO_CALLS"\nexec "%s" "$@"\n' "$backlto" >"$bin/backlto"
chmod +x "$bin/backlto"
export PATH=$bin:$PATH BACKLTO_CACHE_DIR='' BACKLTO_CALLS

build_cmake() {
    cmake -G Ninja -B build --toolchain backlto.cmake
    cmake --build build
    export CTEST_OUTPUT_ON_FAILURE=1
    ctest --test-dir build
}
build_meson() {
    meson setup build --native-file backlto.ini
    meson compile -C build
    meson test -C build
}
build_autotools() {
    autoreconf --install
    ./configure CC=clang-22 AR=llvm-ar-22 RANLIB=llvm-ranlib-22 NM=llvm-nm-22 \
        CFLAGS='-O2 -flto=thin' LDFLAGS='-O2 -flto=thin -fuse-ld=backlto'
    make
    make check
}
build_cargo() {
    cargo build --release
    [[ $(target/x86_64-unknown-linux-gnu/release/words 'one two' three) == '3 words' ]]
}

# The links of each that have bitcode.
declare -A links=([cmake]=2 [meson]=2 [autotools]=2 [cargo]=1)
for tool in "${tools[@]}"; do
    [[ -n ${links[$tool]-} ]] || die "no example for $tool"
    rm -rf -- "${work:?}/$tool"
    cp -r -- "$root/examples/$tool" "$work/$tool"
    BACKLTO_CALLS=$work/$tool.calls
    rm -f -- "$BACKLTO_CALLS"
    # In a shell of its own, where a failing command ends it; not behind `||`,
    # where it would not.
    set +e
    (
        set -e
        cd -- "$work/$tool"
        "build_$tool"
    ) >"$work/$tool.log" 2>&1
    status=$?
    set -e
    if ((status != 0)); then
        tail -n 40 -- "$work/$tool.log" >&2
        die "$tool failed; the log is $work/$tool.log"
    fi
    calls=$(grep -c distribute "$BACKLTO_CALLS" || true)
    # Tools link small programs to find out what the linker can do: those count too.
    ((calls >= links[$tool])) ||
        die "$tool called backlto $calls times, not for ${links[$tool]} links"
    echo "ok: $tool ($calls links)"
done
