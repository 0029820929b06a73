# SPDX-License-Identifier: GPL-2.0-or-later
# One block per room, so that lines appended in parallel do not meet.
# --- support
support-y += tests/toy.o
support-y += tests/ir_slots.o tests/ir_random.o tests/bench.o

# --- util
test-y += tests/unit/util/options.o tests/unit/util/json.o tests/unit/util/fifo.o tests/unit/util/clock.o tests/unit/util/qsr.o \
          tests/unit/util/describe.o tests/unit/util/domain.o tests/unit/util/coroutine.o tests/unit/util/library.o

# --- memory
test-y += tests/unit/memory/space.o

# --- tcg
test-y += tests/unit/tcg/hostop.o
test-y += tests/unit/tcg/build.o tests/unit/tcg/interp.o tests/unit/tcg/text.o tests/unit/tcg/verify.o tests/unit/tcg/ir_text.o
test-y += tests/unit/tcg/x64.o tests/unit/tcg/x64_ops.o

# --- target
test-y += tests/unit/target/x86_x87.o tests/unit/target/x86_str.o tests/unit/target/x86_xsave.o tests/unit/target/x86_opcodes.o
support-y += tests/x86_fake.o
test-y += tests/unit/target/x86_sys_mmu.o tests/unit/target/x86_sys_trap.o tests/unit/target/x86_sys_rows.o tests/unit/target/x86_sys_cpu.o
test-y += tests/unit/target/x86_sys_vm86.o tests/unit/target/x86_sys_task.o tests/unit/target/x86_sys_smm.o tests/unit/target/x86_sys_limits.o tests/unit/target/x86_sys_fpu.o
support-y += tests/fuzz/insn_x86_gen.o tests/fuzz/guest_bytes_gen.o
test-y += tests/fuzz/guest_bytes.o tests/fuzz/insn_x86.o tests/unit/target/x86_decode.o tests/unit/target/x86_int.o
test-y += tests/unit/target/x86_avx.o

# --- accel
test-y += $(if $(filter x86_64,$(HOST)),tests/unit/accel/kvm.o tests/unit/accel/move.o)
test-y += tests/unit/accel/accel.o tests/unit/accel/run.o tests/unit/accel/smc.o tests/unit/accel/tlb.o

# --- block, net
test-y += tests/unit/block/aio.o tests/unit/block/model.o tests/unit/block/hostile.o tests/unit/block/jobs.o
test-y += tests/unit/block/chain.o tests/unit/block/drive.o tests/unit/block/vvfat.o tests/unit/block/deflate.o
support-y += tests/fuzz/block.o
test-y += tests/fuzz/block_corpus.o
fuzz-y += tests/fuzz/block_main.o

# --- chardev
test-y += tests/unit/chardev/stream.o

# --- hw/core
test-y += tests/unit/hw/core.o

# --- hw devices
support-y += tests/fake_port.o
test-y += tests/unit/hw/linux_boot.o
test-y += tests/dev/i8259.o tests/dev/i8254.o tests/dev/mc146818.o tests/dev/uart16550.o tests/dev/acpi_pm.o tests/dev/cpu_lines.o \
          tests/dev/apic.o tests/dev/fw_cfg.o tests/dev/pc.o tests/fuzz/devices.o

# --- monitor
support-y += tests/monitor_rig.o
test-y += tests/unit/monitor/gdb.o tests/unit/monitor/monitor.o

# --- boards, main
