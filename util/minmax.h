/* SPDX-License-Identifier: GPL-2.0-or-later
 * glib's MIN, MAX, CLAMP and ABS evaluate an argument twice: MAX(end - now(), 0) has read the clock a second time by then and
 * may be negative, MAX(wait, book(l)) books two times.  These evaluate each once, and are the compiler's first include
 * (Makefile), so that no order of includes brings glib's back.  Within functions only. */
#ifndef UTIL_MINMAX_H
#define UTIL_MINMAX_H

#include <glib.h>

#undef MIN
#undef MAX
#undef CLAMP
#undef ABS

/* The common type is that of the usual arithmetic conversions, as with glib's. */
#define MIN(a, b) MINMAX_OF(a, <, b)
#define MAX(a, b) MINMAX_OF(a, >, b)
#define CLAMP(v, low, high) MIN(MAX(v, low), high)
#define ABS(v) ({ __typeof__(v) minmax_v_ = (v); minmax_v_ < 0 ? -minmax_v_ : minmax_v_; })

#define MINMAX_OF(a, op, b) ({ \
    __typeof__(0 ? (a) : (b)) minmax_a_ = (a), minmax_b_ = (b); \
    minmax_a_ op minmax_b_ ? minmax_a_ : minmax_b_; \
})

#endif
