/* SPDX-License-Identifier: GPL-2.0-or-later
 * null-co, null-aio: a node that forgets what is written and reads as zeros (or is left unread), for measuring. */
#include "block/driver.h"
#include "util/error.h"

typedef struct Null { int64_t latency_ns; bool zeroes; } Null;

static bool null_filename(const char *prefix, const char *filename, Json *options, GError **err)
{
    return *filename ? fail(err, "null-co:// takes no name") : true;
}

static bool null_open(Block *b, GError **err)
{
    Null *s = b->state;
    uint64_t size = UINT64_C(1) << 30, latency = 0;
    if (!block_opt_size(b->options, "size", &size, err) || !block_opt_bool(b->options, "read-zeroes", &s->zeroes, err) ||
        !block_opt_u64(b->options, "latency-ns", INT64_MAX, &latency, err))
        return false;
    s->latency_ns = (int64_t)latency;
    b->length = size;
    g_free(b->filename);
    b->filename = g_strdup_printf("%s://", b->drv->name);
    return true;
}

static int null_wait(Block *b)
{
    Null *s = b->state;
    if (s->latency_ns)
        co_sleep_ns(b->aio, s->latency_ns);
    return 0;
}

static int null_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Null *s = b->state;
    if (s->zeroes)
        iov_fill(v, nv, 0, 0, iov_size(v, nv));
    return null_wait(b);
}
static int null_write(Block *b, uint64_t at, const struct iovec *v, int nv) { return null_wait(b); }
static int null_zero(Block *b, uint64_t at, uint64_t len, unsigned flags) { return null_wait(b); }
static int null_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Null *s = b->state;
    *out = (Extent){ .len = len, .file = b, .offset = at,
                     .flags = EXTENT_ALLOCATED | EXTENT_OFFSET | (s->zeroes ? EXTENT_ZERO : EXTENT_DATA) };
    return 0;
}

#define NULL_DRIVER                                                                                       \
    .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(Null), .parse_filename = null_filename, .co_open = null_open, \
    .co_read = null_read, .co_write = null_write, .co_flush = null_wait, .co_zero = null_zero, .co_map = null_map
const BlockDriver block_null_co_driver = { .name = "null-co", .prefixes = { "null-co://" }, NULL_DRIVER };
const BlockDriver block_null_aio_driver = { .name = "null-aio", .prefixes = { "null-aio://" }, NULL_DRIVER };
