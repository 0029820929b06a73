# SPDX-License-Identifier: GPL-2.0-or-later
ifeq ($(HOST),x86_64)
core-y += tcg/live.o tcg/edges.o tcg/regalloc.o tcg/select.o tcg/snapshot.o
core-y += tcg/x86_64/arith.o tcg/x86_64/backend.o tcg/x86_64/hoststr.o tcg/x86_64/exits.o tcg/x86_64/memory.o tcg/x86_64/rows.o \
          tcg/x86_64/thunks.o tcg/x86_64/vector.o
endif
