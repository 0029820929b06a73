/* SPDX-License-Identifier: GPL-2.0-or-later
 * Register rows.  A row serves dispatch, write mask, reset, save and restore, trace and the monitor.  At each
 * offset the first row that fits (its `when` holds) answers. */
#ifndef HW_CORE_REG_H
#define HW_CORE_REG_H

#include "util/describe.h"

typedef struct Reg {
    uint64_t    at;                             /* offset in the window */
    const char *name;                           /* as the data sheet spells it */
    /* REG(): the member that holds the value.  An array's element i belongs to the i-th register of
     * `count`. */
    FieldType   type;
    uint32_t    member_at, member_size, member_count;
    uint64_t    mask;                           /* bits that a write changes; 0 with a member: read-only.
                                                 * Without one: bits that on_write sees, 0 standing for all */
    uint64_t    w1c;                            /* bits that a write of one clears */
    uint64_t    reset;  /* value after reset; of a row with neither member nor .value: always */
    bool      (*when)(const void *self);        /* NULL: always */
    uint64_t  (*value)(const void *self);       /* what is read, free of effects; NULL: the member */
    void      (*on_read)(void *self);           /* effect of a read, after the value was taken */
    void      (*on_write)(void *self, uint64_t v);  /* after the member was stored; v: what was
                                                     * written, cut to mask | w1c if there are any */
    /* For rows with count > 1: the same with the register's index. */
    uint64_t  (*value_at)(const void *self, unsigned i);
    void      (*on_read_at)(void *self, unsigned i);
    void      (*on_write_at)(void *self, unsigned i, uint64_t v);
    uint32_t    count, stride;                  /* 0: 1 register; stride 0: width */
    uint8_t     width;                          /* bytes; 0: the window's, else the member's, else 1 */
    uint16_t    since;                          /* version of the device's state that brought it */
    uint8_t     keep;                           /* reset leaves it alone (battery-backed, straps) */
} Reg;

#define REG(T, m) .type = FIELD_TYPE(((T *)0)->m), .member_at = offsetof(T, m), \
    .member_size = FIELD_SIZE(((T *)0)->m), .member_count = sizeof(((T *)0)->m) / FIELD_SIZE(((T *)0)->m)

/* Registers as windows of a device.  ops instead of regs: plain functions (self is the device). */
struct RegionOps;
typedef struct Window {
    const char             *name;       /* NULL: the device's */
    uint64_t                span;       /* bytes */
    const Reg              *regs;
    uint8_t                 width;      /* default width of its registers */
    const struct RegionOps *ops;
} Window;

#endif
