/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: tables in memory, and how they reach the file (the order is told in qcow2_int.h). */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2_int.h"
#include "util/log.h"

static gpointer key(uint64_t at) { return (gpointer)(uintptr_t)(at >> 9); }

static void table_free(void *p)
{
    Q2Table *t = p;
    free(t->data);
    g_free(t);
}

void q2_cache_init(Qcow2 *q, Q2Cache *c, uint64_t bytes)
{
    c->by_offset = g_hash_table_new_full(NULL, NULL, NULL, table_free);
    g_queue_init(&c->lru);
    c->limit = (unsigned)CLAMP(bytes >> q->cluster_bits, 8, UINT32_MAX / 2);
}

void q2_cache_free(Q2Cache *c)
{
    if (c->by_offset)
        g_hash_table_destroy(c->by_offset);
    c->by_offset = NULL;
}

Q2Table *q2_table_peek(Q2Cache *c, uint64_t at)
{
    if (c->last && c->last->at == at)
        return c->last;
    Q2Table *t = g_hash_table_lookup(c->by_offset, key(at));
    if (!t)
        return NULL;
    g_queue_unlink(&c->lru, &t->lru);
    g_queue_push_head_link(&c->lru, &t->lru);
    c->last = t;
    return t;
}

static void drop(Q2Cache *c, Q2Table *t)
{
    if (c->last == t)
        c->last = NULL;
    if (t->dirty)
        c->n_dirty--;
    g_queue_unlink(&c->lru, &t->lru);
    g_hash_table_remove(c->by_offset, key(t->at));
}

void q2_cache_drop(Q2Cache *c, uint64_t at)
{
    Q2Table *t = g_hash_table_lookup(c->by_offset, key(at));
    if (t)
        drop(c, t);
}

static int make_room(Block *b, Q2Cache *c)
{
    if (c->lru.length < c->limit)
        return 0;
    if (c->n_dirty * 4 >= c->limit * 3) {
        int r = q2_commit(b, true);
        if (r)
            return r;
    }
    for (GList *l = c->lru.tail; l; l = l->prev) {
        Q2Table *t = l->data;
        if (!t->dirty) {
            drop(c, t);
            return 0;
        }
    }
    return 0;       /* all of it changed anew by the commit's own doing: grow by one */
}

int q2_table_get(Block *b, Q2Cache *c, uint64_t at, bool fresh, Q2Table **out)
{
    Qcow2 *q = b->state;
    *out = q2_table_peek(c, at);
    if (*out) {
        if (fresh)
            memset((*out)->data, 0, q->cluster_size);
        return 0;
    }
    int r = make_room(b, c);
    if (r)
        return r;
    uint8_t *data = block_buffer(q->cluster_size);
    if (!data)
        return -ENOMEM;
    if (fresh)
        memset(data, 0, q->cluster_size);
    else
        r = block_read(b->file, at, data, q->cluster_size);
    if (r) {
        free(data);
        return r;
    }
    Q2Table *t = g_new0(Q2Table, 1);
    t->at = at;
    t->data = data;
    t->lru.data = t;
    g_hash_table_insert(c->by_offset, key(at), t);
    g_queue_push_head_link(&c->lru, &t->lru);
    *out = c->last = t;
    return 0;
}

void q2_table_dirty(Q2Cache *c, Q2Table *t)
{
    if (!t->dirty)
        c->n_dirty++;
    t->dirty = true;
}

void q2_entry_set(Qcow2 *q, Q2Table *t, unsigned i, uint64_t entry, uint64_t bitmap)
{
    uint8_t *p = t->data + ((size_t)i << (q->extended ? 4 : 3));
    store_be64(p, entry);
    if (q->extended)
        store_be64(p + 8, bitmap);
    q2_table_dirty(&q->l2, t);
}

static int by_offset(gconstpointer a, gconstpointer b)
{
    const Q2Table *const *x = a, *const *y = b;
    return (*x)->at < (*y)->at ? -1 : (*x)->at > (*y)->at;
}

static int write_tables(Block *b, Q2Cache *c)
{
    Qcow2 *q = b->state;
    if (!c->n_dirty)
        return 0;
    GPtrArray *dirty = g_ptr_array_new();
    for (GList *l = c->lru.head; l; l = l->next)
        if (((Q2Table *)l->data)->dirty)
            g_ptr_array_add(dirty, l->data);
    g_ptr_array_sort(dirty, by_offset);
    int r = 0;
    for (unsigned i = 0; i < dirty->len && !r; i++) {
        Q2Table *t = dirty->pdata[i];
        r = block_write(b->file, t->at, t->data, q->cluster_size, 0);
        if (!r) {
            t->dirty = false;
            c->n_dirty--;
        }
    }
    g_ptr_array_free(dirty, TRUE);
    return r;
}

/* Entries [*from, *to) of an array of host-order words that lies at `at`. */
static int write_words(Block *b, uint64_t at, const uint64_t *words, uint32_t *from, uint32_t *to)
{
    if (*from >= *to)
        return 0;
    size_t n = *to - *from;
    g_autofree uint8_t *buf = g_malloc(n * 8);
    for (size_t i = 0; i < n; i++)
        store_be64(buf + i * 8, words[*from + i]);
    int r = block_write(b->file, at + (uint64_t)*from * 8, buf, n * 8, 0);
    if (!r)
        *from = *to = 0;
    return r;
}

int q2_sync(Block *b)
{
    int r = b->data ? block_flush(b->data) : 0;
    return r ? r : block_flush(b->file);
}

static int write_incompat(Block *b, uint64_t bits)
{
    Qcow2 *q = b->state;
    uint8_t word[8];
    if (q->version < 3 || !(b->flags & BLOCK_RDWR))
        return 0;
    store_be64(word, bits);
    int r = block_write(b->file, 72, word, sizeof word, 0);
    if (!r)
        q->incompat = bits;
    return r;
}

/* Sets incompatible features in the file. */
static int mark(Block *b, uint64_t bits)
{
    Qcow2 *q = b->state;
    return (q->incompat & bits) == bits ? 0 : write_incompat(b, q->incompat | bits);
}

int q2_commit(Block *b, bool all)
{
    Qcow2 *q = b->state;
    bool lazy = (q->compat & Q2_COMPAT_LAZY) && q->version >= 3 && !all;
    bool l1 = q->l1_dirty_from < q->l1_dirty_to;
    int r = 0;
    if (lazy && (q->rb.n_dirty || q->l2.n_dirty) && !q->lazy_marked) {
        r = mark(b, Q2_INCOMPAT_DIRTY);
        if (!r)
            r = q2_sync(b);
        q->lazy_marked = !r;
    }
    if (!r && !lazy) {
        r = write_tables(b, &q->rb);
        if (!r && q->rt_dirty_from < q->rt_dirty_to) {
            r = q2_sync(b);
            if (!r)
                r = write_words(b, q->rt_at, q->rt, &q->rt_dirty_from, &q->rt_dirty_to);
        }
    }
    if (!r && (q->l2.n_dirty || l1)) {
        r = q2_sync(b);
        if (!r)
            r = write_tables(b, &q->l2);
        if (!r && l1) {
            r = q2_sync(b);
            if (!r)
                r = write_words(b, q->l1_at, q->l1, &q->l1_dirty_from, &q->l1_dirty_to);
        }
    }
    if (!r && q->to_free->len) {
        r = q2_sync(b);
        if (!r)
            r = q2_free_pending(b);
    }
    return r;
}

int q2_unmark(Block *b, uint64_t bits)
{
    Qcow2 *q = b->state;
    return q->incompat & bits ? write_incompat(b, q->incompat & ~bits) : 0;
}

int q2_damaged(Block *b, const char *fmt, ...)
{
    Qcow2 *q = b->state;
    va_list args;
    va_start(args, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (!(q->incompat & Q2_INCOMPAT_CORRUPT)) {
        log_error(b->node_name, "%s is damaged: %s%s", b->filename, what,
                  b->flags & BLOCK_RDWR ? "; it is marked corrupt and not written any more (rhea-img check -r all)" : "");
        mark(b, Q2_INCOMPAT_CORRUPT);
        q->incompat |= Q2_INCOMPAT_CORRUPT;
    }
    return -EIO;
}
