// sys.c: raw system calls, one line of inline assembly per machine.
#include "sys.h"

#if defined(__x86_64__)
enum { SYS_WRITE = 1, SYS_EXIT_GROUP = 231 };
#else
enum { SYS_WRITE = 64, SYS_EXIT_GROUP = 94 };
#endif

static long system_call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#elif defined(__riscv)
    register long a7 __asm__("a7") = number;
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
#elif defined(__loongarch64)
    register long a7 __asm__("$a7") = number;
    register long a0 __asm__("$a0") = a;
    register long a1 __asm__("$a1") = b;
    register long a2 __asm__("$a2") = c;
    // The kernel keeps the saved registers only; the temporaries may change.
    __asm__ volatile("syscall 0"
                     : "+r"(a0)
                     : "r"(a7), "r"(a1), "r"(a2)
                     : "$t0", "$t1", "$t2", "$t3", "$t4", "$t5", "$t6", "$t7",
                       "$t8", "memory");
    return a0;
#else
#error "sys.c does not know this machine"
#endif
}

_Noreturn void sys_exit(int status)
{
    for (;;)
        system_call(SYS_EXIT_GROUP, status, 0, 0);
}

void sys_print(const char *bytes, size_t count)
{
    const long interrupted = -4; // EINTR

    while (count > 0) {
        long wrote = system_call(SYS_WRITE, 1, (long)bytes, (long)count);
        if (wrote == interrupted)
            continue;
        // A report nobody can read is a failed run.
        if (wrote <= 0)
            sys_exit(1);
        bytes += wrote;
        count -= (size_t)wrote;
    }
}
