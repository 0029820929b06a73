/* SPDX-License-Identifier: GPL-2.0-or-later
 * Changes of the graph while guests use it.
 *
 * A Block is a place, and a node lies in it.  Whoever holds a reference holds the place and sees whatever node lies there:
 * so a filter comes between a guest and its image, or another image takes its place, without anybody being told.  The
 * references, the count of requests under way and the gate that holds them up belong to the place; all else moves. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "block/range.h"
#include "util/bits.h"
#include "util/error.h"

/* --- locks on ranges */

void range_lock(RangeLock *l, RangeHold *h, uint64_t from, uint64_t to, bool shared)
{
    *h = (RangeHold){ .from = from, .to = to, .shared = shared, .next = l->first, .link = &l->first };
    if (h->next)
        h->next->link = &h->next;
    l->first = h;
    /* Newest first: behind h are those that came earlier. */
    for (RangeHold *o = h->next; o;) {
        if (o->from < to && from < o->to && !(shared && o->shared)) {
            co_queue_wait(&o->waiters);
            o = h->next;
        } else {
            o = o->next;
        }
    }
}

void range_unlock(RangeHold *h)
{
    *h->link = h->next;
    if (h->next)
        h->next->link = h->link;
    co_queue_wake_all(&h->waiters);
}

/* --- nodes change places */

static void settle(Block *b)
{
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        m->node = b;
    if (b->drv->moved)
        b->drv->moved(b);
}

static void swap(Block *a, Block *b)
{
    Block x = *a, y = *b;
    *a = y;
    *b = x;
    const struct { Block *place; const Block *old; } rows[] = { { a, &x }, { b, &y } };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        Block *p = rows[i].place;
        p->refs = rows[i].old->refs;
        p->in_flight = rows[i].old->in_flight;
        p->quiesced = rows[i].old->quiesced;
        p->idle = rows[i].old->idle;
        p->resumed = rows[i].old->resumed;
        p->timed = rows[i].old->timed;
        settle(p);
    }
}

static void move_edge(Block **edge, Block *from, Block *to)
{
    if (*edge != from)
        return;
    from->refs--;
    to->refs++;
    *edge = to;
}

void block_replace(Block *a, Block *b)
{
    assert(!a->in_flight && !b->in_flight && !a->requests && !b->requests && "drained");
    GPtrArray *nodes = block_nodes(a->graph);
    swap(a, b);
    for (unsigned i = 0; i < nodes->len; i++) {
        Block *n = nodes->pdata[i];
        n->writer = n->writer == a ? b : n->writer == b ? a : n->writer;
        /* What b's node had of a's node it still has; what others had of b's node, too. */
        Block *from = n == a ? a : b, *to = n == a ? b : a;
        move_edge(&n->file, from, to);
        move_edge(&n->backing, from, to);
        move_edge(&n->data, from, to);
    }
}

/* --- backing files */

/* What over's header calls a file: beside over its last part, elsewhere the whole path. */
static char *name_beside(const Block *over, const Block *backing)
{
    const char *path = backing->filename, *slash = strrchr(over->filename, '/'), *colon = strchr(path, ':');
    size_t folder = slash ? (size_t)(slash - over->filename) + 1 : 0;
    if (*path == '/' || (colon && !memchr(path, '/', (size_t)(colon - path))))
        return g_strdup(path);
    if (!strncmp(path, over->filename, folder))
        return g_strdup(path + folder);
    return g_canonicalize_filename(path, NULL);
}

bool block_change_backing(Block *over, Block *backing, const char *name, GError **err)
{
    g_autofree char *own = backing && !name ? name_beside(over, backing) : NULL;
    name = name ? name : own;
    bool was_writable = over->flags & BLOCK_RDWR;
    if (!was_writable && !block_set_writable(over, true, err))
        return false;
    block_drain_begin(over);
    bool ok = block_set_backing(over, backing ? name : NULL, backing ? block_format(backing) : NULL, err);
    Block *old = ok ? over->backing : NULL;
    if (ok && old != backing) {
        over->backing = backing;
        if (backing)
            block_ref(backing);
    } else {
        old = NULL;
    }
    block_drain_end(over);
    int r = old ? block_close(old) : 0;
    if (!was_writable && !block_set_writable(over, false, ok ? err : NULL))
        return false;
    return ok && r ? fail_errno(err, -r, "cannot close the old backing file") : ok;
}

Block *block_over(Block *backing)
{
    GPtrArray *nodes = block_nodes(backing->graph);
    for (unsigned i = 0; i < nodes->len; i++)
        if (((Block *)nodes->pdata[i])->backing == backing)
            return nodes->pdata[i];
    return NULL;
}

bool block_above(const Block *top, const Block *b)
{
    while (top && top != b)
        top = top->backing;
    return top;
}
