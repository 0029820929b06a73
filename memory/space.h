/* SPDX-License-Identifier: GPL-2.0-or-later
 * An address space as CPUs and DMA see it: memory, or x86 ports.  Readers use a flat view that is swapped by
 * pointer; they take no lock and must be QSR-online. */
#ifndef MEMORY_SPACE_H
#define MEMORY_SPACE_H

#include "memory/region.h"

typedef enum MemStatus { MEM_OK, MEM_UNASSIGNED, MEM_READONLY } MemStatus;

typedef struct MemSection {
    Region  *region;
    uint64_t offset;        /* in region, of pa */
    uint64_t len;           /* contiguous from pa; UINT64_MAX caps a whole 2^64 */
    uint8_t *host;          /* of pa; NULL: I/O */
    bool     readonly;
    uint64_t ram_page;      /* machine-wide number of the 4 KiB page in which host lies, only if host */
    uint64_t pa;  /* where the section starts: the address asked for, or its own start for listeners */
} MemSection;

/* bits: width of an address, 16 for ports.  ram_map: whose `written` hook DMA calls.  name stays the caller's. */
Space *space_new(const char *name, unsigned bits, RamMap *ram_map);
void   space_free(Space *s);
Region *space_root(Space *s);
RamMap *space_ram_map(Space *s);
/* Bracket several changes of the tree, as those under the topology lock: one new view at the outermost commit. */
void   space_begin(Space *s);
void   space_commit(Space *s);

/* Any length: splits as needed; takes the locks of devices that it hits.  Unassigned bytes read as ones,
 * writes there are dropped; the status is the worst met, and the rest of the range is done all the same.
 * In a thread that holds a device lock (DMA), writes to I/O are queued and run with no lock held, and reads
 * of I/O answer all ones: see docs/memory.md. */
MemStatus space_read (Space *s, uint64_t pa, void *buf, uint64_t len);
MemStatus space_write(Space *s, uint64_t pa, const void *buf, uint64_t len);
/* One access of 1, 2, 4 or 8 bytes, little-endian.  st may be NULL. */
uint64_t  space_load (Space *s, uint64_t pa, unsigned size, MemStatus *st);
MemStatus space_store(Space *s, uint64_t pa, unsigned size, uint64_t v);

/* False: nothing is mapped at pa (then only out->pa and out->len, the length of the hole, are set). */
bool space_lookup(Space *s, uint64_t pa, MemSection *out);

/* Told of each change of the view: what left it, then what came, between begin and commit; a section that
 * stays is not mentioned.  Runs under the changer's lock, while readers go on; `commit` runs when the new
 * view is in place. A new listener is told of all there is. */
typedef struct MemoryListener {
    void (*begin)(void *self);
    void (*add)(void *self, const MemSection *sec);
    void (*remove)(void *self, const MemSection *sec);
    void (*commit)(void *self);
} MemoryListener;
void space_add_listener(Space *s, const MemoryListener *l, void *self);
void space_remove_listener(Space *s, const MemoryListener *l, void *self);
/* The view as text: "info mtree -f"; and the tree of regions that it was made from: "info mtree". */
void space_show(Space *s, GString *out);
void space_show_tree(Space *s, GString *out);

#endif
