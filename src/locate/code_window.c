/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which instructions to displace around a culprit. */
#include "locate/code_internal.h"

/* Whether instructions i..j can run elsewhere as one piece that contains instruction c. */
static bool can_displace(const struct code_fn *fn, uint32_t i, uint32_t c, uint32_t j)
{
	for (uint32_t k = i; k <= j; k++) {
		const struct code_insn *ci = &fn->insn[k];

		if (k > i && (fn->mark[ci->off] & (CODE_MARK_TARGET | CODE_MARK_NEAR)))
			return false;
		if (ci->move == CODE_MOVE_NEVER || (ci->move == CODE_MOVE_LAST && k < j))
			return false;
		if (k < c && ci->flow != CODE_NEXT && ci->flow != CODE_BRANCH)
			return false;
	}
	return true;
}

int code_fn_window(const struct code_fn *fn, struct gva culprit, uint32_t max, struct gva *ret_at, uint32_t *ret_len,
		   struct err *e)
{
	const struct code_insn *ci = code_fn_insn(fn, culprit);
	uint32_t c, best = UINT32_MAX;

	if (!ci)
		return err_set_addr(e, ERR_REFUSED, culprit.v, "no instruction of its function begins at 0x%llx",
				    (unsigned long long)culprit.v);
	c = (uint32_t)(ci - fn->insn);
	for (uint32_t j = c; j < fn->n_insn; j++) {
		uint32_t end = fn->insn[j].off + fn->insn[j].len;

		if (end - ci->off > max || best != UINT32_MAX)
			break;
		for (uint32_t i = c + 1; i-- > 0;) {
			uint32_t len = end - fn->insn[i].off;

			if (len > max)
				break;
			if (len < CODE_WINDOW_MIN || len >= best || !can_displace(fn, i, c, j))
				continue;
			best = len;
			*ret_at = gva_add(fn->start, fn->insn[i].off);
			*ret_len = len;
		}
	}
	if (best == UINT32_MAX)
		return err_set_addr(e, ERR_REFUSED, culprit.v,
				    "no 5 to %u bytes around 0x%llx can be displaced: something jumps between them",
				    max, (unsigned long long)culprit.v);
	return 0;
}
