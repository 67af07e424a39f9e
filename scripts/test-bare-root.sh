#!/usr/bin/env bash
# test-bare-root.sh PACKAGE OUT: unpacks the Debian package that `make dist` has made in a root
# directory with nothing but the C library and an ld.lld, and has it make the demo's programs
# there, for four architectures; they run, and print the same.
set -euo pipefail

if (($# != 2)); then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
package=$(realpath -- "$1")
rm -rf -- "$2"
mkdir -p -- "$2"
out=$(cd -- "$2" && pwd)
cd -- "$(dirname -- "$0")/.."
root=$out/root

# loaded PROGRAM: the libraries that the system's loader maps for it, and the loader.
loaded() { ldd "$1" | sed -n 's/^.*\s\(\/[^ ]*\) (0x.*/\1/p'; }

mkdir -p -- "$root"/{dev,proc,tmp} "$root/$out"
dpkg-deb -x "$package" "$root"
# With ld.lld comes the C library, of which backlto needs no more than this.
lld=$(command -v ld.lld-22)
libraries=$(loaded "$lld")
for file in "$lld" $libraries; do
    install -D -- "$file" "$root/$file"
done
strangers=$(loaded "$root/usr/bin/backlto" | grep -v '/\(libc\.so\|libm\.so\|ld-linux\)[^/]*$' || true)
if [[ -n $strangers ]]; then
    printf 'bare root: backlto loads more than the C library:\n%s\n' "$strangers" >&2
    exit 1
fi

# What run.sh calls: the same paths inside as outside.
cat >"$out/backlto" <<INSIDE
#!/bin/sh
exec unshare --map-root-user --mount sh -ec '
    mount --bind "$out" "$root/$out"
    for each in dev proc; do mount --rbind "/\$each" "$root/\$each"; done
    export PATH=/usr/bin
    exec /usr/sbin/chroot "$root" /usr/bin/backlto "\$@"
' sh "\$@"
INSIDE
chmod +x "$out/backlto"
echo "bare root: $(find "$root" -type f | wc -l) files; $("$out/backlto" --version)"
examples/demo/run.sh "$out/backlto" "$out/demo"
