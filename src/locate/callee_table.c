/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions of the C library that write through a pointer they are given, or print by a format. */
#include <stddef.h>
#include <string.h>

#include "locate/callee.h"

#define NO CALL_NO_ARG

/* name, effect, dst, src, len, chk, format */
static const struct callee_known functions[] = {
	{"strcpy", CALL_STRING_COPY, 0, 1, NO, NO, NO},
	{"stpcpy", CALL_STRING_COPY, 0, 1, NO, NO, NO},
	{"__strcpy_chk", CALL_STRING_COPY, 0, 1, NO, 2, NO},
	{"__stpcpy_chk", CALL_STRING_COPY, 0, 1, NO, 2, NO},
	{"strcat", CALL_STRING_APPEND, 0, 1, NO, NO, NO},
	{"__strcat_chk", CALL_STRING_APPEND, 0, 1, NO, 2, NO},
	{"strncat", CALL_STRING_APPEND_N, 0, 1, 2, NO, NO},
	{"__strncat_chk", CALL_STRING_APPEND_N, 0, 1, 2, 3, NO},
	{"strncpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"stpncpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"__strncpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__stpncpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"memcpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"memmove", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"mempcpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"memset", CALL_LENGTH, 0, NO, 2, NO, NO},
	{"bcopy", CALL_LENGTH, 1, 0, 2, NO, NO},
	{"__memcpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__memmove_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__mempcpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__memset_chk", CALL_LENGTH, 0, NO, 2, 3, NO},
	{"sprintf", CALL_PRINT, 0, 1, NO, NO, 1},
	{"__sprintf_chk", CALL_PRINT, 0, 3, NO, 2, 3},
	{"vsprintf", CALL_PRINT_V, 0, 1, NO, NO, 1},
	{"__vsprintf_chk", CALL_PRINT_V, 0, 3, NO, 2, 3},
	{"snprintf", CALL_LENGTH, 0, 2, 1, NO, 2},
	{"__snprintf_chk", CALL_LENGTH, 0, 4, 1, 3, 4},
	{"vsnprintf", CALL_LENGTH, 0, 2, 1, NO, 2},
	{"__vsnprintf_chk", CALL_LENGTH, 0, 4, 1, 3, 4},
	{"gets", CALL_GETS, 0, NO, NO, NO, NO},
	{"__gets_chk", CALL_GETS, 0, NO, NO, 1, NO},
	{"fgets", CALL_LENGTH, 0, NO, 1, NO, NO},
	{"fgets_unlocked", CALL_LENGTH, 0, NO, 1, NO, NO},
	{"__fgets_chk", CALL_LENGTH, 0, NO, 2, 1, NO},
	{"fread", CALL_LENGTH, 0, NO, 2, NO, NO},
	{"fread_unlocked", CALL_LENGTH, 0, NO, 2, NO, NO},
	{"__fread_chk", CALL_LENGTH, 0, NO, 3, 1, NO},
	{"read", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"__read_chk", CALL_LENGTH, 1, NO, 2, 3, NO},
	{"pread", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"pread64", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"__pread_chk", CALL_LENGTH, 1, NO, 2, 4, NO},
	{"__pread64_chk", CALL_LENGTH, 1, NO, 2, 4, NO},
	{"recv", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"__recv_chk", CALL_LENGTH, 1, NO, 2, 3, NO},
	{"recvfrom", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"__recvfrom_chk", CALL_LENGTH, 1, NO, 2, 3, NO},
	{"scanf", CALL_SCAN, NO, 0, NO, NO, 0},
	{"vscanf", CALL_SCAN, NO, 0, NO, NO, 0},
	{"sscanf", CALL_SCAN, NO, 1, NO, NO, 1},
	{"vsscanf", CALL_SCAN, NO, 1, NO, NO, 1},
	{"fscanf", CALL_SCAN, NO, 1, NO, NO, 1},
	{"vfscanf", CALL_SCAN, NO, 1, NO, NO, 1},
	{"printf", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"__printf_chk", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"vprintf", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"__vprintf_chk", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"fprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__fprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"vfprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__vfprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"dprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__dprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"vdprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__vdprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"asprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__asprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"vasprintf", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__vasprintf_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"syslog", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__syslog_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"vsyslog", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"__vsyslog_chk", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"warn", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"warnx", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"err", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"errx", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"vwarn", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"vwarnx", CALL_FORMAT, NO, 0, NO, NO, 0},
	{"verr", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"verrx", CALL_FORMAT, NO, 1, NO, NO, 1},
	{"error", CALL_FORMAT, NO, 2, NO, NO, 2},
	{"error_at_line", CALL_FORMAT, NO, 4, NO, NO, 4},
	{"memccpy", CALL_LENGTH, 0, 1, 3, NO, NO},
	{"strlcpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"strlcat", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"strxfrm", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"strftime", CALL_LENGTH, 0, 2, 1, NO, NO},
	{"swab", CALL_LENGTH, 1, 0, 2, NO, NO},
	{"getcwd", CALL_LENGTH, 0, NO, 1, NO, NO},
	{"__getcwd_chk", CALL_LENGTH, 0, NO, 1, 2, NO},
	{"gethostname", CALL_LENGTH, 0, NO, 1, NO, NO},
	{"__gethostname_chk", CALL_LENGTH, 0, NO, 1, 2, NO},
	{"readlink", CALL_LENGTH, 1, 0, 2, NO, NO},
	{"__readlink_chk", CALL_LENGTH, 1, 0, 2, 3, NO},
	{"readv", CALL_VECTOR, NO, 1, 2, NO, NO},
	{"preadv", CALL_VECTOR, NO, 1, 2, NO, NO},
	{"preadv64", CALL_VECTOR, NO, 1, 2, NO, NO},
	{"recvmsg", CALL_VECTOR, NO, 1, NO, NO, NO},
	/* of wide characters: lengths and sizes count those */
	{"wcscpy", CALL_STRING_COPY, 0, 1, NO, NO, NO},
	{"wcpcpy", CALL_STRING_COPY, 0, 1, NO, NO, NO},
	{"__wcscpy_chk", CALL_STRING_COPY, 0, 1, NO, 2, NO},
	{"__wcpcpy_chk", CALL_STRING_COPY, 0, 1, NO, 2, NO},
	{"wcscat", CALL_STRING_APPEND, 0, 1, NO, NO, NO},
	{"__wcscat_chk", CALL_STRING_APPEND, 0, 1, NO, 2, NO},
	{"wcsncat", CALL_STRING_APPEND_N, 0, 1, 2, NO, NO},
	{"__wcsncat_chk", CALL_STRING_APPEND_N, 0, 1, 2, 3, NO},
	{"wcsncpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"wcpncpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"__wcsncpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__wcpncpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"wmemcpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"wmempcpy", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"wmemmove", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"wmemset", CALL_LENGTH, 0, NO, 2, NO, NO},
	{"__wmemcpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__wmempcpy_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__wmemmove_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"__wmemset_chk", CALL_LENGTH, 0, NO, 2, 3, NO},
	{"mbstowcs", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"__mbstowcs_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	{"mbsrtowcs", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"__mbsrtowcs_chk", CALL_LENGTH, 0, 1, 2, 4, NO},
	{"fgetws", CALL_LENGTH, 0, NO, 1, NO, NO},
	{"__fgetws_chk", CALL_LENGTH, 0, NO, 2, 1, NO},
	{"swprintf", CALL_LENGTH, 0, 2, 1, NO, NO},
	{"__swprintf_chk", CALL_LENGTH, 0, 4, 1, 3, NO},
	{"vswprintf", CALL_LENGTH, 0, 2, 1, NO, NO},
	{"__vswprintf_chk", CALL_LENGTH, 0, 4, 1, 3, NO},
	{"wcstombs", CALL_LENGTH, 0, 1, 2, NO, NO},
	{"__wcstombs_chk", CALL_LENGTH, 0, 1, 2, 3, NO},
	/* of C++: basic_string::copy, istream::read, readsome, get and getline */
	{"_ZNKSs4copyEPcmm", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNKSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE4copyEPcmm", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi4readEPcl", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi8readsomeEPcl", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi3getEPcl", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi3getEPclc", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi7getlineEPcl", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"_ZNSi7getlineEPclc", CALL_LENGTH, 1, NO, 2, NO, NO},
	{"realpath", CALL_UNKNOWN, 1, 0, NO, NO, NO},
	{"__realpath_chk", CALL_UNKNOWN, 1, 0, NO, 2, NO},
};

/* What the libraries put before a name. */
static const char *const prefixes[] = {"__isoc99_", "__isoc23_", "__libc_", "__GI_", "_IO_", "__"};

/* What glibc puts behind the name of a variant for a kind of processor. */
static const char *const variants[] = {"_sse",	"_ssse", "_avx",     "_evex",	   "_erms",    "_ia32",
				       "_i686", "_i586", "_generic", "_unaligned", "_nocancel"};

static const struct callee_known *exact(const char *name, size_t len)
{
	for (size_t k = 0; k < sizeof(functions) / sizeof(functions[0]); k++)
		if (strlen(functions[k].name) == len && !memcmp(functions[k].name, name, len))
			return &functions[k];
	return NULL;
}

/* Without what stands behind the first part that names a variant; 0: nothing does. */
static size_t without_variant(const char *name)
{
	for (const char *c = strchr(name, '_'); c; c = strchr(c + 1, '_'))
		for (size_t k = 0; k < sizeof(variants) / sizeof(variants[0]); k++)
			if (!strncmp(c, variants[k], strlen(variants[k])))
				return (size_t)(c - name);
	return 0;
}

const struct callee_known *callee_known(const char *name)
{
	const struct callee_known *k = exact(name, strlen(name));

	if (!k)
		k = exact(name, without_variant(name));
	for (size_t p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]) && !k; p++) {
		size_t skip = strlen(prefixes[p]), len;

		if (strncmp(name, prefixes[p], skip) != 0)
			continue;
		k = exact(name + skip, strlen(name + skip));
		len = without_variant(name + skip);
		if (!k && len)
			k = exact(name + skip, len);
	}
	return k;
}

bool callee_is_wide(const char *name)
{
	static const char *const names[] = {"wcscpy",	"wcpcpy",    "wcscat",	 "wcsncat",  "wcsncpy",
					    "wcpncpy",	"wmemcpy",   "wmempcpy", "wmemmove", "wmemset",
					    "mbstowcs", "mbsrtowcs", "fgetws",	 "swprintf", "vswprintf"};

	name += strncmp(name, "__", 2) == 0 ? 2 : 0;
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		size_t len = strlen(names[k]);

		if (!strncmp(name, names[k], len) && (!name[len] || !strcmp(name + len, "_chk")))
			return true;
	}
	return false;
}

const char *callee_helper(const struct callee_known *k)
{
	if (k->effect == CALL_PRINT || k->effect == CALL_PRINT_V)
		return "vsnprintf";
	return k->effect == CALL_GETS ? "getchar" : NULL;
}
