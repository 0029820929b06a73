/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD server. */
#include "block/nbd/server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/bitmap.h"
#include "block/nbd/tls.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/log.h"

enum { MAX_UNDER_WAY = 16, MAX_BYTES_UNDER_WAY = 64 << 20, MAX_EXTENTS = 2048, MAX_OPTIONS = 1000, ALLOCATION_ID = 1, DEPTH_ID = 2, BITMAP_ID = 3,
       MAX_BITMAPS = 29 };
#define NEGOTIATION_NS UINT64_C(10000000000)
#define WATCH_NS       UINT64_C(250000000)
#define ALLOCATION_DEPTH "qemu:allocation-depth"

#define DIRTY_BITMAP "qemu:dirty-bitmap:"

typedef struct Export { char *name, *description; Block *b; bool writable; BlockBitmap *bitmap[MAX_BITMAPS]; unsigned n_bitmaps; } Export;

typedef struct Client {
    NbdServer *server;
    NbdStream  s;
    Export    *export;                  /* NULL: still negotiating */
    bool       structured, gone, no_zeroes;
    unsigned   contexts;                /* bit per id */
    Export    *contexts_of;
    uint64_t   deadline;
    CoMutex    sending;
    unsigned   under_way;
    uint64_t   bytes;                   /* buffers of those */
    CoQueue    slot;                    /* a request has ended */
    struct Client *next;
} Client;

struct NbdServer {
    Aio        *aio;
    const NbdCreds *tls;
    unsigned    max_clients, n_clients, n_listening;
    NbdServerHooks hooks;
    GPtrArray  *exports;                /* Export * */
    Client     *clients;
    GArray     *listening;              /* int */
    bool        stopping, watching;
    CoQueue     changed;                /* a client, a listener or the watch has ended */
};

static Export *find_export(NbdServer *s, const char *name, size_t len)
{
    for (unsigned i = 0; i < s->exports->len; i++) {
        Export *e = s->exports->pdata[i];
        if (strlen(e->name) == len && !memcmp(e->name, name, len))
            return e;
    }
    /* The empty name is the default: the only export there is. */
    return !len && s->exports->len == 1 ? s->exports->pdata[0] : NULL;
}

static uint16_t export_flags(const Export *e)
{
    return NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_DF | NBD_MULTI_CONN |
           (e->writable ? NBD_SEND_TRIM | NBD_SEND_ZEROES | NBD_SEND_FAST_ZERO : NBD_READ_ONLY);
}

/* --- negotiation.  Functions give 0 to go on, 1 for the transmission phase, -errno to hang up. */

static int reply(Client *c, uint32_t option, uint32_t type, const void *data, size_t len)
{
    uint8_t h[20];
    store_be64(h, NBD_REPLY_MAGIC);
    store_be32(h + 8, option);
    store_be32(h + 12, type);
    store_be32(h + 16, (uint32_t)len);
    struct iovec v[] = { { h, sizeof h }, { (void *)(uintptr_t)data, len } };
    return nbd_writev(&c->s, v, 2);
}

static int refuse(Client *c, uint32_t option, uint32_t error, const char *why)
{
    return reply(c, option, NBD_REP_ERR(error), why, strlen(why));
}

static int list(Client *c, const uint8_t *data, uint32_t len)
{
    if (len)
        return refuse(c, NBD_OPT_LIST, NBD_ERR_INVALID, "LIST has no data");
    int r = 0;
    for (unsigned i = 0; i < c->server->exports->len && !r; i++) {
        Export *e = c->server->exports->pdata[i];
        size_t n = strlen(e->name), d = e->description ? strlen(e->description) : 0;
        g_autofree uint8_t *p = g_malloc(4 + n + d);
        store_be32(p, (uint32_t)n);
        memcpy(p + 4, e->name, n);
        if (d)
            memcpy(p + 4 + n, e->description, d);
        r = reply(c, NBD_OPT_LIST, NBD_REP_SERVER, p, 4 + n + d);
    }
    return r ? r : reply(c, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
}

static int info(Client *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    uint32_t n = len >= 6 ? load_be32(data) : UINT32_MAX;
    if (n > len - 6 || len < 6 || (len - 6 - n) != load_be16(data + 4 + n) * 2u)
        return refuse(c, option, NBD_ERR_INVALID, "malformed");
    Export *e = find_export(c->server, (const char *)data + 4, n);
    if (!e)
        return refuse(c, option, NBD_ERR_UNKNOWN, "no such export");
    uint8_t p[14];
    int r = 0;
    for (const uint8_t *w = data + 6 + n; w < data + len && !r; w += 2) {
        const char *text = load_be16(w) == NBD_INFO_NAME ? e->name : load_be16(w) == NBD_INFO_DESCRIPTION ? e->description : NULL;
        if (text) {
            g_autofree uint8_t *t = g_malloc(2 + strlen(text));
            memcpy(t, w, 2);
            memcpy(t + 2, text, strlen(text));
            r = reply(c, option, NBD_REP_INFO, t, 2 + strlen(text));
        }
    }
    store_be16(p, NBD_INFO_BLOCK_SIZE);
    store_be32(p + 2, 1);
    store_be32(p + 6, 4096);
    store_be32(p + 10, NBD_MAX_REQUEST);
    if (!r)
        r = reply(c, option, NBD_REP_INFO, p, 14);
    store_be16(p, NBD_INFO_EXPORT);
    store_be64(p + 2, block_length(e->b));
    store_be16(p + 10, export_flags(e));
    if (!r)
        r = reply(c, option, NBD_REP_INFO, p, 12);
    if (!r)
        r = reply(c, option, NBD_REP_ACK, NULL, 0);
    if (r || option == NBD_OPT_INFO)
        return r;
    c->export = e;
    return 1;
}

static int export_name(Client *c, const uint8_t *data, uint32_t len)
{
    uint8_t p[10 + 124] = { 0 };
    c->export = find_export(c->server, (const char *)data, len);
    if (!c->export)
        return -ENOENT;         /* this option has no other answer than hanging up */
    store_be64(p, block_length(c->export->b));
    store_be16(p + 8, export_flags(c->export));
    int r = nbd_write(&c->s, p, c->no_zeroes ? 10 : sizeof p);
    return r ? r : 1;
}

static int offer(Client *c, uint32_t option, unsigned id, const char *name)
{
    g_autofree uint8_t *p = g_malloc(4 + strlen(name));
    store_be32(p, option == NBD_OPT_SET_META ? id : 0);
    memcpy(p + 4, name, strlen(name));
    if (option == NBD_OPT_SET_META)
        c->contexts |= 1u << id;
    return reply(c, option, NBD_REP_META, p, 4 + strlen(name));
}

/* The name of context id of an export; NULL: there is none. */
static char *context_name(const Export *e, unsigned id)
{
    if (id < BITMAP_ID)
        return g_strdup(id == ALLOCATION_ID ? NBD_BASE_ALLOCATION : ALLOCATION_DEPTH);
    return id - BITMAP_ID < e->n_bitmaps ? g_strconcat(DIRTY_BITMAP, e->bitmap[id - BITMAP_ID]->name, NULL) : NULL;
}

/* Whether a client asks for this name, or, if it may, for the family that it belongs to. */
static bool asks_for(const char *name, const uint8_t *query, size_t n, bool family)
{
    size_t len = strlen(name);
    return n <= len && !memcmp(name, query, n) && (n == len || (family && n && name[n - 1] == ':'));
}

static int meta(Client *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    uint32_t n = len >= 8 ? load_be32(data) : UINT32_MAX;
    if (!c->structured)
        return refuse(c, option, NBD_ERR_INVALID, "structured replies come first");
    if (len < 8 || n > len - 8)
        return refuse(c, option, NBD_ERR_INVALID, "malformed");
    Export *e = find_export(c->server, (const char *)data + 4, n);
    uint32_t queries = load_be32(data + 4 + n);
    const uint8_t *q = data + 8 + n, *end = data + len;
    if (!e)
        return refuse(c, option, NBD_ERR_UNKNOWN, "no such export");
    if (option == NBD_OPT_SET_META) {
        c->contexts = 0;
        c->contexts_of = e;
    }
    int r = 0;
    bool list = option == NBD_OPT_LIST_META;
    for (uint32_t i = 0; i < MAX(queries, list) && !r; i++) {
        uint32_t size = queries && end - q >= 4 ? load_be32(q) : 0;
        if (queries && (end - q < 4 || size > (size_t)(end - q - 4)))
            return refuse(c, option, NBD_ERR_INVALID, "malformed");
        char *name;
        for (unsigned id = ALLOCATION_ID; !r && (name = context_name(e, id)); id++) {
            if (!queries || asks_for(name, q + 4, size, list))
                r = offer(c, option, id, name);
            g_free(name);
        }
        q += queries ? 4 + size : 0;
    }
    return r ? r : reply(c, option, NBD_REP_ACK, NULL, 0);
}

static int start_tls(Client *c, uint32_t len)
{
    GError *err = NULL;
    if (!c->server->tls)
        return refuse(c, NBD_OPT_STARTTLS, NBD_ERR_POLICY, "this server has no TLS");
    if (c->s.tls || len)
        return refuse(c, NBD_OPT_STARTTLS, NBD_ERR_INVALID, c->s.tls ? "TLS is on already" : "STARTTLS has no data");
    int r = reply(c, NBD_OPT_STARTTLS, NBD_REP_ACK, NULL, 0);
    if (r || nbd_tls_start(&c->s, c->server->tls, NULL, &err)) {
        c->structured = false;
        c->contexts = 0;
        return r;
    }
    log_warn("nbd", "a client is turned away: %s", err->message);
    g_error_free(err);
    return -EPROTO;
}

static int option(Client *c)
{
    uint8_t h[16];
    int r = nbd_read(&c->s, h, sizeof h);
    if (r)
        return r;
    uint32_t what = load_be32(h + 8), len = load_be32(h + 12);
    if (load_be64(h) != NBD_OPTION_MAGIC)
        return -EPROTO;
    if (len > NBD_MAX_OPTION) {
        if (len > NBD_MAX_REQUEST || what == NBD_OPT_EXPORT_NAME)
            return -EPROTO;
        r = nbd_skip(&c->s, len);
        return r ? r : refuse(c, what, NBD_ERR_TOO_BIG, "too large");
    }
    g_autofree uint8_t *data = g_malloc(len + 1);
    r = nbd_read(&c->s, data, len);
    if (r)
        return r;
    if (c->server->tls && !c->s.tls && what != NBD_OPT_STARTTLS && what != NBD_OPT_ABORT)
        return what == NBD_OPT_EXPORT_NAME ? -EPROTO : refuse(c, what, NBD_ERR_TLS_REQUIRED, "TLS is needed here");
    switch (what) {
    case NBD_OPT_EXPORT_NAME: return export_name(c, data, len);
    case NBD_OPT_ABORT:
        reply(c, what, NBD_REP_ACK, NULL, 0);
        return -ECONNRESET;
    case NBD_OPT_LIST:       return list(c, data, len);
    case NBD_OPT_STARTTLS:   return start_tls(c, len);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:         return info(c, what, data, len);
    case NBD_OPT_STRUCTURED:
        if (len)
            return refuse(c, what, NBD_ERR_INVALID, "no data here");
        c->structured = true;
        return reply(c, what, NBD_REP_ACK, NULL, 0);
    case NBD_OPT_LIST_META:
    case NBD_OPT_SET_META:   return meta(c, what, data, len);
    default:                 return refuse(c, what, NBD_ERR_UNSUP, "unknown option");
    }
}

static int negotiate(Client *c)
{
    uint8_t h[18];
    store_be64(h, NBD_MAGIC);
    store_be64(h + 8, NBD_OPTION_MAGIC);
    store_be16(h + 16, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    int r = nbd_write(&c->s, h, sizeof h);
    if (!r)
        r = nbd_read(&c->s, h, 4);
    if (r)
        return r;
    if (load_be32(h) & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
        return -EPROTO;
    c->no_zeroes = load_be32(h) & NBD_NO_ZEROES;
    for (unsigned i = 0; i < MAX_OPTIONS && !r; i++)
        r = option(c);
    return r == 1 ? 0 : r ? r : -EPROTO;
}

/* --- requests */

typedef struct Job { Client *c; uint16_t flags, type; uint64_t cookie, at; uint32_t len; uint8_t *buf; } Job;

static uint32_t wire_error(int r)
{
    switch (-r) {
    case EPERM: case EROFS: return 1;
    case ENOMEM: return 12;
    case EINVAL: return 22;
    case ENOSPC: case EFBIG: case EDQUOT: return 28;
    case ENOTSUP: return 95;
    default: return r ? 5 : 0;
    }
}

static int chunk(Client *c, uint64_t cookie, uint16_t flags, uint16_t type, const void *head, size_t head_len, const void *data, size_t len)
{
    uint8_t h[20];
    store_be32(h, NBD_CHUNK_MAGIC);
    store_be16(h + 4, flags);
    store_be16(h + 6, type);
    store_be64(h + 8, cookie);
    store_be32(h + 16, (uint32_t)(head_len + len));
    struct iovec v[] = { { h, sizeof h }, { (void *)(uintptr_t)head, head_len }, { (void *)(uintptr_t)data, len } };
    co_mutex_lock(&c->sending);
    int r = nbd_writev(&c->s, v, 3);
    co_mutex_unlock(&c->sending);
    return r;
}

static int simple_reply(Client *c, uint64_t cookie, int result, const void *data, size_t len)
{
    uint8_t h[16];
    if (result && c->structured) {
        store_be32(h, wire_error(result));
        store_be16(h + 4, 0);
        return chunk(c, cookie, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, h, 6, NULL, 0);
    }
    store_be32(h, NBD_SIMPLE_MAGIC);
    store_be32(h + 4, wire_error(result));
    store_be64(h + 8, cookie);
    struct iovec v[] = { { h, sizeof h }, { (void *)(uintptr_t)data, result ? 0 : len } };
    co_mutex_lock(&c->sending);
    int r = nbd_writev(&c->s, v, 2);
    co_mutex_unlock(&c->sending);
    return r;
}

/* Holes go as holes, unless the client wants one piece. */
static int read_chunks(Job *j)
{
    Client *c = j->c;
    Block *b = c->export->b;
    uint8_t h[12];
    int r = 0, sent = 0;
    for (uint64_t done = 0, n; done < j->len && !sent; done += n) {
        Extent x = { .len = j->len - done, .flags = EXTENT_DATA };
        if (!(j->flags & NBD_F_DF))
            r = block_map_above(b, NULL, j->at + done, j->len - done, &x);
        n = x.len;
        bool hole = !r && (x.flags & EXTENT_ZERO), last = done + n == j->len;
        if (!r && !hole)
            r = block_read(b, j->at + done, j->buf, n);
        if (r)
            return simple_reply(c, j->cookie, r, NULL, 0);
        store_be64(h, j->at + done);
        store_be32(h + 8, (uint32_t)n);
        sent = chunk(c, j->cookie, last ? NBD_CHUNK_DONE : 0, hole ? NBD_CHUNK_HOLE : NBD_CHUNK_DATA, h, hole ? 12 : 8, j->buf, hole ? 0 : n);
    }
    return sent;
}

static uint32_t dirty(const BlockBitmap *m, uint64_t at, uint64_t most, uint64_t *len)
{
    uint64_t from;
    if (!block_bitmap_next_dirty(m, at, most, &from, len) || from >= at + most) {
        *len = most;
        return 0;
    }
    if (from == at)
        return NBD_STATE_DIRTY;
    *len = from - at;
    return 0;
}

static int extents(Job *j, unsigned id, bool last)
{
    Client *c = j->c;
    unsigned count = 0, most = j->flags & NBD_F_REQ_ONE ? 1 : MAX_EXTENTS;
    g_autofree uint8_t *p = g_malloc(4 + MAX_EXTENTS * 8);
    store_be32(p, id);
    for (uint64_t done = 0; done < j->len;) {
        Extent x;
        uint32_t state;
        int r = 0;
        if (id >= BITMAP_ID) {
            state = dirty(c->export->bitmap[id - BITMAP_ID], j->at + done, j->len - done, &x.len);
        } else {
            r = block_map_above(c->export->b, NULL, j->at + done, j->len - done, &x);
            state = id == DEPTH_ID ? (x.flags & EXTENT_ALLOCATED ? x.depth + 1 : 0)
                  : (x.flags & EXTENT_ZERO ? NBD_STATE_ZERO : 0) | (x.flags & EXTENT_ALLOCATED && !(x.flags & EXTENT_ZERO) ? 0 : NBD_STATE_HOLE);
        }
        if (r)
            return simple_reply(c, j->cookie, r, NULL, 0);
        uint8_t *before = count ? p + 4 + (count - 1) * 8 : NULL;
        if (before && load_be32(before + 4) == state) {
            store_be32(before, load_be32(before) + (uint32_t)x.len);
        } else if (count == most) {
            break;
        } else {
            store_be32(p + 4 + count * 8, (uint32_t)x.len);
            store_be32(p + 8 + count * 8, state);
            count++;
        }
        done += x.len;
    }
    return chunk(c, j->cookie, last ? NBD_CHUNK_DONE : 0, NBD_CHUNK_STATUS, p, 4 + count * 8, NULL, 0);
}

static int perform(Job *j)
{
    Client *c = j->c;
    Block *b = c->export->b;
    unsigned fua = j->flags & NBD_F_FUA ? BLOCK_FUA : 0;
    int r = 0;
    switch (j->type) {
    case NBD_READ:
        if (c->structured && j->len)
            return read_chunks(j);
        r = block_read(b, j->at, j->buf, j->len);
        return simple_reply(c, j->cookie, r, j->buf, j->len);
    case NBD_WRITE: r = block_write(b, j->at, j->buf, j->len, fua); break;
    case NBD_FLUSH: r = block_flush(b); break;
    case NBD_TRIM:
        r = block_discard(b, j->at, j->len);
        if (!r && fua)
            r = block_flush(b);
        break;
    case NBD_ZEROES:
        r = block_zero(b, j->at, j->len, fua | (j->flags & NBD_F_NO_HOLE ? 0 : BLOCK_MAY_UNMAP) |
                                             (j->flags & NBD_F_FAST_ZERO ? BLOCK_NO_FALLBACK : 0));
        break;
    case NBD_STATUS: {
        int sent = 0;
        for (unsigned id = ALLOCATION_ID; id < BITMAP_ID + c->export->n_bitmaps && !sent; id++)
            if (c->contexts >> id & 1)
                sent = extents(j, id, id == 31 || !(c->contexts >> (id + 1)));
        return sent;
    }
    }
    return simple_reply(c, j->cookie, r, NULL, 0);
}

static void job(void *self)
{
    Job *j = self;
    Client *c = j->c;
    if (perform(j))
        nbd_stream_stop(&c->s);
    if (j->buf)
        c->bytes -= j->len;
    free(j->buf);
    g_free(j);
    c->under_way--;
    co_queue_wake_all(&c->slot);
}

/* Whether the request may be made; 0 or the error that answers it. */
static int validate(const Client *c, uint16_t type, uint16_t flags, uint64_t at, uint32_t len)
{
    static const struct { uint16_t flags; bool changes, range; } known[] = {
        [NBD_READ] = { NBD_F_DF | NBD_F_FUA, false, true }, [NBD_WRITE] = { NBD_F_FUA, true, true }, [NBD_FLUSH] = { NBD_F_FUA, false, false },
        [NBD_TRIM] = { NBD_F_FUA, true, true }, [NBD_ZEROES] = { NBD_F_FUA | NBD_F_NO_HOLE | NBD_F_FAST_ZERO, true, true },
        [NBD_STATUS] = { NBD_F_REQ_ONE | NBD_F_FUA, false, true },
    };
    uint64_t size = block_length(c->export->b);
    if (type >= ARRAY_LEN(known) || type == NBD_DISC || type == NBD_CACHE || (flags & ~known[type].flags))
        return -EINVAL;
    if (known[type].changes && !c->export->writable)
        return -EPERM;
    if (known[type].range && (at > size || len > size - at))
        return known[type].changes ? -ENOSPC : -EINVAL;
    if (type == NBD_STATUS && (!len || !c->contexts || c->contexts_of != c->export))
        return -EINVAL;
    return type == NBD_READ && len > NBD_MAX_REQUEST ? -EINVAL : 0;
}

static int serve(Client *c)
{
    for (;;) {
        uint8_t h[28];
        while (c->under_way == MAX_UNDER_WAY)
            co_queue_wait(&c->slot);
        int r = nbd_read(&c->s, h, sizeof h);
        if (r)
            return r;
        uint16_t flags = load_be16(h + 4), type = load_be16(h + 6);
        uint64_t cookie = load_be64(h + 8), at = load_be64(h + 16);
        uint32_t len = load_be32(h + 24);
        if (load_be32(h) != NBD_REQUEST_MAGIC)
            return -EPROTO;
        if (type == NBD_DISC)
            return 0;
        if (type == NBD_WRITE && len > NBD_MAX_REQUEST)
            return -EPROTO;
        int wrong = validate(c, type, flags, at, len);
        if (wrong) {
            r = type == NBD_WRITE ? nbd_skip(&c->s, len) : 0;
            if (!r)
                r = simple_reply(c, cookie, wrong, NULL, 0);
            if (r)
                return r;
            continue;
        }
        bool data = type == NBD_READ || type == NBD_WRITE;
        while (data && c->under_way && c->bytes + len > MAX_BYTES_UNDER_WAY)
            co_queue_wait(&c->slot);
        uint8_t *buf = data ? block_memory(len) : NULL;
        if (type == NBD_WRITE && buf)
            r = nbd_read(&c->s, buf, len);
        if (r || (data && !buf)) {
            free(buf);
            return r ? r : -ENOMEM;
        }
        Job *j = g_new(Job, 1);
        *j = (Job){ .c = c, .flags = flags, .type = type, .cookie = cookie, .at = at, .len = len, .buf = buf };
        c->under_way++;
        c->bytes += data ? len : 0;
        co_start(job, j);
    }
}

static void client(void *self)
{
    Client *c = self;
    NbdServer *s = c->server;
    bool served = false;
    if (!negotiate(c)) {
        c->deadline = 0;
        served = true;
        serve(c);
    }
    nbd_stream_stop(&c->s);
    while (c->under_way)
        co_queue_wait(&c->slot);
    nbd_stream_close(&c->s);
    Client **link = &s->clients;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    g_free(c);
    s->n_clients--;
    if (served && s->hooks.left)
        s->hooks.left(s->hooks.self, s->n_clients);
    co_queue_wake_all(&s->changed);
}

/* --- clients that do not get on with their negotiation */

static void watch(void *self)
{
    NbdServer *s = self;
    for (bool any = true; any && !s->stopping;) {
        co_sleep_ns(s->aio, WATCH_NS);
        any = false;
        for (Client *c = s->clients; c; c = c->next)
            if (c->deadline) {
                any = true;
                if (block_now_ns() > c->deadline)
                    nbd_stream_stop(&c->s);
            }
    }
    s->watching = false;
    co_queue_wake_all(&s->changed);
}

void nbd_server_client(NbdServer *s, int fd)
{
    Client *c = g_new0(Client, 1);
    c->server = s;
    c->deadline = block_now_ns() + NEGOTIATION_NS;
    nbd_stream_init(&c->s, s->aio, fd);
    c->next = s->clients;
    s->clients = c;
    s->n_clients++;
    co_start(client, c);
    if (!s->watching) {
        s->watching = true;
        co_start(watch, s);
    }
}

typedef struct Listener { NbdServer *s; int fd; } Listener;

static void listener(void *self)
{
    Listener *l = self;
    NbdServer *s = l->s;
    while (!s->stopping) {
        if (s->max_clients && s->n_clients >= s->max_clients) {
            co_queue_wait(&s->changed);
            continue;
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            nbd_server_client(s, fd);
        else if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            co_poll(s->aio, l->fd, POLLIN);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            co_sleep_ns(s->aio, 100000000);
        else
            break;
    }
    for (unsigned i = 0; i < s->listening->len; i++)
        if (g_array_index(s->listening, int, i) == l->fd)
            g_array_remove_index_fast(s->listening, i);
    close(l->fd);
    g_free(l);
    s->n_listening--;
    co_queue_wake_all(&s->changed);
}

void nbd_server_listen(NbdServer *s, int fd)
{
    Listener *l = g_new(Listener, 1);
    *l = (Listener){ s, fd };
    g_array_append_val(s->listening, fd);
    s->n_listening++;
    co_start(listener, l);
}

static void export_free(void *export)
{
    Export *e = export;
    g_free(e->name);
    g_free(e->description);
    g_free(e);
}

NbdServer *nbd_server_new(Aio *aio, const NbdCreds *tls, unsigned max_clients, const NbdServerHooks *hooks)
{
    NbdServer *s = g_new0(NbdServer, 1);
    s->aio = aio;
    s->tls = tls;
    s->max_clients = max_clients;
    if (hooks)
        s->hooks = *hooks;
    s->exports = g_ptr_array_new_with_free_func(export_free);
    s->listening = g_array_new(FALSE, FALSE, sizeof(int));
    return s;
}

void nbd_server_export(NbdServer *s, const char *name, const char *description, Block *b, bool writable)
{
    Export *e = g_new(Export, 1);
    *e = (Export){ .name = g_strdup(name), .description = g_strdup(description), .b = b, .writable = writable };
    block_ref(b);
    g_ptr_array_add(s->exports, e);
}

bool nbd_server_bitmap(NbdServer *s, const char *export, const char *name, GError **err)
{
    Export *e = find_export(s, export, strlen(export));
    BlockBitmap *m = NULL;
    for (Block *b = e->b; b && !m; b = block_backing(b))
        m = block_bitmap_find(b, name, NULL);
    if (!m)
        return fail(err, "Bitmap '%s' is not found", name);
    if (!block_bitmap_usable(m, err))
        return false;
    if (e->n_bitmaps == MAX_BITMAPS)
        return fail(err, "an export shows at most %d bitmaps", MAX_BITMAPS);
    m->busy = true;
    e->bitmap[e->n_bitmaps++] = m;
    return true;
}

void nbd_server_stop(NbdServer *s)
{
    s->stopping = true;
    for (unsigned i = 0; i < s->listening->len; i++)
        shutdown(g_array_index(s->listening, int, i), SHUT_RDWR);
    for (Client *c = s->clients; c; c = c->next)
        nbd_stream_stop(&c->s);
    co_queue_wake_all(&s->changed);
    for (unsigned i = 0; i < s->exports->len; i++)      /* requests that a throttle holds back end, too */
        block_draining_begin(((Export *)s->exports->pdata[i])->b->graph);
    while (s->n_clients || s->n_listening || s->watching)
        co_queue_wait(&s->changed);
    for (unsigned i = 0; i < s->exports->len; i++) {
        Export *e = s->exports->pdata[i];
        block_draining_end(e->b->graph);
        for (unsigned k = 0; k < e->n_bitmaps; k++)
            e->bitmap[k]->busy = false;
        block_close(e->b);
    }
    g_ptr_array_free(s->exports, TRUE);
    g_array_free(s->listening, TRUE);
    g_free(s);
}
