/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor in miniature: code and memory of a hostile process. First byte: mode; then one page that is all it has. */
#include <string.h>

#include "locate/behaviour.h"

#define CODE 0x400000u

struct page {
	uint8_t bytes[GUEST_PAGE_SIZE];
};

static bool read_page(void *arg, struct gva at, void *ret, size_t len)
{
	const struct page *p = arg;

	if (at.v < CODE || at.v - CODE >= sizeof(p->bytes) || len > sizeof(p->bytes) - (at.v - CODE))
		return false;
	memcpy(ret, p->bytes + (at.v - CODE), len);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct page page;
	const struct machine_source src = {
		.rd = {read_page, &page}, .is_32bit = size && data[0] & 1, .fs = CODE + 2048, .gs = CODE + 2048};
	const uint64_t at[] = {CODE + 1024};
	const struct behaviour_streams streams = {at, 1};
	struct machine *m;

	memset(&page, 0, sizeof(page));
	if (size > 1)
		memcpy(page.bytes, data + 1, size - 1 < sizeof(page.bytes) ? size - 1 : sizeof(page.bytes));
	m = machine_create(&src);
	if (!m)
		return 0;
	if (!behaviour_of_writer(m, gva(CODE), &streams) && !behaviour_of_format(m, gva(CODE), &streams))
		(void)behaviour_is_vsnprintf(m, gva(CODE));
	machine_destroy(m);
	return 0;
}
