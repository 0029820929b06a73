# SPDX-License-Identifier: GPL-2.0-or-later
core-y += target/port.o
