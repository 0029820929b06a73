/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: bitmaps that the image keeps ("Bitmaps extension" and what follows it in the format's specification).
 *
 * They are read when the image is opened.  Before the first write each one's in_use flag is set in the file, and when
 * the image is closed (or becomes read-only) they are put away in new clusters, the header names a new directory, and
 * the old one's clusters are let go.  A crash leaves the flag: the bitmap is inconsistent then, which is all that is
 * known of it.  Without the autoclear bit somebody wrote who knows nothing of bitmaps: the extension means nothing.
 *
 * Bitmaps of unknown types or with extra data that forbids their use are kept as they are and show as inconsistent. */
#include <stdlib.h>
#include <string.h>

#include "block/bitmap.h"
#include "block/qcow2/qcow2_int.h"
#include "util/log.h"

enum { ENTRY = 24, MAX_BITMAPS = 65535, MAX_DIRECTORY = 64 << 20, MAX_NAME = 1023, IN_USE = 1, AUTO = 2, EXTRA_COMPATIBLE = 4,
       KNOWN_FLAGS = 7, DIRTY_TRACKING = 1 };
#define MAX_TOTAL_BITS (UINT64_C(1) << 33)      /* of all bitmaps of an image together */
#define RESERVED (~(Q2_OFFSET | 1))

typedef struct Q2Bitmap {
    uint64_t table_at;
    uint32_t table_size, flags, extra_size;
    uint8_t  type, shift, *extra;
    char    *name;
} Q2Bitmap;

static void bitmap_free(void *p)
{
    Q2Bitmap *e = p;
    g_free(e->extra);
    g_free(e->name);
    g_free(e);
}

bool q2_bitmaps_extension(Block *b, const uint8_t *data, uint32_t len, uint64_t at, GError **err)
{
    Qcow2 *q = b->state;
    if (len != 24)
        return fail(err, "the bitmaps extension has %u bytes", len);
    if (q->version < 3 || !(q->autoclear & Q2_AUTOCLEAR_BITMAPS))
        return true;
    q->n_bitmaps = load_be32(data);
    q->bitmaps_bytes = load_be64(data + 8);
    q->bitmaps_at = load_be64(data + 16);
    q->bitmaps_extension_at = at;
    if (!q->n_bitmaps || q->n_bitmaps > MAX_BITMAPS || q->bitmaps_bytes > MAX_DIRECTORY || load_be32(data + 4))
        return fail(err, "the bitmaps extension names %u bitmaps in %" PRIu64 " bytes", q->n_bitmaps, q->bitmaps_bytes);
    return true;
}

void q2_bitmaps_extension_put(Block *b, uint8_t out[24])
{
    Qcow2 *q = b->state;
    store_be32(out, q->n_bitmaps);
    store_be32(out + 4, 0);
    store_be64(out + 8, q->bitmaps_bytes);
    store_be64(out + 16, q->bitmaps_at);
}

static uint64_t words_for(const Qcow2 *q, uint64_t n_bits) { return ((n_bits + 7) / 8 + q->cluster_size - 1) >> q->cluster_bits; }

/* --- reading */

static int read_table(Block *b, const Q2Bitmap *e, uint64_t **out)
{
    Qcow2 *q = b->state;
    if ((uint64_t)e->table_size * 8 > Q2_MAX_L1_BYTES || (e->table_at & (q->cluster_size - 1)) ||
        e->table_at > b->file->length || (uint64_t)e->table_size * 8 > b->file->length - e->table_at)
        return -EINVAL;
    *out = g_try_new(uint64_t, e->table_size + 1u);
    int r = *out ? block_read(b->file, e->table_at, *out, (size_t)e->table_size * 8) : -ENOMEM;
    for (uint32_t i = 0; i < e->table_size && !r; i++) {
        (*out)[i] = GUINT64_FROM_BE((*out)[i]);
        uint64_t at = (*out)[i] & Q2_OFFSET;
        if (((*out)[i] & RESERVED) || (at && (((*out)[i] & 1) || (at & (q->cluster_size - 1)))))
            r = -EINVAL;
    }
    if (r) {
        g_free(*out);
        *out = NULL;
    }
    return r;
}

static int read_bits(Block *b, const Q2Bitmap *e, BlockBitmap *m)
{
    Qcow2 *q = b->state;
    if (e->table_size != words_for(q, m->n_bits))
        return -EINVAL;
    g_autofree uint64_t *table = NULL;
    int r = read_table(b, e, &table);
    if (r)
        return r;
    uint64_t span = q->cluster_size * 8 << m->shift;
    uint8_t *buf = block_memory(q->cluster_size);
    if (!buf)
        return -ENOMEM;
    for (uint32_t i = 0; i < e->table_size && !r; i++) {
        if (table[i] & Q2_OFFSET) {
            r = block_read(b->file, table[i] & Q2_OFFSET, buf, q->cluster_size);
            if (!r)
                block_bitmap_load(m, (uint64_t)i << q->cluster_bits, buf, q->cluster_size);
        } else if (table[i] & 1) {
            block_bitmap_set(m, i * span, span);
        }
    }
    free(buf);
    return r;
}

/* The entry at d, of which n bytes are left; its length, 0: it makes no sense. */
static size_t parse_entry(const uint8_t *d, uint64_t n, Q2Bitmap *out)
{
    if (n < ENTRY)
        return 0;
    uint64_t name = load_be16(d + 18), extra = load_be32(d + 20), len = align_up(ENTRY + name + extra, 8);
    if (!name || name > MAX_NAME || len > n)
        return 0;
    *out = (Q2Bitmap){ .table_at = load_be64(d), .table_size = load_be32(d + 8), .flags = load_be32(d + 12), .type = d[16],
                       .shift = d[17], .extra_size = (uint32_t)extra };
    out->extra = g_memdup2(d + ENTRY, extra);
    out->name = g_strndup((const char *)d + ENTRY + extra, name);
    return len;
}

static bool take_entry(Block *b, Q2Bitmap *e, uint64_t *total, GError **err)
{
    bool known = e->type == DIRTY_TRACKING && !(e->flags & ~(uint32_t)KNOWN_FLAGS) &&
                 (!e->extra_size || (e->flags & EXTRA_COMPATIBLE)) && e->shift >= 9 && e->shift <= 31;
    uint64_t n_bits = known ? (b->length >> e->shift) + 1 : 0;
    bool fits = known && n_bits <= BITMAP_MAX_BITS && *total + n_bits <= MAX_TOTAL_BITS;
    BlockBitmap *m = block_bitmap_new(b, e->name, fits ? UINT64_C(1) << e->shift : UINT64_C(1) << 31, err);
    if (!m)
        return false;
    m->persistent = true;
    m->enabled = e->flags & AUTO;
    m->inconsistent = !fits || (e->flags & IN_USE);
    if (known)
        m->shift = e->shift;
    if (m->inconsistent)
        return true;
    *total += n_bits;
    int r = read_bits(b, e, m);
    if (r) {
        m->inconsistent = true;
        log_warn(b->node_name, "%s: bitmap '%s' cannot be read: %s", b->filename, e->name, g_strerror(-r));
    }
    return true;
}

bool q2_bitmaps_load(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    q->bitmaps = g_ptr_array_new_with_free_func(bitmap_free);
    if (!q->n_bitmaps)
        return true;
    if ((q->bitmaps_at & (q->cluster_size - 1)) || q->bitmaps_at < q->cluster_size || q->bitmaps_at > b->file->length ||
        q->bitmaps_bytes > b->file->length - q->bitmaps_at)
        return fail(err, "the bitmap directory is not in the file");
    g_autofree uint8_t *directory = g_try_malloc(q->bitmaps_bytes + 1);
    int r = directory ? block_read(b->file, q->bitmaps_at, directory, q->bitmaps_bytes) : -ENOMEM;
    if (r)
        return fail_errno(err, -r, "cannot read the bitmap directory");
    uint64_t at = 0, total = 0;
    for (uint32_t i = 0; i < q->n_bitmaps; i++) {
        Q2Bitmap *e = g_new(Q2Bitmap, 1);
        size_t len = parse_entry(directory + at, q->bitmaps_bytes - at, e);
        if (!len) {
            g_free(e);
            return fail(err, "entry %u of the bitmap directory makes no sense", i);
        }
        g_ptr_array_add(q->bitmaps, e);
        at += len;
        if (!take_entry(b, e, &total, err))
            return false;
    }
    return true;
}

void q2_bitmaps_free(Block *b)
{
    Qcow2 *q = b->state;
    if (q->bitmaps)
        g_ptr_array_free(q->bitmaps, TRUE);
    q->bitmaps = NULL;
}

/* --- writing */

static GByteArray *directory_bytes(GPtrArray *list)
{
    static const uint8_t pad[8];
    GByteArray *d = g_byte_array_new();
    for (unsigned i = 0; i < list->len; i++) {
        Q2Bitmap *e = list->pdata[i];
        uint8_t h[ENTRY];
        size_t name = strlen(e->name);
        store_be64(h, e->table_at);
        store_be32(h + 8, e->table_size);
        store_be32(h + 12, e->flags);
        h[16] = e->type;
        h[17] = e->shift;
        store_be16(h + 18, (uint16_t)name);
        store_be32(h + 20, e->extra_size);
        g_byte_array_append(d, h, ENTRY);
        if (e->extra_size)
            g_byte_array_append(d, e->extra, e->extra_size);
        g_byte_array_append(d, (uint8_t *)e->name, (guint)name);
        g_byte_array_append(d, pad, (guint)(align_up(d->len, 8) - d->len));
    }
    return d;
}

int q2_bitmaps_in_use(Block *b)
{
    Qcow2 *q = b->state;
    if (!q->bitmaps || !q->bitmaps->len)
        return 0;
    for (unsigned i = 0; i < q->bitmaps->len; i++)
        ((Q2Bitmap *)q->bitmaps->pdata[i])->flags |= IN_USE;
    GByteArray *d = directory_bytes(q->bitmaps);
    int r = q2_overlaps(b, q->bitmaps_at, d->len) ? q2_damaged(b, "the bitmap directory overlaps other metadata") : 0;
    if (!r)
        r = block_write(b->file, q->bitmaps_at, d->data, d->len, 0);
    g_byte_array_free(d, TRUE);
    return r ? r : block_flush(b->file);
}

static int write_new(Block *b, const void *data, uint64_t len, uint64_t *at)
{
    Qcow2 *q = b->state;
    uint64_t n = q2_clusters(q, len), got;
    int r = q2_alloc(b, n, true, at, &got);
    if (r)
        return r;
    q->fresh = MAX(q->fresh, *at + (n << q->cluster_bits));
    return block_write(b->file, *at, data, len, 0);
}

static int write_bits(Block *b, const BlockBitmap *m, Q2Bitmap *e)
{
    Qcow2 *q = b->state;
    uint64_t n = words_for(q, m->n_bits), cs = q->cluster_size, bytes = (m->n_bits + 7) / 8;
    if (n * 8 > Q2_MAX_L1_BYTES)
        return -EFBIG;
    g_autofree uint8_t *table = g_malloc0(MAX(align_up(n * 8, cs), cs));
    uint8_t *buf = block_memory(cs);
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < n && !r; i++) {
        uint64_t at, len = MIN(bytes - i * cs, cs), from = i * cs * 8, to = MIN(from + cs * 8, m->n_bits), found, found_len;
        if (!block_bitmap_next_dirty(m, from << m->shift, UINT64_MAX, &found, &found_len) || found >= to << m->shift)
            continue;
        if (found == from << m->shift && found + found_len >= MIN(to << m->shift, m->length)) {
            store_be64(table + i * 8, 1);
            continue;
        }
        memset(buf, 0, cs);
        block_bitmap_save(m, i * cs, buf, len);
        r = write_new(b, buf, cs, &at);
        store_be64(table + i * 8, at);
    }
    free(buf);
    e->table_size = (uint32_t)n;
    if (!r && n)
        r = write_new(b, table, align_up(n * 8, cs), &e->table_at);
    return r;
}

static void release(Block *b, const Q2Bitmap *e)
{
    Qcow2 *q = b->state;
    g_autofree uint64_t *table = NULL;
    if (!e->table_size || read_table(b, e, &table))
        return;         /* leaks, which check finds */
    for (uint32_t i = 0; i < e->table_size; i++)
        if (table[i] & Q2_OFFSET)
            q2_free_later(b, table[i] & Q2_OFFSET, 1);
    q2_free_later(b, e->table_at, q2_clusters(q, (uint64_t)e->table_size * 8));
}

static Q2Bitmap *entry_named(GPtrArray *list, const char *name)
{
    for (unsigned i = 0; list && i < list->len; i++)
        if (!strcmp(((Q2Bitmap *)list->pdata[i])->name, name))
            return list->pdata[i];
    return NULL;
}

/* The new directory: what is to be kept, in new places where it is ours to write. */
static int make_list(Block *b, GPtrArray *list)
{
    Qcow2 *q = b->state;
    int r = 0;
    for (BlockBitmap *m = b->bitmaps; m && !r; m = m->next) {
        if (!m->persistent)
            continue;
        Q2Bitmap *old = entry_named(q->bitmaps, m->name), *e = g_new(Q2Bitmap, 1);
        if (m->inconsistent && old) {
            *e = *old;
            e->extra = g_memdup2(old->extra, old->extra_size);
            e->name = g_strdup(old->name);
        } else {
            *e = (Q2Bitmap){ .type = DIRTY_TRACKING, .shift = (uint8_t)m->shift, .name = g_strdup(m->name),
                             .flags = m->enabled ? AUTO : 0 };
            if (old && old->extra_size) {
                e->extra = g_memdup2(old->extra, old->extra_size);
                e->extra_size = old->extra_size;
                e->flags |= EXTRA_COMPATIBLE;
            }
            if (m->inconsistent)
                e->flags |= IN_USE;
            r = write_bits(b, m, e);
        }
        g_ptr_array_add(list, e);
    }
    return r;
}

static int write_autoclear(Block *b, uint64_t bits)
{
    Qcow2 *q = b->state;
    uint8_t word[8];
    if (q->autoclear == bits)
        return 0;
    store_be64(word, bits);
    int r = block_write(b->file, 88, word, sizeof word, 0);
    if (!r)
        r = block_flush(b->file);
    if (!r)
        q->autoclear = bits;
    return r;
}

/* The extension in its place, if it has one and stays; torn in two, it is not valid while it is written. */
static int update_extension(Block *b)
{
    Qcow2 *q = b->state;
    uint8_t data[24];
    uint64_t bit = q->n_bitmaps ? Q2_AUTOCLEAR_BITMAPS : 0, at = q->bitmaps_extension_at;
    if (!q->n_bitmaps || !at) {
        q->autoclear = (q->autoclear & ~(uint64_t)Q2_AUTOCLEAR_BITMAPS) | bit;
        return q2_header_write(b);
    }
    bool torn = at / 512 != (at + sizeof data - 1) / 512;
    q2_bitmaps_extension_put(b, data);
    int r = torn ? write_autoclear(b, q->autoclear & ~(uint64_t)Q2_AUTOCLEAR_BITMAPS) : 0;
    if (!r)
        r = block_write(b->file, at, data, sizeof data, 0);
    if (!r)
        r = block_flush(b->file);
    return r ? r : write_autoclear(b, q->autoclear | Q2_AUTOCLEAR_BITMAPS);
}

int q2_bitmaps_store(Block *b)
{
    Qcow2 *q = b->state;
    bool any = q->bitmaps && q->bitmaps->len;
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        any |= m->persistent;
    if (!any || !q->bitmaps || (q->incompat & Q2_INCOMPAT_CORRUPT))
        return 0;
    GPtrArray *list = g_ptr_array_new_with_free_func(bitmap_free);
    uint64_t old_at = q->bitmaps_at, old_bytes = q->bitmaps_bytes, at = 0;
    int r = make_list(b, list);
    GByteArray *d = directory_bytes(list);
    if (!r && d->len > MAX_DIRECTORY)
        r = -EFBIG;
    if (!r && d->len)
        r = write_new(b, d->data, d->len, &at);
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = q2_sync(b);
    if (!r) {
        q->n_bitmaps = list->len;
        q->bitmaps_at = at;
        q->bitmaps_bytes = d->len;
        r = update_extension(b);
    }
    g_byte_array_free(d, TRUE);
    if (r) {        /* what was written leaks; the old ones are in use still */
        g_ptr_array_free(list, TRUE);
        return r;
    }
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        Q2Bitmap *old = q->bitmaps->pdata[i], *new = entry_named(list, old->name);
        if (!new || new->table_at != old->table_at)
            release(b, old);
    }
    if (old_bytes)
        q2_free_later(b, old_at, q2_clusters(q, old_bytes));
    g_ptr_array_free(q->bitmaps, TRUE);
    q->bitmaps = list;
    return q2_commit(b, true);
}

bool q2_bitmaps_may_persist(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    unsigned n = 0;
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        n += m->persistent;
    if (q->version < 3)
        return fail(err, "Cannot store dirty bitmaps in qcow2 v2 files (amend -o compat=1.1)");
    if (n >= MAX_BITMAPS)
        return fail(err, "%s has %u bitmaps already, which is the most", b->filename, n);
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        if (m->name && words_for(q, m->n_bits) * 8 > Q2_MAX_L1_BYTES)
            return fail(err, "bitmap '%s' has %" PRIu64 " bits, too many for clusters of %" PRIu64 " bytes", m->name, m->n_bits, q->cluster_size);
    return true;
}

/* --- what others want to know */

Json *q2_bitmaps_info(Block *b)
{
    Json *list = json_array();
    for (BlockBitmap *m = b->bitmaps; m; m = m->next) {
        if (!m->persistent)
            continue;
        Json *o = json_object(), *flags = json_array();
        if (m->inconsistent)
            json_add(flags, json_string("in-use"));
        if (m->enabled)
            json_add(flags, json_string("auto"));
        json_set(o, "flags", flags);
        json_set(o, "name", json_string(m->name));
        json_set(o, "granularity", json_u64(UINT64_C(1) << m->shift));
        json_add(list, o);
    }
    if (json_count(list))
        return list;
    json_free(list);
    return NULL;
}
