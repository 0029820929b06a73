/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img compare, map, measure, dd, bench: images as data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/img/img.h"
#include "util/bits.h"
#include "util/options.h"

enum { CHUNK = 2 << 20, SECTOR = 512 };     /* differences are told by the sector */

/* --- compare */

enum { DIFFERENT_DATA = 1, DIFFERENT_STATUS };

/* 0: alike; DIFFERENT_...: not, at *at; < 0: error.  strict: what is allocated, and how, must be the same as well. */
static int compare_data(Img *m, Block *a, Block *b, uint64_t common, bool strict, uint64_t *at)
{
    const unsigned status = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED;
    uint8_t *x = block_memory(CHUNK), *y = block_memory(CHUNK);
    int r = x && y ? 0 : -ENOMEM;
    for (uint64_t pos = 0, n; pos < common && !r; pos += n) {
        Extent ea, eb;
        r = block_map_above(a, NULL, pos, common - pos, &ea);
        if (!r)
            r = block_map_above(b, NULL, pos, MIN(common - pos, ea.len), &eb);
        if (r)
            break;
        n = MIN(ea.len, eb.len);
        if (strict && ((ea.flags ^ eb.flags) & status)) {
            *at = pos;
            r = DIFFERENT_STATUS;
            break;
        }
        if (!(ea.flags & EXTENT_ZERO) || !(eb.flags & EXTENT_ZERO)) {
            n = MIN(n, CHUNK);
            r = block_read(a, pos, x, n);
            if (!r)
                r = block_read(b, pos, y, n);
            if (!r && memcmp(x, y, n)) {
                uint64_t i = 0;
                while (x[i] == y[i])
                    i++;
                *at = align_down(pos + i, SECTOR);
                r = DIFFERENT_DATA;
            }
        }
        img_progress(m, pos + n, common);
    }
    free(x);
    free(y);
    return r;
}

/* Whether the longer image's rest is zeros. */
static int rest_is_zero(Block *b, uint64_t from, uint64_t *at)
{
    uint8_t *x = block_memory(CHUNK);
    int r = x ? 0 : -ENOMEM;
    for (uint64_t n; from < block_length(b) && !r; from += n) {
        Extent e;
        r = block_map_above(b, NULL, from, block_length(b) - from, &e);
        n = e.len;
        if (r || (e.flags & EXTENT_ZERO))
            continue;
        n = MIN(n, CHUNK);
        r = block_read(b, from, x, n);
        if (!r && !buf_is_zero(x, n)) {
            uint64_t i = 0;
            while (!x[i])
                i++;
            *at = align_down(from + i, SECTOR);
            r = DIFFERENT_DATA;
        }
    }
    free(x);
    return r;
}

int img_compare(Img *m)
{
    const char *second = NULL, *cache = NULL;
    bool strict = false;
    GError *err = NULL;
    m->progress &= !m->quiet;
    for (int c; (c = img_option(m, "F:T:s", NULL)) != -1;) {
        switch (c) {
        case 'F': second = optarg; break;
        case 'T': cache = optarg; break;
        case 's': strict = true; break;
        default: return 2;
        }
    }
    if (optind != m->argc - 2)
        return img_error("compare: two images, please");
    Block *a = img_open(m, m->argv[optind], m->format, cache, 0, &err);
    Block *b = a ? img_open(m, m->argv[optind + 1], second, cache, 0, &err) : NULL;
    if (!b) {
        img_fail(err);
        return img_close(a, 2);
    }
    uint64_t la = block_length(a), lb = block_length(b), at = 0;
    int result, r = 0;
    if (strict && la != lb) {
        if (!m->quiet)
            printf("Strict mode: Image size mismatch!\n");
        result = 1;
    } else {
        r = compare_data(m, a, b, MIN(la, lb), strict, &at);
        if (!r && la != lb)
            r = rest_is_zero(la > lb ? a : b, MIN(la, lb), &at);
        if (r < 0)
            img_error("error while comparing: %s", g_strerror(-r));
        else if (r && !m->quiet)
            printf(r == DIFFERENT_STATUS ? "Strict mode: Offset %" PRIu64 " block status mismatch!\n"
                                         : "Content mismatch at offset %" PRIu64 "!\n", at);
        else if (!r && !m->quiet)
            printf("%sImages are identical.\n", la != lb ? "Warning: Image size mismatch!\n" : "");
        result = r < 0 ? 3 : r != 0;
    }
    result = img_close(b, result);
    return img_close(a, result);
}

/* --- map */

static void print_extent(Img *m, uint64_t at, const Extent *e, bool *first)
{
    bool offset = e->flags & EXTENT_OFFSET, zero = e->flags & EXTENT_ZERO, data = e->flags & EXTENT_DATA;
    if (!m->json) {
        if (data && !zero && offset)
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", at, e->len, e->offset, block_filename(e->file));
        return;
    }
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           *first ? "[" : ",\n", at, e->len, e->depth, e->flags & EXTENT_ALLOCATED ? "true" : "false", zero ? "true" : "false",
           data ? "true" : "false");
    if (offset)
        printf(", \"offset\": %" PRIu64, e->offset);
    printf("}");
    *first = false;
}

int img_map(Img *m)
{
    uint64_t start = 0, len = UINT64_MAX;
    GError *err = NULL;
    static const struct option more[] = {
        { "start-offset", required_argument, NULL, 's' }, { "max-length", required_argument, NULL, 'l' }, { NULL }
    };
    for (int c; (c = img_option(m, "s:l:", more)) != -1;) {
        if (c == '?' || !img_parse_size(optarg, c == 's' ? &start : &len, &err))
            return err ? img_fail(err) : 1;
    }
    if (optind != m->argc - 1)
        return img_error("map: which image?");
    Block *b = img_open(m, m->argv[optind], m->format, NULL, 0, &err);
    if (!b)
        return img_fail(err);
    uint64_t end = MIN(block_length(b), len > UINT64_MAX - start ? UINT64_MAX : start + len), held_at = start;
    Extent held = { 0 };
    bool first = true;
    int r = 0;
    if (!m->json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    for (uint64_t at = start; at < end && !r; at += held.len) {
        Extent e, next;
        r = block_map_above(b, NULL, at, end - at, &e);
        while (!r && at + e.len < end) {        /* neighbours of one kind are one */
            r = block_map_above(b, NULL, at + e.len, end - at - e.len, &next);
            if (r || next.flags != e.flags || next.depth != e.depth ||
                ((e.flags & EXTENT_OFFSET) && (next.file != e.file || next.offset != e.offset + e.len)))
                break;
            e.len += next.len;
        }
        if (r)
            break;
        if ((e.flags & EXTENT_COMPRESSED) && !m->json) {
            img_error("File contains external, encrypted or compressed clusters, which have no place of their own; see --output=json");
            return img_close(b, 1);
        }
        held = e;
        held_at = at;
        print_extent(m, held_at, &held, &first);
    }
    if (m->json)
        printf(first ? "[]\n" : "]\n");
    return img_close(b, r ? img_error("cannot map: %s", g_strerror(-r)) : 0);
}

/* --- measure */

int img_measure(Img *m)
{
    enum { SIZE = 2000 };
    static const struct option more[] = { { "size", required_argument, NULL, SIZE }, { NULL } };
    const char *format = "raw", *snapshot = NULL;
    uint64_t size = UINT64_MAX, data = 0, required, full, bitmaps = 0;
    bool has_bitmaps = false;
    GError *err = NULL;
    Json *o = json_object();
    for (int c; (c = img_option(m, "O:o:l:", more)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'O': format = optarg; break;
        case 'o': ok = img_add_options(o, optarg, &err); break;
        case 'l': snapshot = optarg; break;
        case SIZE: ok = img_parse_size(optarg, &size, &err); break;
        default: return 1;
        }
        if (!ok)
            return img_fail(err);
    }
    const BlockDriver *d = block_driver(format);
    if (!d)
        return img_error("unknown format '%s'", format);
    if ((size != UINT64_MAX) == (optind < m->argc))
        return img_error("measure: either --size or an image");
    if (size == UINT64_MAX) {
        Block *b = img_open(m, m->argv[optind], m->format, NULL, 0, &err);
        if (!b || (snapshot && !img_show_snapshot(b, snapshot, &err)))
            return img_close(b, img_fail(err));
        size = block_length(b);
        uint64_t unit = 65536;
        const char *compat = NULL;
        if (!block_opt_size(o, "cluster_size", &unit, &err) || !block_opt_string(o, "compat", &compat, &err))
            return img_close(b, img_fail(err));
        has_bitmaps = !strcmp(format, "qcow2") && !(compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2"))) &&
                      img_measure_bitmaps(b, MAX(unit, 512), &bitmaps);
        /* Clusters that hold anything: each is counted once. */
        uint64_t counted = 0;
        for (uint64_t at = 0; at < size;) {
            Extent e;
            int r = block_map_above(b, NULL, at, size - at, &e);
            if (r)
                return img_close(b, img_error("cannot map: %s", g_strerror(-r)));
            if ((e.flags & EXTENT_DATA) && !(e.flags & EXTENT_ZERO) && is_pow2(unit)) {
                uint64_t from = MAX(counted, align_down(at, unit)), to = align_up(at + e.len, unit);
                data += to > from ? to - from : 0;
                counted = MAX(counted, to);
            }
            at += e.len;
        }
        img_close(b, 0);
    }
    if (!block_measure(d, o, size, data, &required, &full, &err))
        return img_fail(err);
    json_free(o);
    if (m->json) {
        Json *v = json_object();
        if (has_bitmaps)
            json_set(v, "bitmaps", json_u64(bitmaps));
        json_set(v, "required", json_u64(required));
        json_set(v, "fully-allocated", json_u64(full));
        img_print_json(v);
        json_free(v);
    } else {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
        if (has_bitmaps)
            printf("bitmaps size: %" PRIu64 "\n", bitmaps);
    }
    return 0;
}

/* --- dd */

int img_dd(Img *m)
{
    const char *format = "raw", *in = NULL, *out = NULL;
    uint64_t bs = 512, count = UINT64_MAX, skip = 0;
    GError *err = NULL;
    for (int c; (c = img_option(m, "O:", NULL)) != -1;) {
        if (c != 'O')
            return 1;
        format = optarg;
    }
    for (int i = optind; i < m->argc; i++) {
        char *eq = strchr(m->argv[i], '=');
        bool ok = true;
        if (!eq)
            return img_error("dd: '%s' is no operand", m->argv[i]);
        g_autofree char *key = g_strndup(m->argv[i], (gsize)(eq - m->argv[i]));
        if (!strcmp(key, "if"))
            in = eq + 1;
        else if (!strcmp(key, "of"))
            out = eq + 1;
        else if (!strcmp(key, "bs"))
            ok = img_parse_size(eq + 1, &bs, &err);
        else if (!strcmp(key, "count"))
            ok = img_parse_size(eq + 1, &count, &err);
        else if (!strcmp(key, "skip"))
            ok = img_parse_size(eq + 1, &skip, &err);
        else
            return img_error("dd: unknown operand '%s'", key);
        if (!ok)
            return img_fail(err);
    }
    if (!in || !out || !bs || bs > INT_MAX)
        return img_error("dd: if=, of= and a sensible bs=, please");
    const BlockDriver *d = block_driver(format);
    if (!d)
        return img_error("unknown format '%s'", format);
    Block *b = img_open(m, in, m->format, NULL, 0, &err);
    if (!b)
        return img_fail(err);
    if (skip > block_length(b) / bs)
        img_error("%s: cannot skip to specified offset", in);
    uint64_t from = skip > block_length(b) / bs ? block_length(b) : skip * bs;
    uint64_t len = MIN(block_length(b) - from, count > INT64_MAX / bs ? UINT64_MAX : count * bs);
    Json *o = json_object();
    json_set(o, "size", json_u64(len));
    bool ok = block_create(m->graph, d, out, o, &err);
    json_free(o);
    bool opts = m->image_opts;
    m->image_opts = false;
    Block *t = ok ? img_open(m, out, format, "unsafe", BLOCK_RDWR, &err) : NULL;
    m->image_opts = opts;
    if (!t)
        return img_close(b, img_fail(err));
    size_t step = MAX(bs, MIN(CHUNK, align_up(len, 4096)));
    uint8_t *buf = block_memory(step);
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t at = 0, n; at < len && !r; at += n) {
        n = MIN(len - at, step);
        r = *m->interrupted ? -EINTR : block_read(b, from + at, buf, n);
        if (!r && !buf_is_zero(buf, n))
            r = block_write(t, at, buf, n, 0);
    }
    free(buf);
    int result = img_close(t, r ? img_error("dd: %s", r == -EINTR ? "interrupted" : g_strerror(-r)) : 0);
    if (result)
        img_remove_output(out);
    return img_close(b, result);
}

/* --- bench */

typedef struct Bench {
    Block   *b;
    uint64_t left, at, start, step, size, wrap, flush_every, running, in_flight;
    bool     write, no_drain, draining;
    uint8_t *buf;
    int      result;
    CoQueue  ended, idle, go_on;
} Bench;

static void bench_ended(Bench *x, int r)
{
    if (r)
        x->result = r;
    if (!--x->running)
        co_queue_wake_all(&x->ended);
}

static void bench_flush(void *self)
{
    Bench *x = self;
    bench_ended(x, block_flush(x->b));
}

/* Once nothing else is under way; meanwhile nobody begins. */
static int bench_drained_flush(Bench *x)
{
    while (x->in_flight)
        co_queue_wait(&x->idle);
    int r = block_flush(x->b);
    x->draining = false;
    co_queue_wake_all(&x->go_on);
    return r;
}

static void bench_worker(void *self)
{
    Bench *x = self;
    uint8_t *buf = block_memory(x->size);
    int r = buf ? 0 : -ENOMEM;
    if (buf)
        memcpy(buf, x->buf, x->size);
    while (x->left && !x->result && !r) {
        if (x->draining) {
            co_queue_wait(&x->go_on);
            continue;
        }
        uint64_t at = x->at;
        x->at = (x->at + x->step) % x->wrap;
        bool flush = --x->left % MAX(x->flush_every, 1) == 0 && x->flush_every;
        x->draining = flush && !x->no_drain;
        if (flush && x->no_drain) {
            x->running++;
            co_start(bench_flush, x);
        }
        x->in_flight++;
        r = x->write ? block_write(x->b, at, buf, x->size, 0) : block_read(x->b, at, buf, x->size);
        if (!--x->in_flight)
            co_queue_wake_all(&x->idle);
        if (flush && !x->no_drain) {
            int flushed = bench_drained_flush(x);
            r = r ? r : flushed;
        }
    }
    free(buf);
    bench_ended(x, r);
}

int img_bench(Img *m)
{
    enum { FLUSH = 2000, PATTERN, NO_DRAIN };
    static const struct option more[] = {
        { "flush-interval", required_argument, NULL, FLUSH }, { "pattern", required_argument, NULL, PATTERN },
        { "no-drain", no_argument, NULL, NO_DRAIN }, { NULL }
    };
    Bench x = { .left = 75000, .size = 4096 };
    uint64_t depth = 64, pattern = 0;
    const char *cache = NULL;
    unsigned aio = 0;
    GError *err = NULL;
    for (int c; (c = img_option(m, "c:d:o:s:S:t:wni:", more)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'c': ok = parse_u64("-c", optarg, 0, INT64_MAX, &x.left, &err); break;
        case 'd': ok = parse_u64("-d", optarg, 1, 4096, &depth, &err); break;
        case 'o': ok = img_parse_size(optarg, &x.start, &err); break;
        case 's': ok = img_parse_size(optarg, &x.size, &err) && (x.size >= 1 && x.size <= 1 << 30 ? true : fail(&err, "-s: 1 to 1G")); break;
        case 'S': ok = img_parse_size(optarg, &x.step, &err); break;
        case 't': cache = optarg; break;
        case 'w': x.write = true; break;
        case 'n': ok = block_parse_aio("native", &aio, &err); break;
        case 'i': ok = block_parse_aio(optarg, &aio, &err); break;
        case NO_DRAIN: x.no_drain = true; break;
        case FLUSH: ok = parse_u64("--flush-interval", optarg, 0, INT64_MAX, &x.flush_every, &err); break;
        case PATTERN: ok = parse_u64("--pattern", optarg, 0, 255, &pattern, &err); break;
        default: return 1;
        }
        if (!ok)
            return img_fail(err);
    }
    if (optind != m->argc - 1)
        return img_error("bench: which image?");
    if (x.flush_every && !x.write)
        return img_error("--flush-interval is only available in write tests (-w)");
    if (x.flush_every && x.flush_every < depth)
        return img_error("the flush interval can't be smaller than the depth (-d)");
    if (!x.step)
        x.step = x.size;
    x.b = img_open(m, m->argv[optind], m->format, cache, (x.write ? BLOCK_RDWR : 0) | aio, &err);
    if (!x.b)
        return img_fail(err);
    if (x.start > block_length(x.b) || block_length(x.b) - x.start < x.size)
        return img_close(x.b, img_error("the image is too small"));
    x.wrap = MAX(block_length(x.b) - x.size, 1);        /* as qemu-img does it (observed) */
    x.at = x.start;
    x.buf = block_memory(x.size);
    memset(x.buf, (int)pattern, x.size);
    if (!m->quiet)
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64 " in parallel (starting at offset %" PRIu64
               ", step size %" PRIu64 ")\n", x.left, x.write ? "write" : "read", x.size, depth, x.start, x.step);
    if (!m->quiet && x.flush_every)
        printf("Sending flush every %" PRIu64 " requests\n", x.flush_every);
    int64_t began = g_get_monotonic_time();
    x.running = depth;
    for (uint64_t i = 0; i < depth; i++)
        co_start(bench_worker, &x);
    while (x.running)
        co_queue_wait(&x.ended);
    double seconds = (double)(g_get_monotonic_time() - began) / 1e6;
    free(x.buf);
    if (x.result)
        return img_close(x.b, img_error("a request failed: %s", g_strerror(-x.result)));
    if (!m->quiet)
        printf("Run completed in %3.3f seconds.\n", seconds);
    return img_close(x.b, 0);
}
