/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between region.c (the tree), flat.c (the view) and space.c (accesses). */
#ifndef MEMORY_SPACE_INT_H
#define MEMORY_SPACE_INT_H

#include "memory/space.h"

typedef struct FlatRange {
    uint64_t first, last;       /* inclusive */
    Region  *region;
    uint64_t offset;            /* in region, of first */
    uint8_t *host;              /* of first; NULL: I/O */
    uint64_t ram_page;          /* in which host lies */
    bool     readonly;
    unsigned attributes;        /* of the region, then */
} FlatRange;

/* An immutable view: ranges by address, and a radix tree over pages (over single ports for port I/O). */
typedef struct Flat {
    FlatRange *ranges;
    unsigned   n;
    unsigned   granule, top;    /* shift of the leaves, of the root's slots */
    GArray    *nodes;           /* FlatNode */
} Flat;

Flat *flat_new(Region *root, unsigned bits);
void  flat_free(void *flat);
/* NULL: a hole. */
const FlatRange *flat_find(const Flat *f, uint64_t pa);
/* First range that ends at or after pa, NULL if none. */
const FlatRange *flat_after(const Flat *f, uint64_t pa);

/* The tree below or the properties of a root's space have changed. */
void space_changed(Space *s);

#endif
