#!/usr/bin/env bash
# setup.sh [build|test|report|bazel|kernel|arches|remote|bench|dist]: installs what is missing on a Debian 12 machine.
#
#   build   (the default) to build backlto
#   test    to run its tests and the demo too
#   report  to look at reports in a browser
#   bazel   to build with Bazel too
#   kernel  to build and boot Linux kernels with it too
#   arches  to boot kernels of the other architectures, and to package kernels, too
#   remote  to test it with engines of the Remote Execution API too
#   bench   to compare it with others on kernels and a program, and draw the result
#   dist    to build it with LLVM inside
#
# The LLVM is the one that scripts/llvm.sh chooses.
#
# Other scripts call this first, so it says nothing when all is there.
set -euo pipefail

llvm=$("$(dirname -- "${BASH_SOURCE[0]}")/llvm.sh")
packages=(
    "clang-$llvm" "lld-$llvm" "llvm-$llvm-dev" "libclang-$llvm-dev" "libclang-cpp$llvm-dev"
    libzstd-dev zlib1g-dev libxml2-dev g++ make
)
for_tests=(
    qemu-user-static "libclang-rt-$llvm-dev"
    cmake ninja-build meson autoconf automake libtool pkg-config python3 zstd mkdocs
)
for_kernels=(
    flex bison bc libelf-dev libssl-dev cpio kmod rsync xz-utils dwarves
    python3 perl qemu-system-x86 "llvm-$llvm-linker-tools"
)
for_arches=(qemu-system-arm qemu-system-misc)
# What kbuild's `make bindeb-pkg` calls.
for_packages=(debhelper libdw-dev)
for_reports=(chromium chromium-driver python3 python3-selenium)
# Other packages of Node.js than Debian's have it, and conflict with Debian's.
command -v npm >/dev/null || for_reports+=(npm)
for_bazel=(bazel-bootstrap bazel-rules-java bazel-rules-proto)
for_engines=(bubblewrap postgresql python3-pip python3-venv)
for_bench=(python3-matplotlib)
# LLVM's archives refer to Polly's.
for_dist=("libpolly-$llvm-dev" xz-utils qemu-user-static)
for_bolt=("bolt-$llvm" "libbolt-$llvm-dev")
# To compile some of LLVM's sources.
for_full=(cmake ninja-build patch python3 "libclang-rt-$llvm-dev")

purpose=${1:-build}
if (($# > 1)); then
    purpose=''
fi
case $purpose in
    build) ;;
    test) packages+=("${for_tests[@]}") ;;
    report) packages+=("${for_reports[@]}") ;;
    bazel) packages+=("${for_bazel[@]}") ;;
    kernel) packages+=("${for_tests[@]}" "${for_kernels[@]}") ;;
    arches) packages+=("${for_tests[@]}" "${for_kernels[@]}" "${for_arches[@]}" "${for_packages[@]}") ;;
    remote) packages+=("${for_tests[@]}" "${for_kernels[@]}" "${for_engines[@]}") ;;
    bench) packages+=("${for_tests[@]}" "${for_kernels[@]}" "${for_bench[@]}") ;;
    dist)
        packages+=("${for_dist[@]}")
        case ${TUNE:-bolt} in
            bolt) packages+=("${for_bolt[@]}") ;;
            full) packages+=("${for_bolt[@]}" "${for_full[@]}") ;;
        esac
        ;;
    *)
        echo "usage: ${0##*/} [build|test|report|bazel|kernel|arches|remote|bench|dist]" >&2
        exit 2
        ;;
esac

say() {
    printf 'setup: %s\n' "$@" >&2
}

require_cargo() {
    command -v cargo >/dev/null && return
    if [[ -x ${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo ]]; then
        say "cargo is installed in ${CARGO_HOME:-$HOME/.cargo}/bin, but not on PATH; add that directory"
    else
        # Debian's own Rust is older than the crates ask for.
        say 'cargo is not on PATH; install Rust with rustup, see https://rustup.rs'
    fi
    exit 1
}

explain_llvm() {
    say "backlto needs LLVM, clang and LLD of major version $llvm with their development files" \
        "$@"
}

# Whether there is such an LLVM with its headers, wherever it is from. build.rs looks for it
# by the same names.
has_llvm() {
    local prefix=LLVM_SYS_${llvm}1_PREFIX config
    for config in "llvm-config-$llvm" "llvm-config$llvm" "llvm$llvm-config" llvm-config; do
        config=${!prefix:+${!prefix}/bin/}$config
        if [[ $("$config" --version 2>/dev/null) == "$llvm".* ]]; then
            [[ -e $("$config" --includedir)/clang/CodeGen/CodeGenAction.h ]]
            return
        fi
    done
    return 1
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    if has_llvm; then
        [[ $purpose == build ]] ||
            say "this system has no apt; what is needed is taken to be there, by other names than: ${packages[*]}"
        require_cargo
        exit 0
    fi
    say 'this system has no apt, so nothing can be installed from here'
    explain_llvm "the Debian packages to find counterparts for are: ${packages[*]}"
    exit 1
fi

# dpkg-query fails when it does not know one of the names; what it knows is enough.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
    [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
    require_cargo
    exit 0
fi

install=(apt-get install -y --no-install-recommends "${missing[@]}")
as_root=()
if ((EUID != 0)); then
    if ! sudo -n true 2>/dev/null; then
        say "not installed: ${missing[*]}"
        say 'run this as root, then start again:' \
            "  apt-get update && DEBIAN_FRONTEND=noninteractive ${install[*]}"
        exit 1
    fi
    as_root=(sudo -n)
fi

say "installing: ${missing[*]}"
# One unreachable source of several is no reason to stop; what is needed may
# still be on offer.
"${as_root[@]}" apt-get update || say 'apt-get update failed; going on with the package lists at hand'
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"; then
    # Where apt does not know a package, it has said which.
    explain_llvm 'Debian 12 has 19 and 22 (in its suite bookworm-security), section main; check that the' \
        'apt sources name it, or choose another with LLVM=; docs/llvm.md says who has which'
    exit 1
fi
require_cargo
