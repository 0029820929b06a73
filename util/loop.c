/* SPDX-License-Identifier: GPL-2.0-or-later
 * Event loop.  One eventfd wakes it for posted functions and bottom halves, one timerfd stands at the clock's
 * earliest deadline (absolute host time, so nothing is rounded and a late look costs nothing), each Watch is
 * a GSource. */
#include "util/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/qsr.h"

typedef struct Post { void (*fn)(void *self); void *self; struct Post *next; } Post;

struct Loop {
    GMainContext   *context;
    Clock          *clock;
    int             wake_fd, timer_fd;
    Watch          *wake_watch, *timer_watch;
    bool            woken;          /* the eventfd is already up */
    bool            worked;         /* in this round */
    pthread_mutex_t lock;
    Post           *first_post, **last_post;
    Bh             *first_bh, **last_bh;
    pthread_mutex_t timer_lock;     /* keeps "read deadline, arm timerfd" in one piece */
    int64_t         armed;          /* host time at which the timerfd stands */
};

struct Watch {
    GSource  source;                /* first: GLib allocates it as a source */
    Loop    *loop;
    gpointer tag;
    void   (*fn)(void *self, unsigned events);
    void    *self;
};

/* --- watches --- */

static unsigned from_glib(GIOCondition c)
{
    return (c & G_IO_IN ? LOOP_READ : 0) | (c & G_IO_OUT ? LOOP_WRITE : 0) |
           (c & (G_IO_HUP | G_IO_ERR | G_IO_NVAL) ? LOOP_HUP : 0);
}

static gboolean watch_check(GSource *s) { return g_source_query_unix_fd(s, ((Watch *)s)->tag) != 0; }

static gboolean watch_dispatch(GSource *s, GSourceFunc fn, gpointer data)
{
    Watch *w = (Watch *)s;
    unsigned events = from_glib(g_source_query_unix_fd(s, w->tag));
    if (events) {
        w->loop->worked = true;
        w->fn(w->self, events);
    }
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs watch_funcs = { .check = watch_check, .dispatch = watch_dispatch };

static GIOCondition to_glib(unsigned events)
{
    GIOCondition c = 0;
    if (events & LOOP_READ)
        c |= G_IO_IN;
    if (events & LOOP_WRITE)
        c |= G_IO_OUT;
    return events ? c | G_IO_HUP | G_IO_ERR : 0;
}

Watch *loop_watch(Loop *l, int fd, unsigned events, void (*fn)(void *self, unsigned events), void *self)
{
    Watch *w = (Watch *)g_source_new(&watch_funcs, sizeof *w);
    w->loop = l;
    w->fn = fn;
    w->self = self;
    w->tag = g_source_add_unix_fd(&w->source, fd, to_glib(events));
    g_source_attach(&w->source, l->context);
    return w;
}

void watch_set_events(Watch *w, unsigned events)
{
    /* poll() reports a hang-up whether asked or not, so a watch at rest must leave the poll set: a hung-up
     * descriptor would spin the loop.  GLib leaves out descriptors of sources that are ready-time only;
     * modifying to 0 does not, hence the check in loop_poll(). */
    g_source_modify_unix_fd(&w->source, w->tag, to_glib(events));
}

void watch_free(Watch *w)
{
    if (!w)
        return;
    g_source_destroy(&w->source);
    g_source_unref(&w->source);
}

/* GLib's poll function: offline while asleep; entries that ask for nothing are left out by a negative
 * descriptor. */
static gint loop_poll(GPollFD *fds, guint n, gint timeout)
{
    G_STATIC_ASSERT(sizeof(GPollFD) == sizeof(struct pollfd));
    struct pollfd copy[n + 1];
    memcpy(copy, fds, n * sizeof *copy);
    for (guint i = 0; i < n; i++)
        if (!copy[i].events)
            copy[i].fd = -1;
    if (timeout)
        qsr_offline();
    int r = poll(copy, n, timeout);
    int err = errno;
    if (timeout)
        qsr_online();
    else
        qsr_quiescent();
    for (guint i = 0; i < n; i++)
        fds[i].revents = r > 0 && copy[i].fd >= 0 ? (gushort)copy[i].revents : 0;
    errno = err;
    return r;
}

/* --- posts and bottom halves --- */

void loop_wake(Loop *l)
{
    if (__atomic_exchange_n(&l->woken, true, __ATOMIC_SEQ_CST))
        return;
    int err = errno;
    uint64_t one = 1;
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    errno = err;
}

void loop_post(Loop *l, void (*fn)(void *self), void *self)
{
    Post *p = g_new(Post, 1);
    *p = (Post){ fn, self, NULL };
    pthread_mutex_lock(&l->lock);
    *l->last_post = p;
    l->last_post = &p->next;
    pthread_mutex_unlock(&l->lock);
    loop_wake(l);
}

void bh_init(Bh *bh, Loop *l, void (*fn)(void *self), void *self, LockDomain *domain)
{
    *bh = (Bh){ .loop = l, .fn = fn, .self = self, .domain = domain };
}

void bh_schedule(Bh *bh)
{
    Loop *l = bh->loop;
    pthread_mutex_lock(&l->lock);
    bh->scheduled = true;
    bool list = !bh->listed;
    if (list) {
        bh->listed = true;
        bh->next = NULL;
        *l->last_bh = bh;
        l->last_bh = &bh->next;
    }
    pthread_mutex_unlock(&l->lock);
    if (list)
        loop_wake(l);
}

void bh_cancel(Bh *bh)
{
    pthread_mutex_lock(&bh->loop->lock);
    bh->scheduled = false;
    pthread_mutex_unlock(&bh->loop->lock);
}

void bh_destroy(Bh *bh)
{
    Loop *l = bh->loop;
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    bh->scheduled = false;
    if (bh->listed) {
        Bh **p = &l->first_bh;
        while (*p != bh)
            p = &(*p)->next;
        *p = bh->next;
        if (!bh->next)
            l->last_bh = p;
        bh->listed = false;
    }
    pthread_mutex_unlock(&l->lock);
    bh->loop = NULL;
}

/* What is there at the start of the round; what these schedule waits for the next, so that descriptors get a
 * turn. */
static void run_posted(Loop *l)
{
    pthread_mutex_lock(&l->lock);
    Post *posts = l->first_post;
    l->first_post = NULL;
    l->last_post = &l->first_post;
    unsigned n_bhs = 0;
    for (Bh *bh = l->first_bh; bh; bh = bh->next)
        n_bhs++;
    pthread_mutex_unlock(&l->lock);

    while (posts) {
        Post *p = posts;
        posts = p->next;
        p->fn(p->self);
        g_free(p);
    }
    while (n_bhs--) {
        pthread_mutex_lock(&l->lock);
        Bh *bh = l->first_bh;
        if (bh) {
            l->first_bh = bh->next;
            if (!bh->next)
                l->last_bh = &l->first_bh;
            bh->listed = false;
        }
        pthread_mutex_unlock(&l->lock);
        if (!bh)
            break;
        LockDomain *domain = bh->domain;
        domain_enter(domain);
        pthread_mutex_lock(&l->lock);
        bool due = bh->scheduled;
        bh->scheduled = false;
        pthread_mutex_unlock(&l->lock);
        if (due)
            bh->fn(bh->self);
        domain_leave(domain);
    }
}

static void on_wake(void *self, unsigned events)
{
    Loop *l = self;
    uint64_t n;
    if (read(l->wake_fd, &n, sizeof n) < 0)
        return;
    __atomic_store_n(&l->woken, false, __ATOMIC_SEQ_CST);
    run_posted(l);
}

/* --- the clock --- */

static void arm(void *self)
{
    Loop *l = self;
    pthread_mutex_lock(&l->timer_lock);
    int64_t at = clock_host_ns(l->clock, clock_next_ns(l->clock));
    /* A timerfd that stands too early fires once for nothing; moving it later each time would cost more. */
    if (at < l->armed) {
        struct itimerspec when = { .it_value = { at / NS_PER_S, at % NS_PER_S } };
        if (!at)
            when.it_value.tv_nsec = 1;      /* zero would disarm */
        l->armed = at;
        timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    }
    pthread_mutex_unlock(&l->timer_lock);
}

static void on_timer(void *self, unsigned events)
{
    Loop *l = self;
    uint64_t n;
    pthread_mutex_lock(&l->timer_lock);
    bool fired = read(l->timer_fd, &n, sizeof n) > 0;
    if (fired)
        l->armed = TIME_NEVER;
    pthread_mutex_unlock(&l->timer_lock);
    clock_run(l->clock);
    arm(l);
}

/* --- the loop --- */

Loop *loop_new(Clock *clock)
{
    Loop *l = g_new0(Loop, 1);
    l->context = g_main_context_new();
    g_main_context_set_poll_func(l->context, loop_poll);
    l->clock = clock;
    l->armed = TIME_NEVER;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->timer_lock, NULL);
    l->last_post = &l->first_post;
    l->last_bh = &l->first_bh;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert(l->wake_fd >= 0);
    l->wake_watch = loop_watch(l, l->wake_fd, LOOP_READ, on_wake, l);
    l->timer_fd = -1;
    if (clock && !clock_is_manual(clock)) {
        l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        g_assert(l->timer_fd >= 0);
        l->timer_watch = loop_watch(l, l->timer_fd, LOOP_READ, on_timer, l);
        clock_set_kick(clock, arm, l);
        arm(l);
    }
    return l;
}

void loop_free(Loop *l)
{
    if (!l)
        return;
    if (l->timer_fd >= 0) {
        clock_set_kick(l->clock, NULL, NULL);
        watch_free(l->timer_watch);
        close(l->timer_fd);
    }
    watch_free(l->wake_watch);
    close(l->wake_fd);
    for (Post *p = l->first_post; p;) {
        Post *next = p->next;
        g_free(p);
        p = next;
    }
    g_main_context_unref(l->context);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->timer_lock);
    g_free(l);
}

GMainContext *loop_context(Loop *l) { return l->context; }

bool loop_run_once(Loop *l, bool wait)
{
    l->worked = false;
    bool glib = g_main_context_iteration(l->context, wait);
    return l->worked || glib;
}
