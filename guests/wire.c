/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The library of guests/crowd.c, with the error of guests/fig2.c in it: an unbounded copy loop. word lies highest in the frame,
 * since without optimisation and stack protector gcc lays locals out downwards in their order; the index is not in it.
 */
#include "wire.h"

#include <stdio.h>
#include <string.h>

void wire_clean(const char *text, char ret[WIRE_MAX])
{
	static _Thread_local int a;
	char word[WIRE_MAX];
	char all[100];

	all[0] = '\0';
	sscanf(text, "%99s", all);
	a = 0;
	while (all[a]) {
		word[a] = all[a];
		a++;
	}
	word[a] = '\0';
	memcpy(ret, word, sizeof(word));
}
