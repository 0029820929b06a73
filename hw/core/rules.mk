# SPDX-License-Identifier: GPL-2.0-or-later
core-y += hw/core/device.o hw/core/reg.o hw/core/state.o hw/core/bus.o hw/core/machine.o hw/core/msifd.o
