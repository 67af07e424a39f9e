/*
 * The first and only process of the boot test: loads the kernel modules that
 * /modules names, if there is such a file, unloads those named backlto_*, says
 * how many it loaded, writes one line to the console and powers the machine off.  Freestanding; nothing but
 * raw system calls, so that it runs on a kernel with next to nothing
 * configured in.
 */

#if defined(__x86_64__)

enum {
	SYS_read = 0,
	SYS_write = 1,
	SYS_close = 3,
	SYS_ioctl = 16,
	SYS_nanosleep = 35,
	SYS_reboot = 169,
	SYS_delete_module = 176,
	SYS_openat = 257,
	SYS_finit_module = 313,
};

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
enum {
	SYS_ioctl = 29,
	SYS_openat = 56,
	SYS_close = 57,
	SYS_read = 63,
	SYS_write = 64,
	SYS_nanosleep = 101,
	SYS_delete_module = 106,
	SYS_reboot = 142,
	SYS_finit_module = 273,
};

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
	O_RDONLY = 0,
	O_RDWR = 2,
	ENOENT = 2,
	O_NONBLOCK = 04000,
	EFBIG = 27,
	TCSBRK = 0x5409,
	LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc,
};
#define LINUX_REBOOT_MAGIC1 0xfee1deadL
#define LINUX_REBOOT_MAGIC2 672274793L

struct timespec {
	long seconds, nanoseconds;
};

static long open_file(const char *path, long flags)
{
	return syscall4(SYS_openat, AT_FDCWD, (long)path, flags, 0);
}

/* What is to be written next, and where to. */
static char text[4096];
static unsigned long length;
static long console = 1;

static void add(const char *words)
{
	while (*words && length < sizeof(text))
		text[length++] = *words++;
}

static void add_number(unsigned long number)
{
	char digits[21];
	char *first = digits + sizeof(digits) - 1;

	*first = 0;
	do {
		*--first = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	add(first);
}

/* Whether all of the text could be written. */
static int write_text(void)
{
	unsigned long done = 0;

	while (done < length) {
		long n = syscall4(SYS_write, console, (long)(text + done),
				  (long)(length - done), 0);

		if (n <= 0)
			return 0;
		done += (unsigned long)n;
	}
	return 1;
}

static void say(void)
{
	add("\n");
	/* The kernel gives init /dev/console as descriptors 0 to 2 only if it
	 * could open it. */
	if (!write_text()) {
		console = open_file("/dev/console", O_RDWR);
		write_text();
	}
	length = 0;
	/* The kernel's own messages overtake what waits in the terminal's
	 * buffer, in the middle of a line; and powering off drops it. */
	syscall4(SYS_ioctl, console, TCSBRK, 1, 0);
}

/* Paths of modules, each on a line and after those it needs. */
static char modules[65536];

/* The number of bytes of the list, or what went wrong. */
static long read_list(void)
{
	unsigned long size = 0;
	long fd = open_file("/modules", O_RDONLY), n;

	if (fd < 0)
		return fd;
	do {
		n = syscall4(SYS_read, fd, (long)(modules + size),
			     (long)(sizeof(modules) - size), 0);
		if (n < 0)
			return n;
		size += (unsigned long)n;
		if (size == sizeof(modules))
			return -EFBIG;
	} while (n);
	return (long)size;
}

static long load(const char *path)
{
	long fd = open_file(path, O_RDONLY), error;

	if (fd < 0)
		return fd;
	error = syscall4(SYS_finit_module, fd, (long)"", 0, 0);
	syscall4(SYS_close, fd, 0, 0, 0);
	return error;
}

static void complain(const char *what, const char *path, long error)
{
	add("backlto: cannot ");
	add(what);
	add(path);
	add(": error ");
	add_number((unsigned long)-error);
	say();
}

/* Unloads the module that was loaded from /lib/NAME.ko, if it is one of backlto's.
 * 0 if nothing went wrong. */
static long unload(const char *path)
{
	static const char start[] = "/lib/backlto_", end[] = ".ko";
	char name[64];
	unsigned long size = 0;

	for (unsigned long i = 0; i + 1 < sizeof(start); i++)
		if (path[i] != start[i])
			return 0;
	path += sizeof("/lib/") - 1;
	while (path[size] && size + 1 < sizeof(name)) {
		name[size] = path[size];
		size++;
	}
	name[size - (sizeof(end) - 1)] = 0;
	return syscall4(SYS_delete_module, (long)name, O_NONBLOCK, 0, 0);
}

/* The modules of the list, of which size bytes are left, are unloaded from its end
 * on, since modules may use those before them. */
static void unload_modules(long size)
{
	char *end = modules + size;

	while (end > modules) {
		char *path = --end;
		long error;

		while (path > modules && path[-1])
			path--;
		error = unload(path);
		if (error)
			complain("unload ", path, error);
		end = path;
	}
}

static void load_modules(void)
{
	unsigned long loaded = 0;
	long size = read_list();
	char *path = modules;

	if (size == -ENOENT)
		return;
	if (size < 0)
		complain("load ", "/modules", size);
	for (char *end = modules; end < modules + size; end++) {
		long error;

		if (*end != '\n')
			continue;
		*end = 0;
		error = load(path);
		if (error)
			complain("load ", path, error);
		else
			loaded++;
		path = end + 1;
	}
	unload_modules(size);
	add("backlto: ");
	add_number(loaded);
	add(" modules loaded");
	say();
}

__attribute__((noreturn, used)) void init_main(void)
{
	const struct timespec day = { 86400, 0 };

	load_modules();
	add("backlto: init is running");
	say();
	syscall4(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		 LINUX_REBOOT_CMD_POWER_OFF, 0);
	/* Still here: the machine cannot be powered off.  An init that returns
	 * would make the kernel panic. */
	for (;;)
		syscall4(SYS_nanosleep, (long)&day, 0, 0, 0);
}
