#!/usr/bin/env bash
# test-programs.sh BACKLTO WORK [PROGRAM...]: links programs from sources that crates bundle
# (lua, zstd, sqlite, jsonnet: C++ with exceptions and threads, rust: Rust and zstd's C; all
# without a name) with the ld.backlto beside BACKLTO and runs them; jsonnet's own tests too.
# Every object is compared with that of one clang for each job.
set -euo pipefail

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
here=$scripts/test-programs
# shellcheck source=scripts/harness/links.sh
. "$scripts/harness/links.sh"
((${#names[@]} > 0)) || names=(lua zstd sqlite jsonnet rust)
llvm=$("$scripts/llvm.sh")
cc=clang-$llvm cxx=clang++-$llvm ar=llvm-ar-$llvm

# shellcheck disable=SC2016 # for the shell that runs it
put_on_path 'exec "$DISTRIBUTOR" "$BACKLTO" "$@"'
export BACKLTO=$backlto DISTRIBUTOR=$here/distributor.py COMPARED

rm -rf -- "$work/package"
cp -r -- "$here" "$work/package"
package=$work/package/Cargo.toml
# sources CRATE: where cargo keeps them.
sources() {
    local manifest
    manifest=$(cargo metadata --manifest-path "$package" --format-version 1 --all-features |
        python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(package["manifest_path"])' "$1")
    [[ -n $manifest ]] || die "no crate $1"
    dirname -- "$manifest"
}
# compile COMPILER FLAG... SOURCE...: the front end of each, a few at a time.
compile() {
    local flags=("$1" -flto=thin -O2 -w)
    shift
    while [[ $1 == -* ]]; do
        flags+=("$1")
        shift
    done
    printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" "${flags[@]}" -c
}
link() { "$cc" -flto=thin -O2 -fuse-ld=backlto "$@"; }

lua() {
    local lua
    lua=$(sources lua-src)/lua-5.4.7
    compile "$cc" -I"$lua" -DLUA_USE_POSIX "$lua"/*.c "$here/lua.c"
    rm -f luac.o
    link ./*.o -o lua -lm -Wl,--gc-sections
    ./lua 'local t = {} for i = 1, 1000 do t[#t + 1] = ("%d"):format(i % 7) end
        assert(table.concat(t):find("0123456") and not pcall(error, "x"))
        local co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end)
        assert(co() + co() == 3 and 7 // 2 == 3 and #string.rep("ab", 50) == 100)'
}
zstd() {
    local zstd
    zstd=$(sources zstd-sys)/zstd/lib
    compile "$cc" -fPIC -I"$zstd" "$zstd"/{common,compress,decompress}/*.[cS]
    # A shared library of an archive, and of assembly beside the bitcode.
    "$ar" rcs libzstd.a ./*.o
    link -shared -Wl,--whole-archive libzstd.a -Wl,--no-whole-archive -o libzstd.so
    compile "$cc" -I"$zstd" "$here/zstd.c"
    link zstd.o libzstd.so -Wl,-rpath,"$PWD" -o zstd
    [[ $(./zstd <"$zstd/compress/zstd_compress.c") == same ]]
}
sqlite() {
    local sqlite
    sqlite=$(sources libsqlite3-sys)/sqlite3
    compile "$cc" -I"$sqlite" "$sqlite/sqlite3.c" "$here/sqlite.c"
    "$ar" rcsT libsqlite.a sqlite3.o
    link sqlite.o libsqlite.a -o sqlite -lm
    [[ $(./sqlite 'create table t(a integer primary key, b text);
        with recursive n(i) as (values(1) union all select i + 1 from n where i < 5000)
        insert into t select i, printf("%05d", i * 7919 % 5003) from n;
        create index x on t(b);
        select count(*), min(b), max(b), sum(a) from t where b > "01000"') == '4000|01001|05002|'* ]]
}
jsonnet() {
    local jsonnet
    jsonnet=$(sources jsonnet-sys)/jsonnet
    mkdir include
    od -An -v -tu1 -w1 "$jsonnet/stdlib/std.jsonnet" | sed 's/$/,/' >include/std.jsonnet.h
    echo 0 >>include/std.jsonnet.h
    local flags=(-std=c++17 -fPIC -Iinclude -I"$jsonnet"/{include,cmd,third_party/md5,third_party/json})
    local core=()
    for file in "$jsonnet"/core/*.cpp; do
        [[ $file == *_test.cpp ]] || core+=("$file")
    done
    compile "$cxx" "${flags[@]}" "${core[@]}" "$jsonnet"/third_party/md5/md5.cpp
    "$ar" rcs libjsonnet.a ./*.o
    compile "$cxx" "${flags[@]}" "$jsonnet"/cmd/{jsonnet,utils}.cpp "$here/threads.cpp"
    link -o threads threads.o libjsonnet.a -lstdc++ -lm
    [[ $(./threads) == good ]]
    link -static -o jsonnet jsonnet.o utils.o libjsonnet.a -lstdc++ -lm
    cp -r -- "$jsonnet/test_suite" tests
    JSONNET_BIN=$PWD/jsonnet tests/run_tests.sh
}
rust() {
    local flags=(-Clinker-plugin-lto "-Clinker=$cc" -Clink-arg=-fuse-ld=backlto)
    CC="$cc" CFLAGS='-O2 -flto=thin' AR="$ar" RUSTFLAGS=${flags[*]} CARGO_TARGET_DIR=. \
        cargo build --manifest-path "$package" --release --target x86_64-unknown-linux-gnu
    [[ $(x86_64-unknown-linux-gnu/release/rust-and-c 2>panic) == true ]]
}

for program in "${names[@]}"; do
    [[ " lua zstd sqlite jsonnet rust " == *" $program "* ]] || die "no program $program"
    rm -rf -- "${work:?}/$program"
    mkdir -p -- "$work/$program/build"
    COMPARED=$work/$program/compared
    attempt "$program" "$work/$program/build" "$work/$program/log" "$program"
    [[ -s $COMPARED ]] || die "backlto was not called for $program"
    echo "ok: $program ($(paste -sd+ "$COMPARED") objects)"
done
