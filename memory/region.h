/* SPDX-License-Identifier: GPL-2.0-or-later
 * Regions: the tree from which an address space is flattened.  RAM, ROM, I/O, alias, container.  Among
 * siblings that overlap the higher priority wins, then the later mapping; where a container has a hole, what
 * lies below shows. */
#ifndef MEMORY_REGION_H
#define MEMORY_REGION_H

#include "memory/ram.h"
#include "util/domain.h"

typedef struct Region Region;
typedef struct Space Space;

typedef enum RegionKind { REGION_CONTAINER, REGION_RAM, REGION_ROM, REGION_IO, REGION_ALIAS } RegionKind;

/* Accesses reach the functions naturally aligned and min..max bytes wide: larger ones are split in ascending
 * order, smaller reads are cut out of a wider one, smaller writes are widened with zeros.  Values are
 * little-endian: byte 0 of the access in bits 7..0.  The region's domain lock is held. */
typedef struct RegionOps {
    uint64_t (*read)(void *self, uint64_t off, unsigned size);
    void     (*write)(void *self, uint64_t off, uint64_t v, unsigned size);
    uint8_t  min, max;          /* 0: 1 and 8 */
    bool     unaligned;         /* takes accesses at any alignment as they come */
} RegionOps;

/* A write of `size` bytes (0: any) at `at`, of `value` unless `any`, is told by an eventfd and goes no further: whoever
 * serves it need not be in the guest's way, and an accelerator may tell it without leaving the guest's context. */
typedef struct Doorbell { uint64_t at, value; unsigned size; bool any; int fd; } Doorbell;
typedef struct DoorbellList { unsigned n; Doorbell bells[]; } DoorbellList;

/* Public to be embedded; members belong to memory/. */
struct Region {
    const char      *name;
    RegionKind       kind;
    uint64_t         len;               /* 0 stands for 2^64 */
    bool             disabled;
    RamMap          *ram_map;           /* RAM, ROM */
    RamBlock        *block;
    const RegionOps *ops;               /* I/O; a ROM's writes too (flash), NULL: dropped */
    void            *self;
    LockDomain      *domain;
    Region          *target;            /* alias */
    uint64_t         target_at;
    Region          *parent;
    uint64_t         at;                /* in parent */
    int              priority;
    GPtrArray       *children;          /* by falling priority, later mappings first */
    Space           *space;             /* root only */
    GPtrArray       *aliases;           /* alias regions that point here */
    DoorbellList    *doorbells;         /* I/O: swapped by pointer; NULL: none */
    bool             coalesced;
    unsigned         attributes;        /* counts changes of these two: listeners are told of the region anew */
};

/* name stays the caller's for as long as the region.  RAM and ROM: false if there is not enough memory. */
void region_init_container(Region *r, const char *name, uint64_t len);
bool region_init_ram(Region *r, const char *name, RamMap *m, uint64_t len, GError **err);
/* Guest writes are dropped, or go to ops->write if given; the loader fills it through region_host(). */
bool region_init_rom(Region *r, const char *name, RamMap *m, uint64_t len,
                     const RegionOps *ops, void *self, LockDomain *domain, GError **err);
void region_init_io(Region *r, const char *name, uint64_t len, const RegionOps *ops, void *self,
                    LockDomain *domain);
void region_init_alias(Region *r, const char *name, Region *target, uint64_t at, uint64_t len);
/* Unmapped first; its memory, if any, stays until the RamMap goes. */
void region_destroy(Region *r);

/* Mapping, under the topology lock or before the machine runs.  Each call flattens again the spaces that it
 * touches; between space_begin() and space_commit() they wait for the latter. */
void region_map(Region *parent, uint64_t at, Region *child, int priority);
void region_unmap(Region *child);
void region_move(Region *child, uint64_t at);
void region_enable(Region *r, bool on);
/* Alias: another window of the same target.  ROM and RAM change kind (a chipset's shadow registers). */
void region_set_alias_at(Region *r, uint64_t target_at);
void region_set_readonly(Region *r, bool readonly);

/* The descriptor stays the caller's, until it has taken the doorbell away. */
void region_add_doorbell(Region *r, const Doorbell *d);
void region_remove_doorbell(Region *r, const Doorbell *d);
/* Writes to it may be gathered and come later, in order and before any other access that gets there: for registers that
 * take many writes and act upon none at once. */
void region_set_coalesced(Region *r, bool on);

uint8_t *region_host(const Region *r);
static inline uint64_t region_last(const Region *r) { return r->len - 1; }  /* offset of the last byte */

#endif
