/* SPDX-License-Identifier: GPL-2.0-or-later
 * Mirror: the target becomes what the source is and is kept so until the job is completed, when it takes the source's place,
 * or cancelled.  Commit of the active image is a mirror from it to an image of its own backing chain.
 *
 * A bitmap on the source says what the target lacks.  A piece's bits are cleared before it is read, and a write sets them
 * when its data are there: whatever was read too early is copied again.  In write-blocking mode guests' writes go to both,
 * through the filter that lies over the source anyway: it is the gate that holds guests up while the images change places. */
#include <errno.h>
#include <stdlib.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

enum { DEFAULT_BUF = 16 << 20, MAX_WORKERS = 16, MIN_GRANULE = 4096, MAX_GRANULE = 64 << 20 };

typedef struct Mirror {
    Job         *job;
    Block       *guest, *below; /* the filter's place during the job, the source's */
    Block       *replaces;      /* the place that the target takes in the end; NULL: guest */
    Block       *target, *base; /* base: below it nothing is copied; NULL: all is */
    BlockBitmap *dirty;         /* of the source */
    RangeLock    ranges;        /* a piece under way, a guest's write to both */
    uint64_t     cursor, granule, piece;
    unsigned     workers, zero_flags;
    bool         write_blocking, begun /* the bitmap says what the target lacks */, none, commit, base_was_writable;
} Mirror;

/* --- the filter */

typedef struct Filter { Mirror *m; } Filter;

static bool filter_open(Block *b, GError **err)
{
    b->length = b->file->length;
    return true;
}

/* One change of a guest. */
typedef struct Change { uint64_t at, len; const struct iovec *v; int nv; unsigned flags; bool discard; } Change;

static int change(Block *to, const Change *c)
{
    if (c->v)
        return block_writev(to, c->at, c->v, c->nv, 0);
    return c->discard ? block_discard(to, c->at, c->len) : block_zero(to, c->at, c->len, c->flags);
}

static int filter_change(Block *b, const Change *c)
{
    Mirror *m = ((Filter *)b->state)->m;
    if (!m->write_blocking || !m->begun)
        return change(b->file, c);
    uint64_t from = align_down(c->at, m->granule), end = c->at + c->len, to = MIN(align_up(end, m->granule), b->length);
    RangeHold h;
    range_lock(&m->ranges, &h, from, to, false);
    /* A part that the target lacked already it lacks still, unless all of it is written. */
    bool head = c->at > from && block_bitmap_get(m->dirty, from), tail = end < to && block_bitmap_get(m->dirty, to - 1);
    int r = change(b->file, c);
    /* What a discarded part reads is the image's affair: it is copied. */
    if (!r && !c->discard && !change(m->target, c)) {
        from += head ? m->granule : 0;
        to = tail ? align_down(end, m->granule) : to;
        if (to > from)
            block_bitmap_clear(m->dirty, from, to - from);
    }
    range_unlock(&h);
    return r;
}

static int filter_read(Block *b, uint64_t at, const struct iovec *v, int nv) { return block_readv(b->file, at, v, nv); }

static int filter_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    return filter_change(b, &(Change){ .at = at, .len = iov_size(v, nv), .v = v, .nv = nv });
}

static int filter_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Mirror *m = ((Filter *)b->state)->m;
    flags &= BLOCK_MAY_UNMAP | (m->write_blocking ? 0 : BLOCK_NO_FALLBACK);
    return filter_change(b, &(Change){ .at = at, .len = len, .flags = flags });
}

static int filter_discard(Block *b, uint64_t at, uint64_t len)
{
    return filter_change(b, &(Change){ .at = at, .len = len, .discard = true });
}

static int filter_map(Block *b, uint64_t at, uint64_t len, Extent *out) { return block_map_above(b->file, NULL, at, len, out); }

static const BlockDriver mirror_filter = {
    .name = "mirror-filter", .kind = BLOCK_KIND_FILTER, .size = sizeof(Filter), .co_open = filter_open, .co_read = filter_read,
    .co_write = filter_write, .co_zero = filter_zero, .co_discard = filter_discard, .co_map = filter_map,
};

/* --- copying */

static int next(void *self, uint64_t *at, uint64_t *len)
{
    Mirror *m = self;
    if (!block_bitmap_next_dirty(m->dirty, m->cursor, m->piece, at, len)) {
        *len = 0;
        return 0;
    }
    m->cursor = *at + *len;
    return 0;
}

static int perform(void *self, uint64_t at, uint64_t len, bool *reading)
{
    Mirror *m = self;
    RangeHold h;
    int r = 0;
    range_lock(&m->ranges, &h, align_down(at, m->granule), MIN(align_up(at + len, m->granule), m->dirty->length), false);
    /* A guest's write to both may have done it meanwhile. */
    uint64_t pos = at, n, end = at + len;
    while (!r && block_bitmap_next_dirty(m->dirty, pos, end - pos, &pos, &n) && pos < end) {
        n = MIN(n, end - pos);
        block_bitmap_clear(m->dirty, pos, n);
        r = job_copy_piece(m->below, m->target, pos, n, m->zero_flags, reading);
        if (r)
            block_bitmap_set(m->dirty, pos, n);
        pos += n;
        if (pos >= end)
            break;
    }
    range_unlock(&h);
    return r;
}

/* What there is to do at first. */
static int first_bits(Mirror *m)
{
    int r = 0;
    Extent e;
    for (uint64_t at = 0, len = m->below->length; at < len && !r && !m->none; at += e.len) {
        r = job_point(m->job);
        if (!r)
            r = m->base ? block_map_above(m->below, m->base, at, len - at, &e) : 0;
        if (!m->base)
            e = (Extent){ .len = len - at, .flags = EXTENT_ALLOCATED };
        if (!r && (e.flags & EXTENT_ALLOCATED))
            block_bitmap_set(m->dirty, at, e.len);
    }
    return r;
}

static bool is_ready(const Job *j) { return j->status == JOB_READY || j->status == JOB_STANDBY; }
static bool over(const Job *j) { return is_ready(j) && (j->completing || j->cancelled); }

/* Until nothing is dirty, or the rest may wait until guests are held up. */
static int copy_dirty(Mirror *m)
{
    int r = 0;
    while (!r && m->dirty->n_set && !over(m->job)) {
        JobCopy c = { .next = next, .perform = perform, .self = m, .workers = m->workers };
        m->cursor = 0;
        m->job->len = m->job->offset + block_bitmap_count(m->dirty);
        r = job_copy(m->job, &c);
    }
    return r;
}

static int mirror_run(Job *j)
{
    Mirror *m = j->state;
    int r = first_bits(m);
    m->begun = true;
    while (!r) {
        r = copy_dirty(m);
        if (!r && !is_ready(j)) {
            r = block_flush(m->target);
            if (!r && !m->dirty->n_set)
                job_ready(j);
            continue;
        }
        if (!r)
            r = job_point(j);
        if (r || over(j))
            break;
        if (!m->dirty->n_set)
            co_queue_wait(&j->wake);
    }
    return r;
}

/* --- the end */

/* Guests are held up: the rest is copied, and nothing comes behind it. */
static int last_bits(Mirror *m, GError **err)
{
    uint64_t at = 0, len;
    bool reading;
    int r = 0;
    while (!r && block_bitmap_next_dirty(m->dirty, at, JOB_PIECE, &at, &len)) {
        r = job_copy_piece(m->below, m->target, at, len, m->zero_flags, &reading);
        at += len;
    }
    if (!r)
        r = block_flush(m->target);
    if (r)
        fail_errno(err, -r, "%s of the last changes failed", m->job->type->name);
    return r;
}

static int mirror_finish(Job *j, int r, GError **err)
{
    Mirror *m = j->state;
    Block *filter = m->below, *guest = m->guest;
    block_drain_begin(guest);
    if (!r)
        r = last_bits(m, err);
    block_bitmap_free(m->dirty);
    block_drain_begin(filter);
    block_replace(guest, filter);
    block_drain_end(filter);
    bool pivot = !r && j->completing;
    Block *place = m->replaces ? m->replaces : guest;
    if (pivot) {
        block_drain_begin(m->target);
        if (place != guest)
            block_drain_begin(place);
        block_replace(place, m->target);
        if (place != guest)
            block_drain_end(place);
        block_drain_end(m->target);
    }
    block_drain_end(guest);
    if (m->replaces)
        block_close(m->replaces);
    int closed = block_close(filter);
    if (m->commit && !m->base_was_writable && !pivot && !block_set_writable(m->target, false, r ? NULL : err) && !r)
        r = -EIO;
    int target_closed = block_close(m->target);
    closed = closed ? closed : target_closed;
    target_closed = block_close(guest);
    if (!r && (closed || target_closed)) {
        r = closed ? closed : target_closed;
        fail_errno(err, -r, "closing failed");
    }
    return r;
}

static const JobType mirror_type = { .name = "mirror", .size = sizeof(Mirror), .gets_ready = true, .co_run = mirror_run, .co_finish = mirror_finish };
static const JobType active_commit_type = { .name = "commit", .size = sizeof(Mirror), .gets_ready = true, .co_run = mirror_run, .co_finish = mirror_finish };

static Job *start(const JobType *t, Block *source, Block *target, Block *base, const MirrorOptions *o, const JobOptions *jo, GError **err)
{
    BlockInfo info;
    uint64_t granule = o->granularity;
    if (!granule) {
        granule = 65536;
        if (!block_info(target, &info)) {
            json_free(info.specific);
            granule = info.granule ? CLAMP(info.granule, MIN_GRANULE, granule) : granule;
        }
        granule = block_bitmap_granularity(source->length, granule);
    } else if (!is_pow2(granule) || granule < 512 || granule > MAX_GRANULE) {
        fail(err, "granularity must be a power of 2 from 512 to 64M");
        return NULL;
    }
    Job *j = job_new(t, source, jo, err);
    if (!j)
        return NULL;
    Mirror *m = j->state;
    uint64_t buf = o->buf_size ? o->buf_size : DEFAULT_BUF;
    *m = (Mirror){ .job = j, .guest = source, .target = target, .base = base, .granule = granule,
                   .zero_flags = o->no_unmap ? 0 : BLOCK_MAY_UNMAP, .write_blocking = o->write_blocking, .none = o->sync == JOB_SYNC_NONE };
    m->piece = MAX(align_down(MIN(buf, JOB_PIECE), granule), granule);
    m->workers = (unsigned)CLAMP(buf / m->piece, 1, MAX_WORKERS);
    m->dirty = block_bitmap_new(source, NULL, granule, err);
    Json *file = json_object();
    json_set(file, "file", json_string(block_name(source)));
    Block *f = NULL;
    if (m->dirty)
        f = block_open_driver(source->graph, &mirror_filter, file, source->flags & (BLOCK_RDWR | BLOCK_UNMAP), err);
    else
        json_free(file);
    if (!f) {
        if (m->dirty)
            block_bitmap_free(m->dirty);
        job_drop(j);
        return NULL;
    }
    ((Filter *)f->state)->m = m;
    m->dirty->wake = &j->wake;
    block_drain_begin(source);
    block_drain_begin(f);
    block_replace(source, f);
    block_drain_end(f);
    block_drain_end(source);
    m->below = f;
    block_ref(source);
    block_ref(target);
    m->replaces = o->replaces;
    if (m->replaces)
        block_ref(m->replaces);
    return j;
}

/* Whether b is source, or source and all between are filters that show what b has. */
static bool may_replace(const Block *source, const Block *b)
{
    while (source != b && source->drv->kind == BLOCK_KIND_FILTER && source->file)
        source = source->file;
    return source == b;
}

Job *job_mirror(Block *source, Block *target, const MirrorOptions *o, const JobOptions *jo, GError **err)
{
    static const MirrorOptions none;
    bool ok = true;
    o = o ? o : &none;
    if (source == target || block_above(source, target))
        ok = fail(err, "Can't mirror node into itself");
    else if (!block_writable(target))
        ok = fail(err, "%s is read-only", block_filename(target));
    else if (target->length != source->length)
        ok = fail(err, "the target has %" PRIu64 " bytes, the source %" PRIu64, target->length, source->length);
    else if (o->replaces && o->replaces->length != source->length)
        ok = fail(err, "cannot replace image with a mirror image of different size");
    else if (o->replaces && !may_replace(source, o->replaces))
        ok = fail(err, "Cannot replace '%s' by a node mirrored from '%s', because it cannot be guaranteed that doing so would not "
                  "lead to an abrupt change of visible data (only filters may lie between)", block_name(o->replaces),
                  block_name(source));
    if (!ok)
        return NULL;
    Block *base = o->sync == JOB_SYNC_TOP ? source->backing : NULL;
    /* What is not copied the target reads from the same images. */
    if (o->sync != JOB_SYNC_FULL && !target->backing && target->backing_name && source->backing) {
        target->backing = source->backing;
        block_ref(target->backing);
    }
    return start(&mirror_type, source, target, base, o, jo, err);
}

Job *job_commit_active(Block *top, Block *base, const JobOptions *o, GError **err)
{
    bool was_writable = base->flags & BLOCK_RDWR;
    if (!was_writable && !block_set_writable(base, true, err))
        return NULL;
    Job *j = base->length >= top->length || block_resize(base, top->length, PREALLOC_OFF, err)
           ? start(&active_commit_type, top, base, base, &(MirrorOptions){ .sync = JOB_SYNC_TOP }, o, err) : NULL;
    if (j) {
        Mirror *m = j->state;
        m->commit = true;
        m->base_was_writable = was_writable;
    } else if (!was_writable) {
        block_set_writable(base, false, NULL);
    }
    return j;
}
