/* SPDX-License-Identifier: GPL-2.0-or-later
 * Rebase: an image gets another backing file and shows what it showed.  Where it has nothing of its own, the old backing file's
 * data are compared with the new one's, and become its own where they differ.  Naming the new one in the image comes after the
 * job, by whoever started it: until then the image is right over the old one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

enum { WORKERS = 4, UNIT = 64 << 10 };

typedef struct Rebase { Job *job; Block *top, *now; uint64_t cursor; } Rebase;

/* How much from at on is known to read as zeros; without an image or past its end all does. */
static uint64_t zeros_at(Block *b, uint64_t at, uint64_t len)
{
    Extent e;
    if (!b || at >= block_length(b))
        return len;
    return !block_map_above(b, NULL, at, MIN(len, block_length(b) - at), &e) && (e.flags & EXTENT_ZERO) ? e.len : 0;
}

/* The next piece that top has not itself, and that is not zeros in both. */
static int next(void *self, uint64_t *at, uint64_t *len)
{
    Rebase *k = self;
    uint64_t end = k->top->length;
    for (Extent e; k->cursor < end; k->cursor += e.len) {
        int r = block_map(k->top, k->cursor, end - k->cursor, &e);
        if (r)
            return r;
        if (e.flags & EXTENT_ALLOCATED) {
            k->job->offset += e.len;
            continue;
        }
        uint64_t was = zeros_at(k->top->backing, k->cursor, e.len), is = was ? zeros_at(k->now, k->cursor, was) : 0;
        if (is) {
            e.len = is;
            k->job->offset += is;
            continue;
        }
        *at = k->cursor;
        *len = MIN(e.len, JOB_PIECE - k->cursor % JOB_PIECE);
        k->cursor += *len;
        return 0;
    }
    return 0;
}

static int read_or_zero(Block *b, uint64_t at, uint8_t *buf, uint64_t n)
{
    uint64_t there = b && at < block_length(b) ? MIN(n, block_length(b) - at) : 0;
    memset(buf + there, 0, n - there);
    return there ? block_read(b, at, buf, there) : 0;
}

static int perform(void *self, uint64_t at, uint64_t len, bool *reading)
{
    Rebase *k = self;
    *reading = true;
    uint8_t *was = block_memory(len), *is = block_memory(len);
    int r = was && is ? 0 : -ENOMEM;
    if (!r)
        r = read_or_zero(k->top->backing, at, was, len);
    if (!r)
        r = read_or_zero(k->now, at, is, len);
    *reading = r != 0;
    for (uint64_t i = 0, n; i < len && !r; i += n) {
        n = MIN(len - i, UNIT);
        if (!memcmp(was + i, is + i, n))
            continue;
        r = buf_is_zero(was + i, n) ? block_zero(k->top, at + i, n, 0) : block_write(k->top, at + i, was + i, n, 0);
    }
    free(was);
    free(is);
    return r;
}

static int rebase_run(Job *j)
{
    Rebase *k = j->state;
    JobCopy c = { .next = next, .perform = perform, .self = k, .workers = WORKERS };
    j->len = k->top->length;
    int r = job_copy(j, &c);
    return r ? r : block_flush(k->top);
}

static int rebase_finish(Job *j, int r, GError **err)
{
    Rebase *k = j->state;
    if (k->now)
        block_close(k->now);
    block_close(k->top);
    return r;
}

static const JobType rebase_type = { .name = "rebase", .size = sizeof(Rebase), .co_run = rebase_run, .co_finish = rebase_finish };

Job *job_rebase(Block *top, Block *now, const JobOptions *o, GError **err)
{
    if (!block_writable(top)) {
        fail(err, "%s is read-only", block_filename(top));
        return NULL;
    }
    Job *j = job_new(&rebase_type, top, o, err);
    if (!j)
        return NULL;
    *(Rebase *)j->state = (Rebase){ .job = j, .top = top, .now = now };
    block_ref(top);
    if (now)
        block_ref(now);
    return j;
}
