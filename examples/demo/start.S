// start.S: the entry point: native code that calls into bitcode and ends the process.

    .text
    .globl _start
    .type _start, %function
_start:
    // The kernel hands over an aligned stack on all four machines; x86-64's
    // `call` pushes a return address, which is what the C side expects.
#if defined(__x86_64__)
    xorl %ebp, %ebp
    call demo_main
    movl %eax, %edi
    call sys_exit
#elif defined(__aarch64__)
    mov x29, xzr
    mov x30, xzr
    bl demo_main
    bl sys_exit
#elif defined(__riscv)
    mv s0, zero
    mv ra, zero
    call demo_main
    call sys_exit
#elif defined(__loongarch64)
    move $fp, $zero
    move $ra, $zero
    bl demo_main
    bl sys_exit
#else
#error "start.S does not know this machine"
#endif
    .size _start, . - _start

    .section .note.GNU-stack, "", %progbits
