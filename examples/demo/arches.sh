# shellcheck shell=bash
# arches.sh: what the demo's scripts agree on; sourced, not run.
#
# Stage 1 and the plan must name the same code generation flags: the back end
# gets them from the plan alone, since bitcode does not carry all of them.

# shellcheck disable=SC2034  # read by the scripts that source this file
arches=(x86_64 aarch64 riscv64 loongarch64)

# In link order, the two native objects (mix.S, start.S) among the bitcode.
# shellcheck disable=SC2034
sources=(
    main.c motto.c primes.c matrix.c vm.c programs.c mix.S words.c table.c
    deck.c sort.c rng.c life.c mandel.c out.c sys.c mem.c start.S
)

# Sets `flags` to the code generation flags for the architecture $1.
codegen_flags() {
    flags=(
        "--target=$1-unknown-linux-gnu" -O2
        -ffreestanding -fno-pic -fno-stack-protector
        -fno-asynchronous-unwind-tables
        -ffunction-sections -fdata-sections
    )
    case $1 in
        x86_64 | aarch64) ;;
        # Objects of different float ABIs do not link, so the ABI is not left
        # to a default.
        riscv64) flags+=(-march=rv64gc -mabi=lp64d -mcmodel=medany) ;;
        # clang takes the vector unit for granted; QEMU 7.2 does not have it.
        loongarch64) flags+=(-mabi=lp64d -mcmodel=normal -mno-lsx) ;;
        *)
            echo "demo: unknown architecture \`$1\`; known: ${arches[*]}" >&2
            return 1
            ;;
    esac
}

# Sets `link_flags` to what both the thin link and the final link are given.
# They have to agree: the thin link decides what may be dropped or made local.
linker_flags() {
    local emulation
    case $1 in
        x86_64) emulation=elf_x86_64 ;;
        aarch64) emulation=aarch64linux ;;
        riscv64) emulation=elf64lriscv ;;
        loongarch64) emulation=elf64loongarch ;;
        *) return 1 ;;
    esac
    # shellcheck disable=SC2034
    link_flags=(-m "$emulation" -static --gc-sections)
}
