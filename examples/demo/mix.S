// mix.S: the checksum step of mix.h by hand, so that a native object sits among the bitcode.

    .text
    .globl mix_native
    .type mix_native, %function
    .p2align 4
mix_native:
#if defined(__x86_64__)
    movq %rdi, %rax
    rolq $7, %rax
    xorq %rsi, %rax
    leaq 1(%rax,%rax,8), %rax
    ret
#elif defined(__aarch64__)
    ror x0, x0, #57
    eor x0, x0, x1
    add x0, x0, x0, lsl #3
    add x0, x0, #1
    ret
#elif defined(__riscv)
    slli t0, a0, 7
    srli t1, a0, 57
    or a0, t0, t1
    xor a0, a0, a1
    slli t0, a0, 3
    add a0, a0, t0
    addi a0, a0, 1
    ret
#elif defined(__loongarch64)
    rotri.d $a0, $a0, 57
    xor $a0, $a0, $a1
    alsl.d $a0, $a0, $a0, 3
    addi.d $a0, $a0, 1
    ret
#else
#error "mix.S does not know this machine"
#endif
    .size mix_native, . - mix_native

    .section .note.GNU-stack, "", %progbits
