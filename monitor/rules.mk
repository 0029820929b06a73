# SPDX-License-Identifier: GPL-2.0-or-later
core-y += $(addprefix monitor/,monitor.o args.o expr.o commands.o cmd_machine.o cmd_memory.o cmd_info.o line_edit.o gdb_packet.o gdb.o \
          gdb_query.o)
