/* SPDX-License-Identifier: GPL-2.0-or-later
 * Formats with one table of equal clusters: requests, allocation, checks (sparse.h). */
#include "block/sparse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "util/bits.h"
#include "util/error.h"

enum { MAX_RUN = 256 };         /* clusters that one request looks up, or allocates, at once */

void sparse_init(Block *b, const SparseOps *ops, uint64_t cluster, uint64_t data_at, uint64_t step)
{
    Sparse *s = b->state;
    s->ops = ops;
    s->cluster = cluster;
    s->data_at = data_at;
    s->step = step ? step : cluster;
    s->unpacked_at = UINT64_MAX;
    uint64_t length = MAX(b->file->length, data_at);
    s->end = data_at + (length - data_at + s->step - 1) / s->step * s->step;
    s->fresh = b->file->growable ? b->file->length : UINT64_MAX;
    if (!s->meta.pieces)
        meta_init(&s->meta, b->file);
}

int sparse_grow(Block *b, uint64_t *at)
{
    Sparse *s = b->state;
    if (s->end > INT64_MAX - s->step || (!b->file->growable && s->end + s->step > b->file->length))
        return -ENOSPC;
    *at = s->end;
    s->end += s->step;
    return 0;
}

int sparse_grow_table(Block *b, uint64_t bytes, uint64_t *at)
{
    Sparse *s = b->state;
    uint64_t first = s->end, unused;
    int r = 0;
    for (uint64_t got = 0; got < bytes && !r; got += s->step)
        r = sparse_grow(b, &unused);
    g_autofree uint8_t *zeros = g_malloc0(bytes);
    if (!r && first < s->fresh)
        r = block_write(b->file, first, zeros, bytes, 0);
    *at = first;
    return r;
}

int sparse_grow_bytes(Block *b, uint64_t len, uint64_t *at)
{
    Sparse *s = b->state;
    if (!s->tail || s->tail + len > s->tail_end) {
        int r = sparse_grow(b, &s->tail);
        if (r)
            return r;
        s->tail_end = s->tail + s->step;
    }
    *at = s->tail;
    s->tail += len;
    return 0;
}

static SparseFill *filling(Sparse *s, uint64_t n)
{
    SparseFill *f = s->filling;
    while (f && f->n != n)
        f = f->next;
    return f;
}

/* Looks up the cluster at `at`, and as many more up to len as go on in the same way.  Returns locked, *len clipped; -errno:
 * unlocked.  writing: waits for whoever is allocating the first cluster, and stops before another such one. */
static int find_run(Block *b, uint64_t at, uint64_t *len, bool writing, Place *out)
{
    Sparse *s = b->state;
    uint64_t n = at / s->cluster, in = at % s->cluster;
    for (;;) {
        co_mutex_lock(&s->lock);
        SparseFill *f = writing ? filling(s, n) : NULL;
        if (!f)
            break;
        co_mutex_unlock(&s->lock);
        co_queue_wait(&f->waiters);
    }
    int r = s->ops->co_find(b, n, out);
    uint64_t i = writing ? 1 : MAX(out->run, 1), got = i * s->cluster - in;
    for (uint64_t end = i + MAX_RUN; !r && got < *len && i < end && out->kind != PLACE_PACKED && !out->partial; i++) {
        Place next;
        if (writing && filling(s, n + i))
            break;
        if (s->ops->co_find(b, n + i, &next) || next.partial || next.kind != out->kind || (out->kind == PLACE_DATA && next.at != out->at + i * s->cluster))
            break;
        got += s->cluster;
    }
    *len = MIN(*len, got);
    if (r)
        co_mutex_unlock(&s->lock);
    return r;
}

static int unpack(Block *b, const Place *p)
{
    Sparse *s = b->state;
    if (p->at == UINT64_MAX)            /* a table says so; here it stands for "none" */
        return -EIO;
    if (s->unpacked_at == p->at)
        return 0;
    if (!s->unpacked)
        s->unpacked = block_buffer(s->cluster);
    s->unpacked_at = UINT64_MAX;
    int r = s->unpacked ? s->ops->co_unpack(b, p, s->unpacked) : -ENOMEM;
    if (!r)
        s->unpacked_at = p->at;
    return r;
}

/* Within one partial cluster. */
static int read_partial(Block *b, const Place *p, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    Sparse *s = b->state;
    uint64_t in = at % s->cluster;
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    int r = 0;
    for (uint64_t done = 0, run; done < len && !r; done += run) {
        bool own = false;
        co_mutex_lock(&s->lock);
        r = s->ops->co_own(b, at / s->cluster, p, in + done, &own, &run);
        co_mutex_unlock(&s->lock);
        run = MIN(run, len - done);
        int n = iov_slice(v, nv, done, run, part);
        if (!r)
            r = own ? block_readv(b->file, p->at + in + done, part, n) : block_read_backing(b, at + done, part, n, run);
    }
    return r;
}

int sparse_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Sparse *s = b->state;
    uint64_t total = iov_size(v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    int r = 0;
    for (uint64_t done = 0, len; done < total && !r; done += len) {
        Place p;
        uint64_t in = (at + done) % s->cluster;
        len = total - done;
        r = find_run(b, at + done, &len, false, &p);
        if (r)
            break;
        if (p.kind == PLACE_PACKED) {
            r = unpack(b, &p);
            if (!r)
                iov_from_buf(v, nv, done, s->unpacked + in, len);
        }
        co_mutex_unlock(&s->lock);
        if (p.kind == PLACE_ZERO) {
            iov_fill(v, nv, done, 0, len);
        } else if (p.partial) {
            r = read_partial(b, &p, at + done, part, iov_slice(v, nv, done, len, part), len);
        } else if (p.kind != PLACE_PACKED) {
            int n = iov_slice(v, nv, done, len, part);
            if (p.kind == PLACE_DATA && s->encrypted)
                r = s->crypt ? crypt_readv(s->crypt, b->file, p.at + in, (at + done) / CRYPT_SECTOR, part, n) : -EACCES;
            else
                r = p.kind == PLACE_DATA ? block_readv(b->file, p.at + in, part, n)
                                         : block_read_backing(b, at + done, part, n, len);
        }
    }
    return r;
}

/* --- writing */

static int touch(Block *b)
{
    Sparse *s = b->state;
    int r = 0;
    if (s->touched || !s->ops->co_touch)
        return 0;
    co_mutex_lock(&s->lock);
    if (!s->touched) {
        r = s->ops->co_touch(b);
        s->touched = !r;
    }
    co_mutex_unlock(&s->lock);
    return r;
}

/* host: where in the file; guest: what it is to the disk. */
static int data_writev(Block *b, uint64_t host, uint64_t guest, const struct iovec *v, int nv)
{
    Sparse *s = b->state;
    if (!s->encrypted)
        return block_writev(b->file, host, v, nv, 0);
    return s->crypt ? crypt_writev(s->crypt, b->file, host, guest / CRYPT_SECTOR, v, nv) : -EACCES;
}

/* A new cluster's data: bytes [in, in + len) are the caller's, the rest is what was there before. */
static int fill_cluster(Block *b, uint64_t n, const Place *old, uint64_t to, uint64_t in, const struct iovec *v, int nv,
                        uint64_t len)
{
    Sparse *s = b->state;
    bool zeros = old->kind == PLACE_ZERO || (old->kind == PLACE_NONE && (!b->backing || n * s->cluster >= b->backing->length));
    if (len >= s->cluster || (zeros && to >= s->fresh && !s->encrypted))
        return data_writev(b, to + in, n * s->cluster + in, v, nv);
    uint8_t *buf = block_buffer(s->cluster);
    if (!buf)
        return -ENOMEM;
    int r = 0;
    if (old->kind == PLACE_PACKED) {
        co_mutex_lock(&s->lock);
        r = unpack(b, old);
        if (!r)
            memcpy(buf, s->unpacked, s->cluster);
        co_mutex_unlock(&s->lock);
    } else if (zeros) {
        memset(buf, 0, s->cluster);
    } else {
        struct iovec all = { buf, s->cluster };
        r = block_read_backing(b, n * s->cluster, &all, 1, s->cluster);
    }
    iov_to_buf(v, nv, 0, buf + in, len);
    if (!r)
        r = data_writev(b, to, n * s->cluster, &(struct iovec){ buf, s->cluster }, 1);
    free(buf);
    return r;
}

/* Locked on entry, not on return.  `count` clusters from n on, none of them placed; whole ones if more than one. */
static int allocate(Block *b, uint64_t n, unsigned count, const Place *old, uint64_t in, const struct iovec *v, int nv,
                    uint64_t len)
{
    Sparse *s = b->state;
    g_autofree SparseFill *fill = g_new0(SparseFill, count);
    uint64_t to = 0;
    unsigned got = 0;
    int r = 0;
    for (; got < count && !r; got++) {
        uint64_t at;
        r = s->ops->co_alloc ? s->ops->co_alloc(b, n + got, &at) : sparse_grow(b, &at);
        if (!got)
            to = at;
        fill[got] = (SparseFill){ .n = n + got, .next = s->filling };
        s->filling = &fill[got];
    }
    co_mutex_unlock(&s->lock);
    if (!r)
        r = fill_cluster(b, n, old, to, in, v, nv, len);
    co_mutex_lock(&s->lock);
    for (unsigned i = 0; i < count && !r; i++)
        r = s->ops->co_set(b, n + i, &(Place){ .kind = PLACE_DATA, .at = to + i * s->cluster });
    for (unsigned i = 0; i < got; i++) {
        SparseFill **link = &s->filling;
        while (*link != &fill[i])
            link = &(*link)->next;
        *link = fill[i].next;
    }
    co_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < got; i++)
        co_queue_wake_all(&fill[i].waiters);
    return r;
}

/* Locked on entry, not on return: gives a partial cluster what it lacks, so that it can be written like any other. */
static int complete(Block *b, uint64_t n, const Place *p)
{
    Sparse *s = b->state;
    SparseFill fill = { .n = n, .next = s->filling };
    s->filling = &fill;
    co_mutex_unlock(&s->lock);
    uint64_t at = n * s->cluster, len = MIN(s->cluster, b->length - at), run;
    uint8_t *buf = block_buffer(s->cluster);
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t in = 0; in < len && !r; in += run) {
        bool own = false;
        co_mutex_lock(&s->lock);
        r = s->ops->co_own(b, n, p, in, &own, &run);
        co_mutex_unlock(&s->lock);
        run = MIN(run, len - in);
        if (r || own)
            continue;
        r = block_read_backing(b, at + in, &(struct iovec){ buf, run }, 1, run);
        if (!r)
            r = block_write(b->file, p->at + in, buf, run, 0);
    }
    free(buf);
    co_mutex_lock(&s->lock);
    if (!r)
        r = s->ops->co_complete(b, n, p);
    SparseFill **link = &s->filling;
    while (*link != &fill)
        link = &(*link)->next;
    *link = fill.next;
    co_mutex_unlock(&s->lock);
    co_queue_wake_all(&fill.waiters);
    return r;
}

int sparse_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Sparse *s = b->state;
    uint64_t total = iov_size(v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    int r = s->ops->co_set ? touch(b) : -EROFS;
    for (uint64_t done = 0, len; done < total && !r; done += len) {
        Place p;
        uint64_t n = (at + done) / s->cluster, in = (at + done) % s->cluster;
        len = total - done;
        r = find_run(b, at + done, &len, true, &p);
        if (r)
            break;
        if (p.partial) {
            r = complete(b, n, &p);
            len = 0;
            continue;
        }
        if (p.kind == PLACE_DATA) {
            co_mutex_unlock(&s->lock);
            r = data_writev(b, p.at + in, at + done, part, iov_slice(v, nv, done, len, part));
            continue;
        }
        unsigned whole = !in && !s->ops->co_alloc ? (unsigned)(len / s->cluster) : 0;
        len = whole > 1 ? whole * s->cluster : MIN(len, s->cluster - in);
        r = allocate(b, n, MAX(whole, 1), &p, in, part, iov_slice(v, nv, done, len, part), len);
    }
    return r;
}

static int write_zeros(Block *b, uint64_t at, uint64_t len)
{
    uint8_t *buf = block_buffer(len);
    if (!buf)
        return -ENOMEM;
    memset(buf, 0, len);
    struct iovec v = { buf, len };
    int r = sparse_write(b, at, &v, 1);
    free(buf);
    return r;
}

int sparse_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Sparse *s = b->state;
    int r = s->ops->co_set ? touch(b) : -EROFS;
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        Place p;
        uint64_t in = (at + done) % s->cluster;
        n = len - done;
        r = find_run(b, at + done, &n, true, &p);
        if (r)
            break;
        if (p.partial) {
            r = complete(b, (at + done) / s->cluster, &p);
            n = 0;
            continue;
        }
        bool zeros = p.kind == PLACE_ZERO || (p.kind == PLACE_NONE && !b->backing);
        if (zeros || (p.kind == PLACE_DATA && !s->encrypted)) {
            co_mutex_unlock(&s->lock);
            if (!zeros)
                r = block_zero(b->file, p.at + in, n, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
            continue;
        }
        n = MIN(n, s->cluster - in);
        bool mark = s->ops->marks_zero && (n == s->cluster || at + done + n == b->length) && !in;
        if (mark)
            r = s->ops->co_set(b, (at + done) / s->cluster, &(Place){ .kind = PLACE_ZERO });
        co_mutex_unlock(&s->lock);
        if (!mark)
            r = flags & BLOCK_NO_FALLBACK ? -ENOTSUP : write_zeros(b, at + done, n);
    }
    return r;
}

int sparse_discard(Block *b, uint64_t at, uint64_t len)
{
    Sparse *s = b->state;
    if (s->encrypted)
        return 0;       /* a hole would read as noise */
    int r = touch(b);
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        Place p;
        uint64_t in = (at + done) % s->cluster;
        n = len - done;
        r = find_run(b, at + done, &n, true, &p);
        if (r)
            break;
        co_mutex_unlock(&s->lock);
        if (p.kind == PLACE_DATA && !p.partial)
            r = block_discard(b->file, p.at + in, n);
    }
    return r;
}

int sparse_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Sparse *s = b->state;
    Place p;
    int r = find_run(b, at, &len, false, &p);
    if (r)
        return r;
    if (p.partial) {
        bool own = false;
        uint64_t run = len;
        r = s->ops->co_own(b, at / s->cluster, &p, at % s->cluster, &own, &run);
        len = MIN(len, run);
        if (!own)
            p.kind = PLACE_NONE;
    }
    co_mutex_unlock(&s->lock);
    if (r)
        return r;
    static const unsigned flags[] = {
        [PLACE_NONE] = 0, [PLACE_ZERO] = EXTENT_ZERO | EXTENT_ALLOCATED,
        [PLACE_DATA] = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET,
        [PLACE_PACKED] = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED,
    };
    unsigned hidden = s->encrypted ? EXTENT_OFFSET : 0;    /* what lies there is not what is read */
    *out = (Extent){ .len = len, .flags = flags[p.kind] & ~hidden };
    if (p.kind == PLACE_DATA) {
        out->file = b->file;
        out->offset = p.at + at % s->cluster;
    }
    return 0;
}

static int commit(Block *b)
{
    Sparse *s = b->state;
    GError *err = NULL;
    int r = s->ops->co_before_commit ? s->ops->co_before_commit(b) : 0;
    if (r || !meta_dirty(&s->meta))
        return r;
    /* Of the last clusters only what the guest wrote is in the file so far. */
    if (b->file->growable && b->file->length < s->end && !block_resize(b->file, s->end, PREALLOC_OFF, &err)) {
        g_error_free(err);
        return -EIO;
    }
    return meta_commit(&s->meta);
}

int sparse_flush(Block *b)
{
    Sparse *s = b->state;
    if (!s->ops || !s->ops->co_set)
        return 0;
    co_mutex_lock(&s->lock);
    int r = commit(b);
    co_mutex_unlock(&s->lock);
    return r;
}

int sparse_close(Block *b)
{
    Sparse *s = b->state;
    int r = b->opened && (b->flags & BLOCK_RDWR) ? sparse_flush(b) : 0;
    meta_free(&s->meta);
    free(s->unpacked);
    crypt_free(s->crypt);
    return r;
}

int sparse_info(Block *b, BlockInfo *out)
{
    Sparse *s = b->state;
    out->granule = s->cluster;
    out->encrypted = s->encrypted;
    return 0;
}

/* --- check */

void sparse_check_note(BlockCheck *out, uint64_t *counter, const char *fmt, ...)
{
    ++*counter;
    if (out->messages->len >= CHECK_MESSAGES)
        return;
    va_list ap;
    va_start(ap, fmt);
    g_ptr_array_add(out->messages, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

/* The cluster's data once more, in a place of its own. */
static int copy_out(Block *b, uint64_t n, uint64_t from)
{
    Sparse *s = b->state;
    uint64_t to;
    uint8_t *buf = block_buffer(s->cluster);
    if (!buf)
        return -ENOMEM;
    int r = block_read(b->file, from, buf, s->cluster);
    if (!r)
        r = s->ops->co_alloc ? s->ops->co_alloc(b, n, &to) : sparse_grow(b, &to);
    if (!r)
        r = block_write(b->file, to, buf, s->cluster, 0);
    free(buf);
    return r ? r : s->ops->co_set(b, n, &(Place){ .kind = PLACE_DATA, .at = to });
}

/* *run: how far it is to the next that is worth looking at. */
static int check_cluster(Block *b, uint64_t n, GByteArray *used, uint64_t *last, unsigned fix, BlockCheck *out, uint64_t *run)
{
    Sparse *s = b->state;
    Place p = { PLACE_NONE };
    int r = s->ops->co_find(b, n, &p);
    *run = MAX(p.run, 1);
    if (r) {
        sparse_check_note(out, &out->check_errors, "cluster %" PRIu64 ": %s", n, g_strerror(-r));
        return 0;
    }
    if (p.kind == PLACE_PACKED)
        out->compressed_clusters++;
    if (p.kind == PLACE_PACKED || p.kind == PLACE_DATA)
        out->allocated_clusters++;
    if (p.kind != PLACE_DATA)
        return 0;
    if (*last && p.at != *last + s->step)
        out->fragmented_clusters++;
    *last = p.at;
    uint64_t i = (p.at - s->data_at) / s->step;
    bool outside = p.at < s->data_at || p.at >= b->file->length || (p.at - s->data_at) % s->step || i / 8 >= used->len;
    bool twice = !outside && (used->data[i / 8] >> i % 8 & 1);
    if (!outside && !twice) {
        used->data[i / 8] |= 1 << i % 8;
        out->image_end = MAX(out->image_end, p.at + s->step);
        return 0;
    }
    if (outside)
        sparse_check_note(out, &out->corruptions, "cluster %" PRIu64 " lies at %#" PRIx64 ", where no cluster can be", n, p.at);
    else
        sparse_check_note(out, &out->corruptions, "cluster %" PRIu64 " shares its place, %#" PRIx64 ", with another", n, p.at);
    if (!(fix & CHECK_FIX_ERRORS) || !s->ops->co_set)
        return 0;
    r = outside ? s->ops->co_set(b, n, &(Place){ .kind = PLACE_NONE }) : copy_out(b, n, p.at);
    if (!r)
        out->corruptions_fixed++;
    return r;
}

int sparse_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    Sparse *s = b->state;
    uint64_t clusters = (b->length + s->cluster - 1) / s->cluster, last = 0;
    uint64_t places = (s->end - s->data_at) / s->step;
    if (places > UINT32_MAX) {
        fail(err, "%s: too large to check", b->filename);
        return -EFBIG;
    }
    GByteArray *used = g_byte_array_new();
    g_byte_array_set_size(used, (guint)(places / 8 + 1));
    memset(used->data, 0, used->len);
    out->total_clusters = clusters;
    out->image_end = s->data_at;
    co_mutex_lock(&s->lock);
    int r = 0;
    for (uint64_t n = 0, run = 1; n < clusters && !r; n += run)
        r = check_cluster(b, n, used, &last, fix, out, &run);
    g_byte_array_free(used, TRUE);
    if (!r && (out->corruptions_fixed || s->ops->co_before_commit))
        r = fix ? commit(b) : 0;
    if (b->file->growable && s->end > out->image_end && !out->corruptions && s->ops->counts_leaks) {
        out->leaks = (s->end - out->image_end) / s->step;
        if (!r && out->leaks && (fix & CHECK_FIX_LEAKS)) {
            if (block_resize(b->file, out->image_end, PREALLOC_OFF, err)) {
                out->leaks_fixed = out->leaks;
                s->end = out->image_end;
                s->fresh = MIN(s->fresh, s->end);
            } else {
                r = -EIO;
            }
        }
    }
    co_mutex_unlock(&s->lock);
    if (r && err && !*err)
        fail_errno(err, -r, "cannot repair %s", b->filename);
    return r;
}

/* --- making images */

bool sparse_make_size(Json *options, uint64_t max, uint64_t *size, GError **err)
{
    *size = UINT64_MAX;
    if (!block_opt_size(options, "size", size, err))
        return false;
    if (*size == UINT64_MAX)
        return fail(err, "option 'size' is missing");
    return *size <= max || fail(err, "%" PRIu64 " bytes are more than this format can hold (%" PRIu64 ")", *size, max);
}

bool sparse_make(BlockGraph *g, const char *filename, const SparsePart *part, unsigned n, uint64_t length, GError **err)
{
    Json *below = json_object();
    json_set(below, "size", json_u64(0));
    bool ok = block_create(g, &block_file_driver, filename, below, err);
    json_free(below);
    Block *file = ok ? block_open(g, filename, NULL, BLOCK_RDWR | BLOCK_PROTOCOL, err) : NULL;
    if (!file)
        return false;
    if (file->growable ? !block_resize(file, length, PREALLOC_OFF, err)
                       : file->length < length && !fail(err, "%s is too small", filename)) {
        block_close(file);
        return false;
    }
    int r = 0;
    for (unsigned i = 0; i < n && !r; i++)
        r = block_write(file, part[i].at, part[i].data, part[i].len, 0);
    int close_result = block_close(file);
    r = r ? r : close_result;
    return !r || fail_errno(err, -r, "cannot write %s", filename);
}
