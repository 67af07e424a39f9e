#!/usr/bin/env bash
# test-versions.sh WORK BACKLTO...: several builds of backlto, each with another LLVM, share
# one cache. They compile the same bitcode, which the oldest clang has written, twice: each
# object has to be that of the clang of its LLVM, and the second time to come from the cache.
# What the newest clang has written, the oldest has to refuse by name.
set -euo pipefail

if (($# < 3)); then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
mkdir -p "$1"
work=$(cd -- "$1" && pwd)/versions
shift
die() {
    printf 'test-versions: %s\n' "$@" >&2
    exit 1
}

declare -A program
for backlto; do
    major=$("$backlto" --version | sed -n 's/.*LLVM \([0-9]*\)\..*/\1/p')
    [[ -n $major ]] || die "$backlto does not say which LLVM it has"
    program[$major]=$(realpath "$backlto")
done
mapfile -t majors < <(printf '%s\n' "${!program[@]}" | sort -n)
((${#majors[@]} > 1)) || die 'it takes two LLVMs'
oldest=${majors[0]} newest=${majors[-1]}

rm -rf -- "$work"
mkdir -p "$work"
cd "$work"
cat >main.c <<'END'
int table[4] = {1, 2, 3, 4};
int scale(int);
int main(int count, char **words) { return scale(table[count & 3]) + words[0][0]; }
END
echo 'extern int table[]; int scale(int x) { return x * 3 + table[x & 3]; }' >scale.c

# bitcode MAJOR: main.o and scale.o, and their indexes.
bitcode() {
    "clang-$1" -O2 -g -flto=thin -c main.c scale.c
    "ld.lld-$1" -r --thinlto-index-only main.o scale.o -o linked.o
}
# compile MAJOR OBJECT [OPTION...]: main.o by the backlto with that LLVM.
compile() {
    local flags=(-O2 -x ir -fthinlto-index=main.o.thinlto.bc -c -o "$2" main.o)
    "${program[$1]}" "${@:3}" cc "clang-$1" "${flags[@]}"
}

bitcode "$oldest"
for major in "${majors[@]}"; do
    "clang-$major" -O2 -x ir -fthinlto-index=main.o.thinlto.bc -c -o "clang-$major.o" main.o
done
for round in first second; do
    for major in "${majors[@]}"; do
        rm -f object.o
        compile "$major" object.o --cache-dir=cache
        cmp object.o "clang-$major.o" || die "$round: not what clang-$major writes"
    done
done
hits=$("${program[$newest]}" --cache-dir=cache cache stats --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"]["hits_primary"])')
((hits == ${#majors[@]})) || die "$hits objects came from the cache, not ${#majors[@]}"

bitcode "$newest"
if said=$(compile "$oldest" refused.o --no-cache 2>&1); then
    die "LLVM $oldest has taken what LLVM $newest wrote"
fi
for part in "LLVM$newest" "LLVM $oldest" main.o; do
    [[ $said == *"$part"* ]] || die "no word of $part in: $said"
done
[[ ! -e refused.o ]] || die 'an object was written all the same'
echo "LLVM ${majors[*]}: each has its own objects in one cache"
