#!/usr/bin/env bash
# test-llvm.sh MAJOR WORK: builds backlto with LLVM MAJOR and tests it (`make test-version`).
# Where that LLVM is not installed, this happens in a system of its own: Debian's unstable
# suite, which debootstrap installs below WORK/llvm. That takes root, and leaves the mounts
# undone. Kernel sources and trees are those below WORK.
set -euo pipefail

if (($# != 2)); then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
llvm=$(scripts/llvm.sh "$1")
mkdir -p "$2"
work=$(cd -- "$2" && pwd)
project=$PWD

die() {
    printf 'test-llvm: %s\n' "$@" >&2
    exit 2
}

if "llvm-config-$llvm" --version >/dev/null 2>&1 || apt-cache show "llvm-$llvm-dev" >/dev/null 2>&1; then
    exec make LLVM="$llvm" WORK="$work" CARGO_TARGET_DIR="$project/target/llvm-$llvm" test-version
fi
((EUID == 0)) || die "LLVM $llvm is not to be had on this system, and another takes root"
command -v debootstrap >/dev/null || die 'install debootstrap'

root=$work/llvm/root
if [[ ! -e $root/.complete ]]; then
    mirror=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p' | head -n 1)
    [[ -n $mirror ]] || die 'this system gets no packages from Debian; it takes a mirror of unstable'
    rm -rf -- "$root"
    mkdir -p -- "$root"
    debootstrap --variant=minbase --include=ca-certificates unstable "$root" "$mirror"
    touch "$root/.complete"
fi

# The kernels, the crates and the compiler are this system's; so are their places.
sysroot=$(rustc --print sysroot)
cargo=${CARGO_HOME:-$HOME/.cargo}
# A namespace of its own: whatever ends this, no mount stays.
# shellcheck disable=SC2016 # for the shell that runs it
exec unshare --mount --fork --kill-child bash -euo pipefail -c '
    root=$1 llvm=$2 work=$3 project=$4
    shift 4
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    for place in "$work" "$project" "$@"; do
        mkdir -p "$root$place"
        mount --bind "$place" "$root$place"
    done
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    for file in /etc/apt/apt.conf.d/*proxy*; do
        [[ ! -e $file ]] || cp "$file" "$root/etc/apt/apt.conf.d/"
    done
    chroot "$root" env -i HOME=/root CARGO_HOME="$1" BACKLTO_LLVM="$llvm" \
        PATH="$2/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        CARGO_TARGET_DIR="$project/target/llvm-$llvm" \
        bash -euo pipefail -c "
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make >/dev/null
            cd \"$project\" && make LLVM=$llvm WORK=\"$work\" test-version"
' - "$root" "$llvm" "$work" "$project" "$cargo" "$sysroot"
