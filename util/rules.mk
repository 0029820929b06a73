# SPDX-License-Identifier: GPL-2.0-or-later
core-y += util/disas.o util/library.o util/error.o util/log.o util/fifo.o util/options.o util/domain.o util/line.o util/clock.o util/qsr.o \
          util/loop.o util/describe.o
core-y += util/coroutine.o util/json.o
