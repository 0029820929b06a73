# SPDX-License-Identifier: GPL-2.0-or-later
# One block per room, so that lines appended in parallel do not meet.
# --- support

# --- util

# --- memory

# --- tcg
test-y += tests/unit/tcg/hostop.o

# --- target

# --- accel

# --- block, net

# --- chardev

# --- hw/core

# --- hw devices

# --- boards, main
