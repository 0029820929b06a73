# SPDX-License-Identifier: GPL-2.0-or-later
core-y += hw/acpi/pm.o hw/char/debugcon.o hw/char/uart16550.o hw/intc/i8259.o hw/intc/ioapic.o hw/intc/lapic.o \
          hw/intc/cpu_lines.o hw/misc/debug_exit.o hw/nvram/fw_cfg.o hw/timer/i8254.o hw/timer/mc146818.o \
          hw/x86/acpi_tables.o hw/x86/firmware.o hw/x86/mp_tables.o hw/x86/linux_boot.o hw/x86/pc.o hw/x86/unpack.o hw/x86/unpack_cache.o
