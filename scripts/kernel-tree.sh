#!/bin/bash
# Usage: kernel-tree.sh SRC OBJ ARCH LTO [small|boot|modules-small|modules [LD]]
#
# Configures the kernel source SRC for a build in OBJ, with LLVM 22.
# ARCH: x86_64, aarch64, riscv64 or loongarch64, or the kernel's own names for
#       them (x86, arm64, riscv, loongarch).
# LTO:  LTO_CLANG_THIN, or LTO_CLANG_THIN_DIST where the kernel has it.
# LD:   the linker that make is given; without it, the one that LLVM=-22 means.
#       A tree configured with one linker and built with another configures
#       itself again, so it has to be the one of the build.
# The kinds of tree:
#   small          (the default) the least that still is a kernel with a block
#                  layer: a quick tree
#   boot           what a static init needs in QEMU, and the network stack for
#                  more code
#   modules        boot, and three dozen modules with MODVERSIONS: file systems
#                  up to btrfs, drivers, ciphers; one object or many, some
#                  with assembly
#   modules-small  boots with a dozen modules, without the network: a quick tree
set -euo pipefail

die() { printf 'kernel-tree: %s\n' "$*" >&2; exit 1; }
usage() {
    printf 'usage: kernel-tree.sh SRC OBJ ARCH LTO_CLANG_THIN|LTO_CLANG_THIN_DIST [small|boot|modules-small|modules [LD]]\n' >&2
    exit 2
}

(($# >= 4 && $# <= 6)) || usage
src=$1 obj=$2 lto=$4 kind=${5:-small}
ld=()
[[ -z ${6-} ]] || ld=("LD=$6")

# machine: without the driver for the machine's serial port, a kernel boots
# mutely in QEMU; nor does a riscv one start that cannot read how QEMU 7.2
# describes processors.  own: modules of this architecture only, with assembly.
own=()
case $3 in
x86 | x86_64) arch=x86 machine=() own=(CRYPTO_SERPENT_SSE2_X86_64 CRYPTO_TWOFISH_X86_64) ;;
arm64 | aarch64)
    arch=arm64 machine=(SERIAL_AMBA_PL011 SERIAL_AMBA_PL011_CONSOLE) own=(CRYPTO_AES_ARM64_CE_BLK)
    ;;
riscv | riscv64) arch=riscv machine=(SERIAL_OF_PLATFORM RISCV_ISA_FALLBACK) ;;
loongarch | loongarch64) arch=loongarch machine=(SERIAL_OF_PLATFORM) ;;
*) usage ;;
esac
case $lto in LTO_CLANG_THIN | LTO_CLANG_THIN_DIST) ;; *) usage ;; esac
for_boot=(64BIT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE "${machine[@]}"
    BLOCK SMP MODULES BINFMT_ELF BLK_DEV_INITRD PROC_FS SYSFS DEVTMPFS)
for_modules=(MODVERSIONS MODULE_UNLOAD BLK_DEV VIRTIO_MENU)
some_modules=(VIRTIO_MMIO VIRTIO_BLK BLK_DEV_LOOP BLK_DEV_NULL_BLK
    FAT_FS VFAT_FS ISO9660_FS NLS_CODEPAGE_437 NLS_ISO8859_1)
# On by themselves, and a good part of the time.  Besides, LoongArch's driver
# for the PC's keyboard crashes the kernel where there is no PCI.
not_for_modules=(VT INPUT SERIO HID_SUPPORT IPV6 ETHTOOL_NETLINK
    RD_GZIP RD_BZIP2 RD_LZMA RD_XZ RD_LZO RD_LZ4 RD_ZSTD)
modules=() without=()
case $kind in
small) options=(64BIT PRINTK BLOCK) ;;
boot) options=("${for_boot[@]}" PCI NET INET) ;;
modules-small)
    options=("${for_boot[@]}" "${for_modules[@]}")
    modules=("${some_modules[@]}")
    without=("${not_for_modules[@]}")
    ;;
modules)
    options=("${for_boot[@]}" PCI NET INET "${for_modules[@]}" NETDEVICES NET_CORE CRYPTO)
    modules=("${some_modules[@]}" EXT4_FS BTRFS_FS FUSE_FS OVERLAY_FS
        NLS_UTF8 VIRTIO_PCI VIRTIO_NET DUMMY VETH CRYPTO_SERPENT
        CRYPTO_TWOFISH CRYPTO_XTS CRYPTO_GCM CRYPTO_RMD160 "${own[@]}")
    without=("${not_for_modules[@]}")
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
    if ! make -C "$src" O="$obj" LLVM=-22 ARCH="$arch" "${ld[@]}" "$1" >"$obj/configure.log" 2>&1; then
        tail -n 20 "$obj/configure.log" >&2
        die "make $1 failed"
    fi
}

args=()
for option in "${options[@]}" "$lto"; do
    args+=(-e "$option")
done
for option in "${modules[@]}"; do
    args+=(-m "$option")
done
for option in "${without[@]}"; do
    args+=(-d "$option")
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
for option in "${modules[@]}"; do
    # One that something built in selects is not a module any more.
    grep -qx "CONFIG_$option=m" "$obj/.config" || missing+=("CONFIG_$option=m")
done
[[ ${#missing[@]} == 0 ]] || die "did not stick: ${missing[*]}"
