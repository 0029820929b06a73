/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD client, as a protocol node.  Requests go out as they come, each with a cookie; one coroutine reads all replies and
 * hands data straight to the request that they are for.  A lost connection fails what is under way and all that follows;
 * with reconnect-delay= it is made again, and for so many seconds requests wait and then go out once more. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "block/nbd/nbd.h"
#include "block/nbd/tls.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/log.h"

enum { MAX_EXTENTS = 8192 };
#define SECOND_NS       INT64_C(1000000000)
#define NAP_NS          (SECOND_NS / 20)        /* between looks at what can end a wait */
#define MAX_PAUSE_NS    (4 * SECOND_NS)         /* between attempts to connect */

typedef struct Request {
    uint64_t     cookie, at;
    const struct iovec *v;              /* of a read */
    int          nv;
    uint64_t     len, got;              /* got: bytes of it that have come */
    uint32_t     state_len, state;      /* of a status request: the first extent */
    int          result;
    bool         status, done, lost;    /* lost: the connection went first */
    Coroutine   *waiter;
    struct Request *next;
} Request;

typedef struct Nbd {
    Block     *node;                    /* where it lies */
    NbdStream  s;
    NbdExport  e;
    NbdAddress address;
    char      *name;
    CoMutex    sending;
    Request   *requests;
    uint64_t   cookie;
    char      *context, *tls_host;
    const NbdCreds *tls;
    uint64_t   reconnect_s;             /* requests wait so long for a new connection; 0: none is made */
    int64_t    lost_ns;                 /* when the last one went */
    int        connecting;              /* a socket that is about to be connected; -1: none */
    bool       online, broken, shows_bitmap;
    bool       given_up;                /* requests do not wait any longer */
    unsigned   workers;                 /* coroutines of our own */
    CoQueue    change;                  /* of online, broken, given_up */
    CoQueue    ended;                   /* a worker has */
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

static int64_t now_ns(void) { return (int64_t)block_now_ns(); }

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

/* --- the connection */

static bool make_connection(Nbd *n, NbdExport *e, GError **err)
{
    int fd = nbd_connect(n->node->aio, &n->address, &n->connecting, err);
    if (fd < 0)
        return false;
    nbd_stream_init(&n->s, n->node->aio, fd);
    return nbd_negotiate(&n->s, n->name, n->context, n->tls, n->tls_host ? n->tls_host : n->address.host, e, err) ||
           fail_prefix(err, "%s: ", n->node->filename);
}

/* What another server at the same place may not change. */
static bool same_export(Nbd *n, const NbdExport *e, GError **err)
{
    Block *b = n->node;
    if (e->size != n->e.size)
        return fail(err, "%s: the export had %" PRIu64 " bytes and has %" PRIu64 " now", b->filename, n->e.size, e->size);
    if (((e->flags & NBD_READ_ONLY) && (b->flags & BLOCK_RDWR)) || e->min_block > b->align || (n->shows_bitmap && !e->has_meta))
        return fail(err, "%s: the export can do less than before", b->filename);
    return true;
}

static void disconnect(Nbd *n)
{
    n->online = false;
    nbd_stream_stop(&n->s);
    while (n->requests) {
        n->requests->lost = true;
        finish(n, n->requests, -EIO);
    }
    co_mutex_lock(&n->sending);         /* until nobody is within the stream */
    nbd_stream_close(&n->s);
    co_mutex_unlock(&n->sending);
}

static void worker_ends(Nbd *n)
{
    n->workers--;
    co_queue_wake_all(&n->ended);
}

/* Waiting has an end, also while an attempt to connect hangs. */
static void give_up(void *self)
{
    Nbd *n = self;
    int64_t lost = n->lost_ns, until = lost + (int64_t)n->reconnect_s * SECOND_NS;
    while (!n->broken && !n->online && n->lost_ns == lost && now_ns() < until)
        co_sleep_ns(n->node->aio, MIN(NAP_NS, until - now_ns() + 1));
    if (!n->broken && !n->online && n->lost_ns == lost) {
        log_warn(n->node->node_name, "%s: no connection for %" PRIu64 " s: requests fail until there is one", n->node->filename, n->reconnect_s);
        n->given_up = true;
        co_queue_wake_all(&n->change);
    }
    worker_ends(n);
}

static void reconnect(Nbd *n)
{
    n->lost_ns = now_ns();
    n->workers++;
    co_start(give_up, n);
    for (int64_t pause = NAP_NS; !n->broken; pause = MIN(pause * 2, MAX_PAUSE_NS)) {
        NbdExport e = { 0 };
        GError *err = NULL;
        bool made = make_connection(n, &e, NULL), same = made && !n->broken && same_export(n, &e, &err);
        if (same) {
            g_free(n->e.description);
            n->e = e;
            n->online = true;
            n->given_up = false;
            co_queue_wake_all(&n->change);
            return;
        }
        g_free(e.description);
        nbd_stream_close(&n->s);
        if (made && !n->broken) {
            log_warn(n->node->node_name, "%s", err->message);
            n->broken = true;
        }
        g_clear_error(&err);
        for (int64_t until = now_ns() + pause; !n->broken && now_ns() < until;)
            co_sleep_ns(n->node->aio, NAP_NS);
    }
    co_queue_wake_all(&n->change);
}

static void receiver(void *self)
{
    Nbd *n = self;
    while (n->online) {
        int r;
        do
            r = reply(n);
        while (!r);
        if (!n->broken && (r != -ECONNRESET || n->reconnect_s))
            log_warn(n->node->node_name, "%s: connection %s: %s", n->node->filename, n->reconnect_s ? "lost" : "given up",
                     r == -EPROTO ? "the server breaks the protocol" : g_strerror(-r));
        n->broken |= !n->reconnect_s;
        disconnect(n);
        if (!n->broken)
            reconnect(n);
    }
    worker_ends(n);
}

/* --- requests */

static int request_once(Nbd *n, uint16_t type, uint16_t flags, uint64_t at, uint32_t len, Request *q, const struct iovec *out, int n_out)
{
    uint8_t h[28];
    q->cookie = ++n->cookie;
    q->at = at;
    q->len = len;
    q->got = 0;
    q->state_len = 0;
    q->result = 0;
    q->done = q->lost = false;
    q->waiter = NULL;
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
    if (r && !q->done)
        nbd_stream_stop(&n->s);         /* half a request is on the wire: the receiver notices and fails them all */
    co_mutex_unlock(&n->sending);
    while (!q->done) {
        q->waiter = co_self();
        co_yield();
    }
    return r ? -EIO : q->result;
}

static int request(Block *b, uint16_t type, uint16_t flags, uint64_t at, uint32_t len, Request *q, const struct iovec *out, int n_out)
{
    Nbd *n = b->state;
    for (;;) {
        while (!n->online && !n->broken && !n->given_up)
            co_queue_wait(&n->change);
        if (!n->online)
            return -EIO;
        int r = request_once(n, type, flags, at, len, q, out, n_out);
        if (!q->lost || n->broken)
            return r;
    }
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
    uint64_t open_s = 0;
    n->node = b;
    n->s.fd = n->connecting = -1;
    if (!parse_server(b, n, err) || !block_opt_string(b->options, "export", &name, err) ||
        !block_opt_string(b->options, "x-dirty-bitmap", &context, err) || !block_opt_string(b->options, "tls-creds", &creds, err) ||
        !block_opt_string(b->options, "tls-hostname", &host, err) ||
        !block_opt_u64(b->options, "reconnect-delay", UINT32_MAX, &n->reconnect_s, err) ||
        !block_opt_u64(b->options, "open-timeout", UINT32_MAX, &open_s, err))
        return false;
    n->tls = creds ? block_creds(b->graph, creds, err) : NULL;
    if (creds && !n->tls)
        return false;
    if (n->tls && nbd_creds_server(n->tls))
        return fail(err, "TLS credentials '%s' are those of a server", creds);
    n->name = g_strdup(name);
    n->context = g_strdup(context);
    n->tls_host = g_strdup(host);
    g_free(b->filename);
    b->filename = n->address.unix_path ? g_strdup_printf("nbd+unix:///%s?socket=%s", name, n->address.unix_path)
                                       : g_strdup_printf("nbd://%s:%s/%s", n->address.host, n->address.port, name);
    /* A server that is not there yet may come; one that is there and says no stays with that. */
    for (int64_t until = now_ns() + (int64_t)open_s * SECOND_NS;;) {
        GError *why = NULL;
        if (make_connection(n, &n->e, &why))
            break;
        if (n->s.fd >= 0 || now_ns() >= until) {
            g_propagate_error(err, why);
            return false;
        }
        g_error_free(why);
        co_sleep_ns(b->aio, NAP_NS);
    }
    if ((n->e.flags & NBD_READ_ONLY) && (b->flags & BLOCK_RDWR)) {
        if (!(b->flags & BLOCK_MAY_READ_ONLY))
            return fail(err, "%s: the export can only be read (read-only=on)", b->filename);
        b->flags &= ~(unsigned)BLOCK_RDWR;
    }
    n->shows_bitmap = strcmp(context, NBD_BASE_ALLOCATION) != 0;
    if (n->shows_bitmap && !n->e.has_meta)
        return fail(err, "%s: the server has no context '%s'", b->filename, context);
    b->length = n->e.size;
    b->align = n->e.min_block;
    n->online = true;
    n->workers++;
    co_start(receiver, n);
    return true;
}

static void nbd_moved(Block *b) { ((Nbd *)b->state)->node = b; }

static int nbd_close(Block *b)
{
    Nbd *n = b->state;
    n->broken = true;
    if (n->online) {
        uint8_t h[28] = { 0 };
        store_be32(h, NBD_REQUEST_MAGIC);
        store_be16(h + 6, NBD_DISC);
        nbd_write(&n->s, h, sizeof h);
    }
    if (n->s.fd >= 0)
        nbd_stream_stop(&n->s);
    if (n->connecting >= 0)
        shutdown(n->connecting, SHUT_RDWR);
    while (n->workers)
        co_queue_wait(&n->ended);
    if (n->s.fd >= 0)
        nbd_stream_close(&n->s);
    nbd_address_clear(&n->address);
    g_free(n->e.description);
    g_free(n->name);
    g_free(n->context);
    g_free(n->tls_host);
    return 0;
}

const BlockDriver block_nbd_driver = {
    .name = "nbd", .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(Nbd), .prefixes = { "nbd:", "nbd+tcp:", "nbd+unix:" },
    .parse_filename = nbd_filename, .co_open = nbd_open, .co_close = nbd_close, .co_read = nbd_co_read, .co_write = nbd_co_write,
    .co_flush = nbd_co_flush, .co_zero = nbd_co_zero, .co_discard = nbd_co_discard, .co_map = nbd_co_map,
    .moved = nbd_moved,
};
