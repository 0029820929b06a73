/* SPDX-License-Identifier: GPL-2.0-or-later
 * A row behind the last, where its lists end.  Linked last. */
#include "tests/sys/rows.inc"
    row end, MODE_P32
    .pushsection .rows, "a"
    .globl rows_end
rows_end:
    .popsection
