/* SPDX-License-Identifier: GPL-2.0-or-later
 * Requests: bounds, alignment with bounce buffers and read-modify-write, flushes, zeroes, extents.
 *
 * A node's requests meet at its `requests` list: one that must read, change and write back a granule (serialising)
 * waits for those that overlap it and came earlier, and they wait for it.  The list has writes of nodes with a granule
 * above one byte only; others cannot meet in this way. */
#include "block/bitmap.h"
#include "block/driver.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/options.h"

enum { ZERO_CHUNK = 1 << 20, BUFFER_ALIGN = 4096 };

uint64_t block_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void *block_memory(size_t len)
{
    void *p;
    return posix_memalign(&p, BUFFER_ALIGN, MAX(len, 1)) ? NULL : p;
}

void block_make_uuid(uint8_t out[16])
{
    if (getentropy(out, 16))
        abort();        /* fails for lengths over 256 alone */
    out[6] = (out[6] & 0x0f) | 0x40;
    out[8] = (out[8] & 0x3f) | 0x80;
}

/* --- coming and going */

static void request_begin(Block *b)
{
    while (b->quiesced)
        co_queue_wait(&b->resumed);
    b->in_flight++;
}

static uint64_t timed_from(const Block *b) { return b->timed ? block_now_ns() : 0; }
static void timed_to(Block *b, uint64_t from, uint64_t *sum)
{
    if (from)
        *sum += (b->stats.last_ns = block_now_ns()) - from;
}

static int request_end(Block *b, int r)
{
    if (r < 0)
        b->stats.errors++;
    if (!--b->in_flight)
        co_queue_wake_all(&b->idle);
    return r;
}

/* No request is under way from its return to quiesce_end(). */
static void quiesce_begin(Block *b)
{
    b->quiesced++;
    block_draining_begin(b->graph);
    while (b->in_flight)
        co_queue_wait(&b->idle);
    block_draining_end(b->graph);
}

static void quiesce_end(Block *b)
{
    if (!--b->quiesced)
        co_queue_wake_all(&b->resumed);
}

void block_drain_begin(Block *b) { quiesce_begin(b); }
void block_drain_end(Block *b) { quiesce_end(b); }

static void tracked_begin(Block *b, BlockRequest *r, uint64_t at, uint64_t len, bool serialising)
{
    *r = (BlockRequest){ .from = align_down(at, b->align), .to = align_up(at + len, b->align),
                         .serialising = serialising };
    /* Newest first, so behind r in the list are those that came earlier. */
    r->next = b->requests;
    r->link = &b->requests;
    if (r->next)
        r->next->link = &r->next;
    b->requests = r;
    for (BlockRequest *o = r->next; o;) {
        if (o->from < r->to && r->from < o->to && (o->serialising || serialising)) {
            co_queue_wait(&o->waiters);
            o = r->next;        /* the list has changed */
        } else {
            o = o->next;
        }
    }
}

static void tracked_end(BlockRequest *r)
{
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    co_queue_wake_all(&r->waiters);
}

/* --- reads and writes */

static bool memory_fits(const Block *b, const struct iovec *v, int nv)
{
    if (b->mem_align <= 1)
        return true;
    for (int i = 0; i < nv; i++)
        if (((uintptr_t)v[i].iov_base | v[i].iov_len) & (b->mem_align - 1))
            return false;
    return true;
}

static int read_aligned(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    if (memory_fits(b, v, nv))
        return b->drv->co_read(b, at, v, nv);
    uint64_t len = iov_size(v, nv);
    void *buf = block_buffer(len);
    if (!buf)
        return -ENOMEM;
    struct iovec one = { buf, len };
    int r = b->drv->co_read(b, at, &one, 1);
    if (!r)
        iov_from_buf(v, nv, 0, buf, len);
    free(buf);
    return r;
}

static int write_aligned(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    if (memory_fits(b, v, nv))
        return b->drv->co_write(b, at, v, nv);
    uint64_t len = iov_size(v, nv);
    void *buf = block_buffer(len);
    if (!buf)
        return -ENOMEM;
    iov_to_buf(v, nv, 0, buf, len);
    struct iovec one = { buf, len };
    int r = b->drv->co_write(b, at, &one, 1);
    free(buf);
    return r;
}

static int read_any(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    uint64_t from = align_down(at, b->align), to = align_up(at + len, b->align);
    if (from == at && to == at + len)
        return read_aligned(b, at, v, nv);
    void *buf = block_buffer(to - from);
    if (!buf)
        return -ENOMEM;
    struct iovec one = { buf, to - from };
    int r = b->drv->co_read(b, from, &one, 1);
    if (!r)
        iov_from_buf(v, nv, 0, (uint8_t *)buf + (at - from), len);
    free(buf);
    return r;
}

/* The request touches parts of granules.  A granule that reaches past the end has zeros there. */
static int write_rmw(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    uint64_t from = align_down(at, b->align), to = align_up(at + len, b->align);
    uint8_t *buf = block_buffer(to - from);
    if (!buf)
        return -ENOMEM;
    struct iovec head = { buf, b->align }, tail = { buf + (to - from - b->align), b->align };
    int r = 0;
    if (from < at || to - from == b->align)
        r = b->drv->co_read(b, from, &head, 1);
    if (!r && to > at + len && to - from > b->align)
        r = b->drv->co_read(b, to - b->align, &tail, 1);
    if (!r) {
        iov_to_buf(v, nv, 0, buf + (at - from), len);
        struct iovec all = { buf, to - from };
        r = b->drv->co_write(b, from, &all, 1);
    }
    free(buf);
    b->stats.merged_rmw++;
    return r;
}

static int write_any(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    if (b->align <= 1)
        return write_aligned(b, at, v, nv);
    BlockRequest request;
    bool whole = !((at | len) & (b->align - 1));
    tracked_begin(b, &request, at, len, !whole);
    int r = whole ? write_aligned(b, at, v, nv) : write_rmw(b, at, v, nv, len);
    tracked_end(&request);
    return r;
}

int block_read_backing(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    uint64_t there = b->backing && at < b->backing->length ? MIN(len, b->backing->length - at) : 0;
    if (there < len)
        iov_fill(v, nv, there, 0, len - there);
    if (!there)
        return 0;
    if (there == len)
        return block_readv(b->backing, at, v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    return block_readv(b->backing, at, part, iov_slice(v, nv, 0, there, part));
}

static bool outside(const Block *b, uint64_t at, uint64_t len)
{
    if (len > INT64_MAX || at > INT64_MAX - len)
        return true;
    return !b->growable && at + len > b->length;
}

int block_readv(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    uint64_t len = iov_size(v, nv);
    if (outside(b, at, len))
        return -EIO;
    if (!len)
        return 0;
    uint64_t began = timed_from(b);
    request_begin(b);
    int r = read_any(b, at, v, nv, len);
    timed_to(b, began, &b->stats.read_ns);
    if (!r) {
        b->stats.reads++;
        b->stats.read_bytes += len;
    }
    return request_end(b, r);
}

static int flush_now(Block *b);

/* Every change of a node's contents ends here. */
static int write_done(Block *b, uint64_t at, uint64_t len, unsigned flags, int r)
{
    b->writes_done++;
    if (b->bitmaps && !(flags & BLOCK_UNCHANGED))
        block_bitmaps_dirty(b, at, len);
    if (!r && ((flags & BLOCK_FUA) || (b->flags & BLOCK_WRITETHROUGH)))
        r = flush_now(b);
    return r;
}

int block_writev(Block *b, uint64_t at, const struct iovec *v, int nv, unsigned flags)
{
    uint64_t len = iov_size(v, nv);
    if (!(b->flags & BLOCK_RDWR))
        return -EROFS;
    if (outside(b, at, len))
        return -ENOSPC;
    if (!len)
        return 0;
    if (b->detect_zeroes && !(flags & BLOCK_COMPRESS) && iov_is_zero(v, nv))
        return block_zero(b, at, len, (flags & BLOCK_FUA) | (b->flags & BLOCK_UNMAP ? BLOCK_MAY_UNMAP : 0));
    uint64_t began = timed_from(b);
    request_begin(b);
    int r;
    if (flags & BLOCK_COMPRESS)
        r = b->drv->co_write_compressed ? b->drv->co_write_compressed(b, at, v, nv) : -ENOTSUP;
    else
        r = write_any(b, at, v, nv, len);
    r = write_done(b, at, len, flags, r);
    timed_to(b, began, &b->stats.write_ns);
    if (!r) {
        b->stats.writes++;
        b->stats.written_bytes += len;
    }
    return request_end(b, r);
}

int block_read(Block *b, uint64_t at, void *buf, size_t len)
{
    struct iovec v = { buf, len };
    return block_readv(b, at, &v, 1);
}

int block_write(Block *b, uint64_t at, const void *buf, size_t len, unsigned flags)
{
    struct iovec v = { (void *)(uintptr_t)buf, len };
    return block_writev(b, at, &v, 1, flags);
}

static int flush_now(Block *b)
{
    uint64_t upto = b->writes_done;
    if (upto == b->writes_flushed || !(b->flags & BLOCK_RDWR))
        return 0;
    if (b->drv->kind == BLOCK_KIND_PROTOCOL && (b->flags & BLOCK_NO_FLUSH))
        return 0;
    uint64_t began = timed_from(b);
    int r = b->drv->co_flush ? b->drv->co_flush(b) : 0;
    if (!r && b->data)
        r = block_flush(b->data);
    if (!r && b->file)
        r = block_flush(b->file);
    timed_to(b, began, &b->stats.flush_ns);
    b->stats.flushes++;
    if (r)
        b->stats.errors++;
    else
        b->writes_flushed = MAX(b->writes_flushed, upto);
    return r;
}

int block_flush(Block *b)
{
    request_begin(b);
    int r = flush_now(b);
    if (!--b->in_flight)
        co_queue_wake_all(&b->idle);
    return r;
}

/* Writes zeros out, for want of anything better. */
static int zero_by_writing(Block *b, uint64_t at, uint64_t len)
{
    size_t chunk = MIN(len, ZERO_CHUNK);
    void *buf = block_buffer(chunk);
    if (!buf)
        return -ENOMEM;
    memset(buf, 0, chunk);
    int r = 0;
    for (uint64_t n; len && !r; at += n, len -= n) {
        n = MIN(len, chunk);
        struct iovec v = { buf, n };
        r = write_any(b, at, &v, 1, n);
    }
    free(buf);
    return r;
}

static int zero_parts(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    /* Whole granules by the driver; what hangs over on either side is written. */
    uint64_t from = MIN(align_up(at, b->align), at + len), to = MAX(align_down(at + len, b->align), from);
    int r = 0;
    if (from > at)
        r = zero_by_writing(b, at, from - at);
    if (!r && to > from) {
        if (b->align > 1) {
            BlockRequest request;
            tracked_begin(b, &request, from, to - from, false);
            r = b->drv->co_zero ? b->drv->co_zero(b, from, to - from, flags) : -ENOTSUP;
            tracked_end(&request);
        } else {
            r = b->drv->co_zero ? b->drv->co_zero(b, from, to - from, flags) : -ENOTSUP;
        }
        if (r == -ENOTSUP && !(flags & BLOCK_NO_FALLBACK))
            r = zero_by_writing(b, from, to - from);
    }
    if (!r && at + len > to)
        r = zero_by_writing(b, to, at + len - to);
    return r;
}

int block_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    if (!(b->flags & BLOCK_RDWR))
        return -EROFS;
    if (outside(b, at, len))
        return -ENOSPC;
    if (!len)
        return 0;
    request_begin(b);
    int r = write_done(b, at, len, flags, zero_parts(b, at, len, flags));
    b->stats.zeroes++;
    return request_end(b, r);
}

int block_discard(Block *b, uint64_t at, uint64_t len)
{
    if (!(b->flags & BLOCK_RDWR))
        return -EROFS;
    if (outside(b, at, len))
        return -ENOSPC;
    uint64_t from = align_up(at, b->align), to = align_down(at + len, b->align);
    if (to <= from || !b->drv->co_discard || !(b->flags & BLOCK_UNMAP))
        return 0;       /* a discard is a hint */
    request_begin(b);
    int r = b->drv->co_discard(b, from, to - from);
    if (r == -ENOTSUP)
        r = 0;
    r = write_done(b, from, to - from, 0, r);
    b->stats.discards++;
    return request_end(b, r);
}

bool block_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    if (!(b->flags & BLOCK_RDWR))
        return fail(err, "%s is read-only", b->filename);
    if (!b->drv->co_resize)
        return fail(err, "%s images cannot be resized", b->drv->name);
    if (len > INT64_MAX)
        return fail(err, "a size of %" PRIu64 " bytes is too large", len);
    quiesce_begin(b);
    GError *why = NULL;
    int r = b->drv->co_resize(b, len, how, &why);
    b->writes_done++;
    block_bitmaps_resize(b, b->length);
    quiesce_end(b);
    if (why)
        g_propagate_error(err, why);
    else if (r)
        fail_errno(err, -r, "cannot resize %s", b->filename);
    return !r;
}

/* --- extents */

int block_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    if (at >= b->length || !len)
        return -EINVAL;
    len = MIN(len, b->length - at);
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED };
    request_begin(b);
    int r = b->drv->co_map ? b->drv->co_map(b, at, len, out) : 0;
    assert(r || (out->len && out->len <= len));
    /* Data of a format may be a hole of the file below. */
    if (!r && (out->flags & EXTENT_OFFSET) && (out->flags & EXTENT_DATA) && out->file && out->file != b &&
        out->offset < out->file->length) {
        Extent below;
        if (!block_map(out->file, out->offset, out->len, &below) && !(below.flags & EXTENT_DATA)) {
            out->flags = (out->flags & ~EXTENT_DATA) | (below.flags & EXTENT_ZERO);
            out->len = below.len;
        } else if (below.len) {
            out->len = MIN(out->len, below.len);
        }
    }
    return request_end(b, r);
}

int block_map_above(Block *b, Block *base, uint64_t at, uint64_t len, Extent *out)
{
    unsigned depth = 0;
    *out = (Extent){ .len = len };
    for (Block *n = b; n && n != base; n = n->backing, depth++) {
        if (at >= n->length) {      /* past the end of a short backing file: zeros, and decided */
            *out = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED, .depth = depth };
            return 0;
        }
        Extent e;
        int r = block_map(n, at, MIN(len, n->length - at), &e);
        if (r)
            return r;
        bool deeper = n->backing && n->backing != base;
        if ((e.flags & EXTENT_ALLOCATED) || (!n->backing && n->drv->kind != BLOCK_KIND_FORMAT)) {
            *out = e;
            out->depth = depth;
            return 0;
        }
        len = e.len;
        if (!deeper) {
            *out = (Extent){ .len = len, .depth = depth, .flags = n->backing ? 0 : EXTENT_ZERO };
            return 0;
        }
    }
    return 0;
}

/* --- the rest that drivers may have */

static void block_snapshot_free(void *snapshot)
{
    BlockSnapshot *s = snapshot;
    g_free(s->id);
    g_free(s->name);
    g_free(s);
}

static bool need_snapshots(Block *b, bool change, GError **err)
{
    if (!b->drv->snapshots)
        return fail(err, "%s: %s images have no internal snapshots", b->filename, b->drv->name);
    if (change && !(b->flags & BLOCK_RDWR))
        return fail(err, "%s is read-only", b->filename);
    return true;
}

bool block_snapshot_list(Block *b, GPtrArray **out, GError **err)
{
    if (!need_snapshots(b, false, err))
        return false;
    *out = g_ptr_array_new_with_free_func(block_snapshot_free);
    int r = b->drv->snapshots->co_list(b, *out);
    return r ? fail_errno(err, -r, "cannot read the snapshots of %s", b->filename) : true;
}

typedef bool SnapshotFn(Block *b, const char *name, GError **err);
static bool snapshot_change(Block *b, const char *name, SnapshotFn *fn, GError **err)
{
    quiesce_begin(b);
    int r = flush_now(b);
    bool ok = r ? fail_errno(err, -r, "cannot flush %s", b->filename) : fn(b, name, err);
    b->writes_done++;
    quiesce_end(b);
    return ok;
}

bool block_snapshot_create(Block *b, const char *name, GError **err)
{
    return need_snapshots(b, true, err) && snapshot_change(b, name, b->drv->snapshots->co_create, err);
}
bool block_snapshot_apply(Block *b, const char *name, GError **err)
{
    if (!need_snapshots(b, true, err) || !snapshot_change(b, name, b->drv->snapshots->co_apply, err))
        return false;
    block_bitmaps_resize(b, b->length);
    block_bitmaps_dirty(b, 0, b->length);       /* whatever differs */
    return true;
}
bool block_snapshot_delete(Block *b, const char *name, GError **err)
{
    return need_snapshots(b, true, err) && snapshot_change(b, name, b->drv->snapshots->co_delete, err);
}

bool block_snapshot_show(Block *b, const char *name, GError **err)
{
    if (!need_snapshots(b, false, err))
        return false;
    if (b->flags & BLOCK_RDWR)
        return fail(err, "a snapshot is shown by a read-only node only");
    quiesce_begin(b);
    bool ok = b->drv->snapshots->co_show(b, name, err);
    quiesce_end(b);
    return ok;
}

int block_info(Block *b, BlockInfo *out)
{
    *out = (BlockInfo){ .allocated = UINT64_MAX };
    if (b->file) {
        int r = block_info(b->file, out);
        json_free(out->specific);
        out->specific = NULL;
        if (r)
            return r;
        if (b->data) {
            BlockInfo data;
            if (!block_info(b->data, &data) && data.allocated != UINT64_MAX && out->allocated != UINT64_MAX)
                out->allocated += data.allocated;
            json_free(data.specific);
        }
    }
    out->can_compress = b->drv->co_write_compressed;
    return b->drv->co_info ? b->drv->co_info(b, out) : 0;
}

int block_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    *out = (BlockCheck){ .messages = g_ptr_array_new_with_free_func(g_free) };
    if (!b->drv->maker || !b->drv->maker->co_check)
        return -ENOTSUP;
    quiesce_begin(b);
    int r = b->drv->maker->co_check(b, fix, out, err);
    if (fix)
        b->writes_done++;
    quiesce_end(b);
    return r;
}

void block_check_clear(BlockCheck *c)
{
    if (c->messages)
        g_ptr_array_free(c->messages, TRUE);
    c->messages = NULL;
}

bool block_set_backing(Block *b, const char *name, const char *format, GError **err)
{
    if (!b->drv->maker || !b->drv->maker->co_set_backing)
        return fail(err, "%s images have no backing files", b->drv->name);
    if (!(b->flags & BLOCK_RDWR))
        return fail(err, "%s is read-only", b->filename);
    quiesce_begin(b);
    bool ok = b->drv->maker->co_set_backing(b, name, format, err);
    b->writes_done++;
    quiesce_end(b);
    return ok;
}

static bool set_writable(Block *b, bool writable, GError **err)
{
    unsigned old = b->flags;
    if (writable == !!(b->flags & BLOCK_RDWR))
        return true;
    /* Lower nodes first on the way up, last on the way down. */
    Block *below[] = { b->file, b->data };
    for (unsigned i = 0; writable && i < ARRAY_LEN(below); i++)
        if (below[i] && !set_writable(below[i], true, err))
            return false;
    b->flags = writable ? old | BLOCK_RDWR : old & ~(unsigned)BLOCK_RDWR;
    if (b->drv->co_reopen && !b->drv->co_reopen(b, err)) {
        b->flags = old;
        return false;
    }
    for (unsigned i = 0; !writable && i < ARRAY_LEN(below); i++)
        if (below[i] && !set_writable(below[i], false, err))
            return false;
    return true;
}

bool block_set_writable(Block *b, bool writable, GError **err)
{
    quiesce_begin(b);
    int r = writable ? 0 : flush_now(b);
    bool ok = r ? fail_errno(err, -r, "cannot flush %s", b->filename) : set_writable(b, writable, err);
    quiesce_end(b);
    return ok;
}

int block_make_empty(Block *b)
{
    if (!(b->flags & BLOCK_RDWR))
        return -EROFS;
    if (!b->drv->co_empty)
        return -ENOTSUP;
    quiesce_begin(b);
    int r = b->drv->co_empty(b);
    b->writes_done++;
    quiesce_end(b);
    return r;
}

bool block_amend(Block *b, Json *options, GError **err)
{
    if (!b->drv->maker || !b->drv->maker->co_amend)
        return fail(err, "%s images have nothing to amend", b->drv->name);
    if (!(b->flags & BLOCK_RDWR))
        return fail(err, "%s is read-only", b->filename);
    quiesce_begin(b);
    bool ok = b->drv->maker->co_amend(b, options, err);
    b->writes_done++;
    quiesce_end(b);
    return ok;
}

const char *block_name(const Block *b) { return b->node_name; }
const char *block_filename(const Block *b) { return b->filename; }
const char *block_format(const Block *b) { return b->drv->name; }
uint64_t block_length(const Block *b) { return b->length; }
bool block_writable(const Block *b) { return b->flags & BLOCK_RDWR; }
Block *block_backing(const Block *b) { return b->backing; }
Block *block_file(const Block *b) { return b->file; }
BlockStats block_stats(const Block *b) { return b->stats; }
void block_time(Block *b) { b->timed = true; }

const char *block_backing_name(const Block *b, const char **format)
{
    if (format)
        *format = b->backing_format;
    return b->backing_name;
}
