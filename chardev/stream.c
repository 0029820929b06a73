/* SPDX-License-Identifier: GPL-2.0-or-later
 * Streams: the device's side and the buffers.
 *
 * Output is gathered and written by the calling thread at a line's end or when a batch is full; a timer on
 * the loop takes care of what stays below that.  So a console costs a system call per line, not per byte.  A
 * descriptor that takes no more leaves bytes in the ring; when that is full the caller waits for up to
 * STALL_US without progress, then bytes are dropped until the descriptor is writable again. */
#include "chardev/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "chardev/stream_int.h"
#include "util/error.h"

enum { FLUSH_NS = NS_PER_MS, STALL_US = 1000000, STEP_US = STALL_US / 10, LAST_US = 20 * STALL_US };

/* --- output; out_lock is held in the static functions --- */

/* A bounded write that does not block.  Bytes written, 0 when it would block, -1 when the other end is
 * gone. */
static ssize_t try_write(Stream *s, const uint8_t *p, size_t len)
{
    if (s->may_block) {
        struct pollfd fd = { .fd = s->out_fd, .events = POLLOUT };
        if (poll(&fd, 1, 0) <= 0 || !(fd.revents & POLLOUT))
            return fd.revents & (POLLERR | POLLHUP) ? -1 : 0;
        len = MIN(len, OUT_BATCH);      /* less than PIPE_BUF: fits when the descriptor says so */
    }
    ssize_t n;
    do
        n = write(s->out_fd, p, len);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EAGAIN ? 0 : -1;
}

/* Writes what the descriptor takes now.  False: it takes no more. */
static bool drain(Stream *s)
{
    while (s->out_used) {
        size_t piece = MIN(s->out_used, OUT_CAP - s->out_head);
        ssize_t n = try_write(s, s->out + s->out_head, piece);
        if (n == 0 && s->out_watch) {
            watch_set_events(s->out_watch, LOOP_WRITE);
            return false;
        }
        if (n <= 0) {
            s->out_used = 0;            /* nobody will ever read this */
            break;
        }
        s->out_head = (s->out_head + (size_t)n) % OUT_CAP;
        s->out_used -= (size_t)n;
    }
    s->stalled = false;
    return true;
}

/* Writes until `most` bytes are left, as long as there is somebody who reads.  False after STALL_US without progress.  By
 * the clock, since signals (a vCPU's kicks) cut a wait short; but what a wait took beyond its time does not count: then
 * the machine stood still, and the reader with it. */
static bool drain_to(Stream *s, size_t most)
{
    int64_t begin = g_get_monotonic_time(), left = STALL_US;
    for (size_t used = s->out_used; !drain(s) && s->out_used > most;) {
        if (s->out_used < used) {
            used = s->out_used;
            left = STALL_US;
        }
        struct pollfd fd = { .fd = s->out_fd, .events = POLLOUT };
        int64_t before = g_get_monotonic_time();
        if (left <= 0 || before - begin > LAST_US)
            return false;
        poll(&fd, 1, STEP_US / 1000);
        left -= CLAMP(g_get_monotonic_time() - before, 1, STEP_US);
    }
    return true;
}

/* Waits until there is room in a full ring; drops mode when there is no progress. */
static void make_room(Stream *s)
{
    if (!s->stalled)
        s->stalled = !drain_to(s, OUT_CAP - 1);
}

static void arm_flush(Stream *s)
{
    if (s->flush_armed)
        return;
    struct itimerspec when = { .it_value.tv_nsec = FLUSH_NS };
    s->flush_armed = true;
    timerfd_settime(s->flush_fd, 0, &when, NULL);
}

void stream_append(Stream *s, const uint8_t *bytes, size_t len)
{
    if (s->sink)
        g_byte_array_append(s->sink, bytes, (guint)len);
    if (s->parent) {
        pthread_mutex_lock(&s->parent->out_lock);
        stream_append(s->parent, bytes, len);
        pthread_mutex_unlock(&s->parent->out_lock);
        return;
    }
    if (s->out_fd < 0)
        return;
    bool line = memchr(bytes, '\n', len);
    while (len) {
        if (s->out_used == OUT_CAP)
            make_room(s);
        if (s->out_used == OUT_CAP)
            return;
        size_t tail = (s->out_head + s->out_used) % OUT_CAP;
        size_t n = MIN(MIN(len, OUT_CAP - s->out_used), OUT_CAP - tail);
        memcpy(s->out + tail, bytes, n);
        s->out_used += n;
        bytes += n;
        len -= n;
    }
    if ((line || s->out_used >= OUT_BATCH) && !s->stalled)
        drain(s);
    else if (s->out_used)
        arm_flush(s);
}

void stream_write(Stream *s, const void *buf, size_t len)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->out_lock);
    if (s->mux.stamps)
        mux_output(s, buf, len);
    else
        stream_append(s, buf, len);
    pthread_mutex_unlock(&s->out_lock);
}

void stream_put(Stream *s, uint8_t byte) { stream_write(s, &byte, 1); }

void stream_flush(Stream *s)
{
    if (s && s->parent)
        s = s->parent;
    if (!s || s->out_fd < 0)
        return;
    pthread_mutex_lock(&s->out_lock);
    if (s->out_fd >= 0)
        drain(s);
    pthread_mutex_unlock(&s->out_lock);
}

static void on_flush_timer(void *self, unsigned events)
{
    Stream *s = self;
    uint64_t n;
    if (read(s->flush_fd, &n, sizeof n) < 0)
        return;
    pthread_mutex_lock(&s->out_lock);
    s->flush_armed = false;
    if (s->out_fd >= 0)
        drain(s);
    pthread_mutex_unlock(&s->out_lock);
}

static void on_writable(void *self, unsigned events)
{
    Stream *s = self;
    pthread_mutex_lock(&s->out_lock);
    watch_set_events(s->out_watch, 0);
    drain(s);
    pthread_mutex_unlock(&s->out_lock);
}

/* --- input --- */

/* How much to read: all there is room for; with a mux always something, since escapes must get through. */
static bool wants_input(const Stream *s)
{
    return s->in_open && (s->mux.on || (s->fifo && s->in_used == 0));
}

static void watch_input(Stream *s)
{
    if (s->in_watch)
        watch_set_events(s->in_watch, wants_input(s) ? LOOP_READ : 0);
}

/* Moves what was read into the fifo.  The user's domain is held. */
static void deliver(void *self)
{
    Stream *s = self;
    size_t n = 0;
    if (!s->fifo)
        return;
    while (n < s->in_used && fifo8_push(s->fifo, s->in[n]))
        n++;
    memmove(s->in, s->in + n, s->in_used - n);
    s->in_used -= n;
    s->fifo->wanted = s->in_used;
    watch_input(s);
    if (n && s->filled)
        s->filled(s->filled_self);
}

static void deliver_locked(Stream *s)
{
    if (domain_held(s->domain)) {
        deliver(s);
        return;
    }
    domain_enter(s->domain);
    deliver(s);
    domain_leave(s->domain);
}

void stream_input(Stream *s, const uint8_t *bytes, size_t len)
{
    if (s->child && s->child_focus)
        s = s->child;
    len = MIN(len, IN_CAP - s->in_used);
    if (len)
        memcpy(s->in + s->in_used, bytes, len);
    s->in_used += len;
    deliver_locked(s);
}

void stream_event(Stream *s, StreamEvent ev)
{
    if (!s->event)
        return;
    domain_enter(s->domain);
    s->event(s->event_self, ev);
    domain_leave(s->domain);
}

static void on_readable(void *self, unsigned events)
{
    Stream *s = self;
    uint8_t bytes[256];
    ssize_t n = read(s->in_fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {  /* the end of a pipe or file, a terminal that hung up: no more input */
        s->in_open = false;
        watch_input(s);
        if (s->socket)
            socket_hangup(s);
        stream_event(s, STREAM_CLOSED);
        return;
    }
    size_t left = s->mux.on ? mux_filter(s, bytes, (size_t)n) : (size_t)n;
    if (left)
        stream_input(s, bytes, left);
}

static void on_room(void *self)
{
    Stream *s = self;
    bh_schedule(&s->room_bh);
}

bool stream_fill(Stream *s, Fifo8 *fifo, void (*cb)(void *self), void *self, GError **err)
{
    if (!s)
        return true;
    if (s->fifo)
        return fail(err, "character device '%s' feeds another fifo already", stream_id(s));
    s->fifo = fifo;
    s->filled = cb;
    s->filled_self = self;
    fifo->on_room = on_room;
    fifo->on_room_self = s;
    watch_input(s);
    if (s->in_used)
        bh_schedule(&s->room_bh);
    return true;
}

void stream_on_event(Stream *s, void (*cb)(void *self, StreamEvent ev), void *self)
{
    if (!s)
        return;
    s->event = cb;
    s->event_self = self;
}

bool stream_claim(Stream *s, const char *who, LockDomain *domain, GError **err)
{
    if (s->user)
        return fail(err, "character device '%s' is in use by '%s'", stream_id(s), s->user);
    s->user = g_strdup(who);
    s->domain = domain;
    s->room_bh.domain = domain;
    return true;
}

void stream_release(Stream *s)
{
    if (!s)
        return;
    bh_cancel(&s->room_bh);
    if (s->fifo)
        s->fifo->on_room = NULL;
    s->fifo = NULL;
    s->filled = NULL;
    s->event = NULL;
    s->domain = s->room_bh.domain = NULL;
    g_free(s->user);
    s->user = NULL;
    watch_input(s);
}

/* --- making and freeing --- */

const char *stream_id(const Stream *s) { return s->id ? s->id : ""; }
const char *stream_path(const Stream *s) { return s->path; }
void stream_set_clock(Stream *s, Clock *clock) { s->clock = clock; }

void stream_set_id(Stream *s, const char *id)
{
    g_free(s->id);
    s->id = g_strdup(id);
}

void stream_set_control(Stream *s, const StreamControl *c, void *self)
{
    s->control = c;
    s->control_self = self;
}

void stream_set_mux(Stream *s, bool on)
{
    s->mux.on = on;
    watch_input(s);
}

void stream_set_escape(Stream *s, uint8_t c) { s->mux.escape = c; }

Stream *stream_mux_add(Stream *s, const char *id, GError **err)
{
    if (s->child || s->parent) {
        fail(err, "character device '%s' has a monitor already", stream_id(s));
        return NULL;
    }
    Stream *c = stream_alloc(s->loop, id);
    c->parent = s;
    c->clock = s->clock;
    s->child = c;
    stream_set_mux(s, true);
    return c;
}

const char *stream_name(const Stream *s) { return s->parent ? "mux" : s->name ? s->name : "memory"; }
bool stream_is_open(const Stream *s) { return !s->socket || s->in_fd >= 0; }
const char *stream_user(const Stream *s) { return s->user; }

Stream *stream_alloc(Loop *loop, const char *id)
{
    Stream *s = g_new0(Stream, 1);
    s->loop = loop;
    s->id = g_strdup(id);
    s->in_fd = s->out_fd = s->keep_fd = s->flush_fd = s->listen_fd = -1;
    s->mux.escape = 'A' & 0x1f;
    pthread_mutex_init(&s->out_lock, NULL);
    bh_init(&s->room_bh, loop, deliver, s, NULL);
    return s;
}

void stream_attach(Stream *s)
{
    if (s->in_fd >= 0) {
        s->in_open = true;
        s->in_watch = loop_watch(s->loop, s->in_fd, 0, on_readable, s);
        watch_input(s);
    }
    if ((s->out_fd >= 0 || s->socket) && !s->out) {
        s->out = g_malloc(OUT_CAP);
        s->flush_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        g_assert(s->flush_fd >= 0);
        s->flush_watch = loop_watch(s->loop, s->flush_fd, LOOP_READ, on_flush_timer, s);
    }
    if (s->out_fd >= 0) {
        pthread_mutex_lock(&s->out_lock);
        s->out_watch = loop_watch(s->loop, s->out_fd, 0, on_writable, s);
        pthread_mutex_unlock(&s->out_lock);
    }
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void stream_free(Stream *s)
{
    if (!s)
        return;
    stream_release(s);
    if (s->parent)
        s->parent->child = NULL;
    if (s->child)
        s->child->parent = NULL;
    if (s->out_fd >= 0 && !s->stalled) {
        pthread_mutex_lock(&s->out_lock);
        drain_to(s, 0);
        pthread_mutex_unlock(&s->out_lock);
    }
    watch_free(s->in_watch);
    watch_free(s->out_watch);
    watch_free(s->flush_watch);
    watch_free(s->listen_watch);
    bh_destroy(&s->room_bh);
    if (s->terminal)
        terminal_restore();
    if (s->out_fd != s->in_fd)
        close_fd(s->out_fd);
    close_fd(s->in_fd);
    close_fd(s->keep_fd);
    close_fd(s->flush_fd);
    close_fd(s->listen_fd);
    if (s->unlink_path)
        unlink(s->unlink_path);
    g_free(s->unlink_path);
    if (s->sink)
        g_byte_array_free(s->sink, TRUE);
    pthread_mutex_destroy(&s->out_lock);
    g_free(s->out);
    g_free(s->id);
    g_free(s->path);
    g_free(s->name);
    g_free(s);
}

/* --- memory streams --- */

Stream *stream_new_memory(Loop *loop, const char *id)
{
    Stream *s = stream_alloc(loop, id);
    s->sink = g_byte_array_new();
    return s;
}

void stream_feed(Stream *s, const void *buf, size_t len)
{
    uint8_t *copy = g_memdup2(buf, len);
    size_t left = s->mux.on ? mux_filter(s, copy, len) : len;
    stream_input(s, copy, left);
    g_free(copy);
}

char *stream_take(Stream *s, size_t *len)
{
    pthread_mutex_lock(&s->out_lock);
    g_assert(s->sink);
    guint n = s->sink->len;
    g_byte_array_append(s->sink, (const uint8_t *)"", 1);
    char *text = (char *)g_byte_array_free(s->sink, FALSE);
    s->sink = g_byte_array_new();
    pthread_mutex_unlock(&s->out_lock);
    if (len)
        *len = n;
    return text;
}
