#!/usr/bin/env bash
# run.sh BACKLTO OUTROOT: builds the demo for four architectures, links all of them in one
# run of backlto, then runs each program and compares what they print.
set -euo pipefail

if (($# != 2)); then
    echo "usage: ${0##*/} BACKLTO OUTROOT" >&2
    exit 2
fi
backlto=$1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=arches.sh
. "$here/arches.sh"

if ! command -v "$backlto" >/dev/null; then
    echo "demo: cannot run \`$backlto\`; build backlto first and name its program here" >&2
    exit 1
fi
mkdir -p "$2"
outroot=$(cd "$2" && pwd)

# Prints the first of the commands that exists.
first_of() {
    local candidate
    for candidate in "$@"; do
        if command -v "$candidate" >/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Whether the file $2 is a finished ELF program for the architecture $1.
is_program_for() {
    local readelf machine header
    if ! readelf=$(first_of "llvm-readelf-$("$here/../../scripts/llvm.sh")" llvm-readelf readelf); then
        echo "demo: no llvm-readelf on PATH; scripts/setup.sh installs it" >&2
        return 1
    fi
    case $1 in
        x86_64) machine='Advanced Micro Devices X86-64' ;;
        aarch64) machine=AArch64 ;;
        riscv64) machine=RISC-V ;;
        loongarch64) machine=LoongArch ;;
    esac
    header=$("$readelf" -h "$2") || return 1
    grep -Eq '^ *Type: +EXEC' <<<"$header" && grep -Eq "^ *Machine: +$machine\$" <<<"$header"
}

for arch in "${arches[@]}"; do
    "$here/build.sh" "$arch" "$outroot/$arch"
    # What an earlier run left must not pass for this one's.
    rm -f "$outroot/$arch/demo" "$outroot/$arch/report.txt"
done
echo "stage 1  ${#sources[@]} objects for each of ${arches[*]}"

"$here/plan.sh" "$outroot" >"$outroot/plan.json"
started=${EPOCHREALTIME//[^0-9]/}
"$backlto" run "$outroot/plan.json"
finished=${EPOCHREALTIME//[^0-9]/}
printf 'backlto  all programs, thin link to final link, in %d ms\n\n' \
    "$(((finished - started) / 1000))"

failed=0
ran=0
reference=''
for arch in "${arches[@]}"; do
    program=$outroot/$arch/demo
    report=$outroot/$arch/report.txt
    if [[ ! -f $program ]]; then
        echo "FAIL  $arch: backlto left no program at $program"
        failed=1
        continue
    fi

    if [[ $(uname -s) == Linux && $(uname -m) == "$arch" ]]; then
        command=("$program")
        how='on this machine'
    elif emulator=$(first_of "qemu-$arch-static" "qemu-$arch"); then
        command=("$emulator" "$program")
        how="under $emulator"
    else
        if is_program_for "$arch" "$program"; then
            echo "  ok  $arch: not run, for want of qemu-$arch; it is an ELF program for $arch"
        else
            echo "FAIL  $arch: not run, for want of qemu-$arch, and not an ELF program for $arch"
            failed=1
        fi
        continue
    fi

    # Even the slowest emulator is done in a second or two.
    status=0
    timeout 60 "${command[@]}" >"$report" || status=$?
    if ((status != 0)); then
        echo "FAIL  $arch: ended with status $status $how; its report is $report"
        failed=1
        continue
    fi
    if [[ -z $reference ]]; then
        cat "$report"
        echo
        reference=$report
    elif ! cmp -s "$reference" "$report"; then
        echo "FAIL  $arch: printed something else $how:"
        diff "$reference" "$report" || true
        failed=1
        continue
    fi
    echo "  ok  $arch: ran $how, status 0"
    ran=$((ran + 1))
done

echo
if ((failed)); then
    echo "Some of it went wrong; see above."
    exit 1
fi
if ((ran > 1)); then
    echo "$ran programs, one report. Have a nice day!"
else
    echo "All is well, as far as it could be run here."
fi
