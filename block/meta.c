/* SPDX-License-Identifier: GPL-2.0-or-later
 * Metadata of an image in memory (meta.h). */
#include "block/meta.h"

#include <string.h>

enum { MAX_PIECES = 4096 };

/* from < to: those bytes differ from the file's.  Only they are written, since what lies beside a table may be data,
 * of which this copy knows nothing. */
typedef struct MetaPiece { uint64_t n; unsigned level; uint16_t from, to; GList lru; uint8_t data[META_PIECE]; } MetaPiece;

static gpointer key(uint64_t n) { return (gpointer)(uintptr_t)n; }

void meta_init(Meta *m, Block *file)
{
    *m = (Meta){ .file = file, .pieces = g_hash_table_new_full(NULL, NULL, NULL, g_free), .limit = MAX_PIECES };
    g_queue_init(&m->lru);
}

void meta_free(Meta *m)
{
    if (m->pieces)
        g_hash_table_destroy(m->pieces);
    m->pieces = NULL;
}

bool meta_dirty(const Meta *m)
{
    for (unsigned i = 0; i < META_LEVELS; i++)
        if (m->dirty[i])
            return true;
    return false;
}

static int make_room(Meta *m)
{
    unsigned dirty = 0;
    if (m->lru.length < m->limit)
        return 0;
    for (unsigned i = 0; i < META_LEVELS; i++)
        dirty += m->dirty[i];
    int r = dirty * 2 > m->limit ? meta_commit(m) : 0;
    for (GList *l = m->lru.tail; l && !r; l = l->prev) {
        MetaPiece *p = l->data;
        if (p->from < p->to)
            continue;
        g_queue_unlink(&m->lru, l);
        g_hash_table_remove(m->pieces, key(p->n));
        break;
    }
    return r;
}

static int piece_get(Meta *m, uint64_t n, MetaPiece **out)
{
    MetaPiece *p = g_hash_table_lookup(m->pieces, key(n));
    int r = 0;
    if (p) {
        g_queue_unlink(&m->lru, &p->lru);
    } else {
        r = make_room(m);
        if (r)
            return r;
        p = g_new0(MetaPiece, 1);
        p->n = n;
        p->lru.data = p;
        uint64_t at = n * META_PIECE, there = m->file->length;
        if (at < there)
            r = block_read(m->file, at, p->data, MIN((uint64_t)META_PIECE, there - at));
        if (r) {
            g_free(p);
            return r;
        }
        g_hash_table_insert(m->pieces, key(n), p);
    }
    g_queue_push_head_link(&m->lru, &p->lru);
    *out = p;
    return 0;
}

int meta_read(Meta *m, uint64_t at, void *out, size_t len)
{
    for (size_t done = 0, n; done < len; done += n) {
        unsigned from = (unsigned)((at + done) % META_PIECE);
        MetaPiece *p;
        int r = piece_get(m, (at + done) / META_PIECE, &p);
        if (r)
            return r;
        n = MIN(len - done, (size_t)META_PIECE - from);
        memcpy((uint8_t *)out + done, p->data + from, n);
    }
    return 0;
}

int meta_write(Meta *m, uint64_t at, const void *in, size_t len, unsigned level)
{
    for (size_t done = 0, n; done < len; done += n) {
        uint16_t from = (uint16_t)((at + done) % META_PIECE);
        MetaPiece *p;
        int r = piece_get(m, (at + done) / META_PIECE, &p);
        if (r)
            return r;
        n = MIN(len - done, (size_t)META_PIECE - from);
        if (p->from < p->to && p->level != level) {     /* tables of two levels in one piece: the order must hold */
            r = meta_commit(m);
            if (r)
                return r;
        }
        memcpy(p->data + from, (const uint8_t *)in + done, n);
        if (p->from >= p->to) {
            p->from = from;
            p->to = (uint16_t)(from + n);
            p->level = level;
            m->dirty[level]++;
        } else {
            p->from = MIN(p->from, from);
            p->to = MAX(p->to, (uint16_t)(from + n));
        }
    }
    return 0;
}

static gint by_place(gconstpointer a, gconstpointer b)
{
    const MetaPiece *x = *(MetaPiece *const *)a, *y = *(MetaPiece *const *)b;
    return x->n < y->n ? -1 : x->n > y->n;
}

static int log_some(Meta *m, GPtrArray *list, unsigned from)
{
    MetaChange change[META_LOG_MAX];
    unsigned n = 0;
    for (; n < META_LOG_MAX && from + n < list->len; n++) {
        MetaPiece *p = list->pdata[from + n];
        change[n] = (MetaChange){ p->n * META_PIECE, p->data };
    }
    return m->co_log(m->log_self, change, n);
}

static int write_level(Meta *m, unsigned level)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    for (GList *l = m->lru.head; l; l = l->next) {
        MetaPiece *p = l->data;
        if (p->from < p->to && p->level == level)
            g_ptr_array_add(list, p);
    }
    g_ptr_array_sort(list, by_place);
    int r = 0;
    for (unsigned i = 0; i < list->len && !r; i++) {
        MetaPiece *p = list->pdata[i];
        if (m->co_log && i % META_LOG_MAX == 0)
            r = log_some(m, list, i);
        if (!r)
            r = block_write(m->file, p->n * META_PIECE + p->from, p->data + p->from, p->to - p->from, 0);
        if (!r) {
            p->from = p->to = 0;
            m->dirty[level]--;
        }
    }
    return r;
}

int meta_commit(Meta *m)
{
    int r = 0;
    for (unsigned i = 0; i < META_LEVELS && !r; i++)
        if (m->dirty[i]) {
            r = block_flush(m->file);
            if (!r)
                r = write_level(m, i);
        }
    return r;
}
