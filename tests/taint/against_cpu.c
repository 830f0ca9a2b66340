/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks the instruction semantics against the processor this runs on.
 *
 *     against_cpu [SEED [STATES]]
 *
 * Every form of every instruction that user mode may run and that both the
 * processor and the table of semantics know is run natively in random states,
 * then once more for each bit of its input flipped. Soundness: every output
 * byte that changes must be tainted. Precision: what was tainted and never
 * changed is counted for each group of instructions, and is a failure for
 * moves, shuffles, extensions, masks and shifts by constants. The same seed
 * gives the same states.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "corpus.h"

#define STATES_EACH 6u /* of one encoding in one round */
#define SHUFFLE 7919u /* prime: goes through the forms in an order that mixes the groups */

static struct form forms[FORMS_MAX];

static unsigned long try_form(struct form *f, unsigned long left)
{
	static struct trial t;
	unsigned long done = 0;

	for (unsigned i = 0; i < ENCODINGS_EACH && i < f->seen && done < left; i++)
		if (trial_decode(f->code[i], &t))
			done += check_encoding(&t, STATES_EACH);
	return done;
}

static void run_states(unsigned long count)
{
	unsigned long done = 0;

	for (unsigned round = 1; done < count; round++) {
		unsigned n = corpus_make(forms);

		printf("round %u: %u forms\n", round, n);
		fflush(stdout);
		for (unsigned i = 0; i < FORMS_MAX && done < count; i++) {
			struct form *f = &forms[i * SHUFFLE % FORMS_MAX];

			if (f->key)
				done += try_form(f, count - done);
		}
	}
}

static unsigned long long wrongs(const struct tally *t)
{
	unsigned long long sum = 0;

	for (unsigned i = 0; i < WRONGS; i++)
		sum += t->wrong[i];
	return sum;
}

/* Returns whether the group is as it should be. */
static bool report_group(unsigned g)
{
	const struct tally *t = &tallies[g];

	if (!group_here(g)) {
		printf("%-20s not in this processor\n", group_name(g));
		return true;
	}
	printf("%-20s %6llu encodings %8llu states %7llu look-ups %6llu faulted  tainted %9llu, never changed %4.1f "
	       "%%%s\n",
	       group_name(g), t->encodings, t->states, t->lookups, t->faulted, t->pairs,
	       t->pairs ? 100.0 * (double)t->never / (double)t->pairs : 0.0, t->states ? "" : "  NOT TRIED");
	return t->states && !wrongs(t);
}

static void report_wrong(struct tally *total)
{
	for (unsigned g = 0; g < group_count(); g++) {
		for (unsigned i = 0; i < WRONGS; i++)
			total->wrong[i] += tallies[g].wrong[i];
		total->states += tallies[g].states;
		total->encodings += tallies[g].encodings;
	}
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (wrong_of[m])
			printf("wrong: %s, %u times\n", ZydisMnemonicGetString((ZydisMnemonic)m), wrong_of[m]);
	for (unsigned i = 0; i < WRONGS; i++)
		printf("%s: %llu\n", wrong_names[i], total->wrong[i]);
}

/* What the table says to follow, but what control flow, privilege, or this processor keeps from being run here. */
static void report_untried(void)
{
	printf("followed, not run here:");
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++) {
		enum taint_insn_class cls = taint_insn_mnemonic_class(m);

		if (!states_of[m] && (cls == TAINT_INSN_PRECISE || cls == TAINT_INSN_CONSERVATIVE))
			printf(" %s", ZydisMnemonicGetString((ZydisMnemonic)m));
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000;
	struct tally total = {0};
	unsigned bad = 0, mnemonics = 0;

	printf("against_cpu, seed %llu, %lu states\n", (unsigned long long)seed, count);
	set_seed(seed);
	cpu_init();
	run_states(count);
	for (unsigned g = 0; g < group_count(); g++)
		bad += !report_group(g);
	report_untried();
	report_wrong(&total);
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		mnemonics += states_of[m] != 0;
	printf("%llu states of %llu encodings of %u mnemonics, %llu native runs, seed %llu\n", total.states,
	       total.encodings, mnemonics, cpu_runs(), (unsigned long long)seed);
	printf("%u passed, %u failed, 0 skipped\n", group_count() - bad, bad);
	return bad != 0;
}
