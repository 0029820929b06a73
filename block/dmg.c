/* SPDX-License-Identifier: GPL-2.0-or-later
 * Apple disk images (UDIF, .dmg), read-only: a trailer ("koly") names a property list or a resource fork with tables ("mish") of
 * chunks: zeros, plain, zlib, bzip2 (by libbz2, loaded when needed) or ADC. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/deflate.h"
#include "block/driver.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/library.h"

enum {
    KOLY_BYTES = 512, KOLY_DATA_FORK = 24, KOLY_RSRC_AT = 40, KOLY_RSRC_LEN = 48, KOLY_XML_AT = 216, KOLY_XML_LEN = 224, KOLY_SECTORS = 492,
    MISH_FIRST = 8, MISH_DATA_AT = 24, MISH_CHUNKS = 200, MISH_HEADER = 204, CHUNK_BYTES = 40,
    MAX_TABLE = 16 << 20, MAX_CHUNK = 64 << 20, MAX_CHUNKS = 1 << 22,
};
#define CHUNK_ZERO    0u
#define CHUNK_RAW     1u
#define CHUNK_IGNORE  2u
#define CHUNK_ADC     0x80000004u
#define CHUNK_ZLIB    0x80000005u
#define CHUNK_BZIP2   0x80000006u
#define CHUNK_COMMENT 0x7ffffffeu
#define CHUNK_END     0xffffffffu

typedef struct Chunk { uint64_t from, len, at, packed; uint32_t type; } Chunk;      /* bytes */
typedef struct Libbz2 {
    int (*decompress)(char *out, unsigned *out_len, char *in, unsigned in_len, int small, int verbosity);
} Libbz2;

typedef struct Dmg {
    GArray  *chunks;            /* Chunk, by from */
    const Libbz2 *bz2;          /* or NULL */
    CoMutex  lock;              /* of the two below */
    uint8_t *unpacked;
    unsigned unpacked_chunk;    /* + 1; 0: none */
} Dmg;

static gpointer bzip2_open(gpointer unused)
{
    return library_open("libbz2.so.1.0", (const char *const[]){ "BZ2_bzBuffToBuffDecompress", NULL });
}

/* --- tables */

static bool add_chunk(Block *b, const uint8_t *c, uint64_t first, uint64_t data_at, GError **err)
{
    Dmg *d = b->state;
    static GOnce once = G_ONCE_INIT;
    uint64_t sector = load_be64(c + 8), sectors = load_be64(c + 16), at = load_be64(c + 24), packed = load_be64(c + 32);
    uint32_t type = load_be32(c);
    bool zero = type == CHUNK_ZERO || type == CHUNK_IGNORE, raw = type == CHUNK_RAW;
    if (type == CHUNK_COMMENT || type == CHUNK_END || !sectors)
        return true;
    if (type == CHUNK_BZIP2 && !d->bz2) {
        d->bz2 = g_once(&once, bzip2_open, NULL);
        if (!d->bz2)
            return fail(err, "it is compressed by bzip2, which needs libbz2.so.1.0 (Debian package libbz2-1.0)");
    }
    if (!zero && !raw && type != CHUNK_ZLIB && type != CHUNK_ADC && type != CHUNK_BZIP2)
        return fail(err, "chunks of type %#x%s; zlib, bzip2 and ADC are supported", type, type == 0x80000007 ? " (LZFSE)" : type == 0x80000008 ? " (LZMA)" : "");
    if (sector > INT64_MAX / 512 - first || sectors > INT64_MAX / 512 - first - sector || at > INT64_MAX - data_at)
        return fail(err, "a chunk of %" PRIu64 " sectors at %" PRIu64, sectors, sector);
    Chunk one = { (first + sector) * 512, sectors * 512, data_at + at, packed, type };
    if (!zero && ((!raw && (one.len > MAX_CHUNK || packed > MAX_CHUNK)) || (raw && packed < one.len) || one.at > b->file->length ||
                  packed > b->file->length - one.at))
        return fail(err, "a chunk of %" PRIu64 " bytes, %" PRIu64 " of them in the file at %#" PRIx64, one.len, packed, one.at);
    if (d->chunks->len >= MAX_CHUNKS)
        return fail(err, "more than %u chunks", MAX_CHUNKS);
    g_array_append_val(d->chunks, one);
    return true;
}

static bool add_table(Block *b, const uint8_t *t, size_t len, uint64_t fork_at, GError **err)
{
    if (len < MISH_HEADER || memcmp(t, "mish", 4))
        return true;            /* the list has other things, too */
    uint32_t n = load_be32(t + MISH_CHUNKS);
    uint64_t first = load_be64(t + MISH_FIRST), data_at = load_be64(t + MISH_DATA_AT);
    if (n > (len - MISH_HEADER) / CHUNK_BYTES || first > INT64_MAX / 512 || data_at > INT64_MAX - fork_at)
        return fail(err, "a table of %u chunks in %zu bytes", n, len);
    for (uint32_t i = 0; i < n; i++)
        if (!add_chunk(b, t + MISH_HEADER + (size_t)i * CHUNK_BYTES, first, fork_at + data_at, err))
            return false;
    return true;
}

/* The <data> elements of the array "blkx". */
static bool from_plist(Block *b, char *xml, uint64_t fork_at, GError **err)
{
    char *p = strstr(xml, "<key>blkx</key>"), *end = p ? strstr(p, "</array>") : NULL;
    if (!end)
        return fail(err, "its property list has no table");
    *end = 0;
    while ((p = strstr(p, "<data>"))) {
        p += 6;
        char *stop = strstr(p, "</data>");
        if (!stop)
            return fail(err, "its property list is damaged");
        *stop = 0;
        gsize len;
        g_autofree guchar *table = g_base64_decode(p, &len);
        if (!add_table(b, table, len, fork_at, err))
            return false;
        p = stop + 1;
    }
    return true;
}

/* The resources' data, each with its length before it. */
static bool from_resources(Block *b, const uint8_t *r, uint64_t len, uint64_t fork_at, GError **err)
{
    uint64_t at = len >= 16 ? load_be32(r) : len, n = len >= 16 ? load_be32(r + 8) : 0;
    if (at > len || n > len - at)
        return fail(err, "its resource fork is damaged");
    for (uint64_t end = at + n; end - at >= 4;) {
        uint32_t size = load_be32(r + at);
        at += 4;
        if (size > end - at)
            return fail(err, "its resource fork is damaged");
        if (!add_table(b, r + at, size, fork_at, err))
            return false;
        at += size;
    }
    return true;
}

static gint by_place(gconstpointer a, gconstpointer b)
{
    const Chunk *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* --- the driver */

static bool dmg_open(Block *b, GError **err)
{
    Dmg *d = b->state;
    uint8_t koly[KOLY_BYTES];
    d->chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    if (b->flags & BLOCK_RDWR)
        return fail(err, "%s: dmg images can only be read (read-only=on)", b->filename);
    if (b->file->length < KOLY_BYTES || block_read(b->file, b->file->length - KOLY_BYTES, koly, KOLY_BYTES) || memcmp(koly, "koly", 4))
        return fail(err, "%s: no trailer of a dmg image", b->filename);
    uint64_t xml_at = load_be64(koly + KOLY_XML_AT), xml_len = load_be64(koly + KOLY_XML_LEN), fork_at = load_be64(koly + KOLY_DATA_FORK);
    uint64_t rsrc_at = load_be64(koly + KOLY_RSRC_AT), rsrc_len = load_be64(koly + KOLY_RSRC_LEN);
    uint64_t at = rsrc_len ? rsrc_at : xml_at, len = rsrc_len ? rsrc_len : xml_len;
    if (!len || len > MAX_TABLE || at > b->file->length || len > b->file->length - at || fork_at > b->file->length)
        return fail(err, "%s: a list of %" PRIu64 " bytes at %#" PRIx64 " does not lie in the file or is too long", b->filename, len, at);
    g_autofree char *text = g_malloc0(len + 1);
    int r = block_read(b->file, at, text, len);
    if (r)
        return fail_errno(err, -r, "%s: cannot read its list", b->filename);
    if (!(rsrc_len ? from_resources(b, (uint8_t *)text, len, fork_at, err) : from_plist(b, text, fork_at, err)))
        return fail_prefix(err, "%s: ", b->filename);
    g_array_sort(d->chunks, by_place);
    uint64_t end = (uint64_t)MIN(load_be64(koly + KOLY_SECTORS), INT64_MAX / 512) * 512;
    for (guint i = 0; i < d->chunks->len; i++) {
        const Chunk *c = &g_array_index(d->chunks, Chunk, i);
        if (i && c->from < c[-1].from + c[-1].len)
            return fail(err, "%s: two chunks overlap at sector %" PRIu64, b->filename, c->from / 512);
        end = MAX(end, c->from + c->len);
    }
    b->length = end;
    return true;
}

static int dmg_close(Block *b)
{
    Dmg *d = b->state;
    if (d->chunks)
        g_array_free(d->chunks, TRUE);
    free(d->unpacked);
    return 0;
}

/* Apple Data Compression: runs of literals, and copies from what has been written, with two or three bytes of address. */
static int adc(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    size_t i = 0, o = 0;
    while (i < in_len && o < out_len) {
        uint8_t c = in[i++];
        size_t n, back = 0;
        if (c & 0x80) {
            n = (c & 0x7f) + 1;
        } else if (c & 0x40) {
            n = (c & 0x3f) + 4;
            if (in_len - i < 2)
                return -EIO;
            back = ((size_t)in[i] << 8 | in[i + 1]) + 1;
            i += 2;
        } else {
            n = (c >> 2 & 0xf) + 3;
            if (in_len - i < 1)
                return -EIO;
            back = ((size_t)(c & 3) << 8 | in[i]) + 1;
            i++;
        }
        if (n > out_len - o || back > o || (!back && n > in_len - i))
            return -EIO;
        for (size_t k = 0; k < n; k++, o++)
            out[o] = back ? out[o - back] : in[i++];
    }
    return o == out_len ? 0 : -EIO;
}

typedef struct Work { const Chunk *c; const Libbz2 *bz2; uint8_t *in, *out; } Work;

static int unpack(void *self)
{
    Work *w = self;
    unsigned len = (unsigned)w->c->len;
    switch (w->c->type) {
    case CHUNK_ZLIB: return deflate_unpack(15, w->in, w->c->packed, w->out, w->c->len);
    case CHUNK_ADC:  return adc(w->in, w->c->packed, w->out, w->c->len);
    default:         return w->bz2->decompress((char *)w->out, &len, (char *)w->in, (unsigned)w->c->packed, 0, 0) || len != w->c->len ? -EIO : 0;
    }
}

static int read_packed(Block *b, unsigned i, uint64_t in, uint64_t len, const struct iovec *v, int nv, uint64_t skip)
{
    Dmg *d = b->state;
    const Chunk *c = &g_array_index(d->chunks, Chunk, i);
    int r = 0;
    co_mutex_lock(&d->lock);
    if (d->unpacked_chunk != i + 1) {
        free(d->unpacked);
        d->unpacked_chunk = 0;
        d->unpacked = block_memory(c->len);
        g_autofree uint8_t *packed = g_try_malloc(c->packed + 1);
        r = d->unpacked && packed ? block_read(b->file, c->at, packed, c->packed) : -ENOMEM;
        Work w = { c, d->bz2, packed, d->unpacked };
        if (!r)
            r = co_compute(b->aio, unpack, &w);
        if (!r)
            d->unpacked_chunk = i + 1;
    }
    if (!r)
        iov_from_buf(v, nv, skip, d->unpacked + in, len);
    co_mutex_unlock(&d->lock);
    return r;
}

static int dmg_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Dmg *d = b->state;
    uint64_t total = iov_size(v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    guint i = 0, hi = d->chunks->len;
    while (i < hi) {            /* the first chunk that ends after `at` */
        guint mid = (i + hi) / 2;
        const Chunk *c = &g_array_index(d->chunks, Chunk, mid);
        if (c->from + c->len <= at)
            i = mid + 1;
        else
            hi = mid;
    }
    int r = 0;
    for (uint64_t done = 0, n; done < total && !r; done += n) {
        const Chunk *c = i < d->chunks->len ? &g_array_index(d->chunks, Chunk, i) : NULL;
        uint64_t pos = at + done;
        if (!c || pos < c->from) {              /* a gap */
            n = MIN(total - done, c ? c->from - pos : UINT64_MAX);
            iov_fill(v, nv, done, 0, n);
            continue;
        }
        n = MIN(total - done, c->from + c->len - pos);
        if (c->type == CHUNK_ZERO || c->type == CHUNK_IGNORE)
            iov_fill(v, nv, done, 0, n);
        else if (c->type == CHUNK_RAW)
            r = block_readv(b->file, c->at + (pos - c->from), part, iov_slice(v, nv, done, n, part));
        else
            r = read_packed(b, i, pos - c->from, n, v, nv, done);
        i += pos + n == c->from + c->len;
    }
    return r;
}

const BlockDriver block_dmg_driver = {
    .name = "dmg", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Dmg), .co_open = dmg_open, .co_close = dmg_close, .co_read = dmg_read,
};
