/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img convert: several coroutines take pieces off one list of extents, so that reading, compressing and writing go
 * on at once; holes stay holes.
 *
 * A new image whose format has a magic number gets it last: whatever ends the conversion before, the file does not
 * look like an image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/img/img.h"
#include "util/bits.h"

/* A device wants much at a time, memory what stays in a processor's cache. */
enum {
    PIECE = 1 << 20, PIECE_IN_MEMORY = 256 << 10, LARGE_PAGE = 2 << 20, MAX_WORKERS = 64, MAX_SPARSE = 16 << 20, MAGIC_BYTES = 4
};

typedef struct Convert {
    Img      *m;
    Block   **source;
    uint64_t *start;            /* of each source in the target, and the end of the last */
    unsigned  n_sources;
    Block    *target;
    Block    *base;             /* -B: below this the target has the same */
    uint64_t  total, next, done;
    uint64_t  piece;            /* bytes that a worker takes at a time */
    uint64_t  sparse, granule;  /* zeros of this many bytes become holes; pieces are multiples of granule */
    bool      compress, zeroed, salvage, have_base;
    unsigned  started, workers;
    uint8_t  *buffers;          /* one of buffer_len for each worker */
    size_t    buffer_len;
    CoQueue   ended;
    CoMutex   cursor;
    int       result;
    uint64_t  bad_at;
    uint64_t  rate, clock_ns;   /* -r: bytes a second; when the next piece may go */
} Convert;

typedef struct Piece { Block *b; uint64_t at, in_source, len; unsigned flags; } Piece;

static int next_piece(Convert *c, Piece *p)
{
    /* One at a time: asking for the map may yield. */
    co_mutex_lock(&c->cursor);
    int r = 0;
    p->len = 0;
    if (c->next < c->total && !c->result) {
        unsigned i = 0;
        while (c->next >= c->start[i + 1])
            i++;
        p->b = c->source[i];
        p->at = c->next;
        p->in_source = c->next - c->start[i];
        uint64_t left = c->start[i + 1] - c->next;
        Extent e = { 0 };
        if (p->in_source >= block_length(p->b)) {
            e = (Extent){ .len = left, .flags = EXTENT_ZERO | EXTENT_ALLOCATED };
        } else {
            r = block_map_above(p->b, NULL, p->in_source, left, &e);
            if (!r && c->have_base && !(e.flags & EXTENT_ZERO)) {
                /* With a backing file given for the target: what the source's own backing chain has, that has. */
                Extent own;
                r = block_map(p->b, p->in_source, e.len, &own);
                if (!r && !(own.flags & EXTENT_ALLOCATED))
                    e = (Extent){ .len = MIN(own.len, e.len) };
                else if (!r)
                    e.len = MIN(own.len, e.len);
            } else if (!r && c->have_base) {
                Extent own;
                r = block_map(p->b, p->in_source, e.len, &own);
                if (!r) {
                    e.len = MIN(own.len, e.len);
                    if (!(own.flags & EXTENT_ALLOCATED))
                        e.flags = 0;
                }
            }
        }
        if (!c->sparse && (e.flags & EXTENT_ZERO))
            e.flags = EXTENT_DATA | EXTENT_ALLOCATED;       /* -S 0: nothing is left out */
        p->flags = e.flags;
        p->len = MIN(e.len, left);
        if (e.flags & EXTENT_DATA)
            p->len = MIN(p->len, c->piece);
        /* Compressed clusters are written whole, whatever the source's extents are. */
        if (c->compress && c->granule && ((p->at | p->len) & (c->granule - 1)) && p->at + p->len < c->total) {
            uint64_t end = p->len >= c->granule ? align_down(p->at + p->len, c->granule) : align_up(p->at + 1, c->granule);
            if (p->len < c->granule)
                p->flags = EXTENT_DATA | EXTENT_ALLOCATED;
            p->len = MIN(end, c->start[i + 1]) - p->at;
        }
        c->next += p->len;
    }
    if (r)
        c->bad_at = c->next;
    co_mutex_unlock(&c->cursor);
    return r;
}

/* Reads past the end of a source (the last piece of a compressed one) as zeros. */
static int read_piece(Convert *c, const Piece *p, uint8_t *buf)
{
    uint64_t there = p->in_source < block_length(p->b) ? MIN(p->len, block_length(p->b) - p->in_source) : 0;
    memset(buf + there, 0, p->len - there);
    int r = block_read(p->b, p->in_source, buf, there);
    if (!r || !c->salvage)
        return r;
    for (uint64_t at = 0, n; at < there; at += n) {     /* what can be read */
        n = MIN(there - at, 512);
        if (block_read(p->b, p->in_source + at, buf + at, n)) {
            img_error("warning: offset %" PRIu64 " cannot be read", p->in_source + at);
            memset(buf + at, 0, n);
        }
    }
    return 0;
}

static int write_zeros(Convert *c, uint64_t at, uint64_t len)
{
    return c->zeroed && !c->have_base ? 0 : block_zero(c->target, at, len, BLOCK_MAY_UNMAP);
}

/* Data with the zeros among them left out, in units of `sparse`. */
static int write_sparse(Convert *c, uint64_t at, const uint8_t *buf, uint64_t len)
{
    int r = 0;
    for (uint64_t from = 0, to; from < len && !r; from = to) {
        bool zero = false;
        for (to = from; to < len;) {
            uint64_t n = MIN(len - to, c->sparse ? c->sparse - (at + to) % c->sparse : len);
            bool z = c->sparse && buf_is_zero(buf + to, n);
            if (to > from && z != zero)
                break;
            zero = z;
            to += n;
        }
        r = zero ? write_zeros(c, at + from, to - from) : block_write(c->target, at + from, buf + from, to - from, 0);
    }
    return r;
}

/* Runs of clusters that are zero, and of those that are not: the format compresses several at a time. */
static int write_packed(Convert *c, uint64_t at, const uint8_t *buf, uint64_t len)
{
    int r = 0;
    for (uint64_t from = 0, to; from < len && !r; from = to) {
        bool zero = false;
        for (to = from; to < len;) {
            uint64_t n = MIN(len - to, c->granule);
            bool z = buf_is_zero(buf + to, n);
            if (to > from && z != zero)
                break;
            zero = z;
            to += n;
        }
        r = zero ? write_zeros(c, at + from, to - from)
                 : block_write(c->target, at + from, buf + from, to - from, BLOCK_COMPRESS);
    }
    return r;
}

/* -r: each piece moves a clock on by what it costs. */
static void pace(Convert *c, uint64_t bytes)
{
    enum { SLICE_NS = 100000000 };
    uint64_t now = (uint64_t)g_get_monotonic_time() * 1000, start = MAX(c->clock_ns, now);
    c->clock_ns = start + (uint64_t)((double)bytes * 1e9 / (double)c->rate);
    for (; now < start && !*c->m->interrupted; now = (uint64_t)g_get_monotonic_time() * 1000)
        co_sleep_ns(c->m->aio, (int64_t)MIN(start - now, SLICE_NS));
}

static void worker(void *self)
{
    Convert *c = self;
    uint8_t *buf = c->buffers + c->started++ * c->buffer_len;
    Piece p;
    int r = 0;
    while (!r) {
        if (*c->m->interrupted)
            r = -EINTR;
        else
            r = next_piece(c, &p);
        if (r || !p.len)
            break;
        if (p.flags & EXTENT_ZERO)
            r = write_zeros(c, p.at, p.len);
        else if (p.flags & EXTENT_DATA) {
            if (c->rate)
                pace(c, p.len);
            r = read_piece(c, &p, buf);
            if (r)
                c->bad_at = p.at;
            else
                r = c->compress ? write_packed(c, p.at, buf, p.len) : write_sparse(c, p.at, buf, p.len);
        }
        if (r && !c->bad_at)
            c->bad_at = p.at;
        c->done += p.len;
        img_progress(c->m, MIN(c->done, c->total - 1), c->total);
    }
    if (r && !c->result)
        c->result = r;
    if (!--c->workers)
        co_queue_wake_all(&c->ended);
}

typedef struct Args {
    const char *output_format, *backing, *backing_format, *snapshot, *target_cache, *source_cache;
    Json       *options;
    bool        no_create, target_zero, target_opts, bitmaps, skip_broken, sparse_said, offload, help;
    uint64_t    workers, sparse;
} Args;

static bool parse(Img *m, Convert *c, Args *a, GError **err)
{
    enum { SALVAGE = 2000, TARGET_ZERO, TARGET_OPTS, BITMAPS, SKIP_BROKEN };
    static const struct option more[] = {
        { "salvage", no_argument, NULL, SALVAGE }, { "target-is-zero", no_argument, NULL, TARGET_ZERO },
        { "target-image-opts", no_argument, NULL, TARGET_OPTS }, { "bitmaps", no_argument, NULL, BITMAPS },
        { "skip-broken-bitmaps", no_argument, NULL, SKIP_BROKEN }, { NULL }
    };
    for (int k; (k = img_option(m, "O:o:B:F:cl:m:nS:t:T:WCr:", more)) != -1;) {
        switch (k) {
        case 'O': a->output_format = optarg; break;
        case 'o':
            a->help |= img_wants_help(optarg);
            if (!a->help && !img_add_options(a->options, optarg, err))
                return false;
            break;
        case 'B': a->backing = optarg; break;
        case 'F': a->backing_format = optarg; break;
        case 'c': c->compress = true; break;
        case 'l': a->snapshot = optarg; break;
        case 'm':
            a->workers = g_ascii_strtoull(optarg, NULL, 10);
            if (a->workers < 1 || a->workers > 16)
                return fail(err, "-m must be from 1 to 16");
            break;
        case 'n': a->no_create = true; break;
        case 'r':
            if (!img_parse_size(optarg, &c->rate, err))
                return false;
            break;
        case 'S':
            if (!img_parse_size(optarg, &a->sparse, err))
                return false;
            if (a->sparse % 512 || a->sparse > MAX_SPARSE)
                return fail(err, "-S must be a multiple of 512 up to %d, or 0: nothing is left out, and the output is fully allocated", MAX_SPARSE);
            a->sparse_said = true;
            break;
        case 't': a->target_cache = optarg; break;
        case 'T': a->source_cache = optarg; break;
        case 'W': break;                /* writes are out of order as it is */
        case 'C': a->offload = true; break;
        case SALVAGE: c->salvage = true; break;
        case TARGET_ZERO: a->target_zero = true; break;
        case BITMAPS: a->bitmaps = true; break;
        case SKIP_BROKEN: a->skip_broken = true; break;
        case TARGET_OPTS: a->target_opts = true; break;
        default: return fail(err, "convert: see above");
        }
    }
    if (a->help)
        return true;
    if (m->argc - optind < 2)
        return fail(err, "convert: a source and an output, please");
    if (a->target_opts && (a->output_format || !a->no_create))
        return fail(err, a->output_format ? "--target-image-opts and -O are mutually exclusive" : "--target-image-opts requires use of -n flag");
    /* What it asks for is a way of copying that any image may decline. */
    if (a->offload && (c->compress || a->sparse_said))
        return fail(err, "Cannot enable copy offloading when %s is used", c->compress ? "-c" : "-S");
    if (a->skip_broken && !a->bitmaps)
        return fail(err, "Use of --skip-broken-bitmaps requires --bitmaps");
    if (a->bitmaps && m->argc - optind > 2)
        return fail(err, "Copying bitmaps only possible with single source");
    if (a->target_zero && !a->no_create)
        return fail(err, "--target-is-zero goes with -n");
    return true;
}

static bool open_sources(Img *m, Convert *c, const Args *a, GError **err)
{
    c->n_sources = (unsigned)(m->argc - optind - 1);
    c->source = g_new0(Block *, c->n_sources);
    c->start = g_new0(uint64_t, c->n_sources + 1);
    unsigned flags = BLOCK_ONCE | (a->source_cache ? 0 : BLOCK_PASSING);
    for (unsigned i = 0; i < c->n_sources; i++) {
        c->source[i] = img_open(m, m->argv[optind + (int)i], m->format, a->source_cache, flags, err);
        if (!c->source[i])
            return false;
        if (a->snapshot) {
            if (c->n_sources > 1)
                return fail(err, "-l goes with one source");
            if (!img_show_snapshot(c->source[i], a->snapshot, err))
                return false;
        }
        c->start[i + 1] = c->start[i] + block_length(c->source[i]);
    }
    c->total = c->start[c->n_sources];
    return true;
}

static bool make_target(Img *m, Convert *c, const Args *a, const char *name, const char *format, GError **err)
{
    const BlockDriver *d = block_driver(format);
    if (!d)
        return fail(err, "unknown format '%s'", format);
    uint64_t size = c->total;
    const char *given = NULL;
    if (!block_opt_string(a->options, "backing_file", &given, err))
        return false;
    if (a->backing)
        json_set(a->options, "backing_file", json_string(a->backing));
    if (a->backing_format)
        json_set(a->options, "backing_fmt", json_string(a->backing_format));
    if ((a->backing || given) && !json_get(a->options, "backing_fmt"))
        return fail(err, "the backing file's format is not given (-F)");
    if (!block_opt_size(a->options, "size", &size, err))
        return false;
    if (size < c->total)
        return fail(err, "the output would be smaller than the source");
    json_set(a->options, "size", json_u64(size));
    return block_create(m->graph, d, name, a->options, err);
}

static int run_workers(Convert *c, unsigned n)
{
    /* In large pages, if there are any: a device then gets one address, not 256. */
    c->buffer_len = MAX(c->piece, c->compress ? c->granule : 0);
    void *p;
    if (posix_memalign(&p, LARGE_PAGE, n * c->buffer_len))
        return -ENOMEM;
    madvise(p, n * c->buffer_len, MADV_HUGEPAGE);
    c->buffers = p;
    c->workers = n;
    for (unsigned i = 0; i < n; i++)
        co_start(worker, c);
    while (c->workers)
        co_queue_wait(&c->ended);
    free(c->buffers);
    return c->result;
}

/* Whether all sources are; their backing files count for nothing. */
static bool in_memory(const Convert *c)
{
    for (unsigned i = 0; i < c->n_sources; i++) {
        BlockInfo info = { 0 };
        Block *file = block_file(c->source[i]);
        int r = file ? block_info(file, &info) : -ENOENT;
        json_free(info.specific);
        if (r || !info.in_memory)
            return false;
    }
    return true;
}

static int convert(Img *m, Convert *c, Args *a, GError **err)
{
    if (!parse(m, c, a, err))
        return 1;
    const char *name = m->argv[m->argc - 1], *format = a->output_format ? a->output_format : "raw";
    if (a->help)
        return img_list_options(format);
    if (!open_sources(m, c, a, err))
        return 1;
    if (a->bitmaps && !img_check_bitmaps(c->source[0], a->skip_broken, err))
        return 1;
    if (a->bitmaps && !a->no_create && strcmp(format, "qcow2")) {
        fail(err, "Format driver '%s' does not support bitmaps", format);
        return 1;
    }
    if (!a->no_create && !make_target(m, c, a, name, format, err))
        return 1;
    c->have_base = a->backing || json_get(a->options, "backing_file");
    unsigned flags = BLOCK_RDWR | BLOCK_UNMAP | BLOCK_ONCE | (c->have_base ? 0 : BLOCK_NO_BACKING);
    bool opts = m->image_opts, share = m->share;
    m->image_opts = a->target_opts;
    img_keys(m, a->options);
    m->share = false;
    c->target = img_open(m, name, a->target_opts ? NULL : format, a->target_cache ? a->target_cache : "unsafe", flags, err);
    m->image_opts = opts;
    m->share = share;
    if (!c->target)
        return 1;
    if (block_length(c->target) < c->total) {
        fail(err, "the output has %" PRIu64 " bytes, the source %" PRIu64, block_length(c->target), c->total);
        return 1;
    }
    BlockInfo info, file_info;
    block_info(c->target, &info);
    json_free(info.specific);
    Block *file = block_file(c->target);
    c->granule = info.granule;
    if (c->compress && (!info.can_compress || !info.granule)) {
        fail(err, "%s images are not compressed", block_format(c->target));
        return 1;
    }
    /* New files read as zeros; devices may hold anything. */
    bool plain_file = file && !strcmp(block_format(file), "file");
    c->zeroed = a->target_zero || (!a->no_create && (info.granule || (plain_file && !info.noise && !block_info(file, &file_info))));
    c->sparse = a->sparse;
    c->piece = !c->compress && in_memory(c) ? PIECE_IN_MEMORY : PIECE;
    uint8_t magic[MAGIC_BYTES] = { 0 }, none[MAGIC_BYTES] = { 0 };
    bool hide = !a->no_create && info.granule && plain_file;
    int r = 0;
    if (hide) {
        r = block_read(file, 0, magic, sizeof magic);
        if (!r)
            r = block_write(file, 0, none, sizeof none, 0);
    }
    if (!r)
        r = run_workers(c, (unsigned)a->workers);
    if (!r && a->bitmaps && !img_copy_bitmaps(c->source[0], c->target, err))
        r = -EINVAL;
    if (!r && hide) {
        r = block_flush(c->target);
        if (!r)
            r = block_write(file, 0, magic, sizeof magic, 0);
    }
    if (r == -EINTR)
        fail(err, "interrupted");
    else if (r && !*err)
        fail_errno(err, -r, "error at offset %" PRIu64, c->bad_at);
    int close_result = block_close(c->target);
    c->target = NULL;
    if (!r && close_result) {
        r = close_result;
        fail_errno(err, -r, "cannot close %s", name);
    }
    if (!r)
        img_progress(m, 1, 1);
    else if (!a->no_create)
        img_remove_output(name);
    return r != 0;
}

int img_convert(Img *m)
{
    Convert c = { .m = m };
    Args a = { .options = json_object(), .workers = 8, .sparse = 4096 };
    GError *err = NULL;
    int result = convert(m, &c, &a, &err);
    if (err)
        img_fail(err);
    for (unsigned i = 0; i < c.n_sources; i++)
        if (c.source[i])
            img_close(c.source[i], 0);
    g_free(c.source);
    g_free(c.start);
    json_free(a.options);
    return result;
}
