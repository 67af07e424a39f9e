#!/bin/bash
# Usage: kernel-boot.sh [-q QEMU] ARCH KERNEL_IMAGE [MODULES]
#
# Boots KERNEL_IMAGE in QEMU with an initramfs that holds tests/init only, and
# the kernel modules which the file MODULES names, if it is given: a path on
# each line, in the order in which init loads them (kernel-modules.sh).
# Status 0 if init's line appeared on the console within 180 seconds and all
# modules were loaded; otherwise the end of the console goes to stderr and the
# status is 1.
# ARCH: x86_64, aarch64, riscv64 or loongarch64, or the kernel's names for them.
# QEMU: the emulator, if not the qemu-system-* of PATH.
set -euo pipefail

line='backlto: init is running'
limit=180

die() { printf 'kernel-boot: %s\n' "$*" >&2; exit 1; }
usage() { printf 'usage: kernel-boot.sh [-q QEMU] ARCH KERNEL_IMAGE [MODULES]\n' >&2; exit 2; }

program=
while getopts q: option; do
    case $option in
    q) program=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ $# == 2 || $# == 3 ]] || usage
image=$2 modules=${3-}
memory=512
# isa: integer registers only.  A kernel configured this small may not let a
# process use the others, and clang takes vector registers even for copying 16
# bytes.
case $1 in
x86 | x86_64)
    arch=x86_64 console=ttyS0 machine=() isa=(-mgeneral-regs-only)
    ;;
arm64 | aarch64)
    arch=aarch64 console=ttyAMA0 machine=(-M virt -cpu cortex-a57) isa=(-mgeneral-regs-only)
    ;;
riscv | riscv64)
    arch=riscv64 console=ttyS0 machine=(-M virt) isa=(-march=rv64ima -mabi=lp64)
    ;;
loongarch | loongarch64)
    # QEMU insists on more than 1 GB here.  The image is the ELF file, vmlinux.
    arch=loongarch64 console=ttyS0 machine=(-M virt) isa=(-mno-lsx) memory=2048
    ;;
*) usage ;;
esac
[[ -f $image ]] || die "no kernel image $image"
[[ -z $modules || -f $modules ]] || die "no list of modules $modules"
program=${program:-qemu-system-$arch}
for tool in clang-22 ld.lld-22 python3 "$program"; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
if [[ $arch == loongarch64 ]]; then
    # Since 9.1, QEMU hands this kernel the system table that firmware would.
    # Under an older one the kernel stays mute until the time is up.
    version=$("$program" --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    printf '9.1\n%s\n' "$version" | sort -CV ||
        die "$program is version $version; a LoongArch kernel without firmware takes 9.1"
fi
init=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../tests/init" && pwd)/init.c

tmp=$(mktemp -d)
qemu=
cleanup() {
    if [[ -n $qemu ]]; then
        # It has nothing to lose, and a wedged one must not outlive us.
        # Waiting here keeps the shell from reporting the death.
        { kill -KILL "$qemu" && wait "$qemu"; } 2>/dev/null || :
    fi
    rm -rf -- "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

clang-22 --target="$arch-linux-gnu" "${isa[@]}" -std=gnu11 -Os -Wall -Wextra -Werror \
    -ffreestanding -fno-stack-protector -fno-pic -fno-asynchronous-unwind-tables \
    -c -o "$tmp/init.o" "$init"
ld.lld-22 -static -o "$tmp/init" "$tmp/init.o"

count=0
[[ -z $modules ]] || count=$(grep -c . "$modules") || die "$modules names no modules"

# A newc archive is written here rather than with cpio, since a device node in
# a directory tree takes root privileges and one in an archive does not.
python3 - "$tmp/init" "$tmp/initramfs" "$modules" <<'PYTHON'
import os
import sys

archive = bytearray()
S_IFDIR, S_IFREG, S_IFCHR = 0o040000, 0o100000, 0o020000


def pad():
    archive.extend(b"\0" * (-len(archive) % 4))


def add(ino, name, mode, data=b"", major=0, minor=0):
    name = name.encode() + b"\0"
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
    # rdevminor namesize check
    fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name), 0)
    archive.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
    pad()
    archive.extend(data)
    pad()


with open(sys.argv[1], "rb") as file:
    init = file.read()
add(1, "dev", S_IFDIR | 0o755)
add(2, "dev/console", S_IFCHR | 0o600, major=5, minor=1)
add(3, "init", S_IFREG | 0o755, init)
if sys.argv[3]:
    with open(sys.argv[3]) as file:
        modules = file.read().split("\n")
    names = ""
    add(4, "lib", S_IFDIR | 0o755)
    # Flat: the kernel knows no two modules of one name.
    for ino, module in enumerate(filter(None, modules), 5):
        name = "lib/" + os.path.basename(module)
        with open(module, "rb") as file:
            add(ino, name, S_IFREG | 0o644, file.read())
        names += "/" + name + "\n"
    add(ino + 1, "modules", S_IFREG | 0o644, names.encode())
add(0, "TRAILER!!!", 0)
with open(sys.argv[2], "wb") as file:
    file.write(archive)
PYTHON

: >"$tmp/console" # to be there before the shell in the background opens it
# No network card: its boot ROM is a package of its own, and nothing uses it.
"$program" "${machine[@]}" -no-reboot -nographic -nic none -m "$memory" \
    -kernel "$image" -initrd "$tmp/initramfs" -append "console=$console earlycon panic=-1" \
    >"$tmp/console" 2>&1 </dev/null &
qemu=$!

# A kernel that cannot power the machine off only halts it, so QEMU's end is
# not what to wait for.
appeared=
SECONDS=0
while ((SECONDS < limit)); do
    running=
    kill -0 "$qemu" 2>/dev/null && running=1
    # Looking after asking whether QEMU runs: its last words count.
    if grep -qaF "$line" "$tmp/console"; then
        appeared=1
        break
    fi
    # Without a way to reset the machine, a kernel stays there.
    grep -qaF 'Kernel panic' "$tmp/console" && break
    [[ $running ]] || break
    sleep 0.2
done
tail_of_console() { tail -n 40 "$tmp/console" | tr -d '\r' >&2; }
if [[ -z $appeared ]]; then
    tail_of_console
    grep -qaF 'Kernel panic' "$tmp/console" && die "the kernel panicked"
    [[ $running ]] && die "init did not run within $limit s"
    die "QEMU ended before init ran"
fi
if [[ $modules ]] && ! grep -qaF "backlto: $count modules loaded" "$tmp/console"; then
    tail_of_console
    grep -aF 'backlto: cannot load' "$tmp/console" | tr -d '\r' >&2 || :
    die "not all of the $count modules could be loaded"
fi
