/* SPDX-License-Identifier: GPL-2.0-or-later
 * What drivers of the block layer implement, and a node as they see it. */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/block.h"

typedef enum BlockKind { BLOCK_KIND_FORMAT, BLOCK_KIND_FILTER, BLOCK_KIND_PROTOCOL } BlockKind;

typedef struct BlockSnapshots {
    int  (*co_list)(Block *b, GPtrArray *out);                          /* of BlockSnapshot * */
    bool (*co_create)(Block *b, const char *name, GError **err);        /* no request is under way, here and below */
    bool (*co_apply)(Block *b, const char *name, GError **err);
    bool (*co_delete)(Block *b, const char *name, GError **err);
    bool (*co_show)(Block *b, const char *name, GError **err);          /* of a read-only node */
} BlockSnapshots;

typedef struct BlockMaker {
    const BlockOption *options, *amend_options;
    bool (*co_create)(BlockGraph *g, const char *filename, Json *options, GError **err);
    int  (*co_check)(Block *b, unsigned fix, BlockCheck *out, GError **err);
    bool (*co_set_backing)(Block *b, const char *name, const char *format, GError **err);
    bool (*co_amend)(Block *b, Json *options, GError **err);
    bool (*measure)(Json *options, uint64_t size, uint64_t data, uint64_t *required, uint64_t *full, GError **err);
} BlockMaker;

struct BlockDriver {
    const char *name;
    BlockKind kind;
    size_t size;                                            /* of the driver's own state */
    const char *prefixes[4];                                /* of filenames, "nbd:" */
    int  (*probe)(const uint8_t *head, size_t n);           /* 0: not mine; 100: certainly mine */
    /* What follows the prefix ("": there was none) to members of options. */
    bool (*parse_filename)(const char *prefix, const char *filename, Json *options, GError **err);
    bool (*co_open)(Block *b, GError **err);                /* the node below is open; sets length, align */
    bool (*co_parent)(Block *b, GError **err);              /* the backing file is open: is it the right one? */
    int  (*co_close)(Block *b);                             /* after a failed open as well */

    /* Straight-line code in a coroutine: a co_ call may suspend, nothing may block.  The range is clipped to the
     * image and aligned.  0 or a negative errno. */
    int  (*co_read) (Block *b, uint64_t at, const struct iovec *v, int nv);
    int  (*co_write)(Block *b, uint64_t at, const struct iovec *v, int nv);
    /* A format writes back what it holds; the core then flushes the nodes below. */
    int  (*co_flush)(Block *b);

    /* Abilities.  NULL: the layer above does without, or tells its caller no. */
    int  (*co_write_compressed)(Block *b, uint64_t at, const struct iovec *v, int nv);
    int  (*co_zero)   (Block *b, uint64_t at, uint64_t len, unsigned flags);
    int  (*co_discard)(Block *b, uint64_t at, uint64_t len);
    int  (*co_resize) (Block *b, uint64_t len, BlockPrealloc how, GError **err);
    int  (*co_map)    (Block *b, uint64_t at, uint64_t len, Extent *out);
    int  (*co_info)   (Block *b, BlockInfo *out);
    int  (*co_empty)  (Block *b);                           /* all clusters unallocated; no request is under way */
    bool (*co_reopen) (Block *b, GError **err);             /* flags have changed */
    bool (*may_persist)(Block *b, GError **err);            /* the image can keep one more bitmap */
    void (*moved)     (Block *b);                           /* the node lies in b from now on (block_replace()) */
    const BlockSnapshots *snapshots;
    const BlockMaker     *maker;                            /* create, check, repair: for rhea-img */
};

typedef struct BlockRequest {
    uint64_t from, to;          /* rounded to the node's granule */
    bool     serialising;       /* reads, changes and writes back */
    CoQueue  waiters;
    struct BlockRequest *next, **link;
} BlockRequest;

struct Block {
    const BlockDriver *drv;
    void       *state;
    BlockGraph *graph;
    Aio        *aio;
    char       *node_name, *filename;
    Json       *options;        /* while it opens: what the user gave */
    Block      *file, *backing, *data;
    unsigned    flags, refs;

    /* Set by co_open. */
    uint64_t    length;
    uint32_t    align;          /* requests are multiples of it; 0 counts as 1 */
    uint32_t    mem_align;      /* so are memory addresses */
    bool        growable;       /* writing past the end extends it, reading there gives zeros */
    bool        probed;         /* raw, because nothing else fitted */
    bool        trusted_format; /* of the image: the user or the image above named its format */
    char       *backing_name, *backing_format;

    /* Held by the core. */
    unsigned     in_flight, quiesced;
    CoQueue      idle, resumed;
    BlockRequest *requests;     /* writes under way, where align > 1 */
    uint64_t     writes_done, writes_flushed;
    BlockStats   stats;
    bool         detect_zeroes, begun, opened, timed;   /* begun: co_open has been called */
    bool         auto_read_only;        /* read-only until somebody above wants to write */
    Block       *writer;                /* the format that changes it and lets no other */
    struct BlockBitmap *bitmaps;        /* in order of making */
    unsigned     depth;
};

/* The node below a format or filter, from member `key` of b's options or the filename.  needed: false: NULL without
 * an error if the options do not have it. */
Block *block_open_child(Block *b, const char *key, unsigned flags, bool needed, GError **err);
#define block_buffer block_memory
/* Reads what b's backing file has there; zeros past its end or without one. */
int block_read_backing(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len);
/* No request is under way in b from the first one's return to the second; whoever comes meanwhile waits. */
void block_drain_begin(Block *b);
void block_drain_end(Block *b);
/* Between the two somebody waits for requests to end, of any node of the graph (a drain, closing, a job that is cancelled):
 * who holds some back asks, and lets them go.  They nest. */
void block_draining_begin(BlockGraph *g);
void block_draining_end(BlockGraph *g);
bool block_draining(const BlockGraph *g);
/* b's node comes to where a's was, for all who use a, and a's to where b was; b's own references to a mean the same node as
 * before.  Both are drained, and the caller has a reference to each. */
void block_replace(Block *a, Block *b);
/* over reads what it does not have from backing (NULL: zeros) from now on, and its image says so.  name: as the
 * image shall have it; NULL: as it has to be found. */
bool block_change_backing(Block *over, Block *backing, const char *name, GError **err);
Block *block_over(Block *backing);              /* an image that has it as its backing file; NULL: none */
bool block_above(const Block *top, const Block *b);    /* whether b is top or in its backing chain */
GPtrArray *block_nodes(BlockGraph *g);          /* Block *; stays the graph's */
GPtrArray *block_jobs(BlockGraph *g);           /* Job * (job.h); stays the graph's */
/* A node of a driver that has no name for users. */
Block *block_open_driver(BlockGraph *g, const BlockDriver *d, Json *options, unsigned flags, GError **err);
int block_probe(const uint8_t *head, size_t n, const BlockDriver **out);    /* the score; *out never NULL */
enum { BLOCK_PROBE_SIZE = 2048 };
uint64_t block_now_ns(void);

extern const BlockDriver block_file_driver, block_host_device_driver, block_null_co_driver, block_null_aio_driver,
    block_raw_driver, block_fault_driver, block_qcow2_driver, block_qcow_driver, block_qed_driver, block_vdi_driver,
    block_vpc_driver, block_parallels_driver, block_bochs_driver, block_cloop_driver, block_vmdk_driver,
    block_vhdx_driver, block_nbd_driver, block_http_driver, block_https_driver, block_ftp_driver, block_ftps_driver,
    block_throttle_driver, block_copy_on_read_driver, block_copy_before_write_driver, block_dmg_driver, block_vvfat_driver, block_luks_driver,
    block_host_cdrom_driver;

#endif
