/* SPDX-License-Identifier: GPL-2.0-or-later
 * Copy on read: what the image below reads from its backing file it has itself from then on. */
#include <errno.h>
#include <stdlib.h>

#include "block/driver.h"

enum { PIECE = 1 << 20 };

typedef struct CopyOnRead { CoMutex lock; /* copies and writes: a copy must not overwrite what is newer */ } CopyOnRead;

static bool cor_open(Block *b, GError **err)
{
    b->length = b->file->length;
    return true;
}

static int copy(Block *b, uint64_t at, uint64_t len)
{
    uint8_t *buf = block_memory(MIN(len, PIECE));
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        n = MIN(len - done, PIECE);
        r = block_read(b->file, at + done, buf, n);
        if (!r)
            r = buf_is_zero(buf, n) ? block_zero(b->file, at + done, n, BLOCK_UNCHANGED)
                                    : block_write(b->file, at + done, buf, n, BLOCK_UNCHANGED);
    }
    free(buf);
    return r;
}

static int cor_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    CopyOnRead *s = b->state;
    uint64_t len = iov_size(v, nv);
    int r = 0;
    for (uint64_t done = 0; done < len && !r && b->file->backing && (b->file->flags & BLOCK_RDWR);) {
        Extent x;
        r = block_map(b->file, at + done, len - done, &x);
        if (!r && !(x.flags & EXTENT_ALLOCATED)) {
            co_mutex_lock(&s->lock);
            r = block_map(b->file, at + done, x.len, &x);
            if (!r && !(x.flags & EXTENT_ALLOCATED))
                r = copy(b, at + done, x.len);
            co_mutex_unlock(&s->lock);
            /* Reading is what was asked for: that the copy had no room is no error of it. */
            if (r == -ENOSPC)
                break;
        }
        done += x.len;
    }
    return r && r != -ENOSPC ? r : block_readv(b->file, at, v, nv);
}

static int cor_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    CopyOnRead *s = b->state;
    co_mutex_lock(&s->lock);
    int r = block_writev(b->file, at, v, nv, 0);
    co_mutex_unlock(&s->lock);
    return r;
}

static int cor_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    CopyOnRead *s = b->state;
    co_mutex_lock(&s->lock);
    int r = block_zero(b->file, at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
    co_mutex_unlock(&s->lock);
    return r;
}

static int cor_discard(Block *b, uint64_t at, uint64_t len)
{
    CopyOnRead *s = b->state;
    co_mutex_lock(&s->lock);
    int r = block_discard(b->file, at, len);
    co_mutex_unlock(&s->lock);
    return r;
}

static int cor_map(Block *b, uint64_t at, uint64_t len, Extent *out) { return block_map_above(b->file, NULL, at, len, out); }

const BlockDriver block_copy_on_read_driver = {
    .name = "copy-on-read", .kind = BLOCK_KIND_FILTER, .size = sizeof(CopyOnRead), .co_open = cor_open, .co_read = cor_read,
    .co_write = cor_write, .co_zero = cor_zero, .co_discard = cor_discard, .co_map = cor_map,
};
