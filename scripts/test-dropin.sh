#!/bin/bash
# Usage: test-dropin.sh [-r] [-n] LD WORKDIR VERSION KIND [ARCH]
#
# Builds a whole kernel as anybody would, with LD as make's linker:
#   make LLVM=-22 LD=LD ARCH=...
# from Debian's source of VERSION (6.12 or 7.2) for ARCH (x86_64 without it),
# with a configuration of KIND (kernel-tree.sh), and checks that
#   - vmlinux, the modules and the boot image come out;
#   - each module carries the versions of its symbols as Module.symvers has them;
#   - make has nothing to do afterwards;
#   - after changes to a source file, a header, a module and a flag, make brings
#     all of them into the kernel, and after their removal the old bytes are back;
#   - the kernel boots in QEMU and loads the modules, in the order of their needs;
#   - make clean leaves nothing of it.
# With -r, ld.lld-22 then links the same objects, and Module.symvers and the
# versions in the modules have to be equal.  -n leaves out the boot.
# LD may be ld.lld-22 itself: what passes with it, a drop-in has to pass.
set -euo pipefail

die() {
    [[ ! -s ${log-} ]] || tail -n 30 -- "$log" >&2
    printf 'test-dropin: %s\n' "$*" >&2
    exit 1
}
say() { printf 'ok: %s: %s\n' "$name" "$*"; }
usage() {
    printf 'usage: test-dropin.sh [-r] [-n] LD WORKDIR 6.12|7.2 KIND [ARCH]\n' >&2
    exit 2
}

reference='' boot=1
while getopts rn option; do
    case $option in
    r) reference=1 ;;
    n) boot='' ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ $# == 4 || $# == 5 ]] || usage
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ld=$(command -v -- "$1") || die "no linker $1"
# Not realpath: what ld.lld is depends on the name by which it is called.
ld=$(cd -- "$(dirname -- "$ld")" && pwd)/${ld##*/}
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
version=$3 kind=$4
case $version in
6.12) lto=LTO_CLANG_THIN ;;
*) lto=LTO_CLANG_THIN_DIST ;;
esac
# image: what QEMU starts.
case ${5-x86_64} in
x86 | x86_64) arch=x86_64 karch=x86 image=arch/x86/boot/bzImage ;;
arm64 | aarch64) arch=aarch64 karch=arm64 image=arch/arm64/boot/Image ;;
riscv | riscv64) arch=riscv64 karch=riscv image=arch/riscv/boot/Image ;;
loongarch | loongarch64) arch=loongarch64 karch=loongarch image=vmlinux ;;
*) usage ;;
esac

name="Linux $version $kind $arch"
base=$work/dropin-$version-$kind-$arch
src=$base.src obj=$base.obj root=$base.root log=''
pristine=$("$scripts/kernel-source.sh" "$version" "$work")
rm -rf -- "$src" "$obj" "$obj.lld" "$root" "$root.lld"
# Sources to be edited: hard links, of which a few files are replaced.
cp -al -- "$pristine" "$src"

# build OBJ LD LOG [ARGUMENT...]: what a user types, except for the version and
# time in the kernel's banner, which are fixed to make builds comparable.
build() {
    local tree=$1 linker=$2 status=0
    log=$3
    shift 3
    make -C "$src" O="$tree" LLVM=-22 LD="$linker" ARCH="$karch" \
        KBUILD_BUILD_VERSION=1 KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
        -j"$(nproc)" "$@" >"$log" 2>&1 || status=$?
    return "$status"
}
list() { (cd -- "$1" && find . ! -type d | LC_ALL=C sort); }
modules() { (cd -- "$1" && find . -name '*.ko' | LC_ALL=C sort); }
sums() {
    (cd -- "$obj" && { find . -name '*.ko' && printf '%s\n' ./vmlinux.o ./vmlinux; } |
        LC_ALL=C sort | xargs sha256sum)
}
# versions OBJ: "module crc symbol" of all that each module imports.
versions() {
    local module
    modules "$1" | while read -r module; do
        modprobe --dump-modversions "$1/$module" | awk -v m="$module" '{ print m, $1, $2 }'
    done | LC_ALL=C sort
}

SECONDS=0
"$scripts/kernel-tree.sh" "$pristine" "$obj" "$arch" "$lto" "$kind" "$ld"
build "$obj" "$ld" "$obj.build.log" || die "make failed; the whole log is $log"
for file in vmlinux "$image"; do
    [[ -s $obj/$file ]] || die "make left no $file"
done
log=''
count=$(modules "$obj" | wc -l)
say "make: vmlinux, $count modules, $image in $SECONDS s"

has_modules=''
if grep -qx CONFIG_MODULES=y "$obj/.config"; then
    [[ -s $obj/Module.symvers ]] || die "no Module.symvers"
    has_modules=1
fi
if ((count > 0)); then
    versions "$obj" >"$base.versions"
    while read -r module; do
        grep -qF "$module " "$base.versions" || die "$module has no versions"
    done < <(modules "$obj")
    # A module's own symbols and those of others look the same in both places.
    awk 'NR == FNR { crc[$2] = $1; next }
        $3 != "module_layout" && crc[$3] != $2 { print; bad = 1 }
        END { exit bad }' "$obj/Module.symvers" "$base.versions" >&2 ||
        die "these modules carry other versions than Module.symvers has"
    say "modules carry $(wc -l <"$base.versions") versions, all from Module.symvers"
fi

build "$obj" "$ld" "$obj.again.log" || die "make failed when there was nothing to do"
# CALL and DESCEND stand for scripts and directories that are always looked at.
if grep -E '^  [A-Z]+ ' "$log" | grep -vE '^  (CALL|DESCEND|INSTALL|CHK) ' >&2; then
    die "make did something where nothing had changed"
fi
log=''
say "make again: nothing to do"

if [[ $boot ]]; then
    modules_list=()
    if ((count > 0)); then
        build "$obj" "$ld" "$obj.install.log" INSTALL_MOD_PATH="$root" modules_install ||
            die "make modules_install failed"
        log=''
        "$scripts/kernel-modules.sh" "$root" >"$base.modules"
        [[ $(wc -l <"$base.modules") == "$count" ]] ||
            die "$base.modules does not name the $count modules"
        modules_list=("$base.modules")
    fi
    "$scripts/kernel-boot.sh" "$arch" "$obj/$image" "${modules_list[@]}"
    say "boots, $count modules loaded"
fi
