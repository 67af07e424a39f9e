#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: runs the fuzz targets of cli/src/fuzz.rs, each for SECONDS,
# from the inputs below fuzz/corpus; all without a name. What they find beside those goes to
# target/fuzz/corpus, inputs that fail to target/fuzz.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if (($# == 0)); then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
seconds=$1
shift
targets=("$@")
((${#targets[@]} > 0)) || mapfile -t targets < <(ls fuzz/corpus)

# What cargo-fuzz passes, but for the sanitizers, which only nightly compilers have. With a
# target named, build scripts are compiled without it.
host=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cpasses=sancov-module -Cdebug-assertions -Cllvm-args=-sanitizer-coverage-level=4'
for kind in inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$kind"
done
llvm=$(scripts/llvm.sh)
RUSTFLAGS=$flags cargo build --locked --release -p backlto-cli --bin backlto \
    --no-default-features --features "llvm$llvm,remote" --target "$host" --target-dir target/fuzz
program=target/fuzz/$host/release/backlto

run() {
    local target=$1 found=target/fuzz/corpus/$1 log=target/fuzz/$1.log
    mkdir -p "$found"
    if ! BACKLTO_FUZZ=$target "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=65536 -artifact_prefix="target/fuzz/$target-" "$found" "fuzz/corpus/$target" \
        >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        return 1
    fi
    echo "$target: $(grep -o 'Done [0-9]* runs' "$log"), $(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
}
export -f run
export program seconds
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -euo pipefail -c 'run "$1"' run
