# SPDX-License-Identifier: GPL-2.0-or-later
# One block per room, so that lines appended in parallel do not meet.
# --- support
support-y += tests/ir_slots.o tests/ir_random.o

# --- util

# --- memory

# --- tcg
test-y += tests/unit/tcg/hostop.o
test-y += tests/unit/tcg/build.o tests/unit/tcg/interp.o

# --- target

# --- accel

# --- block, net

# --- chardev

# --- hw/core

# --- hw devices

# --- boards, main
