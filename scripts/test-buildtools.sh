#!/usr/bin/env bash
# test-buildtools.sh BACKLTO WORK [TOOL...]: builds examples/TOOL (cmake, meson, autotools,
# cargo, ninja, bazel; all but the last without a name) as docs/TOOL.md says (ninja and bazel:
# docs/distributed.md), tests them, and checks that backlto ran the backends of each link.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/harness/links.sh
. "$root/scripts/harness/links.sh"
((${#names[@]} > 0)) || names=(cmake meson autotools cargo ninja)

# This backlto writes down its calls.
# shellcheck disable=SC2016 # for the shell that runs it
put_on_path 'echo "$@" >>"$BACKLTO_CALLS"; exec "$BACKLTO" "$@"'
export BACKLTO=$backlto BACKLTO_CALLS

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

build_ninja() {
    ninja
    [[ $(./words 'one two' three) == '3 words' ]]
}

# Debian's Bazel 4.2 brings no rules, and Debian's rules_cc is too new for it. bazel_tools needs
# no more of it than these names.
build_bazel() {
    local rule rules=$work/bazel-rules bazel overrides
    # It takes away the right to write from what it has made.
    [[ ! -d $work/bazel-root ]] || chmod -R u+w -- "$work/bazel-root"
    rm -rf -- "$work/bazel-root" "$work/bazel-cache"
    mkdir -p -- "$rules/cc" "$work/bazel-cache"
    : >"$rules/WORKSPACE"
    : >"$rules/cc/BUILD"
    for rule in binary import library test toolchain toolchain_suite; do
        echo "cc_$rule = native.cc_$rule"
    done >"$rules/cc/defs.bzl"
    # Its actions have neither the PATH nor the variables of this script.
    sed -i "s|^exec |export BACKLTO='$BACKLTO' BACKLTO_CALLS='$BACKLTO_CALLS'\nexec $work/bin/|
        s|/var/cache/backlto|$work/bazel-cache|" .bazelrc toolchain/backend.sh
    : >"$BACKLTO_CALLS"
    bazel=(bazel --batch "--output_user_root=$work/bazel-root")
    overrides=(
        "--override_repository=rules_cc=$rules" "--sandbox_writable_path=$BACKLTO_CALLS"
        --override_repository=rules_java=/usr/share/bazel/rules/java
        --override_repository=rules_proto=/usr/share/bazel/rules/proto
    )
    "${bazel[@]}" build "${overrides[@]}" //:words
    [[ $(bazel-bin/words 'one two' three) == '3 words' ]]
    # What Bazel has forgotten is still in backlto's cache.
    "${bazel[@]}" clean
    "${bazel[@]}" build "${overrides[@]}" //:words
    "$BACKLTO" --cache-dir "$work/bazel-cache" cache stats | grep -E '^hits +3 '
}

# The links of each that have bitcode; for ninja and bazel, the backends.
declare -A links=([cmake]=2 [meson]=2 [autotools]=2 [cargo]=1 [ninja]=3 [bazel]=3)
for tool in "${names[@]}"; do
    [[ -n ${links[$tool]-} ]] || die "no example for $tool"
    rm -rf -- "${work:?}/$tool"
    cp -r -- "$root/examples/$tool" "$work/$tool"
    BACKLTO_CALLS=$work/$tool.calls
    rm -f -- "$BACKLTO_CALLS"
    attempt "$tool" "$work/$tool" "$work/$tool.log" "build_$tool"
    calls=$(grep -cE 'distribute|-fthinlto-index=' "$BACKLTO_CALLS" || true)
    # Tools link small programs to find out what the linker can do: those count too.
    ((calls >= links[$tool])) ||
        die "$tool called backlto $calls times, not for ${links[$tool]} links"
    echo "ok: $tool ($calls calls)"
done
