/* SPDX-License-Identifier: GPL-2.0-or-later
 * Raw images: the node below, or a window of it (offset=, size=).
 *
 * A raw image that was probed (nobody said it was raw) must stay one: a guest that wrote the head of another format
 * there would, at the next start, have us read that format's header and open the files it names.  Such writes are
 * refused. */
#include <errno.h>
#include <string.h>

#include "block/driver.h"
#include "util/error.h"
#include "util/log.h"

typedef struct Raw { uint64_t offset, size; bool window; } Raw;

static bool raw_open(Block *b, GError **err)
{
    Raw *s = b->state;
    uint64_t size = UINT64_MAX;
    if (!block_opt_size(b->options, "offset", &s->offset, err) || !block_opt_size(b->options, "size", &size, err))
        return false;
    uint64_t below = b->file->length;
    s->window = s->offset || size != UINT64_MAX;
    if (s->offset > below)
        return fail(err, "offset %" PRIu64 " lies beyond the end of %s (%" PRIu64 " bytes)", s->offset, b->filename, below);
    if (size != UINT64_MAX && size > below - s->offset)
        return fail(err, "offset %" PRIu64 " and size %" PRIu64 " end beyond %s (%" PRIu64 " bytes)", s->offset, size,
                    b->filename, below);
    b->length = size != UINT64_MAX ? size : below - s->offset;
    return true;
}

static int raw_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Raw *s = b->state;
    return block_readv(b->file, s->offset + at, v, nv);
}

/* Whether the head would look like another format after this write. */
static int check_head(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    uint8_t head[BLOCK_PROBE_SIZE];
    memset(head, 0, sizeof head);
    size_t n = MIN(sizeof head, b->length);
    int r = raw_read(b, 0, &(struct iovec){ head, n }, 1);
    if (r)
        return r;
    const BlockDriver *before, *after;
    block_probe(head, n, &before);
    iov_to_buf(v, nv, 0, head + at, MIN(iov_size(v, nv), n - at));
    block_probe(head, n, &after);
    if (after == before || after == &block_raw_driver)
        return 0;
    log_warn(b->node_name, "a write that would make %s look like a %s image is refused, since its format was probed; "
             "give format=raw", b->filename, after->name);
    return -EPERM;
}

static int raw_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Raw *s = b->state;
    if (b->probed && at < BLOCK_PROBE_SIZE) {
        int r = check_head(b, at, v, nv);
        if (r)
            return r;
    }
    return block_writev(b->file, s->offset + at, v, nv, 0);
}

static int raw_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Raw *s = b->state;
    return block_zero(b->file, s->offset + at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
}

static int raw_discard(Block *b, uint64_t at, uint64_t len)
{
    Raw *s = b->state;
    return block_discard(b->file, s->offset + at, len);
}

static int raw_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    Raw *s = b->state;
    if (s->window) {
        fail(err, "a window of an image cannot be resized");
        return -ENOTSUP;
    }
    if (!block_resize(b->file, len, how, err))
        return -EIO;
    b->length = len;
    return 0;
}

static int raw_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Raw *s = b->state;
    /* Where the file's own map has holes, block_map() finds them below. */
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET, .file = b->file,
                     .offset = s->offset + at };
    return 0;
}

static bool raw_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    return block_create(g, &block_file_driver, filename, options, err);
}

static bool raw_measure(Json *options, uint64_t size, uint64_t data, uint64_t *required, uint64_t *full, GError **err)
{
    const char *unused;
    *required = *full = size;
    return block_opt_string(options, "preallocation", &unused, err);
}

static const BlockOption raw_options[] = {
    { "preallocation", "str", "off, falloc or full" },
    { NULL }
};
static const BlockMaker raw_maker = { .options = raw_options, .co_create = raw_create, .measure = raw_measure };

const BlockDriver block_raw_driver = {
    .name = "raw", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Raw), .co_open = raw_open,
    .co_read = raw_read, .co_write = raw_write, .co_zero = raw_zero, .co_discard = raw_discard,
    .co_resize = raw_resize, .co_map = raw_map, .maker = &raw_maker,
};
