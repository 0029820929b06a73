/* SPDX-License-Identifier: GPL-2.0-or-later
 * The event loop by itself, with each engine: nobody waits for ever.  And the clock of throttle groups. */
#include "block/aio.h"

#include <poll.h>
#include <unistd.h>

#include "block/throttle.h"

enum { SLEEPERS = 8, SLEEPS = 5000, POSTS = 20000, WORKERS = 8, WORK = 500, WATCHDOG_S = 300 };

typedef struct Lab {
    Aio      *aio;
    AioEngine engine;
    unsigned  left;
    CoQueue   ended;
    GRand    *rand;
    int       pipe[2];
    unsigned  posts, seen;
} Lab;

static void start_all(Lab *l, unsigned n, void (*fn)(void *self))
{
    l->left = n;
    for (unsigned i = 0; i < n; i++)
        co_start(fn, l);
    while (l->left)
        co_queue_wait(&l->ended);
}

static void ends(Lab *l)
{
    if (!--l->left)
        co_queue_wake_all(&l->ended);
}

/* As short as what lies between two looks at the clock: a deadline that passes just then is no reason to wait for ever. */
static void sleeper(void *self)
{
    Lab *l = self;
    for (unsigned i = 0; i < SLEEPS; i++)
        co_sleep_ns(l->aio, g_rand_int_range(l->rand, 0, 3000));
    ends(l);
}

static void sleeps(void *self) { start_all(self, SLEEPERS, sleeper); }

static int work(void *self) { return *(int *)self + 1; }

static void worker(void *self)
{
    Lab *l = self;
    for (int i = 0; i < WORK; i++) {
        g_assert_cmpint(i % 2 ? co_work(l->aio, work, &i) : co_compute(l->aio, work, &i), ==, i + 1);
        if (!(i % 5))
            co_sleep_ns(l->aio, 1000);
    }
    ends(l);
}

static void helpers(void *self) { start_all(self, WORKERS, worker); }

static void posted(void *self)
{
    Lab *l = self;
    if (++l->seen == POSTS)
        ends(l);
}

static void *poster(void *self)
{
    Lab *l = self;
    for (unsigned i = 0; i < POSTS; i++) {
        aio_post(l->aio, posted, l);
        if (!(i % 64))
            g_thread_yield();
    }
    return NULL;
}

static void posts(void *self)
{
    Lab *l = self;
    l->left = 1;
    GThread *t = g_thread_new("poster", poster, l);
    while (l->left)
        co_queue_wait(&l->ended);
    g_thread_join(t);
}

static void reader(void *self)
{
    Lab *l = self;
    char c;
    while (co_poll(l->aio, l->pipe[0], POLLIN) & POLLIN)
        if (read(l->pipe[0], &c, 1) != 1 || c == 'q')
            break;
    ends(l);
}

static void writer(void *self)
{
    Lab *l = self;
    for (unsigned i = 0; i < 2000; i++) {
        g_assert_true(co_poll(l->aio, l->pipe[1], POLLOUT) & POLLOUT);
        g_assert_cmpint(write(l->pipe[1], i == 1999 ? "q" : "a", 1), ==, 1);
    }
}

static void descriptors(void *self)
{
    Lab *l = self;
    g_assert_cmpint(pipe(l->pipe), ==, 0);
    co_start(writer, l);
    start_all(l, 1, reader);
    close(l->pipe[0]);
    close(l->pipe[1]);
}

typedef struct Test { const char *name; void (*fn)(void *self); AioEngine engine; } Test;

static void run(gconstpointer data)
{
    const Test *t = data;
    GError *err = NULL;
    Lab l = { .aio = aio_new(t->engine, &err), .rand = g_rand_new_with_seed((guint32)g_test_rand_int()) };
    if (!l.aio) {
        g_test_skip(err->message);
        g_error_free(err);
    } else {
        alarm(WATCHDOG_S);
        aio_run(l.aio, t->fn, &l);
        alarm(0);
        aio_free(l.aio);
    }
    g_rand_free(l.rand);
}

/* --- throttle groups: as many bytes and requests as the limits say, to a percent */

static void rate_of(unsigned n, const char *limits, bool write, uint64_t len, double seconds)
{
    GError *err = NULL;
    g_autofree char *spec = g_strdup_printf("throttle-group,id=a,%s", limits);
    ThrottleGroup *g = throttle_group_new(spec, &err);
    g_assert_no_error(err);
    uint64_t start = UINT64_C(1000000000), now = start;
    for (unsigned i = 0; i < n; i++)
        now += (uint64_t)throttle_book(g, write, len, now);
    double took = (double)(now - start) / 1e9;
    if (took > seconds * 1.01 || took < seconds * 0.99)
        g_error("%s: %u requests took %g s, not %g", limits, n, took, seconds);
    throttle_group_free(g);
}

static void rate(const char *limits, bool write, uint64_t len, double seconds) { rate_of(4000, limits, write, len, seconds); }

/* A burst of a second may come at once; a longer one goes at the rate of max, a tenth of a second of it at once, until what
 * max and the length allow is used up, from which the average flows off meanwhile (all observed of qemu-img bench). */
static void bursts(void)
{
    static const char one[] = "limits.iops-total=100,limits.iops-total-max=500",
                      two[] = "limits.iops-total=100,limits.iops-total-max=500,limits.iops-total-max-length=2",
                      bytes[] = "limits.bps-read=1000000,limits.bps-read-max=4000000,limits.bps-read-max-length=3";
    rate_of(500, one, false, 512, 0);
    rate_of(801, one, false, 512, 3);
    rate_of(50, two, false, 512, 0);
    rate_of(501, two, true, 512, 0.9);
    rate_of(1001, two, false, 512, 1.9);
    rate_of(1201, two, false, 512, 2.3);
    rate_of(1601, two, false, 512, 6);
    rate_of(401, bytes, false, 10000, 0.9);
    rate_of(1201, bytes, false, 10000, 2.9);
    rate_of(2401, bytes, false, 10000, 12);
}

static void throttle(void)
{
    rate("limits.bps-total=1M", false, 65536, 250 - 0.1);       /* a tenth of a second is free */
    rate("limits.bps-total=1M", true, 65536, 250 - 0.1);
    rate("limits.bps-write=1M", false, 65536, 0);
    rate("limits.iops-read=100", false, 4096, 40 - 0.1);
    rate("limits.iops-read=100,limits.bps-total=1M", false, 65536, 250 - 0.1);
    rate("limits.iops-read=10,limits.bps-total=100M", false, 512, 400 - 0.1);
    rate("limits.iops-total=1000,limits.iops-size=4096", true, 65536, 64 - 0.1);
    rate("limits.iops-total=100,limits.iops-total-max=500,limits.iops-total-max-length=2", false, 512, 40 - 10);
}

int main(int argc, char **argv)
{
    static const Test tests[] = {
        { "sleep/uring", sleeps, AIO_URING }, { "sleep/threads", sleeps, AIO_THREADS },
        { "work/uring", helpers, AIO_URING }, { "work/threads", helpers, AIO_THREADS },
        { "post/uring", posts, AIO_URING }, { "post/threads", posts, AIO_THREADS },
        { "poll/uring", descriptors, AIO_URING }, { "poll/threads", descriptors, AIO_THREADS },
    };
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *name = g_strdup_printf("/block/aio/%s", tests[i].name);
        g_test_add_data_func(name, &tests[i], run);
    }
    g_test_add_func("/block/throttle/rates", throttle);
    g_test_add_func("/block/throttle/bursts", bursts);
    return g_test_run();
}
