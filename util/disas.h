/* SPDX-License-Identifier: GPL-2.0-or-later
 * Machine code as text, by capstone.  The library is opened at the first use: its relocations would cost every start
 * of the program more than all else. */
#ifndef UTIL_DISAS_H
#define UTIL_DISAS_H

#include <glib.h>
#include <stdint.h>

/* Appends a line per instruction: address, bytes, text.  arch, mode: capstone's CS_ARCH_*, CS_MODE_*; arch -1, or no
 * library: bytes only.  What capstone does not know is shown as bytes.  Any thread. */
void disas(GString *s, int arch, int mode, const uint8_t *code, size_t len, uint64_t pc);

#endif
