# SPDX-License-Identifier: GPL-2.0-or-later
# One make for the whole tree.  A room lists its objects in its rules.mk:
#   core-y += room/file.o        linked into rhea-system and into every test
#   hot-y += room/file.o         the same, but compiled without FP (slow paths that generated code calls)
#   test-y += tests/unit/room/file.o   a GTest program of its own, linked with what it uses of core-y and with support-y
#   support-y += tests/file.o    helpers of those programs
#   tool-y += tools/file.o       a program of its own for the build or the tests, linked with the libraries alone
#   fuzz-y += tests/fuzz/file.o  libFuzzer's entry points: build/tests/fuzz/file, linked like a test (configure --enable-fuzzers)
#   program-y += tools/file.o    a program for users, linked with what it uses of core-y and support-y: build/file
# V=1 shows the commands.
BUILD ?= build
ifeq ($(wildcard $(BUILD)/config.mk),)
ifeq ($(filter clean distclean format,$(MAKECMDGOALS)),)
$(error run ./configure first)
endif
else
include $(BUILD)/config.mk
endif

CFLAGS ?= $(OPT) -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers $(WERROR) -fno-strict-aliasing \
             -fno-common -pthread -I. -I$(BUILD) $(LIB_CFLAGS) -include util/minmax.h $(SANITIZE) $(CFLAGS)

all:
core-y :=
hot-y :=
test-y :=
support-y :=
tool-y :=
program-y :=
fuzz-y :=
include $(sort $(wildcard */rules.mk */*/rules.mk))

core-objs := $(addprefix $(BUILD)/,$(core-y) $(hot-y))
support-objs := $(addprefix $(BUILD)/,$(support-y))
tests := $(patsubst %.o,$(BUILD)/%,$(test-y))
fuzzers := $(patsubst %.o,$(BUILD)/%,$(fuzz-y))
tools := $(patsubst %.o,$(BUILD)/%,$(tool-y))
programs := $(addprefix $(BUILD)/,$(notdir $(program-y:.o=)))
links := $(BUILD)/rhea-system-x86_64

ifeq ($(V),1)
say = @:
else
say = @printf '  %-7s %s\n'
.SILENT:
endif

all: $(BUILD)/rhea-system $(links) $(programs)

$(BUILD)/rhea-system: $(BUILD)/main.o $(core-objs)
	$(say) LINK $@
	$(CC) $(SANITIZE) -pthread -Wl,--as-needed -o $@ $^ $(LIBS) -lm
$(links): $(BUILD)/rhea-system
	ln -sf rhea-system $@

# By way of an archive a test takes in only what it uses, so one room's tests link while another is being built.
$(BUILD)/librhea.a: $(core-objs) $(support-objs) Makefile $(wildcard */rules.mk */*/rules.mk)
	rm -f $@
	ar --thin -rcs $@ $(filter %.o,$^)

$(tests): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/librhea.a
	$(say) LINK $@
	$(CC) $(SANITIZE) -pthread -Wl,--as-needed -o $@ $^ $(LIBS) -lm

# Only the rooms that they are about: coverage of the others would be built for nothing.
$(fuzzers): $(BUILD)/%: $(BUILD)/%.o $(addprefix $(BUILD)/,tests/fuzz/block.o $(filter util/% block/%,$(core-y)))
	$(say) LINK $@
	$(CC) $(SANITIZE) -fsanitize=fuzzer -pthread -Wl,--as-needed -o $@ $^ $(LIBS) -lm

# Users start these often: they load only the libraries that they use.
$(programs): $(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/librhea.a
	$(say) LINK $@
	$(CC) $(SANITIZE) -pthread -o $@ $^ -Wl,--as-needed $(LIBS) -lm

$(tools): $(BUILD)/%: $(BUILD)/%.o
	$(say) LINK $@
	$(CC) $(SANITIZE) -pthread -Wl,--as-needed -o $@ $^ $(LIBS) -lutil

$(addprefix $(BUILD)/,$(hot-y)): EXTRA_CFLAGS = -mgeneral-regs-only

$(BUILD)/%.o: %.c $(BUILD)/config.h
	@mkdir -p $(@D)
	$(say) CC $@
	$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

tests: $(tests)

fuzzers: $(fuzzers)

tools: $(tools)

# What tools/run-tests runs: the long ones first.  A guest test is an executable without a suffix.
guest-tests := $(filter-out %.sh %.console %.c %.S,$(wildcard tests/guest/*))
block-tests := tests/block/interop tests/block/luks tests/block/bitmaps tests/block/nbd tests/block/nodes tests/block/vvfat tests/block/memory tests/block/cold tests/block/parents tests/block/tools tests/block/giant

check: tests all $(tools)
	printf '%s\n' $(guest-tests) $(block-tests) tests/floors tests/harness $(tests) > $(BUILD)/tests.list
	tools/run-tests $(BUILD) $(ROOM)

# The unit tests and what needs no Debian guest, of a build that is there for its compiler or its sanitizers.
check-quick: tests all $(tools)
	printf '%s\n' tests/guest/tiny-guests tests/guest/sys-guests tests/guest/bad-input tests/guest/options $(tests) > $(BUILD)/tests.list
	tools/run-tests $(BUILD) $(ROOM)

# A build of --enable-fuzzers: FUZZ_SECONDS for each target, images made by build/rhea-img.
check-fuzz: fuzzers
	echo tests/block/fuzz > $(BUILD)/tests.list
	tools/run-tests $(BUILD)

check-floors:
	tests/floors

# Formats the lines that differ from the last commit; tables that are aligned by hand stay as they are.
format:
	git clang-format --extensions c,h HEAD

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILD)/rhea-system $(programs) $(DESTDIR)$(PREFIX)/bin/
	for l in $(notdir $(links)); do ln -sf rhea-system $(DESTDIR)$(PREFIX)/bin/$$l; done

# What make made; the configuration and the downloads in build/cache stay.
clean:
	rm -rf $(addprefix $(BUILD)/,$(filter-out cache config.h config.mk configured-as,$(notdir $(wildcard $(BUILD)/*))))

distclean:
	rm -rf $(BUILD)

.PHONY: all tests fuzzers tools check check-quick check-fuzz check-floors format install clean distclean
-include $(patsubst %.o,%.d,$(BUILD)/main.o $(core-objs) $(support-objs) $(addprefix $(BUILD)/,$(test-y) $(fuzz-y) $(tool-y) $(program-y)))
