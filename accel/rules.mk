# SPDX-License-Identifier: GPL-2.0-or-later
core-y += accel/accel.o
core-y += $(addprefix accel/tcg/,tcg.o run.o region.o tlb.o invalidate.o io.o check.o stats.o disas.o)
hot-y += accel/tcg/softmmu.o
