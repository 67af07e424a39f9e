#!/bin/bash
# Usage: kernel-boot.sh ARCH KERNEL_IMAGE
#
# Boots KERNEL_IMAGE in QEMU with an initramfs that holds tests/init only.
# Status 0 if init's line appeared on the console within 180 seconds; otherwise
# the end of the console goes to stderr and the status is 1.
# ARCH: x86_64, aarch64, riscv64 or loongarch64, or the kernel's names for them.
set -euo pipefail

line='backlto: init is running'
limit=180

die() { printf 'kernel-boot: %s\n' "$*" >&2; exit 1; }
usage() { printf 'usage: kernel-boot.sh ARCH KERNEL_IMAGE\n' >&2; exit 2; }

[[ $# == 2 ]] || usage
image=$2
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
    # QEMU insists on more than 1 GB here.  And it has to be one that hands the
    # kernel (its ELF file, vmlinux) the system table that firmware would:
    # Debian 12's does not, and the kernel stays mute.
    arch=loongarch64 console=ttyS0 machine=(-M virt) isa=(-mno-lsx) memory=2048
    ;;
*) usage ;;
esac
[[ -f $image ]] || die "no kernel image $image"
for tool in clang-22 ld.lld-22 python3 "qemu-system-$arch"; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
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

# A newc archive is written here rather than with cpio, since a device node in
# a directory tree takes root privileges and one in an archive does not.
python3 - "$tmp/init" "$tmp/initramfs" <<'PYTHON'
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
add(0, "TRAILER!!!", 0)
with open(sys.argv[2], "wb") as file:
    file.write(archive)
PYTHON

: >"$tmp/console" # to be there before the shell in the background opens it
"qemu-system-$arch" "${machine[@]}" -no-reboot -nographic -m "$memory" \
    -kernel "$image" -initrd "$tmp/initramfs" -append "console=$console panic=-1" \
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
    [[ $running ]] || break
    sleep 0.2
done
if [[ -z $appeared ]]; then
    tail -n 40 "$tmp/console" | tr -d '\r' >&2
    if [[ $running ]]; then
        die "init did not run within $limit s"
    fi
    die "QEMU ended before init ran"
fi
