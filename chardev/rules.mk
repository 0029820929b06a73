# SPDX-License-Identifier: GPL-2.0-or-later
core-y += chardev/stream.o chardev/mux.o chardev/host.o chardev/socket.o
