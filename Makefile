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
PKGS = glib-2.0 slirp jansson sqlite3 libbpf libelf
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lZydis
CPPFLAGS += -D_GNU_SOURCE -Iinclude -Isrc
CFLAGS_ALL = $(CSTD) $(WARN) $(OPT) -fPIC -fvisibility=hidden -pthread $(PKG_CFLAGS) $(CFLAGS) $(SAN)

PREFIX ?= /usr/local

# The plugin is its own shared object; everything else but main goes into one archive that tests link too.
PLUGIN_SRC := $(wildcard src/plugin/*.c)
CORE_SRC := $(wildcard src/plugin/core/*.c)
BASE_SRC := $(wildcard src/base/*.c)
MAIN_SRC := src/cli/main.c
LIB_SRC := $(filter-out $(MAIN_SRC) $(PLUGIN_SRC),$(wildcard src/*/*.c) $(CORE_SRC))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

.PHONY: all
all: $(BUILD)/clouder $(BUILD)/clouder-taint.so ## build the program and the plugin

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/libclouder.a: $(call obj,$(LIB_SRC))
	$(call say,AR)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/clouder: $(call obj,$(MAIN_SRC)) $(BUILD)/libclouder.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PKG_LIBS) $(LDFLAGS)

$(BUILD)/clouder-taint.so: $(call obj,$(PLUGIN_SRC) $(CORE_SRC) $(BASE_SRC))
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -shared -o $@ $^ $(shell pkg-config --libs glib-2.0 2>/dev/null) -lZydis $(LDFLAGS)

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libclouder.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PKG_LIBS) -lcmocka $(LDFLAGS)

.PHONY: check-unit
check-unit: $(UNIT_BIN) ## run the unit tests
	@tests/lib/run-unit $(UNIT_BIN)

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
