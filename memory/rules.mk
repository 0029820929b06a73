# SPDX-License-Identifier: GPL-2.0-or-later
core-y += memory/ram.o memory/dirty.o memory/region.o memory/flat.o memory/space.o memory/dma.o
