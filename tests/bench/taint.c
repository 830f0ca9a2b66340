/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Measures what following taint costs, as ratios to plain TCG of the same QEMU: see doc/bench.md.
 *
 * The two systems take turns, boot for boot and piece of work for piece of work, so that what disturbs the host
 * disturbs both. Times are reported, never judged; what fails is a guest that does not do its work, or whose result
 * is not the other's.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "vm.h"
#include "work.h"

#define GUEST_MIB 512
#define MEMORY_SENT (64u << 20)

struct bench {
	struct vm_config cfg;
	const char *only; /* words; NULL or empty: all */
	const char *json; /* file; NULL: none */
	int runs;
	bool print_json;
	json_int_t detections; /* false alarms: nothing here is an attack */
	struct vm vm[VM_SYSTEMS];
	struct report report;
};

static void interrupted(int signal)
{
	(void)signal;
	vm_interrupted = 1;
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = interrupted};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

/* Whether a word of the list is the name; an empty list means all. */
static bool wanted(const struct bench *b, const char *name)
{
	size_t len = strlen(name);
	const char *at = b->only;

	if (!at || !at[strspn(at, " ,")])
		return true;
	while (*(at += strspn(at, " ,"))) {
		size_t n = strcspn(at, " ,");

		if (n == len && strncmp(at, name, n) == 0)
			return true;
		at += n;
	}
	return false;
}

static bool wants_work(const struct bench *b, enum work_group group)
{
	for (size_t i = 0; i < work_count; i++)
		if (works[i].group == group && wanted(b, works[i].name))
			return true;
	return false;
}

static bool known(const char *name, size_t n)
{
	static const char *const others[] = {"boot", "memory"};

	for (size_t i = 0; i < work_count; i++)
		if (strlen(works[i].name) == n && strncmp(works[i].name, name, n) == 0)
			return true;
	for (size_t i = 0; i < 2; i++)
		if (strlen(others[i]) == n && strncmp(others[i], name, n) == 0)
			return true;
	return false;
}

static bool names_known(const char *at)
{
	while (at && *(at += strspn(at, " ,"))) {
		size_t n = strcspn(at, " ,");

		if (!known(at, n)) {
			fprintf(stderr, "bench: no work is called %.*s\n", (int)n, at);
			return false;
		}
		at += n;
	}
	return true;
}

static void end_all(struct bench *b)
{
	for (int s = 0; s < VM_SYSTEMS; s++)
		vm_end(&b->vm[s]);
}

static struct series *new_series(struct bench *b, const char *name, enum work_group group, unsigned requests)
{
	struct series *s = &b->report.series[b->report.n++];

	*s = (struct series){.name = name, .group = group, .requests = requests};
	return s;
}

static void progress(const char *name, int run, enum vm_system system, const struct sample *s)
{
	fprintf(stderr, "%-9s run %d %-7s wall %8.3f s  cpu %8.3f s\n", name, run + 1,
		system == VM_PLAIN ? "plain" : "clouder", s->s[CLOCK_WALL], s->s[CLOCK_CPU]);
}

/* Adds to a series by how much CloudER's counters have grown since before (NULL: since the guest's start). */
static void add_counters(struct bench *b, struct series *s, const struct vm *vm, const json_t *before)
{
	json_t *after = vm_status(vm), *growth = report_growth(before, after);

	b->detections += json_integer_value(json_object_get(growth, "detections"));
	s->counters = report_add(s->counters, growth);
	json_decref(growth);
	json_decref(after);
}

/* One boot of a system; the counters that it begins with are its own. */
static int boot_one(struct bench *b, struct series *s, int run, enum vm_system system)
{
	struct sample *sample = &s->sample[system][run];

	if (work_boot(&b->vm[system], &b->cfg, system, sample) < 0)
		return -1;
	progress("boot", run, system, sample);
	add_counters(b, s, &b->vm[system], NULL);
	return 0;
}

/* As many boots of each system as there are runs if boots are measured, one otherwise; the last two go on. */
static int boot_all(struct bench *b)
{
	static struct series unwanted;
	bool measured = wanted(b, "boot");
	struct series *s = measured ? new_series(b, "boot", WORK_CLEAN, 0) : &unwanted;
	int runs = measured ? b->runs : 1;

	for (int i = 0; i < runs; i++) {
		end_all(b);
		for (int system = 0; system < VM_SYSTEMS; system++)
			if (boot_one(b, s, i, (enum vm_system)system) < 0)
				return -1;
		s->runs = i + 1;
	}
	return 0;
}

static int run_one(struct bench *b, struct series *s, const struct work *w, int run, enum vm_system system)
{
	struct vm *vm = &b->vm[system];
	json_t *before = vm_status(vm);
	int ret = work_run(vm, w, &s->sample[system][run]);

	if (ret == 0) {
		progress(w->name, run, system, &s->sample[system][run]);
		add_counters(b, s, vm, before);
	}
	json_decref(before);
	return ret;
}

static int run_work(struct bench *b, const struct work *w)
{
	struct series *s = new_series(b, w->name, w->group, w->requests);

	for (int i = 0; i < b->runs; i++) {
		for (int system = 0; system < VM_SYSTEMS; system++)
			if (run_one(b, s, w, i, (enum vm_system)system) < 0)
				return -1;
		if (strcmp(s->sample[VM_PLAIN][i].result, s->sample[VM_CLOUDER][i].result) != 0) {
			fprintf(stderr, "bench: %s: plain says %s, CloudER says %s\n", w->name,
				s->sample[VM_PLAIN][i].result, s->sample[VM_CLOUDER][i].result);
			return -1;
		}
		s->runs = i + 1;
	}
	return 0;
}

static int make_files(struct bench *b)
{
	char result[16];
	uint64_t ns;

	for (int system = 0; system < VM_SYSTEMS; system++)
		if (vm_order(&b->vm[system], "files", &ns, result, sizeof(result)) < 0)
			return -1;
	return 0;
}

static int upload(struct bench *b)
{
	for (int system = 0; system < VM_SYSTEMS; system++)
		if (work_upload(&b->vm[system]) < 0)
			return -1;
	return 0;
}

static int run_works(struct bench *b)
{
	bool uploaded = false;

	for (size_t i = 0; i < work_count; i++) {
		if (!wanted(b, works[i].name))
			continue;
		if (works[i].group == WORK_TAINTED && !uploaded && upload(b) < 0)
			return -1;
		uploaded = uploaded || works[i].group == WORK_TAINTED;
		if (run_work(b, &works[i]) < 0)
			return -1;
	}
	return 0;
}

/* A guest of its own that has received nothing but one file. */
static int measure_memory(struct bench *b)
{
	struct memory_cost *m = &b->report.memory;
	struct vm *vm = &b->vm[VM_CLOUDER];
	struct sample boot;
	json_t *status, *taint;

	end_all(b);
	if (work_boot(vm, &b->cfg, VM_CLOUDER, &boot) < 0)
		return -1;
	m->ram = (uint64_t)b->cfg.mib << 20;
	m->shadow_before = vm_shadow_allocated(vm);
	if (work_send_random(vm, "/raw", MEMORY_SENT) < 0)
		return -1;
	m->shadow_after = vm_shadow_allocated(vm);
	status = vm_status(vm);
	taint = json_object_get(status, "taint");
	m->tainted_bytes = (uint64_t)json_integer_value(json_object_get(taint, "tainted_bytes"));
	m->tainted_pages = (uint64_t)json_integer_value(json_object_get(taint, "tainted_pages"));
	m->sent = status ? MEMORY_SENT : 0;
	json_decref(status);
	return status ? 0 : -1;
}

static int measure(struct bench *b)
{
	bool work = wants_work(b, WORK_CLEAN) || wants_work(b, WORK_TRAFFIC) || wants_work(b, WORK_TAINTED);

	if ((work || wanted(b, "boot")) && boot_all(b) < 0)
		return -1;
	if (work && (make_files(b) < 0 || run_works(b) < 0))
		return -1;
	return wanted(b, "memory") ? measure_memory(b) : 0;
}

/* The rest of the first line that begins with a prefix, of a file or of what a command prints. */
static json_t *first_line(FILE *f, const char *prefix)
{
	char line[512];
	json_t *ret = NULL;

	while (f && !ret && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			ret = json_string(line + strlen(prefix) + strspn(line + strlen(prefix), "\t :"));
	}
	return ret ? ret : json_string("?");
}

/* How busy the host is, and CPU time that its own host took from it, in ticks since its start. */
static void note_load(json_t *host, const char *when)
{
	unsigned long long steal = 0;
	char text[128], load[64] = "?";
	FILE *f = fopen("/proc/stat", "re");

	if (f && fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
		steal = 0;
	if (f)
		fclose(f);
	f = fopen("/proc/loadavg", "re");
	if (f && fgets(load, sizeof(load), f))
		load[strcspn(load, "\n")] = '\0';
	if (f)
		fclose(f);
	snprintf(text, sizeof(text), "%s, stolen %.2f s", load, (double)steal / (double)sysconf(_SC_CLK_TCK));
	json_object_set_new(host, when, json_string(text));
}

static json_t *describe_host(const struct bench *b)
{
	char command[512], runs[128];
	json_t *ret = json_object();
	FILE *f;

	snprintf(command, sizeof(command), "exec '%s' --version", b->cfg.qemu);
	f = popen(command, "re");
	json_object_set_new(ret, "QEMU", first_line(f, "QEMU emulator version"));
	if (f)
		pclose(f);
	f = fopen("/proc/cpuinfo", "re");
	json_object_set_new(ret, "host CPU", first_line(f, "model name"));
	if (f)
		fclose(f);
	snprintf(runs, sizeof(runs), "%d of each, guests of %d vCPU and %d MiB, -cpu %s, %ld CPUs in the host", b->runs,
		 b->cfg.smp, b->cfg.mib, b->cfg.cpu ? b->cfg.cpu : "(QEMU's default)", sysconf(_SC_NPROCESSORS_ONLN));
	json_object_set_new(ret, "runs", json_string(runs));
	note_load(ret, "load before");
	return ret;
}

static int write_report(const struct bench *b)
{
	json_t *json = report_json(&b->report);
	int ret = 0;

	if (b->print_json)
		ret = json_dumpf(json, stdout, JSON_INDENT(1) | JSON_ENSURE_ASCII) | (puts("") < 0);
	else
		report_print(&b->report, stdout);
	if (b->json && json_dump_file(json, b->json, JSON_INDENT(1) | JSON_ENSURE_ASCII) < 0) {
		fprintf(stderr, "bench: cannot write %s\n", b->json);
		ret = -1;
	}
	json_decref(json);
	return ret;
}

static void take_number(const char *value, int *ret)
{
	char *end;
	long n = strtol(value, &end, 10);

	*ret = *end || n < 1 || n > RUNS_MAX ? -1 : (int)n;
}

static void take_runs(struct bench *b, const char *value)
{
	take_number(value, &b->runs);
}

static void take_smp(struct bench *b, const char *value)
{
	take_number(value, &b->cfg.smp);
}

static void take_clock(struct bench *b, const char *value)
{
	b->report.clock = CLOCKS;
	for (int clock = 0; clock < CLOCKS; clock++)
		if (strcmp(value, work_clock_names[clock]) == 0)
			b->report.clock = (enum work_clock)clock;
}

static void take_only(struct bench *b, const char *value)
{
	b->only = value;
}

static void take_json(struct bench *b, const char *value)
{
	(void)value;
	b->print_json = true;
}

static void take_json_file(struct bench *b, const char *value)
{
	b->json = value;
}

static void take_cpu(struct bench *b, const char *value)
{
	b->cfg.cpu = value;
}

static void take_clouder(struct bench *b, const char *value)
{
	b->cfg.clouder = value;
}

static void take_plugin(struct bench *b, const char *value)
{
	b->cfg.plugin = value;
}

static void take_guest(struct bench *b, const char *value)
{
	b->cfg.guest = value;
}

static void take_qemu(struct bench *b, const char *value)
{
	b->cfg.qemu = value;
}

static const struct {
	const char *name, *value, *help; /* value NULL: the option has none */
	void (*take)(struct bench *b, const char *value);
} options[] = {
	{"clouder", "FILE", "the program; must be given", take_clouder},
	{"plugin", "FILE", "its plugin; must be given", take_plugin},
	{"guest", "DIR", "the guest's kernel and image; must be given", take_guest},
	{"qemu", "PROGRAM", "QEMU for both systems (qemu-system-x86_64)", take_qemu},
	{"runs", "N", "of each system, 1 to 101 (5)", take_runs},
	{"only", "NAMES", "these pieces of work only, in one argument (all)", take_only},
	{"clock", "CLOCK", "for the ratios: wall, cpu, all, guest (cpu)", take_clock},
	{"smp", "N", "vCPUs of the guests (1)", take_smp},
	{"cpu", "MODEL", "of the guests' CPU (QEMU's default)", take_cpu},
	{"json", NULL, "print JSON, not a table", take_json},
	{"json-file", "FILE", "write JSON into a file as well", take_json_file},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

static int usage(void)
{
	fprintf(stderr, "usage: bench-taint OPTION...\n");
	for (size_t i = 0; i < OPTIONS; i++)
		fprintf(stderr, "  --%-10s %-8s %s\n", options[i].name, options[i].value ? options[i].value : "",
			options[i].help);
	fprintf(stderr, "Work: boot");
	for (size_t i = 0; i < work_count; i++)
		fprintf(stderr, " %s", works[i].name);
	fprintf(stderr, " memory\n");
	return 2;
}

/* False: not a command line that can be worked with. */
static bool take_options(struct bench *b, int argc, char **argv)
{
	struct option all[OPTIONS + 1] = {0};
	int index = 0, got;

	for (size_t i = 0; i < OPTIONS; i++)
		all[i] = (struct option){.name = options[i].name, .has_arg = options[i].value != NULL};
	while ((got = getopt_long(argc, argv, "", all, &index)) == 0)
		options[index].take(b, optarg);
	return got == -1 && optind == argc && b->runs > 0 && b->cfg.smp > 0 && b->report.clock < CLOCKS &&
	       b->cfg.clouder && b->cfg.plugin && b->cfg.guest && names_known(b->only);
}

/* Measures with a directory that is there for as long, reports as far as it came. Exit code. */
static int bench_in(struct bench *b, const char *dir)
{
	int ret;

	setenv("CLOUDER_RUNTIME_DIR", dir, 1);
	setenv("CLOUDER_STATE_DIR", dir, 1);
	b->cfg.dir = dir;
	b->report.host = describe_host(b);
	ret = measure(b);
	end_all(b);
	note_load(b->report.host, "load after");
	if (write_report(b) < 0)
		ret = -1;
	json_decref(b->report.host);
	for (size_t i = 0; i < b->report.n; i++)
		json_decref(b->report.series[i].counters);
	if (b->detections) {
		fprintf(stderr, "bench: %" JSON_INTEGER_FORMAT " detections where nothing is attacked\n",
			b->detections);
		ret = -1;
	}
	return ret == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	static struct bench b = {.cfg = {.qemu = "qemu-system-x86_64", .smp = 1, .mib = GUEST_MIB},
				 .runs = 5,
				 .report.clock = CLOCK_CPU};
	char dir[] = "/tmp/clouder-bench.XXXXXX", command[64];
	int ret;

	if (!take_options(&b, argc, argv))
		return usage();
	catch_signals();
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	ret = bench_in(&b, dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command) == 0 ? ret : 1;
}
