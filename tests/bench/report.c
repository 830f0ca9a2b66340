/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Medians, ratios, the table and the JSON: see report.h. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double median_of(const struct series *s, enum vm_system system, enum work_clock clock)
{
	double values[RUNS_MAX];

	for (int i = 0; i < s->runs; i++)
		values[i] = s->sample[system][i].s[clock];
	return s->runs ? median(values, s->runs) : 0;
}

static double lowest_of(const struct series *s, enum vm_system system, enum work_clock clock)
{
	double ret = HUGE_VAL;

	for (int i = 0; i < s->runs; i++)
		ret = fmin(ret, s->sample[system][i].s[clock]);
	return ret;
}

/* Ratio of the shortest times: what is left when the host disturbed at least one run of each system little. */
static double best_ratio(const struct series *s, enum work_clock clock)
{
	double plain = lowest_of(s, VM_PLAIN, clock);

	return s->runs && plain > 0 ? lowest_of(s, VM_CLOUDER, clock) / plain : 0;
}

double report_ratio(const struct series *s, enum work_clock clock)
{
	double plain = median_of(s, VM_PLAIN, clock);

	return plain > 0 ? median_of(s, VM_CLOUDER, clock) / plain : 0;
}

/* Lowest and highest ratio of the two runs that were next to each other. */
static void range(const struct series *s, enum work_clock clock, double *ret_low, double *ret_high)
{
	*ret_low = HUGE_VAL;
	*ret_high = 0;
	for (int i = 0; i < s->runs; i++) {
		double ratio = s->sample[VM_CLOUDER][i].s[clock] / s->sample[VM_PLAIN][i].s[clock];

		*ret_low = fmin(*ret_low, ratio);
		*ret_high = fmax(*ret_high, ratio);
	}
}

static void grow(const char *prefix, const json_t *before, const json_t *after, json_t *sum)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)after, key, value) {
		const json_t *old = json_object_get(before, key);
		char path[128];

		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_is_object(value))
			grow(path, old, value, sum);
		else if (json_is_integer(value) && json_integer_value(value) != json_integer_value(old))
			json_object_set_new(sum, path,
					    json_integer(json_integer_value(value) - json_integer_value(old)));
	}
}

json_t *report_growth(const json_t *before, const json_t *after)
{
	json_t *sum = json_object();

	grow("", before, after, sum);
	return sum;
}

json_t *report_add(json_t *sum, const json_t *more)
{
	const char *key;
	json_t *value;

	if (!sum)
		sum = json_object();
	json_object_foreach ((json_t *)more, key, value) {
		json_int_t old = json_integer_value(json_object_get(sum, key));

		json_object_set_new(sum, key, json_integer(old + json_integer_value(value)));
	}
	return sum;
}

/* The counters that say why, for each run: what the plugin did, traps and checkpoints, detections. */
static void print_counters(const struct series *s, FILE *to)
{
	const char *key;
	json_t *value;
	bool any = false;

	json_object_foreach (s->counters, key, value) {
		if (strncmp(key, "taint.", 6) != 0 && strncmp(key, "checkpoints.taken", 17) != 0 &&
		    strncmp(key, "checkpoints.write", 17) != 0 && strcmp(key, "detections") != 0)
			continue;
		fprintf(to, "%s %s %.0f",
			any ? "," : "          each run:", strrchr(key, '.') ? strrchr(key, '.') + 1 : key,
			(double)json_integer_value(value) / s->runs);
		any = true;
	}
	if (any)
		fputc('\n', to);
}

/* Clients wait for answers, not for a thread: requests are always counted against the clock on the wall. */
static enum work_clock clock_of(const struct report *r, enum work_group group)
{
	return group == WORK_TRAFFIC ? CLOCK_WALL : r->clock;
}

static void print_series(const struct series *s, enum work_clock clock, FILE *to)
{
	double low, high;

	range(s, clock, &low, &high);
	fprintf(to, "%-9s %8.3f %8.3f %7.2f %7.2f %6.2f-%-6.2f %7.2f %7.2f %7.2f %7.2f\n", s->name,
		median_of(s, VM_PLAIN, clock), median_of(s, VM_CLOUDER, clock), report_ratio(s, clock),
		best_ratio(s, clock), low, high, report_ratio(s, CLOCK_WALL), report_ratio(s, CLOCK_CPU),
		report_ratio(s, CLOCK_ALL), report_ratio(s, CLOCK_GUEST));
	if (s->requests)
		fprintf(to, "          requests/s: %.0f plain, %.0f CloudER, %.2f of plain\n",
			s->requests / median_of(s, VM_PLAIN, CLOCK_WALL),
			s->requests / median_of(s, VM_CLOUDER, CLOCK_WALL), 1 / report_ratio(s, CLOCK_WALL));
	print_counters(s, to);
}

/* Geometric mean and worst of a group's ratios; how many there are. */
static int summary(const struct report *r, enum work_group group, enum work_clock clock, double *ret_mean,
		   double *ret_worst)
{
	double logs = 0;
	int n = 0;

	*ret_worst = 0;
	for (size_t i = 0; i < r->n; i++) {
		double ratio = report_ratio(&r->series[i], clock);

		if (r->series[i].group != group || ratio <= 0)
			continue;
		logs += log(ratio);
		*ret_worst = fmax(*ret_worst, ratio);
		n++;
	}
	*ret_mean = n ? exp(logs / n) : 0;
	return n;
}

static void print_group(const struct report *r, enum work_group group, FILE *to)
{
	double mean, worst;

	if (summary(r, group, clock_of(r, group), &mean, &worst) == 0)
		return;
	fprintf(to, "\n%s (%s clock)\n", work_group_names[group], work_clock_names[clock_of(r, group)]);
	for (size_t i = 0; i < r->n; i++)
		if (r->series[i].group == group && r->series[i].runs)
			print_series(&r->series[i], clock_of(r, group), to);
	for (int clock = CLOCK_WALL; clock <= CLOCK_CPU; clock++) {
		summary(r, group, (enum work_clock)clock, &mean, &worst);
		fprintf(to, "  geometric mean %.2f, worst %.2f (%s)\n", mean, worst, work_clock_names[clock]);
	}
}

static void print_memory(const struct memory_cost *m, FILE *to)
{
	if (!m->sent)
		return;
	fprintf(to, "\nmemory: %.1f MiB received into a file\n", (double)m->sent / (1 << 20));
	fprintf(to, "  tainted: %.1f MiB in %llu pages\n", (double)m->tainted_bytes / (1 << 20),
		(unsigned long long)m->tainted_pages);
	fprintf(to, "  shadow: %.1f MiB before (%.4f of RAM), %.1f MiB after\n", (double)m->shadow_before / (1 << 20),
		(double)m->shadow_before / (double)m->ram, (double)m->shadow_after / (1 << 20));
	fprintf(to, "  %.2f bytes of shadow for each tainted byte, %.2f x the tainted pages\n",
		(double)m->shadow_after / (double)m->tainted_bytes,
		(double)m->shadow_after / ((double)m->tainted_pages * 4096));
}

void report_print(const struct report *r, FILE *to)
{
	const char *key;
	json_t *value;

	json_object_foreach (r->host, key, value)
		fprintf(to, "%s: %s\n", key, json_string_value(value));
	if (r->n) {
		fprintf(to, "\nMedians in seconds and their ratio to plain TCG; then the ratio by each clock.\n");
		fprintf(to, "%-9s %8s %8s %7s %7s %13s %7s %7s %7s %7s\n", "", "plain", "clouder", "ratio", "best",
			"lowest-highest", "wall", "cpu", "all", "guest");
	}
	for (int g = 0; g < WORK_GROUPS; g++)
		print_group(r, (enum work_group)g, to);
	print_memory(&r->memory, to);
}

static json_t *samples_json(const struct series *s, enum vm_system system)
{
	json_t *ret = json_object();

	for (int clock = 0; clock < CLOCKS; clock++) {
		json_t *values = json_array();

		for (int i = 0; i < s->runs; i++)
			json_array_append_new(values, json_real(s->sample[system][i].s[clock]));
		json_object_set_new(ret, work_clock_names[clock], values);
	}
	return ret;
}

static json_t *series_json(const struct series *s)
{
	json_t *ratios = json_object(), *best = json_object();

	for (int clock = 0; clock < CLOCKS; clock++) {
		json_object_set_new(ratios, work_clock_names[clock],
				    json_real(report_ratio(s, (enum work_clock)clock)));
		json_object_set_new(best, work_clock_names[clock], json_real(best_ratio(s, (enum work_clock)clock)));
	}
	return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:O?}", "name", s->name, "group",
			 work_group_names[s->group], "runs", s->runs, "requests", (int)s->requests, "plain_s",
			 samples_json(s, VM_PLAIN), "clouder_s", samples_json(s, VM_CLOUDER), "ratio", ratios, "best",
			 best, "counters", s->counters);
}

static json_t *memory_json(const struct memory_cost *m)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "ram", (json_int_t)m->ram, "received", (json_int_t)m->sent,
			 "tainted_bytes", (json_int_t)m->tainted_bytes, "tainted_pages", (json_int_t)m->tainted_pages,
			 "shadow_before", (json_int_t)m->shadow_before, "shadow_after", (json_int_t)m->shadow_after);
}

json_t *report_json(const struct report *r)
{
	json_t *list = json_array(), *groups = json_object();

	for (size_t i = 0; i < r->n; i++)
		json_array_append_new(list, series_json(&r->series[i]));
	for (int g = 0; g < WORK_GROUPS; g++) {
		double mean, worst;

		if (summary(r, (enum work_group)g, clock_of(r, (enum work_group)g), &mean, &worst))
			json_object_set_new(groups, work_group_names[g],
					    json_pack("{s:s, s:f, s:f}", "clock",
						      work_clock_names[clock_of(r, (enum work_group)g)],
						      "geometric_mean", mean, "worst", worst));
	}
	return json_pack("{s:O, s:o, s:o, s:o?}", "host", r->host, "groups", groups, "works", list, "memory",
			 r->memory.sent ? memory_json(&r->memory) : NULL);
}
