/* SPDX-License-Identifier: GPL-2.0-or-later
 * Stream: what an image reads from those below it, down to a base, becomes its own, and the base its backing file.  A filter
 * above the image keeps guests' writes and the copies to the same place apart. */
#include <errno.h>
#include <stdlib.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

typedef struct Stream {
    Job      *job;
    Block    *guest, *below;    /* the filter's place during the job, the image's */
    Block    *base;             /* NULL: none */
    Block    *bottom;           /* its backing file is the base, whichever that is; NULL: base it is */
    char     *backing_name;
    RangeLock ranges;           /* writes share, copies do not */
    uint64_t  cursor;
    bool      was_writable;
    int       skipped;
} Stream;

/* --- the filter */

typedef struct Filter { Stream *k; } Filter;
#define ranges_of(b) (&((Filter *)(b)->state)->k->ranges)

static bool filter_open(Block *b, GError **err)
{
    b->length = b->file->length;
    return true;
}

static int filter_read(Block *b, uint64_t at, const struct iovec *v, int nv) { return block_readv(b->file, at, v, nv); }

static int filter_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    RangeHold h;
    range_lock(ranges_of(b), &h, at, at + iov_size(v, nv), true);
    int r = block_writev(b->file, at, v, nv, 0);
    range_unlock(&h);
    return r;
}

static int filter_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    RangeHold h;
    range_lock(ranges_of(b), &h, at, at + len, true);
    int r = block_zero(b->file, at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
    range_unlock(&h);
    return r;
}

static int filter_discard(Block *b, uint64_t at, uint64_t len)
{
    RangeHold h;
    range_lock(ranges_of(b), &h, at, at + len, true);
    int r = block_discard(b->file, at, len);
    range_unlock(&h);
    return r;
}

static int filter_map(Block *b, uint64_t at, uint64_t len, Extent *out) { return block_map_above(b->file, NULL, at, len, out); }

static const BlockDriver stream_filter = {
    .name = "stream-filter", .kind = BLOCK_KIND_FILTER, .size = sizeof(Filter), .co_open = filter_open, .co_read = filter_read,
    .co_write = filter_write, .co_zero = filter_zero, .co_discard = filter_discard, .co_map = filter_map,
};

/* --- the job */

static Block *base_of(const Stream *k) { return k->bottom ? k->bottom->backing : k->base; }

/* Whether the image has nothing of its own at `at`, and one between it and the base has. */
static int wanted(Stream *k, uint64_t at, uint64_t len, Extent *e, bool *yes)
{
    *yes = false;
    int r = block_map(k->below, at, len, e);
    if (r || (e->flags & EXTENT_ALLOCATED))
        return r;
    r = block_map_above(k->below, base_of(k), at, e->len, e);
    *yes = !r && (e->flags & EXTENT_ALLOCATED);
    return r;
}

static int next(void *self, uint64_t *at, uint64_t *len)
{
    Stream *k = self;
    uint64_t end = k->below->length;
    for (Extent e; k->cursor < end; k->cursor += e.len) {
        bool yes;
        int r = wanted(k, k->cursor, end - k->cursor, &e, &yes);
        if (r)
            return r;
        if (yes) {
            *at = k->cursor;
            *len = e.flags & EXTENT_ZERO ? e.len : MIN(e.len, JOB_PIECE);
            k->cursor += *len;
            return 0;
        }
        k->job->offset += e.len;
    }
    return 0;
}

static int perform(void *self, uint64_t at, uint64_t len, bool *reading)
{
    Stream *k = self;
    RangeHold h;
    Extent e;
    int r = 0;
    range_lock(&k->ranges, &h, at, at + len, false);
    for (uint64_t end = at + len; at < end && !r; at += e.len) {
        bool yes;
        *reading = true;
        r = wanted(k, at, end - at, &e, &yes);
        if (!r && yes)
            r = job_copy_piece(k->below, k->below, at, e.len, BLOCK_UNCHANGED, reading);
    }
    range_unlock(&h);
    return r;
}

static int stream_run(Job *j)
{
    Stream *k = j->state;
    JobCopy c = { .next = next, .perform = perform, .self = k, .workers = 8, .skip = true };
    j->len = k->below->length;
    int r = job_copy(j, &c);
    if (!r)
        r = c.skipped;
    return r ? r : block_flush(k->below);
}

static int stream_finish(Job *j, int r, GError **err)
{
    Stream *k = j->state;
    Block *filter = k->below, *image = k->guest;
    block_drain_begin(k->guest);
    block_drain_begin(filter);
    block_replace(k->guest, filter);
    block_drain_end(filter);
    block_drain_end(k->guest);
    block_close(filter);
    if (!r && !block_change_backing(image, base_of(k), k->backing_name, err))
        r = -EIO;
    if (!k->was_writable && !block_set_writable(image, false, r ? NULL : err) && !r)
        r = -EIO;
    if (k->base)
        block_close(k->base);
    if (k->bottom)
        block_close(k->bottom);
    g_free(k->backing_name);
    block_close(image);
    return r;
}

static const JobType stream_type = { .name = "stream", .size = sizeof(Stream), .co_run = stream_run, .co_finish = stream_finish };

static Block *open_filter(Block *top, GError **err)
{
    Json *o = json_object();
    json_set(o, "file", json_string(block_name(top)));
    return block_open_driver(top->graph, &stream_filter, o, top->flags & (BLOCK_RDWR | BLOCK_UNMAP), err);
}

static Job *start(Block *top, Block *base, Block *bottom, const char *backing_name, const JobOptions *o, GError **err)
{
    bool ok = true, was_writable = top->flags & BLOCK_RDWR;
    if (base && (base == top || !block_above(top, base)))
        ok = fail(err, "Can't find '%s' in the backing chain", block_name(base));
    else if (bottom && (bottom == top || !block_above(top, bottom)))
        ok = fail(err, "Node '%s' is not in the backing chain of '%s'", block_name(bottom), block_name(top));
    else if (!top->backing)
        ok = fail(err, "%s has no backing file", block_filename(top));
    Job *j = ok ? job_new(&stream_type, top, o, err) : NULL;
    if (!j)
        return NULL;
    Stream *k = j->state;
    *k = (Stream){ .job = j, .guest = top, .base = base, .bottom = bottom, .backing_name = g_strdup(backing_name),
                    .was_writable = was_writable };
    bool writable = was_writable || block_set_writable(top, true, err);
    Block *f = writable ? open_filter(top, err) : NULL;
    if (!f) {
        if (writable && !was_writable)
            block_set_writable(top, false, NULL);
        g_free(k->backing_name);
        job_drop(j);
        return NULL;
    }
    ((Filter *)f->state)->k = k;
    block_drain_begin(top);
    block_drain_begin(f);
    block_replace(top, f);
    block_drain_end(f);
    block_drain_end(top);
    k->below = f;
    block_ref(top);
    if (base)
        block_ref(base);
    if (bottom)
        block_ref(bottom);
    return j;
}

Job *job_stream(Block *top, Block *base, const char *backing_name, const JobOptions *o, GError **err)
{
    return start(top, base, NULL, backing_name, o, err);
}

Job *job_stream_to(Block *top, Block *bottom, const char *backing_name, const JobOptions *o, GError **err)
{
    return start(top, NULL, bottom, backing_name, o, err);
}
