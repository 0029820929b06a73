/* SPDX-License-Identifier: GPL-2.0-or-later
 * VMware disks, after VMware's "Virtual Disk Format 5.0": a text descriptor, by itself or in the head of a sparse extent, and
 * extents: sparse ones (grain directory, grain tables, grains), flat ones, zeros.
 *
 * extent.c is the sparse extent, which is a node by itself (Sparse over b->file).  A disk that is one sparse extent with its
 * descriptor inside is that node; one with a descriptor file is a row of child nodes (disk.c). */
#ifndef BLOCK_VMDK_VMDK_INT_H
#define BLOCK_VMDK_VMDK_INT_H

#include "block/sparse.h"

enum {
    /* the header of a hosted sparse extent; little-endian, sectors */
    SE_VERSION = 4, SE_FLAGS = 8, SE_CAPACITY = 12, SE_GRAIN = 20, SE_DESC_AT = 28, SE_DESC_SIZE = 36, SE_GTES = 44, SE_RGD = 48,
    SE_GD = 56, SE_OVERHEAD = 64, SE_UNCLEAN = 72, SE_CHECK = 73, SE_COMPRESS = 77, SE_HEADER = 512,
    SEF_NEWLINE = 1, SEF_RGD = 2, SEF_ZERO_GRAIN = 4, SEF_COMPRESSED = 1 << 16, SEF_MARKERS = 1 << 17,
    /* that of an ESX one */
    COWD_CAPACITY = 12, COWD_GRAIN = 16, COWD_GD = 20, COWD_GD_ENTRIES = 24, COWD_GTES = 4096,
    VMDK_GTES = 512, MAX_DESCRIPTOR = 1 << 20,
};
#define VMDK_MAGIC 0x564d444bu          /* "KDMV" */
#define COWD_MAGIC 0x44574f43u          /* "COWD" */
#define NO_PARENT  0xffffffffu

typedef struct VmdkExtent { uint64_t from, len; Block *node; } VmdkExtent;      /* bytes of the disk; NULL: zeros */

typedef struct Vmdk {
    Sparse     s;                       /* of a sparse extent */
    bool       is_extent, compressed, cid_new;
    uint64_t   gd_at, rgd_at, gd_entries;       /* rgd_at 0: none */
    unsigned   gtes;
    char      *descriptor;
    uint64_t   descriptor_at;
    uint32_t   cid, parent_cid;
    char      *create_type;
    VmdkExtent *extent;                 /* of a disk with a descriptor file */
    unsigned   n_extents;
    CoMutex    fill;                    /* writes to grains that no extent has yet, over a parent */
} Vmdk;

/* extent.c: opens b->file as one. */
bool vmdk_extent_open(Block *b, const uint8_t *head, GError **err);
int  vmdk_write_packed(Block *b, uint64_t at, const struct iovec *v, int nv);
/* Writes a sparse extent without grains; descriptor may be NULL. */
typedef struct VmdkShape { uint64_t sectors; bool compressed, zero_grain, compat6; } VmdkShape;
bool vmdk_extent_make(BlockGraph *g, const char *filename, const VmdkShape *shape, const char *descriptor, GError **err);

/* descriptor.c */
bool vmdk_descriptor_parse(Block *b, GError **err);             /* CID, parent, type; sets b->backing_name */
bool vmdk_descriptor_extents(Block *b, GError **err);           /* opens them */
int  vmdk_new_cid(Block *b);                    /* once in a session, before the first change; locked */
extern const BlockMaker vmdk_maker;

#endif
