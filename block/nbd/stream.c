/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD: connections. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "block/nbd/nbd.h"
#include "block/nbd/tls.h"
#include "util/error.h"

#define BUSY_NS INT64_C(10000000)       /* between attempts to connect to a server that is busy */

void nbd_stream_init(NbdStream *s, Aio *aio, int fd)
{
    memset(s, 0, offsetof(NbdStream, buf));
    s->aio = aio;
    s->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));     /* fails on unix sockets, which have no delay */
}

void nbd_stream_stop(NbdStream *s) { shutdown(s->fd, SHUT_RDWR); }

void nbd_stream_close(NbdStream *s)
{
    nbd_tls_free(s->tls);
    s->tls = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* Some bytes, at least one. */
static ssize_t receive(NbdStream *s, void *buf, size_t len)
{
    for (;;) {
        ssize_t n = s->tls ? nbd_tls_read(s, buf, len) : recv(s->fd, buf, len, MSG_DONTWAIT);
        if (n > 0)
            return n;
        if (!n)
            return -ECONNRESET;
        int e = s->tls ? (int)-n : errno;
        if (e == EINTR)
            continue;
        if (e != EAGAIN && e != EWOULDBLOCK)
            return -e;
        int r = co_poll(s->aio, s->fd, POLLIN);
        if (r < 0)
            return r;
    }
}

int nbd_read(NbdStream *s, void *out, size_t len)
{
    for (uint8_t *p = out; len;) {
        size_t n = MIN(len, s->to - s->from);
        if (n) {
            memcpy(p, s->buf + s->from, n);
            s->from += n;
        } else if (len >= sizeof s->buf) {
            ssize_t got = receive(s, p, len);
            if (got < 0)
                return (int)got;
            n = (size_t)got;
        } else {
            ssize_t got = receive(s, s->buf, sizeof s->buf);
            if (got < 0)
                return (int)got;
            s->from = 0;
            s->to = (size_t)got;
        }
        p += n;
        len -= n;
    }
    return 0;
}

int nbd_readv(NbdStream *s, const struct iovec *v, int nv)
{
    int r = 0;
    for (int i = 0; i < nv && !r; i++)
        r = nbd_read(s, v[i].iov_base, v[i].iov_len);
    return r;
}

int nbd_skip(NbdStream *s, uint64_t len)
{
    uint8_t scrap[4096];
    int r = 0;
    for (; len && !r; len -= MIN(len, sizeof scrap))
        r = nbd_read(s, scrap, MIN(len, sizeof scrap));
    return r;
}

int nbd_writev(NbdStream *s, const struct iovec *v, int nv)
{
    g_autofree struct iovec *left = g_memdup2(v, sizeof *v * (size_t)nv);
    for (int i = 0; i < nv;) {
        if (!left[i].iov_len) {
            i++;
            continue;
        }
        struct msghdr m = { .msg_iov = left + i, .msg_iovlen = (size_t)MIN(nv - i, 64) };
        ssize_t n = s->tls ? nbd_tls_write(s, left[i].iov_base, left[i].iov_len) : sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            int e = s->tls ? (int)-n : errno;
            if (e == EAGAIN || e == EWOULDBLOCK) {
                int r = co_poll(s->aio, s->fd, POLLOUT);
                if (r < 0)
                    return r;
            } else if (e != EINTR) {
                return -e;
            }
            continue;
        }
        for (size_t done = (size_t)n, k; done; done -= k) {
            k = MIN(done, left[i].iov_len);
            left[i].iov_base = (uint8_t *)left[i].iov_base + k;
            left[i].iov_len -= k;
            if (!left[i].iov_len && done > k)
                i++;
        }
    }
    return 0;
}

int nbd_write(NbdStream *s, const void *buf, size_t len)
{
    return nbd_writev(s, &(struct iovec){ (void *)(uintptr_t)buf, len }, 1);
}

/* --- addresses */

void nbd_address_clear(NbdAddress *a)
{
    g_free(a->unix_path);
    g_free(a->host);
    g_free(a->port);
    *a = (NbdAddress){ NULL };
}

static bool unix_address(const char *path, struct sockaddr_un *out, GError **err)
{
    *out = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof out->sun_path)
        return fail(err, "socket path '%s' is longer than %zu bytes", path, sizeof out->sun_path - 1);
    strcpy(out->sun_path, path);
    return true;
}

static int connect_one(Aio *aio, int family, const struct sockaddr *to, socklen_t len, int *pending)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int unasked, r = connect(fd, to, len) ? -errno : 0;
    pending = pending ? pending : &unasked;
    *pending = fd;
    /* A unix socket whose server has no room in its queue: it is busy, and a connection that may block would wait.  Whoever
     * ends the wait shuts the socket down, which then can be read. */
    while (r == -EAGAIN) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        co_sleep_ns(aio, BUSY_NS);
        poll(&p, 1, 0);
        r = p.revents & POLLIN ? -ECANCELED : connect(fd, to, len) ? -errno : 0;
    }
    if (r == -EINPROGRESS) {
        socklen_t n = sizeof r;
        r = co_poll(aio, fd, POLLOUT);
        if (r >= 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &r, &n))
            r = errno;
        r = -abs(r);
    }
    *pending = -1;
    if (!r)
        return fd;
    close(fd);
    return r;
}

typedef struct Resolve { const NbdAddress *a; int flags; struct addrinfo *found; } Resolve;

static int resolve(void *self)
{
    Resolve *q = self;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = q->flags };
    const char *port = q->a->port;
    if (!port[strspn(port, "0123456789")] && g_ascii_strtoull(port, NULL, 10) > UINT16_MAX)
        return EAI_SERVICE;     /* the C library takes it modulo 65536 */
    return getaddrinfo(q->a->host && *q->a->host ? q->a->host : NULL, q->a->port, &hints, &q->found);
}

int nbd_connect(Aio *aio, const NbdAddress *a, int *pending, GError **err)
{
    if (a->unix_path) {
        struct sockaddr_un to;
        if (!unix_address(a->unix_path, &to, err))
            return -1;
        int fd = connect_one(aio, AF_UNIX, (struct sockaddr *)&to, sizeof to, pending);
        if (fd < 0)
            fail_errno(err, -fd, "cannot connect to %s", a->unix_path);
        return MAX(fd, -1);
    }
    Resolve q = { .a = a };
    int r = co_work(aio, resolve, &q), fd = -ENOENT;
    if (r) {
        fail(err, "cannot find %s port %s: %s", a->host, a->port, gai_strerror(r));
        return -1;
    }
    for (struct addrinfo *i = q.found; i && fd < 0; i = i->ai_next)
        fd = connect_one(aio, i->ai_family, i->ai_addr, i->ai_addrlen, pending);
    freeaddrinfo(q.found);
    if (fd < 0)
        fail_errno(err, -fd, "cannot connect to %s port %s", a->host, a->port);
    return MAX(fd, -1);
}

static int listen_one(int family, const struct sockaddr *at, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
    if (bind(fd, at, len) || listen(fd, 16)) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

unsigned nbd_listen(const NbdAddress *a, int *fds, unsigned max, GError **err)
{
    unsigned n = 0;
    int r = 0;
    if (a->unix_path) {
        struct sockaddr_un at;
        if (!unix_address(a->unix_path, &at, err))
            return 0;
        r = listen_one(AF_UNIX, (struct sockaddr *)&at, sizeof at);
        if (r < 0)
            fail_errno(err, -r, "cannot listen at %s", a->unix_path);
        else
            fds[n++] = r;
        return n;
    }
    Resolve q = { .a = a, .flags = AI_PASSIVE };
    r = resolve(&q);
    if (r) {
        fail(err, "cannot listen at %s%sport %s: %s", a->host ? a->host : "", a->host ? " " : "", a->port, gai_strerror(r));
        return 0;
    }
    r = -ENOENT;
    for (struct addrinfo *i = q.found; i && n < max; i = i->ai_next) {
        int fd = listen_one(i->ai_family, i->ai_addr, i->ai_addrlen);
        if (fd >= 0)
            fds[n++] = fd;
        else
            r = fd;
    }
    freeaddrinfo(q.found);
    if (!n)
        fail_errno(err, -r, "cannot listen at %s port %s", a->host ? a->host : "*", a->port);
    return n;
}
