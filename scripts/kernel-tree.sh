#!/bin/bash
# Usage: kernel-tree.sh SRC OBJ ARCH LTO [small|boot]
#
# Configures the kernel source SRC for a build in OBJ, with LLVM 22.
# ARCH: x86_64, aarch64, riscv64 or loongarch64, or the kernel's own names for
#       them (x86, arm64, riscv, loongarch).
# LTO:  LTO_CLANG_THIN, or LTO_CLANG_THIN_DIST where the kernel has it.
# small (the default) is the least that still is a kernel with a block layer:
# a quick tree.  boot has what a static init needs in QEMU, and the network
# stack for more code.
set -euo pipefail

die() { printf 'kernel-tree: %s\n' "$*" >&2; exit 1; }
usage() {
    printf 'usage: kernel-tree.sh SRC OBJ ARCH LTO_CLANG_THIN|LTO_CLANG_THIN_DIST [small|boot]\n' >&2
    exit 2
}

[[ $# == 4 || $# == 5 ]] || usage
src=$1 obj=$2 lto=$4 kind=${5:-small}

# Serial ports differ; without the driver for the machine's port, a kernel
# boots mutely in QEMU.
case $3 in
x86 | x86_64) arch=x86 serial=() ;;
arm64 | aarch64) arch=arm64 serial=(SERIAL_AMBA_PL011 SERIAL_AMBA_PL011_CONSOLE) ;;
riscv | riscv64) arch=riscv serial=(SERIAL_OF_PLATFORM) ;;
loongarch | loongarch64) arch=loongarch serial=(SERIAL_OF_PLATFORM) ;;
*) usage ;;
esac
case $lto in LTO_CLANG_THIN | LTO_CLANG_THIN_DIST) ;; *) usage ;; esac
case $kind in
small) options=(64BIT PRINTK BLOCK) ;;
boot)
    options=(64BIT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE "${serial[@]}"
        BLOCK SMP PCI NET INET MODULES BINFMT_ELF BLK_DEV_INITRD PROC_FS SYSFS
        DEVTMPFS)
    ;;
*) usage ;;
esac

[[ -f $src/arch/Kconfig ]] || die "$src is no kernel source"
src=$(cd -- "$src" && pwd)
mkdir -p -- "$obj"
obj=$(cd -- "$obj" && pwd)

# Kconfig answers a missing tool by withholding the LTO choice.  Name the tool
# rather than the symptom.
for tool in clang ld.lld llvm-ar llvm-nm llvm-objcopy; do
    command -v "$tool-22" >/dev/null || die "$tool-22 is not installed"
done
grep -qx "config $lto" "$src/arch/Kconfig" || die "$src does not know CONFIG_$lto"

config_make() {
    if ! make -C "$src" O="$obj" LLVM=-22 ARCH="$arch" "$1" >"$obj/configure.log" 2>&1; then
        tail -n 20 "$obj/configure.log" >&2
        die "make $1 failed"
    fi
}

args=()
for option in "${options[@]}" "$lto"; do
    args+=(-e "$option")
done
config_make tinyconfig
"$src/scripts/config" --file "$obj/.config" -d LTO_NONE "${args[@]}"
config_make olddefconfig

is_set() { grep -qx "CONFIG_$1=y" "$obj/.config"; }

# olddefconfig drops what it cannot satisfy without a word.
if ! is_set "$lto"; then
    missing=()
    for condition in CC_IS_CLANG LD_IS_LLD AS_IS_LLVM ARCH_SUPPORTS_LTO_CLANG \
        ARCH_SUPPORTS_LTO_CLANG_THIN HAS_LTO_CLANG; do
        is_set "$condition" || missing+=("CONFIG_$condition")
    done
    die "CONFIG_$lto did not stick; missing: ${missing[*]:-nothing that this script knows of}"
fi
missing=()
for option in "${options[@]}"; do
    is_set "$option" || missing+=("CONFIG_$option")
done
[[ ${#missing[@]} == 0 ]] || die "did not stick: ${missing[*]}"
