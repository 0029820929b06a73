/* SPDX-License-Identifier: GPL-2.0-or-later
 * The first row and the one behind the last; linked first and last. */
    .pushsection .rows, "a"
    .balign 4
    .globl rows
rows:
    .popsection
