# What test-buildtools.sh and test-programs.sh share; in shell, as are the commands that they
# try. Sourced with the words BACKLTO WORK [NAME...]; sets backlto, work and names.

self=${0##*/}
die() {
    printf '%s: %s\n' "${self%.sh}" "$*" >&2
    exit 1
}
if (($# < 2)); then
    echo "usage: $self BACKLTO WORK [NAME...]" >&2
    exit 2
fi
backlto=$(realpath -- "$1")
[[ -x ${backlto%/*}/ld.backlto ]] || die "no ld.backlto beside $backlto"
mkdir -p -- "$2"
work=$(cd -- "$2" && pwd)
names=("${@:3}")

# put_on_path TEXT: what users have there after `make install`, but a backlto that is the shell
# script TEXT.
put_on_path() {
    local bin=$work/bin
    rm -rf -- "$bin"
    mkdir -- "$bin"
    cp -- "${backlto%/*}/ld.backlto" "$bin/ld.backlto"
    printf '#!/bin/sh\n%s\n' "$1" >"$bin/backlto"
    chmod +x "$bin/backlto"
    export PATH=$bin:$PATH BACKLTO_CACHE_DIR=''
}

# attempt NAME DIRECTORY LOG COMMAND: runs COMMAND in DIRECTORY.
attempt() {
    local status
    # In a shell of its own, where a failing command ends it; not behind `||`,
    # where it would not.
    set +e
    (
        set -e
        cd -- "$2"
        "$4"
    ) >"$3" 2>&1
    status=$?
    set -e
    ((status == 0)) && return
    tail -n 40 -- "$3" >&2
    die "$1 failed; the log is $3"
}
