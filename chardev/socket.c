/* SPDX-License-Identifier: GPL-2.0-or-later
 * Sockets as byte streams: one connection at a time, to us (server) or from us.  What is written while nobody is
 * connected is dropped; when the other end goes, a server waits for the next. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev/stream_int.h"
#include "util/error.h"
#include "util/log.h"

static int open_unix(const char *path, bool server, GError **err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof a.sun_path) {
        fail(err, "unix socket '%s': a path has %zu characters at most", path, sizeof a.sun_path - 1);
        return -1;
    }
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    if (server && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);                   /* one that an earlier run has left */
    if (fd >= 0 && (server ? bind : connect)(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    fail_errno(err, errno, "unix socket '%s'", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_tcp(const char *host, const char *port, bool server, GError **err)
{
    /* The C library takes what is too large modulo 65536. */
    if (port[strspn(port, "0123456789")] == 0 && g_ascii_strtoull(port, NULL, 10) > UINT16_MAX) {
        fail(err, "tcp:%s:%s: a port is 65535 at most", host, port);
        return -1;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0 }, *list;
    int e = getaddrinfo(*host ? host : NULL, port, &hints, &list), fd = -1, why = 0;
    if (e) {
        fail(err, "tcp:%s:%s: %s", host, port, gai_strerror(e));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        int on = 1;
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && server)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (fd < 0 || (server ? bind : connect)(fd, a->ai_addr, a->ai_addrlen) == 0)
            continue;
        why = errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        fail_errno(err, why ? why : EAFNOSUPPORT, "tcp:%s:%s", host, port);
    return fd;
}

/* --- connections; the loop's thread */

static void connected(Stream *s, int fd)
{
    int on = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  /* a unix socket says no */
    pthread_mutex_lock(&s->out_lock);
    s->in_fd = s->out_fd = fd;
    s->out_used = 0;
    s->stalled = false;
    pthread_mutex_unlock(&s->out_lock);
}

static void on_connect(void *self, unsigned events)
{
    Stream *s = self;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    watch_set_events(s->listen_watch, 0);       /* others wait in the queue until this one is gone */
    connected(s, fd);
    stream_attach(s);
    stream_event(s, STREAM_OPENED);
}

void socket_hangup(Stream *s)
{
    watch_free(s->in_watch);
    pthread_mutex_lock(&s->out_lock);
    watch_free(s->out_watch);
    s->in_watch = s->out_watch = NULL;
    close(s->in_fd);
    s->in_fd = s->out_fd = -1;
    s->out_used = 0;
    pthread_mutex_unlock(&s->out_lock);
    if (s->listen_watch)
        watch_set_events(s->listen_watch, LOOP_READ);
}

/* --- opening */

static bool wait_for_one(Stream *s, const char *name, GError **err)
{
    log_info(NULL, "waiting for a connection on %s (wait=off starts without one)", name);
    for (;;) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            connected(s, fd);
            return true;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return fail_errno(err, errno, "%s", name);
    }
}

bool socket_open(Stream *s, Options *o, GError **err)
{
    const char *path = options_get(o, "path"), *host = options_get(o, "host"), *port = options_get(o, "port");
    bool server = false, wait = true, nowait = false, nodelay;
    if (!options_bool(o, "server", &server, err) || !options_bool(o, "wait", &wait, err) ||
        !options_bool(o, "nowait", &nowait, err) || !options_bool(o, "nodelay", &nodelay, err))
        return false;
    if (!path && !port)
        return fail(err, "socket: needs path= (unix), or host= and port=");
    g_autofree char *name = path ? g_strdup_printf("unix:%s", path) : g_strdup_printf("tcp:%s:%s", host ? host : "", port);
    int fd = path ? open_unix(path, server, err) : open_tcp(host ? host : "", port, server, err);
    if (fd < 0)
        return false;
    signal(SIGPIPE, SIG_IGN);
    s->socket = true;
    s->name = g_strdup_printf("%s%s", name, server ? ",server=on" : "");
    if (!server) {
        connected(s, fd);
        return true;
    }
    s->listen_fd = fd;
    if (path)
        s->unlink_path = g_canonicalize_filename(path, NULL);     /* -daemonize leaves the folder */
    if (listen(fd, 1) < 0)
        return fail_errno(err, errno, "%s", name);
    if (wait && !nowait && !wait_for_one(s, name, err))
        return false;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    s->listen_watch = loop_watch(s->loop, fd, s->in_fd < 0 ? LOOP_READ : 0, on_connect, s);
    return true;
}

/* "unix:PATH[,...]" and "tcp:HOST:PORT[,...]" in the long form; NULL: another back end. */
char *socket_from_colon(const char *spec, GError **err)
{
    bool is_unix = g_str_has_prefix(spec, "unix:"), is_tcp = g_str_has_prefix(spec, "tcp:");
    if (!is_unix && !is_tcp)
        return NULL;
    const char *at = strchr(spec, ':') + 1, *rest = strchr(at, ',');
    size_t len = rest ? (size_t)(rest - at) : strlen(at);
    if (is_unix)
        return g_strdup_printf("socket,path=%s", at);
    const char *colon = g_strrstr_len(at, len, ":");
    if (!colon) {
        fail(err, "'%s': tcp needs a host (which may be empty) and a port: tcp:HOST:PORT", spec);
        return NULL;
    }
    const char *from = at, *to = colon;
    if (to - from >= 2 && *from == '[' && to[-1] == ']') {      /* an IPv6 address */
        from++;
        to--;
    }
    return g_strdup_printf("socket,host=%.*s,port=%s", (int)(to - from), from, colon + 1);
}
