/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: guest clusters to host clusters; reading, writing with copy-on-write, zeroes, discards.
 *
 * The unit of allocation is a cluster, that of status a subcluster; without extended L2 entries a cluster has one. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2_int.h"

enum { MAX_ALLOC_BYTES = 16 << 20, MAX_PACK = 64, PACK_BYTES = 512 << 10 };    /* what is compressed in one go */

typedef enum RunType { RUN_NONE, RUN_ZERO, RUN_DATA, RUN_COMPRESSED } RunType;
typedef struct Run {
    RunType  type;
    uint64_t len, host, entry;
    bool     in_place;          /* data, and nobody else's */
} Run;

/* --- keeping requests apart */

static bool conflict(Q2Use a, Q2Use b)
{
    static const uint8_t with[] = {
        [Q2_USE_READ]  = 1 << Q2_USE_FREE,
        [Q2_USE_WRITE] = 1 << Q2_USE_ALLOC | 1 << Q2_USE_FREE,
        [Q2_USE_ALLOC] = 1 << Q2_USE_WRITE | 1 << Q2_USE_ALLOC | 1 << Q2_USE_FREE,
        [Q2_USE_FREE]  = 1 << Q2_USE_READ | 1 << Q2_USE_WRITE | 1 << Q2_USE_ALLOC | 1 << Q2_USE_FREE,
    };
    return with[a] >> b & 1;
}

/* False: it had to wait, and what was looked up may be out of date. */
static bool request_try(Qcow2 *q, Q2Request *r, uint64_t from, uint64_t to, Q2Use use)
{
    for (Q2Request *o = q->requests; o; o = o->next)
        if (o->from < to && from < o->to && conflict(use, o->use)) {
            co_queue_wait(&o->waiters);
            return false;
        }
    *r = (Q2Request){ .from = from, .to = to, .use = use, .next = q->requests, .link = &q->requests };
    if (r->next)
        r->next->link = &r->next;
    q->requests = r;
    return true;
}

static void request_end(Q2Request *r)
{
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    co_queue_wake_all(&r->waiters);
}

/* --- looking up */

static int classify(Block *b, uint64_t guest, uint64_t entry, uint64_t bitmap, RunType *out)
{
    Qcow2 *q = b->state;
    if (entry & Q2_COMPRESSED) {
        *out = RUN_COMPRESSED;
        return b->data ? q2_damaged(b, "compressed cluster although there is a data file") : 0;
    }
    bool placed = (entry & Q2_OFFSET) || (b->data && (entry & Q2_COPIED));
    if (q->extended) {
        unsigned sc = (unsigned)((guest & (q->cluster_size - 1)) >> q->sc_bits);
        bool zero = bitmap >> (32 + sc) & 1, data = bitmap >> sc & 1;
        if ((zero && data) || (data && !placed))
            return q2_damaged(b, "L2 entry for %#" PRIx64 " contradicts its bitmap", guest);
        *out = zero ? RUN_ZERO : data ? RUN_DATA : RUN_NONE;
    } else {
        *out = q->version >= 3 && (entry & Q2_ZERO) ? RUN_ZERO : placed ? RUN_DATA : RUN_NONE;
    }
    if (placed && ((entry & Q2_OFFSET) & (q->cluster_size - 1)))
        return q2_damaged(b, "cluster for %#" PRIx64 " lies at %#" PRIx64, guest, (uint64_t)(entry & Q2_OFFSET));
    if (placed && b->data && (entry & Q2_OFFSET) != align_down(guest, q->cluster_size))
        return q2_damaged(b, "cluster for %#" PRIx64 " is not in its place in the data file", guest);
    return 0;
}

/* The L2 table for a guest offset, in its cache on return without a yield in between; NULL: none. */
static int l2_lookup(Block *b, uint64_t at, Q2Table **out)
{
    Qcow2 *q = b->state;
    for (;;) {
        uint64_t i = q2_l1_index(q, at);
        *out = NULL;
        if (i >= q->l1_size || !(q->l1[i] & Q2_OFFSET))
            return 0;
        uint64_t l2_at = q->l1[i] & Q2_OFFSET;
        if (l2_at & (q->cluster_size - 1))
            return q2_damaged(b, "L2 table %" PRIu64 " lies at %#" PRIx64, i, l2_at);
        *out = q2_table_peek(&q->l2, l2_at);
        if (*out)
            return 0;
        co_mutex_lock(&q->lock);
        int r = 0;
        if ((q->l1[i] & Q2_OFFSET) == l2_at) {
            if (q2_table_peek(&q->rb, l2_at) || l2_at == q->rt_at)
                r = q2_damaged(b, "L2 table %" PRIu64 " is also a refcount table", i);
            else
                r = q2_table_get(b, &q->l2, l2_at, false, out);
        }
        co_mutex_unlock(&q->lock);
        if (r)
            return r;
    }
}

static int lookup(Block *b, uint64_t at, uint64_t len, Run *run)
{
    Qcow2 *q = b->state;
    Q2Table *t;
    int r = l2_lookup(b, at, &t);
    if (r)
        return r;
    uint64_t span = BIT(q->cluster_bits + q->l2_bits), end = at + MIN(len, span - (at & (span - 1)));
    if (!t) {
        *run = (Run){ .type = RUN_NONE, .len = end - at };
        return 0;
    }
    uint64_t pos = align_down(at, BIT(q->sc_bits)), expected = 0;
    for (bool first = true; pos < end; first = false) {
        unsigned i = q2_l2_index(q, pos);
        uint64_t entry = q2_entry(q, t, i), bitmap = q2_bitmap(q, t, i);
        RunType type;
        r = classify(b, pos, entry, bitmap, &type);
        if (r)
            return r;
        uint64_t host = (entry & Q2_OFFSET) + (pos & (q->cluster_size - 1));
        bool in_place = type == RUN_DATA && (entry & Q2_COPIED);
        if (first)
            *run = (Run){ .type = type, .host = host, .entry = entry, .in_place = in_place };
        else if (type != run->type || in_place != run->in_place || (type == RUN_DATA && host != expected))
            break;
        if (type == RUN_COMPRESSED) {
            pos = align_down(pos, q->cluster_size) + q->cluster_size;
            break;
        }
        expected = host + BIT(q->sc_bits);
        pos += BIT(q->sc_bits);
    }
    run->len = MIN(pos, end) - at;
    run->host += at & (BIT(q->sc_bits) - 1);
    return 0;
}

int q2_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Qcow2 *q = b->state;
    Run run;
    int r = lookup(b, at, len, &run);
    if (r)
        return r;
    static const unsigned flags[] = {
        [RUN_NONE] = 0, [RUN_ZERO] = EXTENT_ZERO | EXTENT_ALLOCATED,
        [RUN_DATA] = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET,
        [RUN_COMPRESSED] = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED,
    };
    unsigned hidden = q->crypt_method ? EXTENT_OFFSET : 0;     /* what lies there is not what is read */
    *out = (Extent){ .len = run.len, .flags = flags[run.type] & ~hidden, .file = q2_data(b), .offset = run.host };
    return 0;
}

/* --- reading */

static int read_compressed(Block *b, uint64_t at, uint64_t entry, const struct iovec *v, int nv, uint64_t len)
{
    Qcow2 *q = b->state;
    uint64_t in = at & (q->cluster_size - 1);
    if (q->unpacked && q->unpacked_entry == entry) {
        iov_from_buf(v, nv, 0, q->unpacked + in, len);
        return 0;
    }
    uint8_t *buf = block_buffer(q->cluster_size);
    if (!buf)
        return -ENOMEM;
    int r = q2_unpack(b, entry, buf);
    if (r) {
        free(buf);
        return r;
    }
    iov_from_buf(v, nv, 0, buf + in, len);
    free(q->unpacked);
    q->unpacked = buf;
    q->unpacked_entry = entry;
    return 0;
}

static int read_run(Block *b, uint64_t at, const Run *run, const struct iovec *v, int nv)
{
    switch (run->type) {
    case RUN_NONE: return block_read_backing(b, at, v, nv, run->len);
    case RUN_ZERO: iov_fill(v, nv, 0, 0, run->len); return 0;
    case RUN_DATA: return q2_data_readv(b, run->host, at, v, nv);
    default:       return read_compressed(b, at, run->entry, v, nv, run->len);
    }
}

/* apart: the caller holds no request that covers the range. */
static int read_range(Block *b, uint64_t at, const struct iovec *v, int nv, bool apart)
{
    Qcow2 *q = b->state;
    uint64_t len = iov_size(v, nv), done = 0;
    g_autofree struct iovec *part = NULL;
    while (done < len) {
        Run run;
        Q2Request request;
        int r = lookup(b, at + done, len - done, &run);
        if (r)
            return r;
        if (apart && !request_try(q, &request, at + done, at + done + run.len, Q2_USE_READ))
            continue;
        if (run.len == len) {
            r = read_run(b, at, &run, v, nv);
        } else {
            if (!part)
                part = g_new(struct iovec, nv);
            int n = iov_slice(v, nv, done, run.len, part);
            r = read_run(b, at + done, &run, part, n);
        }
        if (apart)
            request_end(&request);
        if (r)
            return r;
        done += run.len;
    }
    return 0;
}

int q2_read(Block *b, uint64_t at, const struct iovec *v, int nv) { return read_range(b, at, v, nv, true); }

/* --- writing */

static void l1_changed(Qcow2 *q, uint32_t i, uint64_t entry)
{
    q->l1[i] = entry;
    q->l1_dirty_from = q->l1_dirty_from < q->l1_dirty_to ? MIN(q->l1_dirty_from, i) : i;
    q->l1_dirty_to = MAX(q->l1_dirty_to, i + 1);
}

int q2_l2_for(Block *b, uint64_t at, Q2Table **out)
{
    Qcow2 *q = b->state;
    uint64_t i = q2_l1_index(q, at), old, new_at, got;
    if (i >= q->l1_size)
        return -EIO;
    old = q->l1[i] & Q2_OFFSET;
    if (old & (q->cluster_size - 1))
        return q2_damaged(b, "L2 table %" PRIu64 " lies at %#" PRIx64, i, old);
    if (old && (q->l1[i] & Q2_COPIED))
        return q2_table_get(b, &q->l2, old, false, out);
    int r = q2_alloc(b, 1, true, &new_at, &got);
    if (r)
        return r;
    q->fresh = MAX(q->fresh, new_at + q->cluster_size);
    r = q2_table_get(b, &q->l2, new_at, true, out);
    if (!r && old) {
        Q2Table *from;
        r = q2_table_get(b, &q->l2, old, false, &from);
        if (!r)
            memcpy((*out)->data, from->data, q->cluster_size);
    }
    if (r) {
        q2_ref_add(b, new_at >> q->cluster_bits, 1, -1);
        return r;
    }
    q2_table_dirty(&q->l2, *out);
    l1_changed(q, (uint32_t)i, new_at | Q2_COPIED);
    if (old)
        q2_free_later(b, old, 1);
    return 0;
}

/* One step of a write that has to change L2 entries. */
typedef struct Plan {
    uint64_t first, n;              /* guest offset of the first cluster, clusters */
    uint64_t host;
    bool     reuse, fresh;          /* the clusters are there already; they read as zeros */
    bool     whole_first, whole_last;   /* all of that cluster's old contents are copied, not just subclusters */
    uint64_t old_first[2], old_last[2]; /* entry, bitmap */
} Plan;

static bool placed_alone(Block *b, uint64_t entry)
{
    if (entry & Q2_COMPRESSED)
        return false;
    return (entry & Q2_COPIED) && ((entry & Q2_OFFSET) || b->data);
}

/* How many clusters from `first` on, up to `to`, need new places; the guarded range. */
static int count_new(Block *b, uint64_t first, uint64_t to, uint64_t *n, bool *frees)
{
    Qcow2 *q = b->state;
    Q2Table *t;
    int r = l2_lookup(b, first, &t);
    if (r)
        return r;
    uint64_t span = BIT(q->cluster_bits + q->l2_bits);
    to = MIN(to, align_down(first, span) + span);
    to = MIN(to, first + MAX_ALLOC_BYTES);
    *n = q2_clusters(q, to - first);
    *frees = false;
    for (uint64_t i = 0; t && i < *n; i++) {
        uint64_t entry = q2_entry(q, t, q2_l2_index(q, first) + (unsigned)i);
        if (placed_alone(b, entry))
            *n = MAX(i, 1);     /* up to here; or this one by itself, in its place */
        *frees |= (entry & Q2_COMPRESSED) != 0;
    }
    return 0;
}

static int plan_make(Block *b, Plan *p)
{
    Qcow2 *q = b->state;
    Q2Table *t;
    int r = q2_l2_for(b, p->first, &t);
    if (r)
        return r;
    unsigned i = q2_l2_index(q, p->first);
    uint64_t entry = q2_entry(q, t, i);
    p->reuse = placed_alone(b, entry);
    if (p->reuse) {
        p->n = 1;
        p->host = entry & Q2_OFFSET;
        p->fresh = false;
        if (!b->data && q2_overlaps(b, p->host, q->cluster_size))
            return q2_damaged(b, "data cluster at %#" PRIx64 " overlaps metadata", p->host);
    } else if (b->data) {
        p->host = p->first;
        p->fresh = b->data->growable && p->host >= b->data->length && !q->crypt_method;
    } else {
        r = q2_alloc(b, p->n, false, &p->host, &p->n);
        if (r)
            return r;
        p->fresh = p->host >= q->fresh && b->file->growable && !q->crypt_method;
        q->fresh = MAX(q->fresh, p->host + (p->n << q->cluster_bits));
        r = q2_l2_for(b, p->first, &t);     /* the table may have gone meanwhile */
        if (r)
            return r;
    }
    unsigned last = i + (unsigned)p->n - 1;
    p->old_first[0] = entry;
    p->old_first[1] = q2_bitmap(q, t, i);
    p->old_last[0] = q2_entry(q, t, last);
    p->old_last[1] = q2_bitmap(q, t, last);
    return 0;
}

/* Whether a cluster's old contents must be copied whole: without subclusters, or if they lie elsewhere. */
static bool copied_whole(const Qcow2 *q, const Plan *p, const uint64_t *old)
{
    return !q->extended || (!p->reuse && ((old[0] & Q2_COMPRESSED) || (uint32_t)old[1]));
}

/* Whether the old contents from one place to another in the same cluster, all of its subclusters there, are zeros that need
 * no copying to a fresh one. */
static bool old_is_zero(Block *b, uint64_t from, uint64_t to, const uint64_t *old)
{
    Qcow2 *q = b->state;
    for (uint64_t at = align_down(from, BIT(q->sc_bits)); at < to; at += BIT(q->sc_bits)) {
        RunType type;
        if (classify(b, at, old[0], old[1], &type) || (type != RUN_NONE && type != RUN_ZERO) ||
            (type == RUN_NONE && b->backing && align_down(at, q->cluster_size) < b->backing->length))
            return false;
    }
    return true;
}

/* Old contents for copy-on-write; beyond the disk's end zeros. */
static int read_old(Block *b, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t there = at < b->length ? MIN(len, b->length - at) : 0;
    memset(buf + there, 0, len - there);
    struct iovec v = { buf, there };
    return there ? read_range(b, at, &v, 1, false) : 0;
}

static int plan_commit(Block *b, const Plan *p, uint64_t from, uint64_t to)
{
    Qcow2 *q = b->state;
    Q2Table *t;
    int r = q2_l2_for(b, p->first, &t);
    if (r)
        return r;
    g_autofree uint64_t *old = g_new0(uint64_t, p->n);
    for (uint64_t k = 0; k < p->n; k++) {
        unsigned i = q2_l2_index(q, p->first) + (unsigned)k;
        uint64_t entry = q2_entry(q, t, i), bitmap = q2_bitmap(q, t, i), c = p->first + (k << q->cluster_bits);
        old[k] = entry;
        if (q->extended) {
            uint64_t s0 = from > c ? (from - c) >> q->sc_bits : 0, s1 = MIN(to - c, q->cluster_size) >> q->sc_bits;
            uint64_t set = bits_mask((unsigned)s1) & ~bits_mask((unsigned)s0);
            if (entry & Q2_COMPRESSED)
                bitmap = 0;
            bitmap = (bitmap & ~(set << 32)) | set;
        }
        q2_entry_set(q, t, i, (p->host + (k << q->cluster_bits)) | Q2_COPIED, bitmap);
    }
    for (uint64_t k = 0; k < p->n && !r && !p->reuse; k++)
        r = q2_free_entry_later(b, old[k]);
    return r;
}

/* Writes what it can of v (from `skip` on) at `at`, changing L2 entries; how much goes to *done. */
static int write_alloc(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t skip, uint64_t len, uint64_t *done)
{
    Qcow2 *q = b->state;
    Plan p = { .first = align_down(at, q->cluster_size) };
    Q2Request request;
    bool frees;
    int r = count_new(b, p.first, at + len, &p.n, &frees);
    *done = 0;
    if (r)
        return r;
    if (!request_try(q, &request, p.first, p.first + (p.n << q->cluster_bits), frees ? Q2_USE_FREE : Q2_USE_ALLOC))
        return 0;       /* look again */
    co_mutex_lock(&q->lock);
    r = plan_make(b, &p);
    co_mutex_unlock(&q->lock);
    if (r) {
        request_end(&request);
        return r;
    }
    uint64_t end = MIN(at + len, p.first + (p.n << q->cluster_bits));
    uint64_t unit = q->cluster_size, from = at, to = end;
    if (!copied_whole(q, &p, p.old_first))
        unit = BIT(q->sc_bits);
    from = align_down(at, unit);
    to = align_up(end, copied_whole(q, &p, p.old_last) ? q->cluster_size : BIT(q->sc_bits));
    if (p.n == 1 && copied_whole(q, &p, p.old_first))
        to = p.first + q->cluster_size;
    /* What a fresh cluster need not be told: that it is zero. */
    bool head = from < at && !(p.fresh && old_is_zero(b, from, at, p.old_first));
    bool tail = to > end && !(p.fresh && old_is_zero(b, end, to, p.old_last));
    struct iovec *all = g_new(struct iovec, nv + 2);
    uint8_t *buf = head || tail ? block_buffer((head ? at - from : 0) + (tail ? to - end : 0)) : NULL;
    int n = 0;
    if ((head || tail) && !buf)
        r = -ENOMEM;
    if (!r && head) {
        all[n++] = (struct iovec){ buf, at - from };
        r = read_old(b, from, buf, at - from);
    }
    n += iov_slice(v, nv, skip, end - at, all + n);
    if (!r && tail) {
        uint8_t *tail_buf = buf + (head ? at - from : 0);
        all[n++] = (struct iovec){ tail_buf, to - end };
        r = read_old(b, end, tail_buf, to - end);
    }
    if (!r)
        r = q2_data_writev(b, p.host + ((head ? from : at) - p.first), head ? from : at, all, n);
    free(buf);
    g_free(all);
    co_mutex_lock(&q->lock);
    if (!r)
        r = plan_commit(b, &p, from, to);
    else if (!p.reuse && !b->data)
        q2_ref_add(b, p.host >> q->cluster_bits, p.n, -1);
    co_mutex_unlock(&q->lock);
    request_end(&request);
    *done = end - at;
    return r;
}

int q2_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Qcow2 *q = b->state;
    uint64_t len = iov_size(v, nv), done = 0;
    g_autofree struct iovec *part = NULL;
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return -EIO;
    while (done < len) {
        Run run;
        int r = lookup(b, at + done, len - done, &run);
        if (r)
            return r;
        if (!run.in_place) {
            uint64_t step;
            r = write_alloc(b, at + done, v, nv, done, len - done, &step);
            if (r)
                return r;
            done += step;
            continue;
        }
        Q2Request request;
        if (!request_try(q, &request, at + done, at + done + run.len, Q2_USE_WRITE))
            continue;
        if (!b->data && q2_overlaps(b, run.host, run.len)) {
            r = q2_damaged(b, "data cluster at %#" PRIx64 " overlaps metadata", run.host);
        } else if (run.len == len) {
            r = q2_data_writev(b, run.host, at, v, nv);
        } else {
            if (!part)
                part = g_new(struct iovec, nv);
            int n = iov_slice(v, nv, done, run.len, part);
            r = q2_data_writev(b, run.host, at + done, part, n);
        }
        request_end(&request);
        if (r)
            return r;
        done += run.len;
    }
    return 0;
}

/* --- compressed clusters */

/* Room for len bytes behind the last compressed cluster or in a new one.  Locked. */
static int alloc_bytes(Block *b, uint64_t len, uint64_t *at)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size, fresh, got, count = 0, mine = q->compressed_at >> q->cluster_bits;
    int r = 0;
    if (q->compressed_at) {
        r = q2_ref_get(b, mine, &count);
        if (!r && (!count || count == q2_ref_max(q)))
            q->compressed_at = 0;
        if (r)
            return r;
    }
    uint64_t room = q->compressed_at ? cs - (q->compressed_at & (cs - 1)) : 0;
    if (len > room) {
        r = q2_alloc(b, 1, true, &fresh, &got);
        if (r)
            return r;
        q->fresh = MAX(q->fresh, fresh + cs);
        if (!room || !q->compressed_at || fresh != (mine + 1) << q->cluster_bits) {
            room = 0;
            *at = fresh;
        }
    }
    if (room) {         /* shares the cluster that stands there */
        *at = q->compressed_at;
        r = q2_ref_add(b, mine, 1, 1);
        if (r)
            return r;
    }
    q->compressed_at = (*at + len) & (cs - 1) ? *at + len : 0;
    return *at + len > bits_mask(62 - (q->cluster_bits - 8)) ? -EFBIG : 0;
}

/* n clusters that lie packed one behind the other, from guest offset `at` on. */
static int write_packed(Block *b, uint64_t at, const uint8_t *packed, const size_t *len, size_t n)
{
    Qcow2 *q = b->state;
    Q2Request request;
    uint64_t host[MAX_PACK];
    int r = 0;
    while (!request_try(q, &request, at, at + (n << q->cluster_bits), Q2_USE_FREE))
        ;
    co_mutex_lock(&q->lock);
    for (size_t i = 0; i < n && !r; i++)
        r = alloc_bytes(b, len[i], &host[i]);
    co_mutex_unlock(&q->lock);
    for (size_t i = 0, next; i < n && !r; i = next) {
        uint64_t bytes = len[i];
        for (next = i + 1; next < n && host[next] == host[i] + bytes; next++)
            bytes += len[next];
        r = block_write(b->file, host[i], packed, bytes, 0);
        packed += bytes;
    }
    co_mutex_lock(&q->lock);
    for (size_t i = 0; i < n && !r; i++) {
        Q2Table *t;
        uint64_t sectors = ((host[i] & 511) + len[i] - 1) / 512, c = at + (i << q->cluster_bits);
        r = q2_l2_for(b, c, &t);
        if (!r) {
            unsigned k = q2_l2_index(q, c);
            uint64_t old = q2_entry(q, t, k);
            q2_entry_set(q, t, k, Q2_COMPRESSED | sectors << (62 - (q->cluster_bits - 8)) | host[i], 0);
            r = q2_free_entry_later(b, old);
        }
    }
    co_mutex_unlock(&q->lock);
    request_end(&request);
    return r;
}

/* len bytes at plain, packed where that saves something; the last cluster has zeros behind its end. */
static int write_batch(Block *b, uint64_t at, const uint8_t *plain, uint64_t len, uint8_t *packed)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size;
    size_t n = q2_clusters(q, len), size[MAX_PACK];
    int r = q2_pack(b, plain, n, packed, size);
    for (size_t i = 0, next; i < n && !r; i = next) {
        uint64_t bytes = 0;
        for (next = i; next < n && !size[next] == !size[i]; next++)
            bytes += size[next];
        if (bytes)
            r = write_packed(b, at + i * cs, packed, size + i, next - i);
        else
            r = q2_write(b, at + i * cs, &(struct iovec){ (void *)(uintptr_t)(plain + i * cs), MIN(next * cs, len) - i * cs }, 1);
        packed += bytes;
    }
    return r;
}

int q2_write_compressed(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Qcow2 *q = b->state;
    uint64_t len = iov_size(v, nv), cs = q->cluster_size, batch = CLAMP(PACK_BYTES / cs, 1, MAX_PACK) * cs;
    if (b->data || q->crypt_method)
        return -ENOTSUP;
    if ((at & (cs - 1)) || ((len & (cs - 1)) && at + len != b->length))
        return -EINVAL;
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return -EIO;
    batch = MIN(batch, align_up(len, cs));
    uint8_t *packed = block_buffer(batch * 2), *copy = packed + batch;
    if (!packed)
        return -ENOMEM;
    int r = 0;
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        n = MIN(len - done, batch);
        const uint8_t *plain = nv == 1 ? (const uint8_t *)v->iov_base + done : copy;
        if (nv > 1 || (n & (cs - 1))) {
            iov_to_buf(v, nv, done, copy, n);
            memset(copy + n, 0, align_up(n, cs) - n);
            plain = copy;
        }
        r = write_batch(b, at + done, plain, n, packed);
    }
    free(packed);
    return r;
}

/* --- zeroes and discards */

/* What clusters [from, to), all below one L2 table, become. */
static int set_zero(Block *b, uint64_t from, uint64_t to, bool unmap, bool discard)
{
    Qcow2 *q = b->state;
    Q2Request request;
    Q2Table *t;
    bool below = b->backing != NULL;
    while (!request_try(q, &request, from, to, Q2_USE_FREE))
        ;
    co_mutex_lock(&q->lock);
    int r = 0;
    bool none = !(q->l1[q2_l1_index(q, from)] & Q2_OFFSET);
    if (!none || (below && !discard))
        r = q2_l2_for(b, from, &t);
    for (uint64_t c = from; !r && c < to && (!none || (below && !discard)); c += q->cluster_size) {
        unsigned i = q2_l2_index(q, c);
        uint64_t entry = q2_entry(q, t, i), bitmap = q2_bitmap(q, t, i);
        bool placed = (entry & Q2_COMPRESSED) || (entry & Q2_OFFSET) || (b->data && (entry & Q2_COPIED));
        bool keep = placed && !unmap && !discard && !(entry & Q2_COMPRESSED) && q->version >= 3;
        bool nothing = !below && !(keep && placed);
        if (!placed && (nothing || discard))
            continue;           /* reads as zeros, or is none of ours */
        uint64_t zero = nothing || q->version < 3 ? 0 : q->extended ? 0 : Q2_ZERO;
        uint64_t zero_map = q->extended && !nothing ? UINT64_C(0xffffffff) << 32 : 0;
        uint64_t now = keep ? (entry & (Q2_OFFSET | Q2_COPIED)) | zero : zero;
        if (now == entry && zero_map == bitmap)
            continue;
        q2_entry_set(q, t, i, now, zero_map);
        if (placed && !keep) {
            r = q2_free_entry_later(b, entry);
            if (b->data && (unmap || discard))
                block_discard(b->data, c, q->cluster_size);
            if (!r)
                r = q2_l2_for(b, from, &t);
        }
    }
    co_mutex_unlock(&q->lock);
    request_end(&request);
    return r;
}

static int each_table(Block *b, uint64_t from, uint64_t to, bool unmap, bool discard)
{
    Qcow2 *q = b->state;
    uint64_t span = BIT(q->cluster_bits + q->l2_bits);
    int r = 0;
    for (uint64_t next; from < to && !r; from = next) {
        next = MIN(to, align_down(from, span) + span);
        r = set_zero(b, from, next, unmap, discard);
    }
    return r;
}

/* A part of a cluster. */
static int zero_part(Block *b, uint64_t at, uint64_t len)
{
    while (len) {
        Run run;
        int r = lookup(b, at, len, &run);
        if (r)
            return r;
        if (!(run.type == RUN_ZERO || (run.type == RUN_NONE && !b->backing))) {
            g_autofree uint8_t *buf = g_try_malloc0(run.len);
            if (!buf)
                return -ENOMEM;
            r = q2_write(b, at, &(struct iovec){ buf, run.len }, 1);
            if (r)
                return r;
        }
        at += run.len;
        len -= run.len;
    }
    return 0;
}

int q2_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size, end = at + len;
    bool raw = b->data && (q->autoclear & Q2_AUTOCLEAR_DATA_RAW);
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return -EIO;
    uint64_t from = align_up(at, cs), to = end == b->length ? align_up(end, cs) : align_down(end, cs);
    if (to <= from)
        return zero_part(b, at, len);
    /* Version 2 knows zeros only as clusters that are not there. */
    if (q->version < 3 && (b->backing || !(flags & BLOCK_MAY_UNMAP)))
        return -ENOTSUP;
    int r = 0;
    if (from > at)
        r = zero_part(b, at, from - at);
    if (!r && raw)      /* the file alone must read so, too */
        r = block_zero(b->data, from, MIN(to, b->length) - from, flags & BLOCK_MAY_UNMAP);
    if (!r)
        r = each_table(b, from, to, (flags & BLOCK_MAY_UNMAP) && !raw, false);
    if (!r && end > to)
        r = zero_part(b, to, end - to);
    return r;
}

int q2_discard(Block *b, uint64_t at, uint64_t len)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size, end = at + len;
    uint64_t from = align_up(at, cs), to = end == b->length ? align_up(end, cs) : align_down(end, cs);
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return -EIO;
    if (to <= from || (q->version < 3 && b->backing))
        return 0;       /* what is discarded must not turn into old data */
    if (b->data && (q->autoclear & Q2_AUTOCLEAR_DATA_RAW))
        return q2_zero(b, from, MIN(to, b->length) - from, BLOCK_MAY_UNMAP);
    return each_table(b, from, to, true, true);
}

int q2_preallocate(Block *b, uint64_t from, uint64_t to, BlockPrealloc how)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size, span = BIT(q->cluster_bits + q->l2_bits), file_end = 0;
    int r = 0;
    from = align_down(from, cs);
    co_mutex_lock(&q->lock);
    while (from < to && !r) {
        Q2Table *t;
        r = q2_l2_for(b, from, &t);
        if (r)
            break;
        unsigned i = q2_l2_index(q, from);
        uint64_t n = q2_clusters(q, MIN(to, align_down(from, span) + span) - from), host = from;
        if (q2_entry(q, t, i)) {
            from += cs;
            continue;
        }
        if (!b->data) {
            r = q2_alloc(b, n, false, &host, &n);
            if (!r)
                r = q2_l2_for(b, from, &t);
            q->fresh = MAX(q->fresh, host + n * cs);
        }
        for (uint64_t k = 0; k < n && !r; k++) {
            if (q2_entry(q, t, i + (unsigned)k)) {      /* not where data are; the rest stays a leak of this call */
                if (!b->data)
                    q2_free_later(b, host + k * cs, 1);
                continue;
            }
            uint64_t map = q->extended ? UINT32_MAX : 0;
            bool noise = q->crypt_method;
            q2_entry_set(q, t, i + (unsigned)k, (host + k * cs) | Q2_COPIED | (noise && !q->extended ? Q2_ZERO : 0),
                         noise ? map << 32 : map);
        }
        file_end = MAX(file_end, host + n * cs);
        from += n * cs;
    }
    co_mutex_unlock(&q->lock);
    Block *data = q2_data(b);
    if (!r && file_end > data->length) {
        GError *unused = NULL;
        if (!block_resize(data, file_end, how == PREALLOC_METADATA ? PREALLOC_OFF : how, &unused))
            r = -ENOSPC;
        g_clear_error(&unused);
    }
    return r;
}
