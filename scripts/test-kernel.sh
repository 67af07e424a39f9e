#!/bin/bash
# Usage: test-kernel.sh BACKLTO WORKDIR VERSION small|boot
#
# Runs the main job on a real x86_64 kernel, from Debian's source of VERSION
# (6.12 or 7.2), and compares it with clang:
#   - every native object equals the one clang writes with the recorded flags;
#   - so does everything clang says of it;
#   - vmlinux.o equals the one linked from clang's objects;
#   - on 7.2, make then has nothing to do in stages 2 and 3.
# With boot, on 7.2, the finished kernel also starts in qemu.
set -euo pipefail

die() { printf 'test-kernel: %s\n' "$*" >&2; exit 1; }
say() { printf 'test-kernel: %s\n' "$*"; }

[[ $# == 4 ]] || { printf 'usage: test-kernel.sh BACKLTO WORKDIR 6.12|7.2 small|boot\n' >&2; exit 2; }
backlto=$(realpath -- "$1")
version=$3 size=$4
scripts=$(cd -- "$(dirname -- "$0")" && pwd)
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
# Every object is to be compiled.
export BACKLTO_CACHE_DIR=
case $version in
6.12) lto=LTO_CLANG_THIN ;;
*) lto=LTO_CLANG_THIN_DIST ;;
esac

src=$("$scripts/kernel-source.sh" "$version" "$work")
obj=$work/obj-$version-$size
rm -rf -- "$obj" "$obj.clang"
"$scripts/kernel-tree.sh" "$src" "$obj" x86_64 "$lto" "$size"
say "front end of Linux $version, $size"
"$scripts/kernel-frontend.sh" "$src" "$obj" x86_64

say "stages 2 to 4"
# From elsewhere on purpose: paths mean what they mean in the tree.
(cd / && "$backlto" kbuild "$obj") >"$obj.out" 2>"$obj.err" || {
    cat -- "$obj.err" >&2
    die "backlto failed"
}
count=$(wc -l <"$obj/vmlinux.thinlto-index")
for f in builtin.order vmlinux.a vmlinux.o; do
    [[ -s $obj/$f ]] || die "no $f"
done

say "the same $count objects by clang"
python3 "$scripts/kernel-reference.py" "$obj" "$obj.clang" >/dev/null
equal=0
while read -r module; do
    native=${module%.o}.thinlto-native.o
    cmp -- "$obj/$native" "$obj.clang/$native" || die "$native is not clang's"
    [[ -s $obj/${native%/*}/.${native##*/}.cmd ]] || die "no .cmd of $native"
    equal=$((equal + 1))
done <"$obj/vmlinux.thinlto-index"
say "$equal objects are byte-identical"

# clang's messages in the order of the list are all that backlto may say. (The
# linker may speak for itself: 6.12 without modules links libraries of bitcode.)
while read -r module; do
    cat -- "$obj.clang/${module%.o}.stderr"
done <"$obj/vmlinux.thinlto-index" | diff - <(grep -v '^ld\.lld' "$obj.err") || die "the messages differ from clang's"

while read -r module; do
    if grep -Fqx -- "$module" "$obj/vmlinux.thinlto-index"; then
        printf '%s\n' "$obj.clang/${module%.o}.thinlto-native.o"
    else
        printf '%s\n' "$obj/$module"
    fi
done <"$obj/builtin.order" >"$obj.clang/objects"
mapfile -t objects <"$obj.clang/objects"
llvm-ar-22 cDPrS --thin "$obj.clang/vmlinux.a" "${objects[@]}"
# What was run, less the names of the archive and of the output.
link=$(sed -n 's/^savedcmd_vmlinux.o := //p' "$obj/.vmlinux.o.cmd")
link=${link/ -o vmlinux.o / -o "$obj.clang/vmlinux.o" }
link=${link/ vmlinux.a / "$obj.clang/vmlinux.a" }
read -ra words <<<"$link"
(cd -- "$obj" && "${words[@]}")
cmp -- "$obj/vmlinux.o" "$obj.clang/vmlinux.o" || die "vmlinux.o is not that of clang's objects"
say "vmlinux.o is byte-identical"

[[ $lto == LTO_CLANG_THIN_DIST ]] || exit 0
stamps() { (cd -- "$obj" && find . -name '*.thinlto*' -o -name vmlinux.a -o -name builtin.order | sort | xargs stat -c '%n %y'); }
before=$(stamps)
make -C "$src" O="$obj" LLVM=-22 ARCH=x86 -j"$(nproc)" vmlinux >"$obj.make" 2>&1 || {
    tail -n 30 -- "$obj.make" >&2
    die "make could not finish the kernel"
}
[[ $(stamps) == "$before" ]] || die "make did stages 2 and 3 again"
say "make finished the kernel and left stages 2 and 3 alone"

[[ $size == boot ]] || exit 0
make -C "$src" O="$obj" LLVM=-22 ARCH=x86 -j"$(nproc)" bzImage >>"$obj.make" 2>&1 || die "no bzImage"
"$scripts/kernel-boot.sh" x86_64 "$obj/arch/x86/boot/bzImage"
say "it boots"
