/* SPDX-License-Identifier: GPL-2.0-or-later
 * Streams: the escapes, buffers that fill, ends that close, and the host's back ends. */
#include "chardev/stream.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "util/qsr.h"

typedef struct User { Fifo8 rx; unsigned filled, breaks, closed, quits, saves; } User;

static void on_filled(void *self) { ((User *)self)->filled++; }
static void on_event(void *self, StreamEvent ev)
{
    User *u = self;
    u->breaks += ev == STREAM_BREAK;
    u->closed += ev == STREAM_CLOSED;
}
static void on_quit(void *self) { ((User *)self)->quits++; }
static void on_save(void *self) { ((User *)self)->saves++; }

static Loop *loop_up(void)
{
    qsr_register();
    return loop_new(NULL);
}

static void loop_down(Loop *l)
{
    loop_free(l);
    qsr_unregister();
}

static void spin(Loop *l) { while (loop_run_once(l, false)) ; }

static void use(Stream *s, User *u)
{
    GError *err = NULL;
    memset(u, 0, sizeof *u);
    g_assert_true(stream_claim(s, "user", NULL, &err));
    g_assert_true(stream_fill(s, &u->rx, on_filled, u, &err));
    stream_on_event(s, on_event, u);
}

static char *drain(User *u)
{
    GString *text = g_string_new(NULL);
    while (!fifo8_empty(&u->rx))
        g_string_append_c(text, (char)fifo8_pop(&u->rx));
    return g_string_free(text, FALSE);
}

static void expect_in(User *u, const char *want)
{
    char *got = drain(u);
    g_assert_cmpstr(got, ==, want);
    g_free(got);
}

static void expect_out(Stream *s, const char *want)
{
    char *got = stream_take(s, NULL);
    g_assert_cmpstr(got, ==, want);
    g_free(got);
}

static void input_waits_for_room(void)
{
    Loop *l = loop_up();
    Stream *s = stream_new_memory(l, "c");
    User u;
    use(s, &u);
    stream_feed(s, "0123456789abcdefghijklmnopqrstuvwxyz", 36);
    g_assert_cmpuint(fifo8_used(&u.rx), ==, 16);
    g_assert_cmpuint(u.filled, ==, 1);
    GString *all = g_string_new(NULL);
    while (!fifo8_empty(&u.rx)) {
        g_string_append_c(all, (char)fifo8_pop(&u.rx));
        spin(l);
    }
    g_assert_cmpstr(all->str, ==, "0123456789abcdefghijklmnopqrstuvwxyz");
    g_string_free(all, TRUE);
    GError *err = NULL;
    g_assert_false(stream_claim(s, "other", NULL, &err));
    g_assert_cmpstr(err->message, ==, "character device 'c' is in use by 'user'");
    g_clear_error(&err);
    stream_release(s);
    g_assert_true(stream_claim(s, "other", NULL, &err));
    stream_put(NULL, 'x');          /* nothing connected */
    g_assert_true(stream_fill(NULL, &u.rx, on_filled, &u, &err));
    stream_free(s);
    loop_down(l);
}

static void escapes(void)
{
    static const StreamControl control = { on_quit, on_save };
    Loop *l = loop_up();
    Stream *s = stream_new_memory(l, "c");
    Clock *clock = clock_new_manual();
    User u;
    use(s, &u);
    stream_set_mux(s, true);
    stream_set_control(s, &control, &u);
    stream_set_clock(s, clock);
    stream_feed(s, "ab\001\001c\001bd\001ze", 11);
    expect_in(&u, "ab\001cde");
    g_assert_cmpuint(u.breaks, ==, 1);
    stream_feed(s, "\001", 1);      /* split between two reads */
    stream_feed(s, "x\001sq", 4);
    g_assert_true(u.quits == 1 && u.saves == 1);
    expect_in(&u, "q");
    stream_feed(s, "\001h", 2);
    char *help = stream_take(s, NULL);
    g_assert_nonnull(strstr(help, "C-a x    quit the emulator\r\n"));
    g_assert_nonnull(strstr(help, "C-a s "));
    g_free(help);

    stream_set_escape(s, 0x14);
    stream_feed(s, "\001x\024xq\024\024\024h", 9);
    g_assert_cmpuint(u.quits, ==, 2);
    expect_in(&u, "\001xq\024");
    help = stream_take(s, NULL);
    g_assert_nonnull(strstr(help, "C-t x    quit the emulator\r\n"));
    g_assert_nonnull(strstr(help, "C-t C-t  send a C-t\r\n"));
    g_free(help);
    stream_set_escape(s, 1);

    stream_feed(s, "\001t", 2);
    clock_step_ns(clock, 3723004 * (int64_t)NS_PER_MS);
    stream_write(s, "one\r\ntw", 7);
    stream_write(s, "o\n", 2);
    expect_out(s, "[01:02:03.004] one\r\n[01:02:03.004] two\n");
    stream_feed(s, "\001t", 2);
    stream_write(s, "plain\n", 6);
    expect_out(s, "plain\n");

    stream_set_control(s, NULL, NULL);
    stream_feed(s, "\001x\001h", 4);
    help = stream_take(s, NULL);
    g_assert_null(strstr(help, "C-a s "));
    g_free(help);

    /* A guest that reads nothing: the escape behind 10000 bytes of typing still gets through. */
    stream_set_control(s, &control, &u);
    char junk[10000];
    memset(junk, 'j', sizeof junk);
    stream_feed(s, junk, sizeof junk);
    stream_feed(s, "\001x", 2);
    g_assert_cmpuint(u.quits, ==, 3);
    stream_free(s);
    clock_free(clock);
    loop_down(l);
}

/* --- the host's back ends, on descriptors 0 and 1 that are ours for a while --- */

typedef struct Swap { int in, out, saved_in, saved_out; } Swap;     /* in, out: our ends */

static Swap swap_stdio(void)
{
    int to[2], from[2];
    g_assert_true(pipe(to) == 0 && pipe(from) == 0);
    fflush(stdout);
    Swap w = { to[1], from[0], dup(0), dup(1) };
    dup2(to[0], 0);
    dup2(from[1], 1);
    close(to[0]);
    close(from[1]);
    return w;
}

static void swap_back(Swap *w)
{
    dup2(w->saved_in, 0);
    dup2(w->saved_out, 1);
    close(w->saved_in);
    close(w->saved_out);
    if (w->in >= 0)
        close(w->in);
    if (w->out >= 0)
        close(w->out);
}

static void stdio_on_pipes(void)
{
    Loop *l = loop_up();
    GError *err = NULL;
    Swap w = swap_stdio();
    Stream *s = stream_open(l, "stdio", &err);
    g_assert_no_error(err);
    User u;
    use(s, &u);
    g_assert_cmpint(write(w.in, "typed", 5), ==, 5);
    spin(l);
    expect_in(&u, "typed");
    char buf[64] = { 0 };
    stream_write(s, "a line\n", 7);         /* at once */
    g_assert_cmpint(read(w.out, buf, sizeof buf), ==, 7);
    stream_put(s, '$');                     /* by the timer */
    while (fcntl(w.out, F_SETFL, O_NONBLOCK), read(w.out, buf, 1) != 1)
        loop_run_once(l, true);
    g_assert_cmpint(buf[0], ==, '$');
    close(w.in);                            /* end of input: the machine goes on */
    w.in = -1;
    spin(l);
    spin(l);
    g_assert_cmpuint(u.closed, ==, 1);
    stream_write(s, "still here\n", 11);
    g_assert_cmpint(read(w.out, buf, sizeof buf), ==, 11);
    close(w.out);                           /* nobody reads any more */
    w.out = -1;
    for (unsigned i = 0; i < 100000; i++)
        stream_put(s, '\n');
    stream_free(s);
    swap_back(&w);
    loop_down(l);
}

static void *slow_reader(void *self)
{
    Swap *w = self;
    uint64_t sum = 0, n = 0;
    uint8_t buf[1000];
    ssize_t r;
    while ((r = read(w->out, buf, sizeof buf)) > 0) {
        for (ssize_t i = 0; i < r; i++)
            sum = sum * 31 + buf[i];
        n += (uint64_t)r;
        if (n % 7 == 0)
            g_usleep(50);
    }
    return (void *)(uintptr_t)sum;
}

/* A guest that writes faster than its reader reads loses nothing. */
static void a_slow_reader_gets_every_byte(void)
{
    Loop *l = loop_up();
    Swap w = swap_stdio();
    Stream *s = stream_open(l, "stdio", NULL);
    GThread *t = g_thread_new("reader", slow_reader, &w);
    uint64_t want = 0;
    for (unsigned i = 0; i < 600000; i++) {
        uint8_t b = (uint8_t)(i * i >> 5);
        want = want * 31 + b;
        stream_put(s, b);
    }
    stream_free(s);
    swap_back(&(Swap){ -1, -1, w.saved_in, w.saved_out });
    uint64_t got = (uint64_t)(uintptr_t)g_thread_join(t);
    g_assert_cmphex(got, ==, want);
    close(w.in);
    close(w.out);
    loop_down(l);
}

typedef struct Crowd { Swap w; unsigned nap_us, first_us; pthread_t kicked; bool stop; } Crowd;

/* Reads little at a time, seldom, and not at once. */
static void *late_reader(void *self)
{
    Crowd *c = self;
    uint64_t n = 0;
    uint8_t buf[1000];
    ssize_t r;
    g_usleep(c->first_us);
    while ((r = read(c->w.out, buf, sizeof buf)) > 0) {
        n += (uint64_t)r;
        g_usleep(c->nap_us);
    }
    return (void *)(uintptr_t)n;
}

static void *kicker(void *self)
{
    Crowd *c = self;
    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
        pthread_kill(c->kicked, SIGUSR1);
        g_usleep(500);
    }
    return NULL;
}

static void kicked(int sig) { }

/* A whole ring full of output outlives its stream, as long as it is read; and signals are no reason to drop any. */
static void last_words(gconstpointer kicks)
{
    enum { LEN = 60000 };
    Loop *l = loop_up();
    Crowd c = { .w = swap_stdio(), .nap_us = kicks ? 0 : 1000, .first_us = kicks ? 50000 : 0, .kicked = pthread_self() };
    g_assert_cmpint(fcntl(c.w.out, F_SETPIPE_SZ, 4096), ==, 4096);
    Stream *s = stream_open(l, "stdio", NULL);
    GThread *reader = g_thread_new("reader", late_reader, &c), *kick = NULL;
    if (kicks) {
        signal(SIGUSR1, kicked);
        kick = g_thread_new("kicker", kicker, &c);
    }
    unsigned pieces = kicks ? 4 : 1;
    g_autofree char *text = g_strnfill(LEN, 'x');
    for (unsigned i = 0; i < pieces; i++)
        stream_write(s, text, LEN);
    stream_free(s);
    __atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
    if (kick)
        g_thread_join(kick);
    signal(SIGUSR1, SIG_DFL);
    swap_back(&(Swap){ -1, -1, c.w.saved_in, c.w.saved_out });
    g_assert_cmpuint((uintptr_t)g_thread_join(reader), ==, pieces * LEN);
    close(c.w.in);
    close(c.w.out);
    loop_down(l);
}

static void pseudo_terminal(void)
{
    Loop *l = loop_up();
    GError *err = NULL;
    Stream *s = stream_open(l, "pty", &err);
    g_assert_no_error(err);
    User u;
    use(s, &u);
    int fd = open(stream_path(s), O_RDWR | O_NOCTTY | O_NONBLOCK);
    g_assert_cmpint(fd, >=, 0);
    stream_write(s, "login: \r\n", 9);
    char buf[64] = { 0 };
    g_assert_cmpint(read(fd, buf, sizeof buf), ==, 9);
    g_assert_cmpstr(buf, ==, "login: \r\n");
    spin(l);
    g_assert_true(fifo8_empty(&u.rx));      /* no echo of it */
    g_assert_cmpint(write(fd, "root\r", 5), ==, 5);
    while (fifo8_used(&u.rx) < 5)
        loop_run_once(l, true);
    expect_in(&u, "root\r");
    close(fd);
    spin(l);
    g_assert_cmpuint(u.closed, ==, 0);      /* users come and go */
    fd = open(stream_path(s), O_RDWR | O_NOCTTY | O_NONBLOCK);
    stream_write(s, "again\n", 6);
    g_assert_cmpint(read(fd, buf, sizeof buf), ==, 6);
    close(fd);
    /* Nobody reads at all: one wait, then bytes are dropped without further ado. */
    char page[4096];
    memset(page, 'x', sizeof page);
    int64_t start = g_get_monotonic_time();
    for (unsigned i = 0; i < 200; i++)
        stream_write(s, page, sizeof page);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 20 * G_USEC_PER_SEC);
    stream_free(s);
    loop_down(l);
}

static void the_terminal_comes_back(void)
{
    Loop *l = loop_up();
    Stream *pty = stream_open(l, "pty", NULL);
    int fd = open(stream_path(pty), O_RDWR | O_NOCTTY), saved_in = dup(0), saved_out = dup(1);
    struct termios before, during, after;
    g_assert_cmpint(tcgetattr(fd, &before), ==, 0);
    before.c_lflag |= ECHO | ICANON | ISIG;
    before.c_iflag |= ICRNL;
    tcsetattr(fd, TCSANOW, &before);
    fflush(stdout);
    dup2(fd, 0);
    dup2(fd, 1);
    Stream *s = stream_open(l, "mon:stdio", NULL);
    tcgetattr(fd, &during);
    stream_restore_terminal();
    tcgetattr(fd, &after);
    stream_free(s);
    dup2(saved_in, 0);
    dup2(saved_out, 1);
    g_assert_false(during.c_lflag & (ECHO | ICANON | ISIG));
    g_assert_false(during.c_iflag & ICRNL);
    g_assert_cmphex(after.c_lflag, ==, before.c_lflag);
    g_assert_cmphex(after.c_iflag, ==, before.c_iflag);
    close(saved_in);
    close(saved_out);
    close(fd);
    stream_free(pty);
    loop_down(l);
}

static void files_and_nothing(void)
{
    Loop *l = loop_up();
    GError *err = NULL;
    g_autofree char *path = g_strdup_printf("%s/rhea,%d", g_get_tmp_dir(), (int)getpid());
    g_autofree char *spec = g_strconcat("file:", path, NULL);
    Stream *s = stream_open(l, spec, &err);
    g_assert_no_error(err);
    stream_write(s, "kept, without a newline", 23);
    stream_free(s);
    char *text;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "kept, without a newline");
    g_free(text);
    unlink(path);
    s = stream_open(l, "null", &err);
    stream_write(s, "gone\n", 5);
    stream_free(s);
    s = stream_open_chardev(l, "null,id=n,mux=on", &err);
    g_assert_cmpstr(stream_id(s), ==, "n");
    stream_free(s);
    static const struct { const char *spec, *message; } bad[] = {
        { "tape", "'tape' is not a character device (stdio, pty, file:PATH, unix:PATH, tcp:HOST:PORT, null)" },
        { "file:", "file: needs a path" },
        { "file:/proc/nonexistent/x", "/proc/nonexistent/x: No such file or directory" },
        { "null,pth=3", "-serial: unknown parameter 'pth'" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(stream_open(l, bad[i].spec, &err));
        g_assert_cmpstr(err->message, ==, bad[i].message);
        g_clear_error(&err);
    }
    g_assert_null(stream_open_chardev(l, "null", &err));
    g_clear_error(&err);
    loop_down(l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stream/room", input_waits_for_room);
    g_test_add_func("/stream/escapes", escapes);
    g_test_add_func("/stream/stdio", stdio_on_pipes);
    g_test_add_func("/stream/slow", a_slow_reader_gets_every_byte);
    g_test_add_data_func("/stream/last-words/slow", NULL, last_words);
    g_test_add_data_func("/stream/last-words/kicks", "", last_words);
    g_test_add_func("/stream/pty", pseudo_terminal);
    g_test_add_func("/stream/terminal", the_terminal_comes_back);
    g_test_add_func("/stream/files", files_and_nothing);
    return g_test_run();
}
