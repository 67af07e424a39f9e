#!/bin/bash
# Usage: test-dropin.sh [-r] [-n] [-t] LD WORKDIR VERSION KIND [ARCH]
#
# Builds a whole kernel as anybody would, with LD as make's linker:
#   make LLVM=-22 LD=LD ARCH=...
# from Debian's source of VERSION (6.12 or 7.2) for ARCH (x86_64 without it),
# with a configuration of KIND (kernel-tree.sh), and checks that
#   - vmlinux, the modules and the boot image come out;
#   - each module carries the versions of its symbols as Module.symvers has them;
#   - make has nothing to do afterwards;
#   - after changes to a source file, a header, a module and a flag, make brings
#     all of them into the kernel, and after their removal the old bytes are back;
#   - the kernel boots in QEMU and loads the modules, in the order of their needs;
#   - make clean leaves nothing of it.
# With -r, ld.lld-22 then links the same objects, and Module.symvers, the versions
# in the modules and what make clean leaves have to be equal; with THIN_DIST also
# native objects, archives and vmlinux.o.  -n leaves out the boot.  7.2 is
# configured with LTO_CLANG_THIN_DIST, with -t with LTO_CLANG_THIN, which is all
# that 6.12 has.
# LD may be ld.lld-22 itself: what passes with it, a drop-in has to pass.
set -euo pipefail

die() {
    [[ ! -s ${log-} ]] || tail -n 30 -- "$log" >&2
    printf 'test-dropin: %s\n' "$*" >&2
    exit 1
}
say() { printf 'ok: %s: %s\n' "$name" "$*"; }
usage() {
    printf 'usage: test-dropin.sh [-r] [-n] [-t] LD WORKDIR 6.12|7.2 KIND [ARCH]\n' >&2
    exit 2
}

reference='' boot=1 thin=''
while getopts rnt option; do
    case $option in
    r) reference=1 ;;
    n) boot='' ;;
    t) thin=1 ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ $# == 4 || $# == 5 ]] || usage
# The smallest tree has no console to say anything on.
[[ $4 != small ]] || boot=''
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ld=$(command -v -- "$1") || die "no linker $1"
# Not realpath: what ld.lld is depends on the name by which it is called.
ld=$(cd -- "$(dirname -- "$ld")" && pwd)/${ld##*/}
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
version=$3 kind=$4
case $version$thin in
7.2) lto=LTO_CLANG_THIN_DIST ;;
*) lto=LTO_CLANG_THIN ;;
esac
# image: what QEMU starts.
case ${5-x86_64} in
x86 | x86_64) arch=x86_64 karch=x86 image=arch/x86/boot/bzImage ;;
arm64 | aarch64) arch=aarch64 karch=arm64 image=arch/arm64/boot/Image ;;
riscv | riscv64) arch=riscv64 karch=riscv image=arch/riscv/boot/Image ;;
loongarch | loongarch64) arch=loongarch64 karch=loongarch image=vmlinux ;;
*) usage ;;
esac

name="Linux $version${thin:+ thin} $kind $arch"
base=$work/dropin-$version${thin:+-thin}-$kind-$arch
src=$base.src obj=$base.obj root=$base.root log=''
pristine=$("$scripts/kernel-source.sh" "$version" "$work")
rm -rf -- "$src" "$obj" "$obj.lld" "$root" "$root.lld"
# Sources to be edited: hard links, of which a few files are replaced.
mkdir -- "$src"
cp -al -- "$pristine/." "$src"

# build OBJ LD LOG [ARGUMENT...]: what a user types, except for the version and
# time in the kernel's banner, which are fixed to make builds comparable.
build() {
    local tree=$1 linker=$2 status=0
    log=$3
    shift 3
    make -C "$src" O="$tree" LLVM=-22 LD="$linker" ARCH="$karch" \
        KBUILD_BUILD_VERSION=1 KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
        -j"$(nproc)" "$@" >"$log" 2>&1 || status=$?
    return "$status"
}
list() { (cd -- "$1" && find . ! -type d | LC_ALL=C sort); }
modules() { (cd -- "$1" && find . -name '*.ko' | LC_ALL=C sort); }
sums() {
    (cd -- "$obj" && { find . -name '*.ko' && printf '%s\n' ./vmlinux.o ./vmlinux; } |
        LC_ALL=C sort | xargs sha256sum)
}
# versions OBJ: "module crc symbol" of all that each module imports.
versions() {
    local module
    modules "$1" | while read -r module; do
        modprobe --dump-modversions "$1/$module" | awk -v m="$module" '{ print m, $1, $2 }'
    done | LC_ALL=C sort
}

# The emulator of a LoongArch machine that this kernel takes is younger than
# Debian 12; its suite for such things has one, which runs on Debian 12's
# libraries.  It is unpacked in WORKDIR, with an apt configuration of its own,
# so that the machine's package state is neither used nor touched.
fetch_qemu() {
    local dir=$work/qemu uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg deb options
    qemu=(-q "$dir/root/usr/bin/qemu-system-loongarch64")
    [[ ! -x ${qemu[1]} ]] || return 0
    printf 'test-dropin: fetching a younger QEMU\n' >&2
    # shellcheck disable=SC2016 # apt expands these, not the shell
    uri=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p')
    [[ -n $uri ]] || die "no Debian archive among this machine's apt sources"
    rm -rf -- "$dir"
    mkdir -p -- "$dir"/{lists/partial,cache/archives/partial,state,new}
    : >"$dir/state/status"
    printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$keyring" "${uri%%$'\n'*}" \
        >"$dir/sources.list"
    options=(-qq -o "APT::Sandbox::User=$(id -un)" -o APT::Update::Error-Mode=any
        -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o "Dir::State=$dir/state" -o "Dir::State::lists=$dir/lists"
        -o "Dir::State::status=$dir/state/status" -o "Dir::Cache=$dir/cache"
        -o APT::Default-Release= -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
    apt-get "${options[@]}" update >&2 || die "cannot read the package lists of bookworm-backports"
    (cd -- "$dir" && apt-get "${options[@]}" download qemu-system-misc >&2) ||
        die "cannot download qemu-system-misc of bookworm-backports"
    deb=$(find "$dir" -maxdepth 1 -name '*.deb' -print -quit)
    dpkg-deb -x "$deb" "$dir/new" || die "cannot unpack $deb"
    rm -f -- "$deb"
    "$dir/new/usr/bin/qemu-system-loongarch64" --version >/dev/null ||
        die "QEMU of bookworm-backports does not run here"
    mv -- "$dir/new" "$dir/root"
}
qemu=()
if [[ $boot && $arch == loongarch64 ]]; then
    installed=$(qemu-system-loongarch64 --version 2>/dev/null |
        sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p') || :
    printf '9.1\n%s\n' "${installed:-0}" | sort -CV || fetch_qemu
fi

SECONDS=0
"$scripts/kernel-tree.sh" "$src" "$obj" "$arch" "$lto" "$kind" "$ld"
build "$obj" "$ld" "$base.log" || die "make failed; the whole log is $log"
for file in vmlinux "$image"; do
    [[ -s $obj/$file ]] || die "make left no $file"
done
log=''
count=$(modules "$obj" | wc -l)
say "make: vmlinux, $count modules, $image in $SECONDS s"

has_modules=''
if grep -qx CONFIG_MODULES=y "$obj/.config"; then
    [[ -s $obj/Module.symvers ]] || die "no Module.symvers"
    has_modules=1
fi
versions "$obj" >"$base.versions"
if ((count > 0)); then
    while read -r module; do
        grep -qF "$module " "$base.versions" || die "$module has no versions"
    done < <(modules "$obj")
    # A module's own symbols and those of others look the same in both places.
    awk 'NR == FNR { crc[$2] = $1; next }
        $3 != "module_layout" && crc[$3] != $2 { print; bad = 1 }
        END { exit bad }' "$obj/Module.symvers" "$base.versions" >&2 ||
        die "these modules carry other versions than Module.symvers has"
    say "modules carry $(wc -l <"$base.versions") versions, all from Module.symvers"
fi

if [[ $reference ]]; then
    # Other text in the commands that link makes make run all of them again; what
    # the front end wrote stays.
    cp -a -- "$obj" "$obj.lld"
    build "$obj.lld" "$(command -v ld.lld-22)" "$base.lld.log" || die "make failed with ld.lld-22"
    log=''
    if [[ $has_modules ]]; then
        diff -- "$obj.lld/Module.symvers" "$obj/Module.symvers" >&2 ||
            die "Module.symvers differs from that of ld.lld-22"
    fi
    versions "$obj.lld" | diff - "$base.versions" >&2 ||
        die "the versions in the modules differ from those of ld.lld-22"
    [[ $(modules "$obj.lld") == "$(modules "$obj")" ]] || die "ld.lld-22 has other modules"
    say "Module.symvers and the versions in $count modules are those of ld.lld-22"
    if [[ $lto == LTO_CLANG_THIN_DIST ]]; then
        natives() { (cd -- "$1" && find . -name '*.thinlto-native.o' | LC_ALL=C sort | xargs sha256sum); }
        natives "$obj" >"$base.natives"
        made=$(grep -c '^  CC .*\.thinlto-native\.o$' "$base.lld.log") || :
        [[ $made == "$(wc -l <"$base.natives")" ]] || die "make ran $made back ends for its objects"
        natives "$obj.lld" | diff - "$base.natives" >&2 || die "make has other native objects"
        for file in builtin.order vmlinux.thinlto-index vmlinux.a vmlinux.o; do
            cmp -- "$obj.lld/$file" "$obj/$file" || die "make has another $file"
        done
        say "the $made native objects, vmlinux.a and vmlinux.o are those that make and clang make"
    fi
fi

# Ends the script if the log of make shows work, other than looking at things
# that are always looked at.
nothing_done() {
    if grep -E '^  [A-Z]+ ' "$log" |
        grep -vE '^  (CALL|DESCEND|CHK|GEN +Makefile$|INSTALL +libsubcmd_headers$)' >&2; then
        die "make did something where nothing had changed"
    fi
}
before=$(sums)
build "$obj" "$ld" "$base.again.log" || die "make failed when there was nothing to do"
nothing_done
log=''
[[ $(sums) == "$before" ]] || die "make changed files where there was nothing to do"
say "make again: nothing to do"

if [[ $boot ]]; then
    list_of_modules=()
    if ((count > 0)); then
        build "$obj" "$ld" "$base.install.log" INSTALL_MOD_PATH="$root" modules_install ||
            die "make modules_install failed"
        log=''
        "$scripts/kernel-modules.sh" "$root" >"$base.modules"
        [[ $(wc -l <"$base.modules") == "$count" ]] ||
            die "$base.modules does not name all of the $count modules"
        list_of_modules=("$base.modules")
    fi
    "$scripts/kernel-boot.sh" "${qemu[@]}" "$arch" "$obj/$image" "${list_of_modules[@]}"
    say "boots, $count modules loaded"
fi

# Puts a copy of the source file $1 in its place, with what stdin has behind it.
# Its time is new, and the pristine one, which shares a link with it, stays.
edit() {
    cat -- "$pristine/$1" - >"$src/$1.new"
    chmod --reference="$pristine/$1" -- "$src/$1.new"
    mv -- "$src/$1.new" "$src/$1"
}
edit init/main.c <<'CODE'
static const char backlto_source[] __attribute__((used)) = "backlto: changed source";
void backlto_added(void);
void backlto_added(void)
{
}
EXPORT_SYMBOL_GPL(backlto_added);
CODE
edit kernel/printk/internal.h <<'CODE'
static const char backlto_header[] __attribute__((used)) = "backlto: changed header";
CODE
# Flags for one object of vmlinux and for a module that has no other object.
cat >"$src/backlto-flag.h" <<'CODE'
static const char backlto_flag[] __attribute__((used)) = "backlto: changed flag";
CODE
flags=(CFLAGS_do_mounts.o="-include $src/backlto-flag.h"
    CFLAGS_nls_iso8859-1.o="-include $src/backlto-flag.h")
changed=(vmlinux:source vmlinux:header vmlinux:flag)
if [[ -f $obj/fs/fat/fat.ko ]]; then
    edit fs/fat/cache.c <<'CODE'
static const char backlto_module[] __attribute__((used)) = "backlto: changed module";
CODE
    changed+=(fs/fat/fat.ko:module fs/nls/nls_iso8859-1.ko:flag)
fi
build "$obj" "$ld" "$base.changed.log" "${flags[@]}" || die "make failed after changes"
for change in "${changed[@]}"; do
    grep -qaF "backlto: changed ${change#*:}" "$obj/${change%:*}" ||
        die "the changed ${change#*:} did not reach ${change%:*}"
done
if [[ $has_modules ]]; then
    grep -qE '\sbacklto_added\s+vmlinux\s+EXPORT_SYMBOL_GPL' "$obj/Module.symvers" ||
        die "the added symbol did not reach Module.symvers"
fi
# 7.2 calls the back ends CC too, of which it runs every one again.
compiled=$(grep -E '^  CC ' "$log" | grep -cvF .thinlto-native.o) || :
((compiled < 30)) || die "make compiled $compiled files for a handful of changes"
say "changes to a source, a header, a module and a flag arrive, $compiled files compiled"
build "$obj" "$ld" "$base.changed.log" "${flags[@]}" || die "make failed after changes"
nothing_done

edit init/main.c </dev/null
edit kernel/printk/internal.h </dev/null
edit fs/fat/cache.c </dev/null
build "$obj" "$ld" "$base.undone.log" || die "make failed after the changes were undone"
log=''
diff <(printf '%s\n' "$before") <(sums) >&2 ||
    die "after the changes were undone, these are not what they were"
say "without the changes, vmlinux and the modules are what they were"

build "$obj" "$ld" "$base.clean.log" clean || die "make clean failed"
log=''
# What the kernel itself leaves: the configuration, host programs, generated
# headers, and what is needed to build modules outside of its tree.
list "$obj" >"$base.left"
if grep -vE '^\./(include|scripts|tools|arch/[a-z0-9]+/(include/generated|tools))/|^\./(\.config|\.config\.old|\.gitignore|\.version|Makefile|Module\.symvers|configure\.log|source)$' \
    "$base.left" >&2; then
    die "make clean left these files"
fi
if [[ $reference ]]; then
    build "$obj.lld" "$(command -v ld.lld-22)" "$base.clean.log" clean || die "make clean failed with ld.lld-22"
    log=''
    list "$obj.lld" | diff - "$base.left" >&2 || die "make clean leaves other files than with ld.lld-22"
fi
say "make clean leaves the $(wc -l <"$base.left") files that it should"
rm -rf -- "$src" "$root" "$obj.lld"
