/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The detector of returns that do not match their call, by bytes that are not tainted: what a program makes of its input by
 * comparing it, a loop that unescapes say, is clean.
 *
 * Theory of operation. Calls that put their return address onto a page with tainted bytes are noted (core/returns.h),
 * and what is stored there since. Plain running has no such pages, and pays nothing. A return that goes elsewhere than
 * the call said, the address having been changed in part, is an attack, unless it leads behind a call; so does one that
 * was replaced as a whole and leads to where nothing can be executed. All else that programs do with return addresses is let
 * be: longjmp() and unwinding leave slots behind that later calls write anew, switching stacks is by whole words,
 * trampolines push whole addresses.
 */
#include <string.h>

#include "plugin/memory.h"
#include "vmi/vmi.h"

/* What a store left in memory. */
static bool stored_word(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, struct gpa at, unsigned n, uint64_t *ret)
{
	uint8_t bytes[ACCESS_MAX] = {0};

	if (info != MEMORY_NOT_TOLD)
		memory_bytes(info, bytes, n);
	else if (!guest_read(c, at, bytes, n))
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return true;
}

void stray_stored(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  unsigned n)
{
	unsigned room = GUEST_PAGE_SIZE - (unsigned)(vaddr & GUEST_PAGE_MASK);
	uint64_t word;
	struct gpa at;

	if (!plugin_detects(TAINT_DETECT_STRAY) || !memory_gpa(c, info, vaddr, &at))
		return;
	if (!s->calls)
		returns_store(&plugin.returns, at, n < room ? n : room);
	else if (n == plugin_word(s) && n <= room && stored_word(c, info, at, n, &word))
		returns_call(&plugin.returns, at, n, word);
}

enum lead {
	LEAD_NOWHERE, /* no page is there, or none that can be executed */
	LEAD_CALL, /* behind a call */
	LEAD_ELSEWHERE,
};

static enum lead where_it_leads(struct plugin_vcpu *c, uint64_t to)
{
	uint8_t before[RETURNS_CALL_MAX];
	struct vmi_page page;

	if (!guest_translate(c, to, &page) || !page.executable || !page.user)
		return LEAD_NOWHERE;
	for (unsigned i = 0; i < RETURNS_CALL_MAX; i++)
		if (!guest_translate(c, to - RETURNS_CALL_MAX + i, &page) || !guest_read(c, page.at, &before[i], 1))
			return LEAD_ELSEWHERE;
	return returns_follow_call(before) ? LEAD_CALL : LEAD_ELSEWHERE;
}

/*
 * Calls on pages without taint are not noted, so what is there may be another call's than the last that was: one that
 * leads behind a call is. Programs that put a whole address there and return to it mean it, if anything is there.
 */
void stray_return(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	static const struct taint_label none[PLUGIN_WORD_MAX];
	unsigned n = plugin_word(s);
	enum returns_state state;
	uint64_t to;
	struct gpa at;
	enum lead lead;

	if (!s->user || !plugin_detects(TAINT_DETECT_STRAY) || memory_size(info) != n ||
	    !memory_gpa(c, info, vaddr, &at) || !stored_word(c, info, at, n, &to))
		return;
	state = returns_take(&plugin.returns, at, n, to);
	if (state != RETURNS_CHANGED && state != RETURNS_REPLACED)
		return;
	lead = where_it_leads(c, to);
	if (lead == LEAD_NOWHERE)
		detect_report_access(c, TAINT_DETECT_STRAY, s, (struct detect_access){.address = to}, vaddr, at, none,
				     n);
	else if (lead == LEAD_ELSEWHERE && state == RETURNS_CHANGED)
		detect_report(c, TAINT_DETECT_STRAY, s, vaddr, at, none, n);
}
