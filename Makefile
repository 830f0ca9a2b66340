# SPDX-License-Identifier: GPL-2.0-or-later
# The only Makefile. `make help` lists the targets.

# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@)
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
CSTD = -std=gnu17
WARN = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
OPT ?= -O2 -g
PKGS = glib-2.0 slirp jansson sqlite3 libbpf libelf libsodium libnbd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lZydis
CPPFLAGS += -D_GNU_SOURCE -Iinclude -Isrc
CFLAGS_ALL = $(CSTD) $(WARN) $(OPT) -fPIC -fvisibility=hidden -pthread $(PKG_CFLAGS) $(CFLAGS) $(SAN)

PREFIX ?= /usr/local

# The plugin is its own shared object; everything else but main goes into one archive that tests link too.
PLUGIN_SRC := $(wildcard src/plugin/*.c)
CORE_SRC := $(wildcard src/plugin/core/*.c)
PLUGIN_LIB_SRC := src/qemu/gmem.c src/vmi/space.c
BASE_SRC := $(wildcard src/base/*.c)
MAIN_SRC := src/cli/main.c
LIB_SRC := $(filter-out $(MAIN_SRC) $(PLUGIN_SRC),$(wildcard src/*/*.c) $(CORE_SRC))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

.SECONDARY:
.DELETE_ON_ERROR:

.PHONY: all
all: have-libraries $(BUILD)/clouder $(BUILD)/clouder-taint.so ## build the program and the plugin

.PHONY: have-libraries
have-libraries:
	@pkg-config --exists $(PKGS) || { echo "libraries are missing: run tools/install-deps build" >&2; exit 1; }

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(HOT) $(TRACED) -MMD -MP -c -o $@ $<

$(BUILD)/libclouder.a: $(call obj,$(LIB_SRC))
	$(call say,AR)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/clouder: $(call obj,$(MAIN_SRC)) $(BUILD)/libclouder.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PKG_LIBS) $(LDFLAGS)

# Where a guest spends its time.
$(call obj,$(CORE_SRC) src/plugin/follow.c src/plugin/memory.c): HOT = $(if $(SAN),,-O3)

$(BUILD)/clouder-taint.so: $(call obj,$(PLUGIN_SRC) $(PLUGIN_LIB_SRC) $(CORE_SRC) $(BASE_SRC))
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -shared -o $@ $^ $(shell pkg-config --libs glib-2.0 2>/dev/null) -lZydis $(LDFLAGS)

# Fuzzers are told which ways the product's code takes; the tests' own stays as it is, some patch themselves.
$(call obj,$(LIB_SRC)): TRACED = $(FUZZED)

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libclouder.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PKG_LIBS) -lcmocka $(LDFLAGS)

# A guest whose memory changes from one read to the next.
$(BUILD)/unit/test_vmi_change: LDFLAGS += -Wl,--wrap=gmem_read

# What runs guards for tests, in both modes of the processor; at fixed addresses for its assembly.
$(BUILD)/unit/guard_runner%: tests/unit/guard_runner.c tests/unit/guard_runner.h
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CPPFLAGS) $(CSTD) $(WARN) -O2 -m$* -fno-pie -no-pie -o $@ $<

$(addprefix $(BUILD)/unit/test_patch_,call chunk format store): $(BUILD)/tests/unit/guard_call.o | $(BUILD)/unit/guard_runner64 $(BUILD)/unit/guard_runner32

.PHONY: check-unit
check-unit: $(UNIT_BIN) ## run the unit tests
	@tests/lib/run-unit $(UNIT_BIN)

SANITIZED = $(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/asan OPT="-O1 -g" FUZZED=-fsanitize=fuzzer-no-link \
	SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
.PHONY: check-asan
check-asan: ## the unit tests again and the corpora of the fuzzers, built by clang with address and undefined-behaviour sanitizers
	$(Q)+$(SANITIZED) check-unit fuzz-corpora

# What finds its way into everything that parses hostile input; each has a corpus in the tree.
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libclouder.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) $(LDFLAGS)

.PHONY: fuzz-corpora fuzz-each
fuzz-corpora: $(FUZZ_BIN)
	@tests/fuzz/run $^
fuzz-each: $(FUZZ_BIN)
	@SECONDS_EACH=$(or $(SECONDS_EACH),60) tests/fuzz/run $^

.PHONY: fuzz
fuzz: ## run each fuzzer for so many seconds, and keep what it finds new (SECONDS_EACH=60 FUZZERS="vmi net")
	$(Q)+$(SANITIZED) fuzz-each $(if $(FUZZERS),FUZZ_BIN="$(patsubst %,$(BUILD)/asan/fuzz/fuzz_%,$(FUZZERS))")

# Under QEMU several vCPUs and the supervisor share the shadow.
.PHONY: check-tsan
check-tsan: ## the taint engine's core under the thread sanitizer
	$(Q)$(MAKE) --no-print-directory check-unit CC=clang BUILD=$(BUILD)/tsan OPT="-O1 -g" SAN=-fsanitize=thread \
		UNIT_SRC=tests/unit/test_shadow_threads.c

# The table of instruction semantics against the processor that this runs on.
STATES ?= 200000
$(BUILD)/against_cpu: $(call obj,$(wildcard tests/taint/*.c)) $(BUILD)/libclouder.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ -lZydis $(LDFLAGS)

.PHONY: check-taint
check-taint: $(BUILD)/against_cpu ## taint semantics against the real CPU (SEED=N STATES=N)
	$(Q)$< $(or $(SEED),1) $(STATES)

# What following taint costs: see doc/bench.md.
BENCH_SRC := $(wildcard tests/bench/*.c)
$(BUILD)/bench-taint: $(call obj,$(BENCH_SRC))
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(shell pkg-config --libs jansson 2>/dev/null) -lm $(LDFLAGS)

.PHONY: bench-taint
bench-taint: all guest $(BUILD)/bench-taint ## time and memory that taint costs (RUNS=5 ONLY="boot md5" CLOCK=cpu|wall SMP=1 CPU=max BENCH_JSON=FILE)
	$(Q)$(BUILD)/bench-taint --clouder $(BUILD)/clouder --plugin $(BUILD)/clouder-taint.so --guest $(BUILD)/guest \
		$(if $(RUNS),--runs $(RUNS)) $(if $(ONLY),--only "$(ONLY)") $(if $(CLOCK),--clock $(CLOCK)) \
		$(if $(SMP),--smp $(SMP)) $(if $(CPU),--cpu $(CPU)) $(if $(BENCH_JSON),--json-file $(BENCH_JSON))

.PHONY: lint
lint: ## format, static analysis, headers, dependency direction, documents
	$(Q)tools/install-deps build check lint
	$(Q)tools/lint

.PHONY: guest
guest: ## build the guest image and the drivers beside it
	$(Q)tools/build-image

.PHONY: guest-lab
guest-lab: ## the guest image with all builds of the attack lab
	$(Q)tools/build-image lab

.PHONY: guest-newer guest-newest
guest-newer: ## the guest image with a newer kernel, of Debian's backports
guest-newest: ## the guest image with the newest kernel that the mirror carries
guest-newer guest-newest: guest-%:
	$(Q)tools/build-image $*

.PHONY: guest-debian
guest-debian: guest-lab ## a disk with a whole Debian, which the guest boots from
	$(Q)tools/build-image debian

.PHONY: guest-real
guest-real: ## the guest image with programs of Debian and re-created ones
	$(Q)tools/build-image real

# What is missing is installed first; only a new make sees what pkg-config has to say then.
.PHONY: demo
demo: ## install what is missing, build, and show the main job
	$(Q)+MAKE="$(MAKE)" tools/demo

.PHONY: check-guest
check-guest: all guest guest-lab guest-newer guest-newest guest-real guest-debian ## run the guest tests
	$(Q)tests/guest/run

.PHONY: check-attack20
check-attack20: all guest ## 20 attacks and 20 benign runs, each in a new VM
	$(Q)COUNT=20 tests/guest/run attack_then_benign benign_only

# The attack lab: see doc/attacks.md.
.PHONY: check-attacks
check-attacks: all guest-lab ## every form of attack in every build, as a table (FORMS="stack-* heap-*" BUILDS="lab-O2" THIRD=1 JOBS=2)
	$(Q)FORMS="$(FORMS)" BUILDS="$(BUILDS)" JOBS="$(JOBS)" tests/attacks/matrix.sh $(if $(THIRD),--third)

# What `make check` has of it: other forms in each of these builds, which are all but hardened, clang's and musl's.
MAIN_BUILDS = lab-O0 lab-O2 lab-O0-static lab-O2-static lab-32-O0 lab-32-O2
.PHONY: check-attacks-third
check-attacks-third: all guest-lab ## every third form of attack in the main builds, others in each (JOBS=2)
	$(Q)BUILDS="$(MAIN_BUILDS)" JOBS="$(JOBS)" CHUNK=10 tests/attacks/matrix.sh --third

.PHONY: check-recovery
check-recovery: all guest guest-lab guest-debian ## engines, waiting engines and supervisors killed 50 times each, 20 attacks beside busy connections (KILLS=50 ATTACKS=20)
	$(Q)KILLS=$(or $(KILLS),50) ATTACKS=$(or $(ATTACKS),20) tests/guest/run \
		engine_killed standby_killed supervisor_killed checkpoint_verbs rollback streams database

.PHONY: bench-recovery
bench-recovery: all guest ## pause of checkpoints, recovery beside the paper's, latency of output (RUNS=3 SIZES="1024 8192" CHECKPOINTS=50 PARTS="pause answers memory output")
	$(Q)$(if $(PARTS),PARTS="$(PARTS)") $(if $(RUNS),RUNS=$(RUNS)) $(if $(SIZES),SIZES="$(SIZES)") $(if $(CHECKPOINTS),CHECKPOINTS=$(CHECKPOINTS)) tests/recovery/bench.sh

.PHONY: check-false-alarms
check-false-alarms: all guest-lab guest-real ## benign requests to the attack lab and to the other servers: none may be taken for an attack (REQUESTS=200000)
	$(Q)REQUESTS=$(or $(REQUESTS),200000) tests/guest/run false_alarms

.PHONY: check
check: ## install what is missing, build, run all tests
	$(Q)tools/install-deps build check
	$(Q)$(MAKE) --no-print-directory check-unit check-asan check-tsan check-taint check-guest \
		check-attacks-third

.PHONY: clean
clean: ## remove what was built (packages that were downloaded stay in build/cache)
	$(Q)test ! -d $(BUILD) || find $(BUILD) -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +

.PHONY: install
install: all ## install program, plugin and manual page below PREFIX (/usr/local), DESTDIR before it
	install -D -m 755 $(BUILD)/clouder $(DESTDIR)$(PREFIX)/bin/clouder
	install -D -m 644 $(BUILD)/clouder-taint.so $(DESTDIR)$(PREFIX)/lib/clouder/clouder-taint.so
	install -D -m 644 man/clouder.1 $(DESTDIR)$(PREFIX)/share/man/man1/clouder.1

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
