/* SPDX-License-Identifier: GPL-2.0-or-later
 * The portable functions of hostop.def's rows: h_NAME, spread over hostop_simd.c, hostop_fp.c,
 * hostop_crypto.c. */
#ifndef RHEA_TCG_HOSTOP_INT_H
#define RHEA_TCG_HOSTOP_INT_H

#include "tcg/hostop.h"

#define HOSTOP(name, ...) HostFn h_##name;
#include "tcg/hostop.def"
#undef HOSTOP

/* Opens the definition of row `name`'s function. */
#define HOST_FN(name) \
    uint64_t h_##name(V128 *d, HostArg a, HostArg b, HostArg c, unsigned imm, uint32_t *mxcsr, unsigned gsize)

#endif
