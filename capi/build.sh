#!/usr/bin/env bash
# build.sh OUT [PREFIX [PROFILE]]: the library for C and C++, below OUT as it is to
# be installed in PREFIX (/usr/local). PROFILE is cargo's (release).
#
#   OUT/include/backlto.h   OUT/lib/libbacklto.{a,so,so.0}
#   OUT/lib/pkgconfig/backlto.pc
set -euo pipefail

if (($# < 1 || $# > 3)); then
    echo "usage: $0 OUT [PREFIX [PROFILE]]" >&2
    exit 2
fi
mkdir -p "$1/include" "$1/lib/pkgconfig"
out=$(cd -- "$1" && pwd)
prefix=${2:-/usr/local}
profile=${3:-release}
cd -- "$(dirname -- "$0")/.."

# As build.rs finds it.
llvm=$(scripts/llvm.sh)
config=llvm-config-$llvm
prefix_variable=LLVM_SYS_${llvm}1_PREFIX
if [[ -n ${!prefix_variable:-} ]]; then
    config=${!prefix_variable}/bin/llvm-config
    [[ -x $config-$llvm ]] && config=$config-$llvm
fi
libdir=$("$config" --libdir)

"${CARGO:-cargo}" build --locked --package backlto-capi --profile "$profile" \
    --no-default-features --features "llvm$llvm"
built=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/libbacklto_c.a
install -m 644 "$built" "$out/lib/libbacklto.a"

abi=$(sed -n 's/^pub const BACKLTO_ABI: u32 = \([0-9]*\);$/\1/p' capi/src/lib.rs)
# -Bsymbolic-functions: BackltoSeamsActive compares the seams' own addresses with
# those that the loader gives to libclang-cpp.
"${CXX:-c++}" -shared -o "$out/lib/libbacklto.so.$abi" \
    -Wl,-soname,"libbacklto.so.$abi" -Wl,--version-script=capi/backlto.map \
    -Wl,--whole-archive "$out/lib/libbacklto.a" -Wl,--no-whole-archive \
    -Wl,-Bsymbolic-functions -Wl,--gc-sections -Wl,--build-id -Wl,-z,defs \
    -L"$libdir" -Wl,-rpath,"$libdir" -lclang-cpp -lLLVM -lgcc_s -lm -ldl -lpthread
ln -sf "libbacklto.so.$abi" "$out/lib/libbacklto.so"

install -m 644 include/backlto.h "$out/include/"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" -e "s|@llvm_libdir@|$libdir|" \
    -e "s|@llvm_version@|$("$config" --version)|" \
    capi/backlto.pc.in > "$out/lib/pkgconfig/backlto.pc"
