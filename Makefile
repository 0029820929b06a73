# SPDX-License-Identifier: GPL-2.0-or-later
# One make for the whole tree.  A room lists its objects in its rules.mk:
#   core-y += room/file.o        linked into rhea-system and into every test
#   hot-y += room/file.o         the same, but compiled without FP (slow paths that generated code calls)
#   test-y += tests/unit/room/file.o   a GTest program of its own, linked with all of core-y and support-y
#   support-y += tests/file.o  helpers of the tests
BUILD ?= build
ifeq ($(wildcard $(BUILD)/config.mk),)
ifeq ($(filter clean distclean,$(MAKECMDGOALS)),)
$(error run ./configure first)
endif
else
include $(BUILD)/config.mk
endif

CFLAGS ?= $(OPT) -g
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers $(WERROR) -fno-strict-aliasing \
             -fno-common -pthread -I. -I$(BUILD) $(LIB_CFLAGS) $(SANITIZE) $(CFLAGS)

core-y :=
hot-y :=
test-y :=
support-y :=
include $(sort $(wildcard */rules.mk */*/rules.mk))

core-objs := $(addprefix $(BUILD)/,$(core-y) $(hot-y))
support-objs := $(addprefix $(BUILD)/,$(support-y))
tests := $(patsubst %.o,$(BUILD)/%,$(test-y))
links := $(BUILD)/rhea-system-x86_64

all: $(BUILD)/rhea-system $(links)

$(BUILD)/rhea-system: $(BUILD)/main.o $(core-objs)
	$(CC) $(SANITIZE) -pthread -o $@ $^ $(LIBS) -lm
$(links): $(BUILD)/rhea-system
	ln -sf rhea-system $@

$(tests): $(BUILD)/%: $(BUILD)/%.o $(support-objs) $(core-objs)
	$(CC) $(SANITIZE) -pthread -o $@ $^ $(LIBS) -lm

$(addprefix $(BUILD)/,$(hot-y)): EXTRA_CFLAGS = -mgeneral-regs-only

$(BUILD)/%.o: %.c $(BUILD)/config.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

tests: $(tests)

check: tests all
	tools/run-tests $(BUILD) $(ROOM)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILD)/rhea-system $(DESTDIR)$(PREFIX)/bin/
	for l in $(notdir $(links)); do ln -sf rhea-system $(DESTDIR)$(PREFIX)/bin/$$l; done

clean:
	rm -rf $(BUILD)/*/ $(BUILD)/*.o $(BUILD)/*.d $(BUILD)/rhea-*

.PHONY: all tests check install clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
