/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commit of images that are not the active one: their data go to the base, which then is the backing file of the image over
 * them.  Guests see the same all the while: what is written to the base is hidden by what it was copied from. */
#include <errno.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

typedef struct Commit {
    Job     *job;
    Block   *over, *top, *base;
    char    *backing_name;
    uint64_t cursor;
    bool     base_was_writable;
} Commit;

static int next(void *self, uint64_t *at, uint64_t *len)
{
    Commit *k = self;
    uint64_t end = k->top->length;
    for (Extent e; k->cursor < end; k->cursor += e.len) {
        int r = block_map_above(k->top, k->base, k->cursor, end - k->cursor, &e);
        if (r)
            return r;
        if (e.flags & EXTENT_ALLOCATED) {
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
    Commit *k = self;
    return job_copy_piece(k->top, k->base, at, len, BLOCK_MAY_UNMAP, reading);
}

static int commit_run(Job *j)
{
    Commit *k = j->state;
    JobCopy c = { .next = next, .perform = perform, .self = k, .workers = 8 };
    j->len = k->top->length;
    int r = job_copy(j, &c);
    /* Past the end of top the image over it reads zeros. */
    if (!r && k->base->length > k->top->length && k->over->length > k->top->length)
        r = block_zero(k->base, k->top->length, MIN(k->base->length, k->over->length) - k->top->length, BLOCK_MAY_UNMAP);
    return r ? r : block_flush(k->base);
}

static int commit_finish(Job *j, int r, GError **err)
{
    Commit *k = j->state;
    if (!r && !block_change_backing(k->over, k->base, k->backing_name, err))
        r = -EIO;
    if (!k->base_was_writable && !block_set_writable(k->base, false, r ? NULL : err) && !r)
        r = -EIO;
    g_free(k->backing_name);
    block_close(k->top);
    block_close(k->base);
    block_close(k->over);
    return r;
}

static const JobType commit_type = { .name = "commit", .size = sizeof(Commit), .co_run = commit_run, .co_finish = commit_finish };

Job *job_commit(Block *top, Block *base, const char *backing_name, const JobOptions *o, GError **err)
{
    base = base ? base : top->backing;
    if (!base) {
        fail(err, "%s has no backing file", block_filename(top));
        return NULL;
    }
    if (base == top || !block_above(top, base)) {
        fail(err, "'%s' is not in this backing file chain", block_filename(base));
        return NULL;
    }
    Block *over = block_over(top);
    if (!over)
        return job_commit_active(top, base, o, err);
    bool was_writable = base->flags & BLOCK_RDWR;
    if (!was_writable && !block_set_writable(base, true, err))
        return NULL;
    Job *j = base->length >= top->length || block_resize(base, top->length, PREALLOC_OFF, err) ? job_new(&commit_type, over, o, err) : NULL;
    if (!j) {
        if (!was_writable)
            block_set_writable(base, false, NULL);
        return NULL;
    }
    *(Commit *)j->state = (Commit){ .job = j, .over = over, .top = top, .base = base, .backing_name = g_strdup(backing_name),
                                    .base_was_writable = was_writable };
    block_ref(over);
    block_ref(top);
    block_ref(base);
    return j;
}
