# SPDX-License-Identifier: GPL-2.0-or-later
core-y += accel/accel.o accel/debug.o
core-y += $(addprefix accel/tcg/,tcg.o run.o region.o tlb.o debug.o invalidate.o io.o check.o stats.o turn.o disas.o)
hot-y += accel/tcg/softmmu.o
kvm-x86_64 := $(addprefix accel/kvm/,kvm.o run.o state.o cpuid.o irqchip.o debug.o memory.o)
core-y += $(kvm-$(HOST))
