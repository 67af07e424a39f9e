#!/bin/bash
# test-sanitized.sh: runs tests with llvm-shims under AddressSanitizer and
# UndefinedBehaviorSanitizer. LLVM itself is Debian's and has no instrumentation.
set -euo pipefail
cd -- "$(dirname -- "$0")/.."

llvm=$(scripts/llvm.sh)
export CC=clang-$llvm CXX=clang++-$llvm
# vptr and function need the type information of LLVM, which it is built without.
export CXXFLAGS='-fsanitize=address,undefined -fno-sanitize=vptr,function
	-fno-sanitize-recover=undefined -fno-omit-frame-pointer'
export CARGO_TARGET_DIR=target/sanitized
target=$(rustc -vV | sed -n 's/^host: //p')
variable=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")
export "${variable}_LINKER=$CC" "${variable}_RUSTFLAGS=-Clink-arg=-fsanitize=address,undefined"
# Signals are backlto's to handle, and what LLVM keeps to the end is no leak. Its containers
# cross the border between code with and without instrumentation. A damaged index asks
# for more memory than there is: that is std::bad_alloc, as without a sanitizer.
export ASAN_OPTIONS=detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=1
for signal in segv abort sigbus sigfpe sigill; do
	ASAN_OPTIONS+=:handle_$signal=0
done
export UBSAN_OPTIONS=print_stacktrace=1

tests=(cargo test --locked --no-fail-fast --no-default-features --features "llvm$llvm,remote")
"${tests[@]}" -p backlto --lib --test embedding
"${tests[@]}" -p backlto-cli --test compare --test plans --test bad_input
