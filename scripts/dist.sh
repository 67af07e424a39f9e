#!/usr/bin/env bash
# dist.sh OUT [WORK]: backlto with LLVM inside, for systems that have none, as a tarball
# OUT/backlto-VERSION-TARGET.tar.xz that may be unpacked anywhere and, where there is a
# dpkg-deb, as a Debian package.
#
# TUNE=bolt (the default): BOLT lays out the program by a profile of itself at work;
#   kernels below WORK (target/kernel), if there are any, are part of that work.
# TUNE=full: the same, of a program for which the files of LLVM that it spends its time in
#   (scripts/dist/hot) were compiled from their sources, by such a profile, and linked by ThinLTO.
# TUNE=none: as the linker made it.
# BACKLTO_TARGETS: the targets of LLVM that it has (X86 AArch64 RISCV LoongArch).
#
# What a stage made stays in OUT, and is made again when what it is made of has changed:
#   llvm          LLVM's sources, for TUNE=full, as are
#   proved        which of the hot files are the sources of LLVM's archives indeed,
#   counting      these counting what they do, in copies of LLVM's archives,
#   counted       what they counted at the work in scripts/dist/train.sh,
#   hot           these as bitcode, optimized by that, in copies of LLVM's archives
#   linked        by cargo, from LLVM's archives or those copies
#   instrumented  the same, counting what it does
#   profile       of the work in scripts/dist/train.sh
#   tuned         linked, laid out by that
#   package       what is in the tarball
set -euo pipefail

if (($# < 1 || $# > 2)); then
    echo "usage: ${0##*/} OUT [WORK]" >&2
    exit 2
fi
mkdir -p -- "$1"
out=$(cd -- "$1" && pwd)
work=${2:-target/kernel}
cd -- "$(dirname -- "$0")/.."
tune=${TUNE:-bolt}
target=$(rustc -vV | sed -n 's/^host: //p')

say() { printf 'dist: %s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
need() {
    command -v "$1" >/dev/null || die "no \`$1\` on PATH, which $2; Debian has it in $3"
}

# stage NAME INPUT...: makes OUT/NAME by the function make_NAME, which is given the name of a
# directory to fill, unless it was made of the same files and the same LLVM before.
stage() {
    local name=$1 sum status
    sum=$(sha256sum -- "${@:2}" scripts/dist.sh && echo "$parts")
    if [[ -f $out/$name/.made-of && $(<"$out/$name/.made-of") == "$sum" ]]; then
        say "$name: kept"
        return
    fi
    say "$name: $(date +%T)"
    rm -rf -- "$out/$name" "$out/$name.part"
    mkdir -- "$out/$name.part"
    # In a shell of its own, where a failing command ends it; not behind `||`, where it
    # would not.
    set +e
    (
        set -e
        "make_$name" "$out/$name.part"
    )
    status=$?
    set -e
    ((status == 0)) || die "$name: not made; see above"
    printf '%s\n' "$sum" >"$out/$name.part/.made-of"
    mv -- "$out/$name.part" "$out/$name"
}

# link NAME FLAG...: OUT/NAME with the programs, in whose links rustc is told FLAGs. Cargo knows
# what has changed. The relocations are for BOLT, which moves code; so is a program that stays
# where it was linked, which is faster besides.
link() {
    local program
    say "$1: by cargo, $(date +%T)"
    mkdir -p -- "$out/$1"
    for program in backlto ld-backlto; do
        "${CARGO:-cargo}" rustc --release --locked --package backlto-cli --features static \
            --bin "$program" --target "$target" --target-dir "$out/cargo" \
            --config "target.$target.rustflags = [\"-Crelocation-model=static\"]" \
            --config 'profile.release.debug = false' \
            --config 'profile.release.strip = "debuginfo"' \
            -- -Clink-arg=-Wl,--emit-relocs "${@:2}"
        ln -f -- "$out/cargo/$target/release/$program" "$out/$1/${program/-/.}"
    done
}

# What these four make stays where it is: it is resumed file by file, and has its own path in it.
make_llvm() {
    scripts/dist/llvm.py source "$out/llvm-source" || {
        say "llvm: TUNE=bolt does without LLVM's sources"
        return 1
    }
}
make_proved() { scripts/dist/llvm.py prove "$out/llvm-source" "$out/hot-proved"; }
make_counting() {
    scripts/dist/llvm.py compile "$out/llvm-source" "$out/hot-counting" "$out/hot-proved/proved" \
        -fno-pie -fprofile-generate -mllvm -vp-counters-per-site=6
}
make_hot() {
    scripts/dist/llvm.py compile "$out/llvm-source" "$out/hot-bitcode" "$out/hot-proved/proved" \
        -fno-pie "-fprofile-use=$out/counted/profile" -flto=thin
}

# The program ends without its own clean-up, which would write what was counted.
make_counted() {
    local exit=$1/exit.o
    clang-22 -O2 -c -x c -o "$exit" - <<'C'
extern int __llvm_profile_write_file(void);
extern _Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status) {
    __llvm_profile_write_file();
    __real__exit(status);
}
C
    BACKLTO_LLVM_ARCHIVES=$out/hot-counting/lib link counting-program -Clinker=clang-22 \
        -Clink-arg=-fuse-ld=lld -Clink-arg=-fprofile-generate "-Clink-arg=$exit" \
        -Clink-arg=-Wl,--wrap=_exit
    LLVM_PROFILE_FILE=$out/counts scripts/dist/train.sh "$out/counting-program/backlto" \
        "$out/counts" "$1/training" "$work"
    llvm-profdata-22 merge -o "$1/profile" "$1"/training/profiles/*
    rm -rf -- "$1/training"
}

# The program ends without its own clean-up, which would write the profile. So a process
# that the instrumentation starts waits for its end, and writes.
make_instrumented() {
    bolt "$1" "instrumented" --instrument --instrumentation-file="$out/counts" \
        --instrumentation-no-counters-clear --instrumentation-sleep-time=1000000
}

make_profile() {
    need merge-fdata-22 "joins profiles" "bolt-22"
    scripts/dist/train.sh "$out/instrumented/backlto" "$out/counts" "$1/training" "$work"
    say "profile: joined, $(date +%T)"
    merge-fdata-22 "$1"/training/profiles/* -o "$1/backlto.fdata" >"$1/log" 2>&1 || {
        cat -- "$1/log" >&2
        return 1
    }
    rm -rf -- "$1/training"
}

make_tuned() {
    bolt "$1" "tuned" --data="$out/profile/backlto.fdata" --remove-symtab \
        --reorder-blocks=ext-tsp --reorder-functions=cdsort --split-functions \
        --split-all-cold --split-eh --icf=all --plt=hot --dyno-stats
    new_build_id "$1/backlto"
}

# bolt DIRECTORY WHAT OPTION...: DIRECTORY/backlto of the linked program, and a log.
bolt() {
    if ! llvm-bolt-22 "$out/linked/backlto" -o "$1/backlto" "${@:3}" >"$1/log" 2>&1; then
        tail -n 20 -- "$1/log" >&2
        say "$2: llvm-bolt-22 failed; what it said is above"
        return 1
    fi
}

# new_build_id PROGRAM: BOLT keeps the linker's build ID but for a bit, whatever it does. The
# cache tells programs apart by it, so it becomes the digest of what the program is now.
new_build_id() {
    local place size digest
    place=$(llvm-readelf-22 --sections --wide "$1" |
        sed -n 's/.* \.note\.gnu\.build-id *NOTE *[0-9a-f]* \([0-9a-f]* [0-9a-f]*\) .*/\1/p')
    # The note begins with three words of four bytes, and the name "GNU".
    size=$((16#${place#* } - 16)) place=$((16#${place% *} + 16))
    digest=$(sha256sum -- "$1")
    digest=${digest:0:size * 2}
    # shellcheck disable=SC2059  # the format is the bytes
    printf "$(sed 's/../\\x&/g' <<<"$digest")" |
        dd of="$1" bs=1 seek="$place" conv=notrunc status=none
    llvm-readelf-22 --notes "$1" | grep -q "Build ID: $digest\$" || {
        say "the build ID of \`$1\` could not be written"
        return 1
    }
}

# The files that users get. What is written about them is asked of the program itself.
make_package() {
    local top=$1/$release share=$1/$release/share
    install -D -t "$top/bin" -- "$out/$from/backlto" "$out/linked/ld.backlto"
    llvm-strip-22 --strip-all "$top/bin/ld.backlto"
    # What BOLT has made is stripped, and no other tool should move it again.
    [[ $from == tuned ]] || llvm-strip-22 --strip-all "$top/bin/backlto"
    mkdir -- "$1/manual"
    "$top/bin/backlto" manual "$1/manual"
    install -D -m 644 -t "$share/man/man1" -- "$1"/manual/*.1
    install -D -m 644 -- "$1/manual/backlto.bash" "$share/bash-completion/completions/backlto"
    install -D -m 644 -t "$share/zsh/site-functions" -- "$1/manual/_backlto"
    install -D -m 644 -t "$share/fish/vendor_completions.d" -- "$1/manual/backlto.fish"
    install -D -m 644 -t "$share/doc/backlto" -- README.md CHANGELOG.md LICENSE
    rm -rf -- "$1/manual"
    # The same files give the same tarball.
    tar --create --directory "$1" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@${SOURCE_DATE_EPOCH:-0}" --file - "$release" | xz --threads=0 >"$1/$release.tar.xz"
    if command -v dpkg-deb >/dev/null; then
        mkdir -- "$1/root"
        cp -al -- "$top" "$1/root/usr"
        scripts/deb.sh "$1/root" "$1" >/dev/null
        rm -rf -- "$1/root"
    fi
}

case $tune in
    none) from=linked ;;
    bolt | full)
        from=tuned
        # Said before an hour's work, not after it.
        need llvm-bolt-22 "TUNE=$tune needs (TUNE=none does without)" "bolt-22 and libbolt-22-dev"
        ;;
    *) die "TUNE is bolt, full or none, not \`$tune\`" ;;
esac
need llvm-strip-22 "strips programs" "llvm-22"
# What of LLVM goes into the program. Packages keep the dates that files had when they were built.
parts=$(find "$(llvm-config-22 --libdir)" -maxdepth 1 -name '*.a' -printf '%f %s %T@\n' | sort |
    sha256sum)${BACKLTO_TARGETS:-}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
release=backlto-$version-$target

# Those that scripts/dist/train.sh compiles.
shopt -s nullglob
kernels=("$work"/kbuild-*small*/vmlinux.thinlto-index)
shopt -u nullglob

if [[ $tune == full ]]; then
    need cmake "TUNE=full needs (TUNE=bolt does without)" "cmake"
    linker=$(realpath -- "${CARGO_TARGET_DIR:-target}/release/ld.backlto") ||
        die "TUNE=full links by ld.backlto; \`make build\` makes it"
    stage llvm scripts/dist/llvm.py
    stage proved scripts/dist/llvm.py scripts/dist/hot "$out/llvm/.made-of"
    stage counting "$out/hot-proved/proved"
    stage counted "$out/counting/.made-of" scripts/dist/train.sh "${kernels[@]}"
    stage hot "$out/hot-proved/proved" "$out/counted/profile"
    # The largest program that it links.
    BACKLTO_LLVM_ARCHIVES=$out/hot-bitcode/lib link linked -Clinker=clang-22 \
        "-Clink-arg=--ld-path=$linker" -Clink-arg=-Wl,--lto-O3
else
    link linked
fi
if [[ $from == tuned ]]; then
    stage instrumented "$out/linked/backlto"
    stage profile "$out/instrumented/backlto" scripts/dist/train.sh "${kernels[@]}"
    stage tuned "$out/linked/backlto" "$out/profile/backlto.fdata"
fi
stage package "$out/$from/backlto" "$out/linked/ld.backlto" README.md CHANGELOG.md LICENSE \
    scripts/deb.sh
rm -f -- "$out"/*.tar.xz "$out"/*.deb
find "$out/package" -maxdepth 1 -type f '(' -name '*.tar.xz' -o -name '*.deb' ')' \
    -exec ln -t "$out" -- {} +
# For those who want to call them without knowing the version.
ln -sfn -- "package/$release/bin" "$out/programs"
say "$out/$release.tar.xz: $(stat -c %s "$out/$release.tar.xz") bytes"
