#!/bin/bash
# Usage: kernel-source.sh VERSION DEST
#
# Puts Debian's kernel source of VERSION (6.12 or 7.2) in
# DEST/linux-source-VERSION and prints that path, and nothing else, on stdout.
# A tree that is there already is reused.  Needs no root privileges.
#
# 6.12 comes from the suite that this machine is set up for.  7.2 is in
# unstable only, which is read with an apt configuration of its own under
# DEST/apt, so that the machine's package state is neither used nor touched.
# Unstable drops a version when the next one arrives; then the newest
# linux-source-* there that knows LTO_CLANG_THIN_DIST takes its place, in a
# directory with its own version, and stderr says so.
set -euo pipefail

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'kernel-source: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

[[ $# == 2 ]] || { say "usage: kernel-source.sh VERSION DEST"; exit 2; }
version=$1
case $version in
6.12 | 7.2) ;;
*) say "unknown version '$version' (6.12 or 7.2)"; exit 2 ;;
esac
mkdir -p -- "$2"
dest=$(cd -- "$2" && pwd)

for tool in apt-get apt-cache dpkg-deb flock tar xz; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done

# One run at a time in DEST: a second one waits and finds the tree, and what
# lies about of a killed one is safe to clear away.
exec 9>"$dest/.lock"
flock 9
rm -rf -- "$dest"/.linux-source-*.tmp

tmp=
trap '[[ -z $tmp ]] || rm -rf -- "$tmp"' EXIT

# apt's sandbox user cannot write below DEST; being explicit about who
# downloads spares root the warning about it.
apt_options=(-qq -o "APT::Sandbox::User=$(id -un)")

# Unpacks linux-source-$1 as DEST/linux-source-$1.  With a second argument, a
# tree whose arch/Kconfig lacks that symbol is dropped again and the status is
# 1; every other trouble ends the script.
unpack() {
    local name=linux-source-$1 symbol=${2-} deb tarball
    if [[ ! -d $dest/$name ]]; then
        say "fetching $name"
        # Everything happens in a directory of its own on the same file
        # system, and only a whole tree gets the final name.
        tmp=$dest/.$name.tmp
        mkdir -- "$tmp" || die "cannot write to $dest"
        (cd -- "$tmp" && apt-get "${apt_options[@]}" download "$name" >&2) ||
            die "apt-get could not download $name (are the package lists there? apt-get update)"
        deb=$(find "$tmp" -maxdepth 1 -name '*.deb' -print -quit)
        [[ -n $deb ]] || die "apt-get left no package for $name"
        dpkg-deb -x "$deb" "$tmp/root" || die "cannot unpack $deb"
        tarball=$tmp/root/usr/src/$name.tar.xz
        [[ -f $tarball ]] || die "$name has no usr/src/$name.tar.xz"
        mkdir "$tmp/tree" || die "cannot write to $tmp"
        tar -xf "$tarball" -C "$tmp/tree" || die "cannot unpack $name.tar.xz"
        [[ -f $tmp/tree/$name/Makefile ]] || die "$name.tar.xz has no $name/Makefile"
        if [[ -n $symbol ]] && ! has_symbol "$tmp/tree/$name" "$symbol"; then
            rm -rf -- "$tmp"
            tmp=
            return 1
        fi
        mv -T -- "$tmp/tree/$name" "$dest/$name" || die "cannot create $dest/$name"
        rm -rf -- "$tmp"
        tmp=
    fi
    [[ -z $symbol ]] || has_symbol "$dest/$name" "$symbol"
}

has_symbol() { grep -qx "config $2" "$1/arch/Kconfig"; }

# The address from which this machine itself gets Debian.  apt reads both
# formats of its source lists for us; the label tells the archive from the
# security one, which carries no unstable, and from other vendors'.
debian_uri() {
    local uris
    # shellcheck disable=SC2016 # apt expands these, not the shell
    uris=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p')
    printf '%s' "${uris%%$'\n'*}"
}

use_unstable() {
    local uri apt=$dest/apt
    [[ -r $keyring ]] || die "$keyring is missing (package debian-archive-keyring)"
    uri=$(debian_uri)
    [[ -n $uri ]] ||
        die "no Debian archive among this machine's apt sources, or its lists were never fetched (apt-get update)"

    mkdir -p -- "$apt"/{etc,lists/partial,cache/archives/partial,state}
    : >>"$apt/state/status"
    printf 'deb [signed-by=%s] %s sid main\n' "$keyring" "$uri" >"$apt/etc/sources.list"

    # Options on the command line win over the machine's configuration, of
    # which proxies and the like stay in force.
    apt_options+=(
        -o "Dir::Etc::sourcelist=$apt/etc/sources.list"
        -o "Dir::Etc::sourceparts=/dev/null"
        -o "Dir::Etc::preferences=/dev/null"
        -o "Dir::Etc::preferencesparts=/dev/null"
        -o "Dir::State=$apt/state"
        -o "Dir::State::lists=$apt/lists"
        -o "Dir::State::status=$apt/state/status"
        -o "Dir::Cache=$apt/cache"
        -o "APT::Default-Release="
        -o "Acquire::Languages=none"
        # Indexes for software centres and file searches: tens of megabytes
        # that nobody here reads.
        -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
        -o "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled=false"
        -o "Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=false"
        -o "Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled=false"
        -o "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"
    )
    # Without Error-Mode, apt answers a failed download with a warning and
    # status 0, and goes on with stale lists or none.
    apt-get "${apt_options[@]}" -o APT::Update::Error-Mode=any update >&2 ||
        die "cannot read the package lists of Debian unstable"
}

# The versions of linux-source-X.Y that apt knows here, newest first.
known_versions() {
    apt-cache "${apt_options[@]}" pkgnames linux-source- |
        sed -nE 's/^linux-source-([0-9]+\.[0-9]+)$/\1/p' | sort -rV
}

if [[ -d $dest/linux-source-$version ]]; then
    :
elif [[ $version == 6.12 ]]; then
    unpack "$version"
else
    use_unstable
    versions=$(known_versions) || die "cannot list the packages of Debian unstable"
    if grep -qxF "$version" <<<"$versions"; then
        unpack "$version"
    else
        found=
        for candidate in $versions; do
            if unpack "$candidate" LTO_CLANG_THIN_DIST; then
                found=$candidate
                break
            fi
        done
        [[ -n $found ]] ||
            die "unstable has neither linux-source-$version nor another one with LTO_CLANG_THIN_DIST"
        say "linux-source-$version is gone from unstable; taking $found"
        version=$found
    fi
fi
printf '%s\n' "$dest/linux-source-$version"
