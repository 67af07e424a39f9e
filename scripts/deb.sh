#!/usr/bin/env bash
# deb.sh ROOT OUT: a Debian package of the programs below ROOT, where they were installed with
# PREFIX=/usr, in OUT. It depends on the packages of what they load, and on an ld.lld of their
# LLVM. Who builds it is named by DEBFULLNAME and DEBEMAIL.
set -euo pipefail

if (($# != 2)); then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
root=$(cd -- "$1" && pwd)
mkdir -p -- "$2"
out=$(cd -- "$2" && pwd)
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

die() {
    echo "deb: error: $*" >&2
    exit 1
}
command -v dpkg-deb >/dev/null || die "no \`dpkg-deb\` on PATH: this is for Debian and its like"
program=$root/usr/bin/backlto
[[ -x $program ]] || die "no $program"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
llvm=$("$program" --version | sed -n 's/.*LLVM \([0-9]*\)\..*/\1/p')
[[ -n $llvm ]] || die "$program does not say which LLVM it has"
arch=$(dpkg --print-architecture)
package=$(mktemp -d)
trap 'rm -rf -- "$package"' EXIT
chmod 755 "$package"

# What is for programs that embed backlto belongs into a package of its own.
mkdir "$package/usr"
cp -a --no-preserve=ownership -- "$root/usr/bin" "$root/usr/share" "$package/usr/"
find "$package/usr/share/man" -type f ! -name '*.gz' -exec gzip -9n {} +
install -D -m 644 LICENSE "$package/usr/share/doc/backlto/copyright"
gzip -9nc CHANGELOG.md >"$package/usr/share/doc/backlto/changelog.gz"

# owner LIBRARY PROGRAM: the package of the library that PROGRAM loads by this name, not older
# than the one here. (dpkg-shlibdeps looks by the run path, where LLVM has links only.)
owner() {
    local file
    file=$(realpath -- "$(ldd "$2" | sed -n "s/^\\s*$1 => \(\S*\).*/\1/p")")
    # Packages may know it by its place before /lib became a link to /usr/lib.
    { dpkg-query --search "$file" || dpkg-query --search "${file#/usr}"; } 2>/dev/null |
        sed 's/: .*//' | head -n 1 |
        xargs --no-run-if-empty dpkg-query --show --showformat '${Package} (>= ${source:Upstream-Version})\n'
}
depends=$(find "$package/usr/bin" -type f | while read -r program; do
    objdump --private-headers "$program" | sed -n 's/^ *NEEDED *//p' | grep -v ^ld-linux |
        while read -r library; do owner "$library" "$program"; done
done | sort -u | paste -sd, | sed 's/,/, /g')
mkdir "$package/DEBIAN"
cat >"$package/DEBIAN/control" <<CONTROL
Package: backlto
Version: $version
Architecture: $arch
Maintainer: ${DEBFULLNAME:-$(id -un)} <${DEBEMAIL:-$(id -un)@$(uname -n)}>
Depends: $depends, lld-$llvm | lld (>= 1:$llvm), lld-$llvm | lld (<< 1:$((llvm + 1))~)
Recommends: clang-$llvm
Section: devel
Priority: optional
Description: ThinLTO backends of a build in one process
 backlto runs all ThinLTO backends of a build in one process, with the bytes that
 clang $llvm would write, and compiles nothing that did not change. ld.backlto is a
 linker to name in place of ld.lld, for kernels and for programs.
CONTROL
file=$out/backlto_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$package" "$file" >/dev/null
echo "$file"
