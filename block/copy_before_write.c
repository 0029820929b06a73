/* SPDX-License-Identifier: GPL-2.0-or-later
 * Copy before write: before a part of the image below is overwritten for the first time, its old contents go to the target,
 * which so becomes what the image was when the filter came.  With bitmap= that is done for what is dirty in it only. */
#include "block/copy_before_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

enum { MIN_CLUSTER = 64 << 10 };
#define TICK_NS INT64_C(20000000)

typedef struct CopyBeforeWrite {
    Block       *target;
    BlockBitmap *todo;
    RangeLock    ranges;        /* being copied */
    uint64_t     cluster, timeout_ns;
    bool         break_snapshot, compress;
    int          broken;
    unsigned     background;    /* coroutines that nobody waits for */
    CoQueue      idle;
} CopyBeforeWrite;

static bool start_bitmap(Block *b, GError **err)
{
    CopyBeforeWrite *s = b->state;
    Json *o = json_get(b->options, "bitmap");
    const char *node = NULL, *name = NULL;
    if (!o) {
        block_bitmap_set(s->todo, 0, b->length);
        return true;
    }
    o->seen = true;
    if (o->type != JSON_OBJECT || !block_opt_string(o, "node", &node, err) || !block_opt_string(o, "name", &name, err) ||
        !block_opt_done(o, "bitmap", err) || !node || !name)
        return *err ? false : fail(err, "copy-before-write: bitmap.node and bitmap.name, please");
    Block *n = block_node(b->graph, node);
    BlockBitmap *m = n ? block_bitmap_find(n, name, err) : NULL;
    if (!n)
        return fail(err, "there is no node '%s'", node);
    if (!m || (m->inconsistent && !block_bitmap_usable(m, err)))
        return false;
    if (m->length != b->length)
        return fail(err, "bitmap '%s' is of another size than the image", name);
    block_bitmap_merge(s->todo, m);
    return true;
}

static bool cbw_open(Block *b, GError **err)
{
    CopyBeforeWrite *s = b->state;
    const char *on_error = "break-guest-write";
    uint64_t timeout = 0;
    BlockInfo info;
    b->length = b->file->length;
    s->cluster = MIN_CLUSTER;
    s->target = block_open_child(b, "target", BLOCK_RDWR, true, err);
    if (!s->target || !block_opt_string(b->options, "on-cbw-error", &on_error, err) ||
        !block_opt_u64(b->options, "cbw-timeout", UINT32_MAX, &timeout, err))
        return false;
    s->timeout_ns = timeout * 1000000000;
    s->break_snapshot = !strcmp(on_error, "break-snapshot");
    if (!s->break_snapshot && strcmp(on_error, "break-guest-write"))
        return fail(err, "on-cbw-error '%s' is neither break-guest-write nor break-snapshot", on_error);
    if (s->target->length != b->length)
        return fail(err, "the target has %" PRIu64 " bytes, the source %" PRIu64, s->target->length, b->length);
    if (!block_info(s->target, &info)) {
        json_free(info.specific);
        s->cluster = MAX(s->cluster, is_pow2(info.granule) ? info.granule : 0);
    }
    s->cluster = block_bitmap_granularity(b->length, s->cluster);
    s->todo = block_bitmap_new(b, NULL, s->cluster, err);
    if (!s->todo)
        return false;
    s->todo->enabled = false;
    return start_bitmap(b, err);
}

static int cbw_close(Block *b)
{
    CopyBeforeWrite *s = b->state;
    while (s->background)
        co_queue_wait(&s->idle);
    return s->target ? block_close(s->target) : 0;
}

BlockBitmap *cbw_todo(Block *b) { return ((CopyBeforeWrite *)b->state)->todo; }
void cbw_set_compress(Block *b, bool compress) { ((CopyBeforeWrite *)b->state)->compress = compress; }
int cbw_broken(Block *b) { return ((CopyBeforeWrite *)b->state)->broken; }

/* s and file stay where they are even if the node moves meanwhile. */
static int copy(CopyBeforeWrite *s, Block *file, uint64_t at, uint64_t len, bool *reading)
{
    uint64_t from = align_down(at, s->cluster), to = MIN(align_up(at + len, s->cluster), s->todo->length), pos, n;
    RangeHold hold;
    int r = 0;
    range_lock(&s->ranges, &hold, from, to, false);
    while (!r && block_bitmap_next_dirty(s->todo, from, MAX(JOB_PIECE, s->cluster), &pos, &n) && pos < to) {
        n = MIN(n, to - pos);
        block_bitmap_clear(s->todo, pos, n);
        r = job_copy_piece(file, s->target, pos, n, BLOCK_MAY_UNMAP | (s->compress ? BLOCK_COMPRESS : 0), reading);
        if (r)
            block_bitmap_set(s->todo, pos, n);
        from = pos + n;
    }
    range_unlock(&hold);
    return r;
}

int cbw_copy(Block *b, uint64_t at, uint64_t len, bool *reading)
{
    CopyBeforeWrite *s = b->state;
    return s->broken ? s->broken : copy(s, b->file, at, len, reading);
}

/* --- with a limit of time: the copy goes on by itself when nobody waits any more */

typedef struct Timed { CopyBeforeWrite *s; Block *file; uint64_t at, len; unsigned users; int r; bool done, over; CoQueue news; Aio *aio; } Timed;

static void timed_leave(Timed *t)
{
    CopyBeforeWrite *s = t->s;
    if (!--t->users)
        g_free(t);
    if (!--s->background)
        co_queue_wake_all(&s->idle);
}

static void timed_copy(void *self)
{
    Timed *t = self;
    bool reading;
    t->r = copy(t->s, t->file, t->at, t->len, &reading);
    t->done = true;
    co_queue_wake_all(&t->news);
    timed_leave(t);
}

static void timed_clock(void *self)
{
    Timed *t = self;
    uint64_t end = block_now_ns() + t->s->timeout_ns;
    while (!t->done && block_now_ns() < end)
        co_sleep_ns(t->aio, TICK_NS);
    t->over = true;
    co_queue_wake_all(&t->news);
    timed_leave(t);
}

static int copy_in_time(Block *b, uint64_t at, uint64_t len)
{
    CopyBeforeWrite *s = b->state;
    Timed *t = g_new(Timed, 1);
    *t = (Timed){ .s = s, .file = b->file, .at = at, .len = len, .users = 3, .aio = b->aio };
    s->background += 3;
    co_start(timed_copy, t);
    co_start(timed_clock, t);
    while (!t->done && !t->over)
        co_queue_wait(&t->news);
    int r = t->done ? t->r : -ETIMEDOUT;
    timed_leave(t);
    return r;
}

/* Before each change. */
static int save(Block *b, uint64_t at, uint64_t len)
{
    CopyBeforeWrite *s = b->state;
    bool reading;
    if (s->broken || (!s->todo->n_set && !s->ranges.first))
        return 0;
    int r = s->timeout_ns ? copy_in_time(b, at, len) : copy(s, b->file, at, len, &reading);
    if (r && s->break_snapshot) {
        s->broken = s->broken ? s->broken : r;
        return 0;
    }
    return r;
}

/* --- requests */

static int cbw_read(Block *b, uint64_t at, const struct iovec *v, int nv) { return block_readv(b->file, at, v, nv); }

static int cbw_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    int r = save(b, at, iov_size(v, nv));
    return r ? r : block_writev(b->file, at, v, nv, 0);
}

static int cbw_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    int r = save(b, at, len);
    return r ? r : block_zero(b->file, at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
}

static int cbw_discard(Block *b, uint64_t at, uint64_t len)
{
    int r = save(b, at, len);
    return r ? r : block_discard(b->file, at, len);
}

static int cbw_map(Block *b, uint64_t at, uint64_t len, Extent *out) { return block_map_above(b->file, NULL, at, len, out); }

const BlockDriver block_copy_before_write_driver = {
    .name = "copy-before-write", .kind = BLOCK_KIND_FILTER, .size = sizeof(CopyBeforeWrite), .co_open = cbw_open, .co_close = cbw_close,
    .co_read = cbw_read, .co_write = cbw_write, .co_zero = cbw_zero, .co_discard = cbw_discard, .co_map = cbw_map,
};
