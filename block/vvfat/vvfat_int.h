/* SPDX-License-Identifier: GPL-2.0-or-later
 * A host folder as a FAT disk (Microsoft, "FAT: General Overview of On-Disk Format", 1.03, 2000).
 *
 * layout.c scans the folder once and lays the disk out: everything before the data area (partition table, boot sector,
 * FATs, root folder) and the folders' clusters stand in memory, files' clusters are read from the files.  The guest's
 * writes go to a file without a name (`over`), sector by sector; at a flush mirror.c reads the FAT that the guest sees and,
 * if it is consistent, makes the host folder like it. */
#ifndef BLOCK_VVFAT_INT_H
#define BLOCK_VVFAT_INT_H

#include <sys/stat.h>
#include <time.h>

#include "block/driver.h"

enum {
    SECTOR = 512, DIR_ENTRY = 32, ATTR_READ_ONLY = 0x01, ATTR_LABEL = 0x08, ATTR_FOLDER = 0x10, ATTR_ARCHIVE = 0x20, ATTR_LONG = 0x0f,
    MAX_DEPTH = 64,             /* of folders; also what a coroutine's stack bears */
    NAME_UNITS = 255,           /* UTF-16, of a long name */
};

/* What is on the host, as far as we put it there or found it. */
typedef struct Node {
    struct Node *parent;
    char      *host_name;       /* NULL: the root */
    char      *fat_name;        /* what the guest knows it by, UTF-8 */
    uint8_t    short_name[11];  /* made at the start; later not kept */
    bool       folder, gone;
    bool       foreign;         /* somebody else has changed it on the host: it is left alone */
    uint32_t   size;
    uint32_t  *chain, n_chain;  /* its clusters */
    dev_t      dev;
    ino_t      ino;
    struct timespec mtime;
    GPtrArray *kids;            /* Node, of folders */
    struct Found *found;        /* during a mirroring: what the guest has of it */
} Node;

/* Clusters [first, first + n) hold bytes of `data`, or of the file from `at` on. */
typedef struct Run { uint32_t first, n; uint64_t at; Node *node; uint8_t *data; } Run;

typedef struct OpenFile { Node *node; int fd; unsigned users; } OpenFile;
enum { OPEN_FILES = 8 };

typedef struct Fat {
    unsigned   type;            /* 12, 16, 32 */
    bool       floppy, rw;
    char      *dir, label[12];
    int        root_fd;
    Node      *root;
    uint64_t   sectors;         /* of the disk */
    uint32_t   start, reserved, fat_sectors, root_entries, data;    /* sectors; start: of the partition; data: on the disk */
    uint32_t   cluster_sectors, n_clusters;                         /* clusters are numbered from 2 */
    uint8_t   *head;            /* sectors 0 to data */
    GArray    *runs;            /* Run, by first cluster */
    uint32_t   next_cluster;
    OpenFile   open[OPEN_FILES];
    unsigned   next_open;
    GPtrArray *dead;            /* Nodes that runs may still name */

    int        over;            /* what the guest wrote; -1: nothing yet */
    uint8_t   *written;         /* a bit a sector */
    uint8_t   *dirty;           /* since the last mirroring */
    bool       any_dirty;
    CoMutex    lock;            /* writes, and mirroring */
    char      *complaint;       /* why the last mirroring did not do everything */
} Fat;

static inline bool bit_get(const uint8_t *bits, uint64_t i) { return bits[i / 8] >> (i % 8) & 1; }
static inline void bit_put(uint8_t *bits, uint64_t i) { bits[i / 8] |= (uint8_t)(1u << (i % 8)); }
static inline uint32_t cluster_bytes(const Fat *f) { return f->cluster_sectors * SECTOR; }
static inline uint64_t cluster_sector(const Fat *f, uint32_t c) { return f->data + (uint64_t)(c - 2) * f->cluster_sectors; }
/* End of chain, in the width of each FAT; free is 0. */
static inline uint32_t fat_end(const Fat *f) { return f->type == 12 ? 0xff8 : f->type == 16 ? 0xfff8 : 0x0ffffff8; }

/* layout.c */
bool vvfat_lay_out(Fat *f, GError **err);
void vvfat_node_free(Node *n);
/* A descriptor, the caller's; -1 with errno.  Never by way of a symbolic link. */
int vvfat_open_folder(const Fat *f, const Node *folder);
Run *vvfat_run(const Fat *f, uint32_t cluster);         /* NULL: nothing was there at the start */
uint8_t vvfat_short_sum(const uint8_t name[11]);
uint32_t vvfat_fat_get(const Fat *f, const uint8_t *fat, uint32_t cluster);

/* vvfat.c: what the guest sees. */
int vvfat_read_sectors(Block *b, uint64_t sector, uint64_t n, uint8_t *out);
/* Copies what the guest sees of a cluster to `over`, if it is not there. */
int vvfat_keep_cluster(Block *b, uint32_t cluster);
void vvfat_forget_file(Fat *f, Node *n);        /* closes it if it is open */

/* mirror.c: 0 (also if there was nothing to do or the FAT is not consistent now) or -errno.  Under f->lock. */
int vvfat_mirror(Block *b);

#endif
