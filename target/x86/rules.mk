# SPDX-License-Identifier: GPL-2.0-or-later
core-y += target/x86/cpu.o target/x86/mode.o target/x86/seg.o target/x86/msr.o target/x86/cpuid.o target/x86/topology.o target/x86/models.o target/x86/dump.o
core-y += target/x86/helper_sys.o target/x86/helper_xsave.o target/x86/translate_sys.o
core-y += target/x86/debug.o target/x86/gdb.o
core-y += target/x86/decode.o target/x86/translate.o target/x86/translate_cc.o target/x86/translate_alu.o
core-y += target/x86/translate_bits.o target/x86/translate_bmi.o target/x86/translate_flow.o target/x86/translate_string.o target/x86/helper_int.o target/x86/helper_string.o
core-y += target/x86/flags.o
core-y += target/x86/task.o target/x86/smm.o
core-y += target/x86/rows_vector.o target/x86/translate_sse.o target/x86/translate_avx.o target/x86/helper_avx.o target/x86/translate_x87.o target/x86/helper_sse.o target/x86/helper_x87.o
# Called from slow paths while guest vectors are live in host registers
hot-y += target/x86/mmu.o target/x86/trap.o target/x86/target.o
