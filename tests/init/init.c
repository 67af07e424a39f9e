/*
 * The first and only process of the boot test: writes one line to the console
 * and powers the machine off.  Freestanding; nothing but raw system calls, so
 * that it runs on a kernel with next to nothing configured in.
 */

#if defined(__x86_64__)

enum { SYS_write = 1, SYS_nanosleep = 35, SYS_reboot = 169, SYS_openat = 257 };

static long syscall4(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

/* The kernel enters with an aligned stack and no return address on it; a C
 * function expects to have been called. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xorl %ebp, %ebp\n"
	"	call init_main\n");

#else

/* The architectures that came later share one table of numbers. */
enum { SYS_openat = 56, SYS_write = 64, SYS_nanosleep = 101, SYS_reboot = 142 };

#if defined(__aarch64__)

static long syscall4(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
			 : "memory");
	return x0;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	bl init_main\n");

#elif defined(__riscv) && __riscv_xlen == 64

static long syscall4(long number, long a, long b, long c, long d)
{
	register long a7 __asm__("a7") = number;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;

	__asm__ volatile("ecall"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3)
			 : "memory");
	return a0;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	call init_main\n");

#elif defined(__loongarch64)

static long syscall4(long number, long a, long b, long c, long d)
{
	register long a7 __asm__("$a7") = number;
	register long a0 __asm__("$a0") = a;
	register long a1 __asm__("$a1") = b;
	register long a2 __asm__("$a2") = c;
	register long a3 __asm__("$a3") = d;

	__asm__ volatile("syscall 0"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3)
			 : "$t0", "$t1", "$t2", "$t3", "$t4", "$t5", "$t6",
			   "$t7", "$t8", "memory");
	return a0;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	bl init_main\n");

#else
#error "no system calls for this architecture"
#endif
#endif

enum {
	AT_FDCWD = -100,
	O_RDWR = 2,
	LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc,
};
#define LINUX_REBOOT_MAGIC1 0xfee1deadL
#define LINUX_REBOOT_MAGIC2 672274793L

struct timespec {
	long seconds, nanoseconds;
};

static const char line[] = "backlto: init is running\n";

/* Whether all of the line could be written. */
static int write_line(long fd)
{
	unsigned long done = 0;

	while (done < sizeof(line) - 1) {
		long n = syscall4(SYS_write, fd, (long)(line + done),
				  (long)(sizeof(line) - 1 - done), 0);

		if (n <= 0)
			return 0;
		done += (unsigned long)n;
	}
	return 1;
}

__attribute__((noreturn, used)) void init_main(void)
{
	const struct timespec day = { 86400, 0 };

	/* The kernel gives init /dev/console as descriptors 0 to 2 only if it
	 * could open it. */
	if (!write_line(1)) {
		long fd = syscall4(SYS_openat, AT_FDCWD, (long)"/dev/console",
				   O_RDWR, 0);

		if (fd >= 0)
			write_line(fd);
	}
	syscall4(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		 LINUX_REBOOT_CMD_POWER_OFF, 0);
	/* Still here: the machine cannot be powered off.  An init that returns
	 * would make the kernel panic. */
	for (;;)
		syscall4(SYS_nanosleep, (long)&day, 0, 0, 0);
}
