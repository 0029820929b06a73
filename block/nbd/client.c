/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD client, as a protocol node.  Requests go out as they come, each with a cookie; one coroutine reads all replies and
 * hands data straight to the request that they are for.  A lost connection fails what is under way and all that follows. */
#include <errno.h>
#include <string.h>

#include "block/nbd/nbd.h"
#include "block/nbd/tls.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/log.h"

enum { MAX_EXTENTS = 8192 };

typedef struct Request {
    uint64_t     cookie, at;
    const struct iovec *v;              /* of a read */
    int          nv;
    uint64_t     len, got;              /* got: bytes of it that have come */
    uint32_t     state_len, state;      /* of a status request: the first extent */
    int          result;
    bool         status, done;
    Coroutine   *waiter;
    struct Request *next;
} Request;

typedef struct Nbd {
    NbdStream  s;
    NbdExport  e;
    NbdAddress address;
    char      *name;
    CoMutex    sending;
    Request   *requests;
    uint64_t   cookie;
    bool       connected, broken, receiving, shows_bitmap;
    CoQueue    ended;                   /* the receiver has */
} Nbd;

/* --- names */

/* host:port, [host]:port, unix:PATH; then :exportname=NAME */
static bool old_filename(const char *text, Json *o, GError **err)
{
    Json *server = json_object();
    json_set(o, "server", server);
    const char *name = strstr(text, ":exportname=");
    g_autofree char *address = name ? g_strndup(text, (gsize)(name - text)) : g_strdup(text);
    if (name)
        json_set(o, "export", json_string(name + strlen(":exportname=")));
    if (g_str_has_prefix(address, "unix:")) {
        json_set(server, "type", json_string("unix"));
        json_set(server, "path", json_string(address + 5));
        return true;
    }
    char *colon = strrchr(address, ':');
    if (!colon)
        return fail(err, "nbd:%s has no port (nbd:HOST:PORT or nbd:unix:PATH)", text);
    *colon = 0;
    json_set(server, "type", json_string("inet"));
    json_set(server, "host", json_string(address));
    json_set(server, "port", json_string(colon + 1));
    return true;
}

static bool nbd_filename(const char *prefix, const char *filename, Json *o, GError **err)
{
    if (!strcmp(prefix, "nbd:") && !g_str_has_prefix(filename, "//"))
        return old_filename(filename, o, err);
    g_autofree char *text = g_strconcat(prefix, filename, NULL);
    GUri *u = g_uri_parse(text, G_URI_FLAGS_NONE, err);
    if (!u)
        return fail_prefix(err, "%s: ", text);
    Json *server = json_object();
    json_set(o, "server", server);
    bool unix_socket = !strcmp(g_uri_get_scheme(u), "nbd+unix");
    const char *path = g_uri_get_path(u), *query = g_uri_get_query(u);
    if (path && path[0] == '/' && path[1])
        json_set(o, "export", json_string(path + 1));
    bool ok = true;
    json_set(server, "type", json_string(unix_socket ? "unix" : "inet"));
    if (unix_socket) {
        ok = query && g_str_has_prefix(query, "socket=");
        if (ok)
            json_set(server, "path", json_string(query + 7));
        else
            fail(err, "%s names no socket (nbd+unix:///EXPORT?socket=PATH)", text);
    } else {
        g_autofree char *port = g_strdup_printf("%d", g_uri_get_port(u) > 0 ? g_uri_get_port(u) : NBD_DEFAULT_PORT);
        json_set(server, "host", json_string(g_uri_get_host(u) && *g_uri_get_host(u) ? g_uri_get_host(u) : "localhost"));
        json_set(server, "port", json_string(port));
        if (query)
            ok = fail(err, "%s: unknown '%s'", text, query);
    }
    g_uri_unref(u);
    return ok;
}

static bool parse_server(Block *b, Nbd *n, GError **err)
{
    Json *server = json_get(b->options, "server");
    const char *type = NULL, *path = NULL, *host = NULL, *port = NULL;
    if (!server || server->type != JSON_OBJECT)
        return fail(err, "nbd: option 'server' is missing (server.type=inet, server.host=, server.port=; or server.type=unix, server.path=)");
    server->seen = true;
    if (!block_opt_string(server, "type", &type, err) || !block_opt_string(server, "path", &path, err) ||
        !block_opt_string(server, "host", &host, err) || !block_opt_string(server, "port", &port, err) ||
        !block_opt_done(server, "server", err))
        return false;
    bool is_unix = type ? !strcmp(type, "unix") : path != NULL;
    if (type && !is_unix && strcmp(type, "inet"))
        return fail(err, "server.type '%s' is neither inet nor unix", type);
    if (is_unix ? !path : !host)
        return fail(err, "server.%s is missing", is_unix ? "path" : "host");
    n->address = is_unix ? (NbdAddress){ .unix_path = g_strdup(path) }
                         : (NbdAddress){ .host = g_strdup(host), .port = port ? g_strdup(port) : g_strdup_printf("%d", NBD_DEFAULT_PORT) };
    return true;
}

/* --- replies */

static Request *find(Nbd *n, uint64_t cookie)
{
    Request *q = n->requests;
    while (q && q->cookie != cookie)
        q = q->next;
    return q;
}

/* What the protocol knows of errno values. */
static int error_of(uint32_t e)
{
    switch (e) {
    case 1: return -EPERM;
    case 12: return -ENOMEM;
    case 22: return -EINVAL;
    case 28: return -ENOSPC;
    case 75: return -EOVERFLOW;
    case 95: return -ENOTSUP;
    case 108: return -ESHUTDOWN;
    default: return -EIO;
    }
}

static void finish(Nbd *n, Request *q, int result)
{
    for (Request **link = &n->requests; *link; link = &(*link)->next)
        if (*link == q) {
            *link = q->next;
            break;
        }
    if (!q->result)
        q->result = result;
    q->done = true;
    if (q->waiter)
        co_wake(q->waiter);
}

static int read_data(Nbd *n, Request *q, uint64_t skip, uint64_t len)
{
    g_autofree struct iovec *part = g_new(struct iovec, q->nv);
    q->got += len;
    return nbd_readv(&n->s, part, iov_slice(q->v, q->nv, skip, len, part));
}

/* -EPROTO: the peer does not keep to the protocol. */
static int chunk(Nbd *n)
{
    uint8_t h[20 - 4], p[12];
    int r = nbd_read(&n->s, h, 16);
    if (r)
        return r;
    uint16_t flags = load_be16(h), type = load_be16(h + 2);
    uint32_t len = load_be32(h + 12);
    Request *q = find(n, load_be64(h + 4));
    if (!q || len > NBD_MAX_REQUEST + 64)
        return -EPROTO;
    uint32_t error = 0;
    switch (type) {
    case NBD_CHUNK_NONE:
        if (len)
            return -EPROTO;
        break;
    case NBD_CHUNK_DATA: case NBD_CHUNK_HOLE: {
        bool hole = type == NBD_CHUNK_HOLE;
        if (!q->v || (hole ? len != 12 : len < 9))
            return -EPROTO;
        r = nbd_read(&n->s, p, hole ? 12 : 8);
        uint64_t at = load_be64(p), bytes = hole ? load_be32(p + 8) : len - 8;
        if (r)
            return r;
        if (at < q->at || at - q->at > q->len || bytes > q->len - (at - q->at))
            return -EPROTO;
        if (hole) {
            iov_fill(q->v, q->nv, at - q->at, 0, bytes);
            q->got += bytes;
        } else {
            r = read_data(n, q, at - q->at, bytes);
        }
        break;
    }
    case NBD_CHUNK_STATUS: {
        if (!q->status || len < 12 || (len - 4) % 8 || (len - 4) / 8 > MAX_EXTENTS)
            return -EPROTO;
        r = nbd_read(&n->s, p, 12);
        if (!r && load_be32(p) == n->e.meta_id && !q->state_len) {
            q->state_len = load_be32(p + 4);
            q->state = load_be32(p + 8);
        }
        if (!r)
            r = nbd_skip(&n->s, len - 12);
        break;
    }
    default:
        if (!(type & 0x8000) || len < 6)
            return -EPROTO;
        r = nbd_read(&n->s, p, 6);
        error = load_be32(p);
        if (!r)
            r = nbd_skip(&n->s, len - 6);
        if (!r && !q->result)
            q->result = error_of(error);
    }
    if (!r && (flags & NBD_CHUNK_DONE))
        finish(n, q, q->v && q->got < q->len ? -EIO : q->status && !q->state_len ? -EIO : 0);
    return r;
}

static int reply(Nbd *n)
{
    uint8_t h[16];
    int r = nbd_read(&n->s, h, 4);
    if (r)
        return r;
    if (load_be32(h) == NBD_CHUNK_MAGIC && n->e.structured)
        return chunk(n);
    if (load_be32(h) != NBD_SIMPLE_MAGIC)
        return -EPROTO;
    r = nbd_read(&n->s, h + 4, 12);
    Request *q = r ? NULL : find(n, load_be64(h + 8));
    if (r)
        return r;
    uint32_t error = load_be32(h + 4);
    if (!q || (q->v && !error && n->e.structured))      /* reads are then answered by chunks */
        return -EPROTO;
    if (q->v && !error)
        r = read_data(n, q, 0, q->len);
    if (!r)
        finish(n, q, error ? error_of(error) : 0);
    return r;
}

static void receiver(void *self)
{
    Block *b = self;
    Nbd *n = b->state;
    int r;
    do
        r = reply(n);
    while (!r);
    if (!n->broken && r != -ECONNRESET)
        log_warn(b->node_name, "%s: connection given up: %s", b->filename, r == -EPROTO ? "the server breaks the protocol" : g_strerror(-r));
    n->broken = true;
    nbd_stream_stop(&n->s);
    while (n->requests)
        finish(n, n->requests, -EIO);
    n->receiving = false;
    co_queue_wake_all(&n->ended);
}

/* --- requests */

static int request(Block *b, uint16_t type, uint16_t flags, uint64_t at, uint32_t len, Request *q, const struct iovec *out, int n_out)
{
    Nbd *n = b->state;
    uint8_t h[28];
    if (n->broken)
        return -EIO;
    q->cookie = ++n->cookie;
    q->at = at;
    q->len = len;
    q->next = n->requests;
    n->requests = q;
    store_be32(h, NBD_REQUEST_MAGIC);
    store_be16(h + 4, flags);
    store_be16(h + 6, type);
    store_be64(h + 8, q->cookie);
    store_be64(h + 16, at);
    store_be32(h + 24, len);
    g_autofree struct iovec *v = g_new(struct iovec, n_out + 1);
    v[0] = (struct iovec){ h, sizeof h };
    if (n_out)
        memcpy(v + 1, out, sizeof *out * (size_t)n_out);
    co_mutex_lock(&n->sending);
    int r = q->done ? 0 : nbd_writev(&n->s, v, n_out + 1);
    co_mutex_unlock(&n->sending);
    if (r && !q->done) {
        nbd_stream_stop(&n->s);         /* half a request is on the wire: the receiver notices and fails them all */
    }
    while (!q->done) {
        q->waiter = co_self();
        co_yield();
    }
    return r ? -EIO : q->result;
}

static int in_pieces(Block *b, uint16_t type, uint16_t flags, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    Nbd *n = b->state;
    uint64_t most = align_down(MIN(n->e.max_block, (uint32_t)NBD_MAX_REQUEST), b->align);
    g_autofree struct iovec *part = v ? g_new(struct iovec, nv) : NULL;
    int r = 0;
    for (uint64_t done = 0, k; done < len && !r; done += k) {
        /* Requests without data have no limit but their 32 bits. */
        k = MIN(len - done, v ? most : align_down(UINT32_MAX, MAX(b->align, 65536)));
        int count = v ? iov_slice(v, nv, done, k, part) : 0;
        Request q = { 0 };
        if (type == NBD_READ) {
            q.v = part;
            q.nv = count;
        }
        r = request(b, type, flags, at + done, (uint32_t)k, &q, type == NBD_WRITE ? part : NULL, type == NBD_WRITE ? count : 0);
    }
    return r;
}

static int nbd_co_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    return in_pieces(b, NBD_READ, 0, at, v, nv, iov_size(v, nv));
}

static int nbd_co_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    return in_pieces(b, NBD_WRITE, 0, at, v, nv, iov_size(v, nv));
}

static int nbd_co_flush(Block *b)
{
    Nbd *n = b->state;
    Request q = { 0 };
    return n->e.flags & NBD_SEND_FLUSH ? request(b, NBD_FLUSH, 0, 0, 0, &q, NULL, 0) : 0;
}

static int nbd_co_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Nbd *n = b->state;
    if (!(n->e.flags & NBD_SEND_ZEROES) || ((flags & BLOCK_NO_FALLBACK) && !(n->e.flags & NBD_SEND_FAST_ZERO)))
        return -ENOTSUP;
    return in_pieces(b, NBD_ZEROES, (flags & BLOCK_MAY_UNMAP ? 0 : NBD_F_NO_HOLE) | (flags & BLOCK_NO_FALLBACK ? NBD_F_FAST_ZERO : 0),
                     at, NULL, 0, len);
}

static int nbd_co_discard(Block *b, uint64_t at, uint64_t len)
{
    Nbd *n = b->state;
    return n->e.flags & NBD_SEND_TRIM ? in_pieces(b, NBD_TRIM, 0, at, NULL, 0, len) : -ENOTSUP;
}

static int nbd_co_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Nbd *n = b->state;
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET, .file = b, .offset = at };
    if (!n->e.has_meta)
        return 0;
    Request q = { .status = true };
    int r = request(b, NBD_STATUS, NBD_F_REQ_ONE, at, (uint32_t)MIN(len, align_down(UINT32_MAX, 65536)), &q, NULL, 0);
    if (r)
        return r;
    out->len = MIN(len, MAX(q.state_len, 1));
    if (n->shows_bitmap) {      /* dirty areas are those that are not "data" */
        if (q.state & NBD_STATE_DIRTY)
            out->flags &= ~(unsigned)EXTENT_DATA;
    } else if (q.state & NBD_STATE_ZERO)
        out->flags = EXTENT_ZERO | EXTENT_OFFSET | (q.state & NBD_STATE_HOLE ? 0 : EXTENT_ALLOCATED);
    return 0;
}

/* --- coming and going */

static bool nbd_open(Block *b, GError **err)
{
    Nbd *n = b->state;
    const char *name = "", *creds = NULL, *host = NULL, *context = NBD_BASE_ALLOCATION;
    n->s.fd = -1;
    if (!parse_server(b, n, err) || !block_opt_string(b->options, "export", &name, err) ||
        !block_opt_string(b->options, "x-dirty-bitmap", &context, err) || !block_opt_string(b->options, "tls-creds", &creds, err) || !block_opt_string(b->options, "tls-hostname", &host, err))
        return false;
    const NbdCreds *tls = creds ? block_creds(b->graph, creds, err) : NULL;
    if (creds && !tls)
        return false;
    if (tls && nbd_creds_server(tls))
        return fail(err, "TLS credentials '%s' are those of a server", creds);
    n->name = g_strdup(name);
    g_free(b->filename);
    b->filename = n->address.unix_path ? g_strdup_printf("nbd+unix:///%s?socket=%s", name, n->address.unix_path)
                                       : g_strdup_printf("nbd://%s:%s/%s", n->address.host, n->address.port, name);
    int fd = nbd_connect(b->aio, &n->address, err);
    if (fd < 0)
        return false;
    nbd_stream_init(&n->s, b->aio, fd);
    if (!nbd_negotiate(&n->s, name, context, tls, host ? host : n->address.host, &n->e, err))
        return fail_prefix(err, "%s: ", b->filename);
    if ((n->e.flags & NBD_READ_ONLY) && (b->flags & BLOCK_RDWR))
        return fail(err, "%s: the export can only be read (read-only=on)", b->filename);
    n->shows_bitmap = strcmp(context, NBD_BASE_ALLOCATION) != 0;
    if (n->shows_bitmap && !n->e.has_meta)
        return fail(err, "%s: the server has no context '%s'", b->filename, context);
    b->length = n->e.size;
    b->align = n->e.min_block;
    n->connected = n->receiving = true;
    co_start(receiver, b);
    return true;
}

static int nbd_close(Block *b)
{
    Nbd *n = b->state;
    if (n->connected && !n->broken) {
        uint8_t h[28] = { 0 };
        store_be32(h, NBD_REQUEST_MAGIC);
        store_be16(h + 6, NBD_DISC);
        nbd_write(&n->s, h, sizeof h);
        n->broken = true;
        nbd_stream_stop(&n->s);
    }
    while (n->receiving)
        co_queue_wait(&n->ended);
    nbd_stream_close(&n->s);
    nbd_address_clear(&n->address);
    g_free(n->e.description);
    g_free(n->name);
    return 0;
}

const BlockDriver block_nbd_driver = {
    .name = "nbd", .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(Nbd), .prefixes = { "nbd:", "nbd+tcp:", "nbd+unix:" },
    .parse_filename = nbd_filename, .co_open = nbd_open, .co_close = nbd_close, .co_read = nbd_co_read, .co_write = nbd_co_write,
    .co_flush = nbd_co_flush, .co_zero = nbd_co_zero, .co_discard = nbd_co_discard, .co_map = nbd_co_map,
};
