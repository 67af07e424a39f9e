#!/usr/bin/env bash
# plan.sh OUTROOT: prints the plan that `backlto run` reads, one program per architecture.
set -euo pipefail

if (($# != 1)); then
    echo "usage: ${0##*/} OUTROOT" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=arches.sh
. "$here/arches.sh"

# A plan may be read from anywhere, so its directories are absolute.
outroot=$1
[[ $outroot == /* ]] || outroot=$PWD/$outroot

json_string() {
    local text=$1 control
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\t'/\\t}
    control=$'[\x01-\x1f\x7f]'
    if [[ $text =~ $control ]]; then
        echo "demo: control character in \`$1\`" >&2
        return 1
    fi
    printf '"%s"' "$text"
}

json_list() {
    local separator='' item
    printf '['
    for item in "$@"; do
        printf '%s' "$separator"
        json_string "$item"
        separator=', '
    done
    printf ']'
}

# Prints one `"key": value` line of a program; the last line takes no comma.
field() {
    printf '      "%s": %s%s\n' "$1" "$2" "${3-,}"
}

inputs=()
for source in "${sources[@]}"; do
    inputs+=("${source%.*}.o")
done

program() {
    local arch=$1 flags link_flags value
    codegen_flags "$arch"
    linker_flags "$arch"
    # Assigned first: the status of a substitution that is an argument is lost.
    value=$(json_string "$arch")
    field name "$value"
    value=$(json_string "$outroot/$arch")
    field directory "$value"
    value=$(json_list "${flags[@]}")
    field flags "$value"
    value=$(json_list "${inputs[@]}")
    field inputs "$value"
    value=$(json_list "${link_flags[@]}")
    field thin_link "$value"
    field link "$value"
    field output '"demo"' ''
}

printf '{\n  "programs": [\n'
separator=''
for arch in "${arches[@]}"; do
    printf '%s    {\n' "$separator"
    program "$arch"
    printf '    }'
    separator=$',\n'
done
printf '\n  ]\n}\n'
