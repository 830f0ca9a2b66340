/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What functions are, told from what they do: those of this process's C library, and some that only look like them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "locate/behaviour.h"

static struct machine *machine;
static FILE *input; /* with something left to read */

static bool read_self(void *arg, struct gva at, void *ret, size_t len)
{
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)at.v, len};

	(void)arg;
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len;
}

typedef void any_fn(void);

static struct gva at(any_fn *f)
{
	return gva((uint64_t)(uintptr_t)f);
}

/* --- functions that are not what they look like ----------------------------------------------------------- */

/* As it is written, also where a sanitizer looks on. */
#define OWN __attribute__((noinline, no_sanitize("address", "undefined")))

/* Without the zero. */
OWN static char *copy_open(char *dst, const char *src)
{
	size_t i = 0;

	for (; src[i]; i++) {
		dst[i] = src[i];
		__asm__ volatile("" ::: "memory");
	}
	return dst;
}

/* With a zero at the end of what is cut, as strlcpy does. */
OWN static char *copy_closed(char *dst, const char *src, size_t n)
{
	size_t i = 0;

	for (; i + 1 < n && src[i]; i++) {
		dst[i] = src[i];
		__asm__ volatile("" ::: "memory");
	}
	if (n)
		dst[i] = '\0';
	return dst;
}

/* One byte more than it should. */
OWN static char *copy_more(char *dst, const char *src, size_t n)
{
	for (size_t i = 0; i <= n; i++) {
		dst[i] = src[i];
		__asm__ volatile("" ::: "memory");
	}
	return dst;
}

/* What a compiler makes of a program's own strcpy. */
OWN static char *copy_own(char *dst, const char *src)
{
	size_t i = 0;

	for (; (dst[i] = src[i]); i++)
		__asm__ volatile("" ::: "memory");
	return dst;
}

OWN static void run_on(char *dst)
{
	for (;;)
		__asm__ volatile("" ::"r"(dst) : "memory");
}

OWN static char *walk_off(const char *dst)
{
	for (uint64_t k = 0;; k += 4096)
		if (*(const volatile char *)(uintptr_t)(MACHINE_OWN + k) && dst)
			return NULL;
}

/* A length that is not the buffer's. */
OWN static ssize_t read_half(int fd, void *dst, size_t n)
{
	ssize_t ret;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(0), "D"(fd), "S"(dst), "d"(n / 2) : "rcx", "r11", "memory");
	return ret;
}

#define F(name, is)                                                                                                    \
	{                                                                                                              \
#name, (any_fn *)(name), is                                                                            \
	}

static const struct {
	const char *name;
	any_fn *function;
	const char *is;
} writers[] = {
	F(strcpy, "strcpy"),	 F(stpcpy, "stpcpy"),	  F(strcat, "strcat"),
	F(strncpy, "strncpy"),	 F(stpncpy, "stpncpy"),	  F(strncat, "strncat"),
	F(memcpy, "memcpy"),	 F(memmove, "memcpy"),	  F(mempcpy, "mempcpy"),
	F(memset, "memset"),	 F(read, "read"),	  F(recv, "recvfrom"),
	F(recvfrom, "recvfrom"), F(pread, "pread64"),	  F(sprintf, "sprintf"),
	F(vsprintf, "vsprintf"), F(snprintf, "snprintf"), F(vsnprintf, "vsnprintf"),
	F(sscanf, "sscanf"),	 F(fgets, "fgets"),	  F(fread, "fread"),
	F(fscanf, "fscanf"),	 F(vfscanf, "vfscanf"),	  F(fgetc, NULL),
	F(fputs, NULL),		 F(vsscanf, "vsscanf"),	  F(copy_own, "strcpy"),
	F(copy_open, NULL),	 F(copy_closed, NULL),	  F(copy_more, NULL),
	F(run_on, NULL),	 F(walk_off, NULL),	  F(read_half, NULL),
	F(write, NULL),		 F(strlen, NULL),	  F(memcmp, NULL),
	F(memchr, NULL),	 F(strchr, NULL),	  F(strdup, NULL),
	F(atoi, NULL),		 F(puts, NULL),
};

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

/* The C library's function of a name, where a sanitizer puts another in its place; else the test's own. */
static any_fn *function_of(const char *name, any_fn *own)
{
	any_fn *ret = own;
#ifdef SANITIZED
	void *found = dlsym(RTLD_NEXT, name);

	if (found)
		memcpy(&ret, &found, sizeof(ret));
#else
	(void)name;
#endif
	return ret;
}

static void test_writers(void **state)
{
	const uint64_t at_stream[] = {0x1000, (uint64_t)(uintptr_t)input};
	const struct behaviour_streams streams = {at_stream, 2};

	(void)state;
	for (size_t k = 0; k < sizeof(writers) / sizeof(writers[0]); k++) {
		const char *is =
			behaviour_of_writer(machine, at(function_of(writers[k].name, writers[k].function)), &streams);

		if ((is == NULL) != (writers[k].is == NULL) || (is && strcmp(is, writers[k].is) != 0))
			fail_msg("%s is taken for %s", writers[k].name, is ? is : "nothing");
	}
}

static void test_formats(void **state)
{
	const uint64_t at_stream[] = {0x1000, (uint64_t)(uintptr_t)stdout};
	const struct behaviour_streams streams = {at_stream, 2};
	static const struct {
		const char *name;
		any_fn *function;
		const char *is;
	} formats[] = {
		F(printf, "printf"),	F(vprintf, "vprintf"),	 F(snprintf, "snprintf"), F(vsnprintf, "vsnprintf"),
		F(sprintf, "sprintf"),	F(vsprintf, "vsprintf"), F(fprintf, "fprintf"),	  F(vfprintf, "vfprintf"),
		F(asprintf, "dprintf"), /* both have the format second */
		F(puts, NULL),		F(strcpy, NULL),	 F(sscanf, NULL),	  F(fputs, NULL),
	};

	(void)state;
	for (size_t k = 0; k < sizeof(formats) / sizeof(formats[0]); k++) {
		const char *is = behaviour_of_format(machine, at(formats[k].function), &streams);

		if ((is == NULL) != (formats[k].is == NULL) || (is && strcmp(is, formats[k].is) != 0))
			fail_msg("%s is taken for %s", formats[k].name, is ? is : "nothing");
	}
}

/* Does the same, but reads a fifth argument. */
OWN static int print_by_mode(char *dst, size_t n, const char *format, va_list list, int mode)
{
	__asm__ volatile("mov %0, %%r11d" ::"r"(mode) : "r11");
	return vsnprintf(dst, n, format, list);
}

static void test_helper(void **state)
{
	(void)state;
	assert_true(behaviour_is_vsnprintf(machine, at((any_fn *)vsnprintf)));
	assert_false(behaviour_is_vsnprintf(machine, at((any_fn *)snprintf)));
	assert_false(behaviour_is_vsnprintf(machine, at((any_fn *)vsprintf)));
	assert_false(behaviour_is_vsnprintf(machine, at((any_fn *)print_by_mode)));
}

/* Nothing of all this changes the process. */
static void test_copy_on_write(void **state)
{
	static char room[64] = "as it was";
	const uint64_t args[] = {(uint64_t)(uintptr_t)room, (uint64_t)(uintptr_t) "other"};
	char seen[64];

	(void)state;
	machine_reset(machine);
	machine_call(machine, at((any_fn *)strcpy), args, 2);
	assert_int_equal(machine_run(machine), MACHINE_RETURNED);
	assert_int_equal(machine_result(machine), args[0]);
	assert_true(machine_read(machine, args[0], seen, sizeof(seen)));
	assert_string_equal(seen, "other");
	assert_string_equal(room, "as it was");
	machine_reset(machine);
	assert_true(machine_read(machine, args[0], seen, sizeof(seen)));
	assert_string_equal(seen, "as it was");
}

/* Code that a run wrote over is as it was in the next. */
static void test_code_overwritten(void **state)
{
	const struct gva function = at((any_fn *)copy_own);
	const uint64_t args[] = {MACHINE_DATA, MACHINE_DATA + 64};
	const uint8_t ret = 0xc3;
	char seen[8];

	(void)state;
	assert_string_equal(behaviour_of_copy(machine, function), "strcpy");
	machine_reset(machine);
	assert_true(machine_write(machine, function.v, &ret, 1));
	assert_true(machine_write(machine, args[1], "abc", 4));
	machine_call(machine, function, args, 2);
	assert_int_equal(machine_run(machine), MACHINE_RETURNED);
	assert_true(machine_read(machine, args[0], seen, 4));
	assert_string_equal(seen, "");
	assert_string_equal(behaviour_of_copy(machine, function), "strcpy");
}

static int setup(void **state)
{
	struct machine_source src = {.rd = {read_self, NULL}};

	(void)state;
	__asm__("mov %%fs:0x10, %0" : "=r"(src.fs));
	printf("a stream has to have been used\n");
	input = fmemopen(NULL, 64, "w+");
	if (!input || fputs("some words to be read\n", input) < 0 || fseek(input, 0, SEEK_SET) || fgetc(input) != 's')
		return -1;
	machine = machine_create(&src);
	return machine ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	fclose(input);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writers),		 cmocka_unit_test(test_formats),
		cmocka_unit_test(test_helper),		 cmocka_unit_test(test_copy_on_write),
		cmocka_unit_test(test_code_overwritten),
	};

	/* The engine's processor has no AVX-512, and what the library chooses for it is what is to be known. */
	if (argc == 1 && !getenv("GLIBC_TUNABLES")) {
		setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW", 1);
		setenv("LD_BIND_NOW", "1", 1);
		execv("/proc/self/exe", argv);
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
