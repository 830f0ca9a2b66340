/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Examples for functions without a name.
 *
 * A copy's arguments are (destination, source, number); what it leaves around the destination and what it returns is compared with
 * what functions of this very library do. A wrapper is looked at where it enters the kernel. Functions that print or scan
 * get the arguments that a row spells, a letter each.
 */
#include "locate/behaviour.h"

#include <string.h>

#define AREA 768u /* bytes that are looked at from the destination on */
#define DST (MACHINE_DATA + 0x43u)
#define SRC (MACHINE_DATA + 0x2013u)
#define FORMAT (MACHINE_DATA + 0x4000u)
#define LIST (MACHINE_DATA + 0x5000u) /* a va_list */
#define LIST_ARGS (MACHINE_DATA + 0x5100u)
#define NUMBER (MACHINE_DATA + 0x6000u) /* an int for %n */
#define FILLER 0xa5
#define FD 7u
#define CALLS_MAX 16u /* system calls */

/* --- copies ---------------------------------------------------------------------------------------------- */

struct copy {
	const char *dst, *src;
	size_t n;
};

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct copy copies[] = {
	{"", "abc", 2},
	{"pre", "", 4},
	{"", "x" HUNDRED, 7},
	{"pq", "abcdefg", 40},
	{"", "abcdef", 6},
	{"rst", "abc", 0},
	{"", HUNDRED HUNDRED HUNDRED, 290},
	{"uvw", HUNDRED "xyz", 70},
	{"", TEN "abcde", 64},
	{"", TEN "ab", 13},
};

/* What a library's function does to them; src_at: the source's address in the guest. */
typedef char *model_fn(char *dst, const char *src, size_t n, uint64_t src_at);

static char *model_strcpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)n;
	(void)src_at;
	return strcpy(dst, src); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): examples fit */
}

static char *model_stpcpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)n;
	(void)src_at;
	return stpcpy(dst, src);
}

static char *model_strcat(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)n;
	(void)src_at;
	return strcat(dst, src); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): examples fit */
}

static char *model_strncpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	size_t len = strnlen(src, n);

	(void)src_at;
	memcpy(dst, src, len);
	memset(dst + len, 0, n - len);
	return dst;
}

static char *model_stpncpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	return model_strncpy(dst, src, n, src_at) + strnlen(src, n);
}

static char *model_strncat(char *dst, const char *src, size_t n, uint64_t src_at)
{
	size_t at = strlen(dst), len = strnlen(src, n);

	(void)src_at;
	memcpy(dst + at, src, len);
	dst[at + len] = '\0';
	return dst;
}

static char *model_memcpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)src_at;
	return memcpy(dst, src, n);
}

static char *model_mempcpy(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)src_at;
	return (char *)memcpy(dst, src, n) + n;
}

static char *model_memset(char *dst, const char *src, size_t n, uint64_t src_at)
{
	(void)src;
	return memset(dst, (int)(src_at & 0xff), n);
}

static const struct {
	const char *name;
	model_fn *run;
} models[] = {
	{"strcpy", model_strcpy},   {"stpcpy", model_stpcpy},	{"strcat", model_strcat},
	{"strncpy", model_strncpy}, {"stpncpy", model_stpncpy}, {"strncat", model_strncat},
	{"memcpy", model_memcpy},   {"mempcpy", model_mempcpy}, {"memset", model_memset},
};
#define MODELS (sizeof(models) / sizeof(models[0]))

struct picture {
	uint8_t dst[AREA], src[AREA];
};

static void paint(const struct copy *c, struct picture *ret)
{
	memset(ret, FILLER, sizeof(*ret));
	memcpy(ret->dst, c->dst, strlen(c->dst) + 1);
	memcpy(ret->src, c->src, strlen(c->src) + 1);
}

/* Runs the function on an example. false: it does not return as it should. */
static bool run_copy(struct machine *m, struct gva function, const struct copy *c, uint8_t ret_dst[AREA],
		     uint64_t *ret_value)
{
	const uint64_t args[] = {DST, SRC, c->n};
	uint8_t below;
	struct picture p;

	paint(c, &p);
	machine_reset(m);
	if (!machine_write(m, DST, p.dst, AREA) || !machine_write(m, SRC, p.src, AREA))
		return false;
	machine_call(m, function, args, 3);
	*ret_value = 0;
	if (machine_run(m) != MACHINE_RETURNED || !machine_read(m, DST, ret_dst, AREA) ||
	    !machine_read(m, DST - 1, &below, 1) || below)
		return false;
	*ret_value = machine_result(m);
	return true;
}

const char *behaviour_of_copy(struct machine *m, struct gva function)
{
	bool out[MODELS] = {false};

	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
		uint8_t dst[AREA];
		uint64_t value;

		if (!run_copy(m, function, &copies[i], dst, &value))
			return NULL;
		for (size_t k = 0; k < MODELS; k++) {
			struct picture p;
			const char *end;

			paint(&copies[i], &p);
			end = models[k].run((char *)p.dst, (const char *)p.src, copies[i].n, SRC);
			out[k] |= memcmp(p.dst, dst, AREA) != 0 || value != DST + (uint64_t)(end - (char *)p.dst);
		}
	}
	for (size_t k = 0; k < MODELS; k++)
		if (!out[k])
			return models[k].name;
	return NULL;
}

/* --- system calls ---------------------------------------------------------------------------------------- */

/* System calls that fill a buffer: (descriptor, buffer, length). */
static const struct {
	uint16_t nr64, nr32;
	const char *name;
} reads[] = {{0, 3, "read"}, {17, 180, "pread64"}, {45, 371, "recvfrom"}};

#define SOCKETCALL 102u /* of 32-bit programs: which call, and its arguments in memory */
#define SOCKETCALL_RECV 10u
#define SOCKETCALL_RECVFROM 12u

static bool is_example(uint64_t fd, uint64_t buffer, uint64_t length)
{
	return fd == FD && buffer == DST && length == AREA;
}

static const char *name_of_socketcall(struct machine *m)
{
	uint64_t which = machine_call_arg(m, 0);
	uint32_t args[3];

	if ((which != SOCKETCALL_RECV && which != SOCKETCALL_RECVFROM) ||
	    !machine_read(m, machine_call_arg(m, 1), args, sizeof(args)) || !is_example(args[0], args[1], args[2]))
		return NULL;
	return "recv";
}

static const char *name_of_read(struct machine *m, struct gva function)
{
	const uint64_t args[] = {FD, DST, AREA, 0, 0, 0};
	bool is_32bit = machine_is_32bit(m);
	uint64_t nr;

	machine_reset(m);
	machine_call(m, function, args, 6);
	if (machine_run(m) != MACHINE_KERNEL)
		return NULL;
	nr = machine_call_number(m);
	if (is_32bit && nr == SOCKETCALL)
		return name_of_socketcall(m);
	if (!is_example(machine_call_arg(m, 0), machine_call_arg(m, 1), machine_call_arg(m, 2)))
		return NULL;
	for (size_t k = 0; k < sizeof(reads) / sizeof(reads[0]); k++)
		if (nr == (is_32bit ? reads[k].nr32 : reads[k].nr64))
			return reads[k].name;
	return NULL;
}

/* --- printing and scanning ------------------------------------------------------------------------------- */

enum outcome {
	PRINTED, /* all of the text is at the destination */
	CUT, /* as much of it as fits */
	SCANNED, /* a word is at the destination */
	TOKEN, /* two bytes and a zero are, that came from a stream */
	LINE, /* the same, and the destination is returned */
	ITEMS, /* three bytes are */
	COUNTED, /* the %n has its number */
};

/*
 * Arguments: d destination, n a small and N a large length, f the format and s, i what it prints, t a text and w
 * the format that scans it, x one that scans two letters, h a format with %n and p where that stores, l, m, q lists of
 * what f, w or x, h need, F a stream, P room for a pointer, digits numbers.
 */
struct example {
	const char *name, *args;
	enum outcome outcome;
};

static const struct example writers[] = {
	{"sprintf", "dfsi", PRINTED},
	{"vsprintf", "dfl", PRINTED},
	{"snprintf", "dnfsi", CUT},
	{"vsnprintf", "dnfl", CUT},
	{"__sprintf_chk", "d0Nfsi", PRINTED},
	{"__vsprintf_chk", "d0Nfl", PRINTED},
	{"__snprintf_chk", "dn0Nfsi", CUT},
	{"__vsnprintf_chk", "dn0Nfl", CUT},
	{"sscanf", "twd", SCANNED},
	{"vsscanf", "twm", SCANNED},
	{"fgets", "d3F", LINE},
	{"fread", "d13F", ITEMS},
	{"scanf", "xd", TOKEN},
	{"vscanf", "xm", TOKEN},
	{"fscanf", "Fxd", TOKEN},
	{"vfscanf", "Fxm", TOKEN},
};

static const struct example formats[] = {
	{"printf", "hp", COUNTED},
	{"vprintf", "hq", COUNTED},
	{"dprintf", "0hp", COUNTED},
	{"vdprintf", "0hq", COUNTED},
	{"syslog", "6hp", COUNTED},
	{"vsyslog", "6hq", COUNTED},
	{"snprintf", "dNhp", COUNTED},
	{"vsnprintf", "dNhq", COUNTED},
	{"sprintf", "dhp", COUNTED},
	{"vsprintf", "dhq", COUNTED},
	{"fprintf", "Fhp", COUNTED},
	{"vfprintf", "Fhq", COUNTED},
	{"asprintf", "Php", COUNTED},
	{"vasprintf", "Phq", COUNTED},
	{"__snprintf_chk", "dN0Nhp", COUNTED},
	{"__vsnprintf_chk", "dN0Nhq", COUNTED},
	{"__sprintf_chk", "d0Nhp", COUNTED},
	{"__fprintf_chk", "F0hp", COUNTED},
	{"__vfprintf_chk", "F0hq", COUNTED},
};

static const struct example bounded = {"vsnprintf", "dnfl", CUT};

#define SMALL 6u
#define INTEGER 42u
static const char text[] = "abc def", print_format[] = "<%s|%d>", scan_format[] = "%s", token_format[] = "%2s",
		  count_format[] = "ab%n";
static const char printed[] = "<abc|42>", cut[] = "<abc|", scanned[] = "abc";

/* A va_list of the System V ABI of two words. */
static bool write_list(struct machine *m, uint64_t first, uint64_t second)
{
	const uint32_t words32[] = {(uint32_t)first, (uint32_t)second};
	const uint64_t words64[] = {first, second};
	const struct {
		uint32_t gp, fp;
		uint64_t overflow, saved;
	} list = {48, 304, LIST_ARGS, 0};

	if (machine_is_32bit(m))
		return machine_write(m, LIST_ARGS, words32, sizeof(words32));
	return machine_write(m, LIST_ARGS, words64, sizeof(words64)) && machine_write(m, LIST, &list, sizeof(list));
}

static bool write_string(struct machine *m, uint64_t at, const char *string)
{
	return machine_write(m, at, string, strlen(string) + 1);
}

/* The argument that a letter stands for, with what it points to. false: it cannot be had. */
static bool make_argument(struct machine *m, char letter, uint64_t stream, uint64_t *ret)
{
	const struct {
		char letter;
		uint64_t value;
		const char *points_to;
	} plain[] = {
		{'d', DST, NULL},
		{'n', SMALL, NULL},
		{'N', AREA, NULL},
		{'f', FORMAT, print_format},
		{'s', SRC, scanned},
		{'i', INTEGER, NULL},
		{'t', SRC, text},
		{'w', FORMAT, scan_format},
		{'h', FORMAT, count_format},
		{'p', NUMBER, NULL},
		{'F', stream, NULL},
		{'P', NUMBER + 64, NULL},
		{'0', 0, NULL},
		{'1', 1, NULL},
		{'3', 3, NULL},
		{'x', FORMAT, token_format},
		{'6', 6, NULL},
	};
	uint64_t list = machine_is_32bit(m) ? LIST_ARGS : LIST;

	for (size_t k = 0; k < sizeof(plain) / sizeof(plain[0]); k++) {
		if (plain[k].letter != letter)
			continue;
		*ret = plain[k].value;
		return !plain[k].points_to || write_string(m, plain[k].value, plain[k].points_to);
	}
	*ret = list;
	if (letter == 'l')
		return write_string(m, SRC, scanned) && write_list(m, SRC, INTEGER);
	return write_list(m, letter == 'm' ? DST : NUMBER, 0);
}

/* System calls are answered, with as much as is needed to go on; others return 0. */
enum answer { READ, WRITE, FUTEX };
static const struct {
	uint16_t nr64, nr32;
	enum answer what;
} answers[] = {{0, 3, READ}, {1, 4, WRITE}, {202, 240, FUTEX}};

static int64_t answer(struct machine *m, enum answer what)
{
	uint64_t length = machine_call_arg(m, 2);
	static const uint32_t free_lock;
	uint8_t input[64];

	switch (what) {
	case READ:
		length = length < sizeof(input) ? length : sizeof(input);
		memset(input, 'r', sizeof(input));
		return machine_write(m, machine_call_arg(m, 1), input, length) ? (int64_t)length : 0;
	case WRITE:
		return (int64_t)length;
	case FUTEX: /* the thread that runs may hold the lock that it waits for here: it gets it */
		return machine_write(m, machine_call_arg(m, 0), &free_lock, sizeof(free_lock)) ? 0 : -1;
	}
	return 0;
}

static void answer_call(struct machine *m)
{
	uint64_t nr = machine_call_number(m);
	int64_t value = 0;

	for (size_t k = 0; k < sizeof(answers) / sizeof(answers[0]); k++)
		if (nr == (machine_is_32bit(m) ? answers[k].nr32 : answers[k].nr64))
			value = answer(m, answers[k].what);
	machine_call_answer(m, value);
}

static bool run_example(struct machine *m, struct gva function, const struct example *x, uint64_t stream)
{
	uint64_t args[MACHINE_ARGS_MAX];
	unsigned n = (unsigned)strlen(x->args);
	uint8_t filler[AREA];
	enum machine_end end;

	memset(filler, FILLER, sizeof(filler));
	machine_reset(m);
	if (!machine_write(m, DST, filler, AREA))
		return false;
	for (unsigned k = 0; k < n; k++)
		if (!make_argument(m, x->args[k], stream, &args[k]))
			return false;
	machine_call(m, function, args, n);
	end = machine_run(m);
	for (unsigned k = 0; end == MACHINE_KERNEL && k < CALLS_MAX; k++) {
		answer_call(m);
		end = machine_run(m);
	}
	return end == MACHINE_RETURNED || x->outcome == COUNTED;
}

/* Whether the destination holds a string and nothing behind it was written. */
static bool holds(struct machine *m, const char *string)
{
	size_t len = strlen(string) + 1;
	uint8_t now[AREA];

	if (!machine_read(m, DST, now, AREA) || memcmp(now, string, len) != 0)
		return false;
	for (size_t k = len; k < AREA; k++)
		if (now[k] != FILLER)
			return false;
	return true;
}

/* Whether the destination has got n bytes, a zero if it is to have one, and no more. */
static bool got(struct machine *m, size_t n, bool zero)
{
	uint8_t now[AREA];

	if (!machine_read(m, DST, now, AREA) || (zero && now[n]))
		return false;
	for (size_t k = 0; k < AREA; k++)
		if (!(zero && k == n) && (now[k] == FILLER) != (k >= n))
			return false;
	return true;
}

static bool came_out(struct machine *m, enum outcome outcome)
{
	uint32_t number;

	switch (outcome) {
	case PRINTED:
		return holds(m, printed) && (uint32_t)machine_result(m) == strlen(printed);
	case CUT:
		return holds(m, cut) && (uint32_t)machine_result(m) == strlen(printed);
	case SCANNED:
		return holds(m, scanned) && (uint32_t)machine_result(m) == 1;
	case TOKEN:
		return got(m, 2, true) && (uint32_t)machine_result(m) == 1;
	case LINE:
		return got(m, 2, true) && machine_result(m) == DST;
	case ITEMS:
		return got(m, 3, false) && machine_result(m) == 3;
	case COUNTED:
		return machine_read(m, NUMBER, &number, sizeof(number)) && number == strlen("ab");
	}
	return false;
}

/* The first of n examples that the function does as it should, with one of the streams. */
static const char *find_example(struct machine *m, struct gva function, const struct example *x, size_t n,
				const struct behaviour_streams *streams)
{
	for (size_t k = 0; k < n; k++) {
		bool needs = strchr(x[k].args, 'F') != NULL;

		for (unsigned s = 0; s < (needs ? streams->n : 1); s++)
			if (run_example(m, function, &x[k], needs ? streams->at[s] : 0) && came_out(m, x[k].outcome))
				return x[k].name;
	}
	return NULL;
}

const char *behaviour_of_writer(struct machine *m, struct gva function, const struct behaviour_streams *streams)
{
	const char *name = behaviour_of_copy(m, function);

	if (!name)
		name = name_of_read(m, function);
	return name ? name : find_example(m, function, writers, sizeof(writers) / sizeof(writers[0]), streams);
}

const char *behaviour_of_format(struct machine *m, struct gva function, const struct behaviour_streams *streams)
{
	return find_example(m, function, formats, sizeof(formats) / sizeof(formats[0]), streams);
}

bool behaviour_is_vsnprintf(struct machine *m, struct gva function)
{
	return run_example(m, function, &bounded, 0) && came_out(m, bounded.outcome) && !machine_used_others(m);
}
