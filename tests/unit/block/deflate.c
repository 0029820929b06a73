/* SPDX-License-Identifier: GPL-2.0-or-later
 * Packing for formats that read with a window of 12 bits: what is made keeps to that window, whatever the state that is
 * used again was used for before, and never goes past its room. */
#include "block/deflate.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { SIZE = 65536, ROOM = SIZE * 2, GUARD = 64 };

typedef struct Bufs { uint8_t in[SIZE], out[ROOM + GUARD], back[SIZE + 1]; } Bufs;

/* Fed byte by byte, so that zlib really has no more than its window. */
static void read_back(Bufs *b, size_t n, size_t len)
{
    z_stream z = { .next_out = b->back, .avail_out = SIZE + 1 };
    int r = Z_OK;
    g_assert_cmpint(inflateInit2(&z, -12), ==, Z_OK);
    for (size_t i = 0; i < len && r == Z_OK; i++) {
        z.next_in = b->out + i;
        z.avail_in = 1;
        r = inflate(&z, Z_NO_FLUSH);
    }
    g_assert_cmpint(r, ==, Z_STREAM_END);
    g_assert_cmpuint(SIZE + 1 - z.avail_out, ==, n);
    g_assert_cmpmem(b->back, n, b->in, n);
    inflateEnd(&z);
}

static void round_trip(Bufs *b, size_t n)
{
    size_t len = ROOM;
    memset(b->out, 0xa5, sizeof b->out);
    g_assert_cmpint(deflate_pack(-12, b->in, n, b->out, &len), ==, 0);
    g_assert_cmpuint(len, <=, ROOM);
    for (unsigned i = 0; i < GUARD; i++)
        g_assert_cmpuint(b->out[ROOM + i], ==, 0xa5);
    read_back(b, n, len);
}

static void make_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)g_test_rand_int();
}

static void make_text(uint8_t *p, size_t n)
{
    static const char *const words[] = { "cluster", "of", "the", "image", "table", "a", "refcount", "offset", "and", "0x1f", "\n", "guest" };
    for (size_t i = 0; i < n;) {
        const char *w = words[(unsigned)g_test_rand_int_range(0, 12) * (unsigned)g_test_rand_int_range(1, 12) % 12];
        while (*w && i < n)
            p[i++] = (uint8_t)*w++;
        if (i < n)
            p[i++] = ' ';
    }
}

static void make_zero(uint8_t *p, size_t n) { memset(p, 0, n); }

/* Repeats at one distance, up to beyond the window. */
static void make_period(uint8_t *p, size_t n)
{
    size_t period = (size_t)g_test_rand_int_range(1, 5000);
    make_random(p, MIN(period, n));
    for (size_t i = period; i < n; i++)
        p[i] = p[i - period];
}

/* Frequencies that double: codes would be longer than 15 bits. */
static void make_skewed(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(40 + __builtin_ctz((unsigned)g_test_rand_int() | 1u << 24));
}

static void make_mixed(uint8_t *p, size_t n)
{
    static void (*const makers[])(uint8_t *p, size_t n) = { make_random, make_text, make_zero, make_period, make_skewed };
    for (size_t at = 0, part; at < n; at += part) {
        part = MIN(n - at, (size_t)g_test_rand_int_range(1, 9000));
        makers[g_test_rand_int_range(0, 5)](p + at, part);
    }
}

typedef struct Kind { const char *name; void (*make)(uint8_t *p, size_t n); } Kind;
static const Kind kinds[] = {
    { "random", make_random }, { "text", make_text }, { "zero", make_zero }, { "period", make_period },
    { "skewed", make_skewed }, { "mixed", make_mixed },
};

static void comes_back(gconstpointer data)
{
    const Kind *k = data;
    g_autofree Bufs *b = g_new(Bufs, 1);
    for (unsigned i = 0; i < 20; i++) {
        k->make(b->in, SIZE);
        round_trip(b, SIZE);
    }
}

static void any_length(void)
{
    g_autofree Bufs *b = g_new(Bufs, 1);
    for (size_t n = 0; n < 300; n++) {
        kinds[n % G_N_ELEMENTS(kinds)].make(b->in, n);
        round_trip(b, n);
    }
    for (unsigned i = 0; i < 60; i++) {
        size_t n = (size_t)g_test_rand_int_range(0, SIZE + 1);
        make_mixed(b->in, n);
        round_trip(b, n);
    }
}

static void never_past_its_room(void)
{
    g_autofree Bufs *b = g_new(Bufs, 1);
    unsigned full = 0, fitted = 0;
    for (unsigned i = 0; i < 300; i++) {
        size_t n = (size_t)g_test_rand_int_range(1, SIZE / 8), whole = ROOM;
        make_mixed(b->in, n);
        g_assert_cmpint(deflate_pack(-12, b->in, n, b->out, &whole), ==, 0);
        size_t room = (size_t)g_test_rand_int_range(0, (gint32)(2 * whole)), len = room;
        memset(b->out, 0xa5, sizeof b->out);
        int r = deflate_pack(-12, b->in, n, b->out, &len);
        /* zlib may want some bytes more than it uses. */
        if (room < whole || room > whole + 16)
            g_assert_cmpint(r, ==, room < whole ? -ENOSPC : 0);
        r ? full++ : fitted++;
        for (unsigned k = 0; k < GUARD; k++)
            g_assert_cmpuint(b->out[room + k], ==, 0xa5);
        if (!r)
            read_back(b, n, len);
    }
    g_assert_cmpuint(full, >, 0);
    g_assert_cmpuint(fitted, >, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *name = g_strdup_printf("/block/deflate/comes-back/%s", kinds[i].name);
        g_test_add_data_func(name, &kinds[i], comes_back);
    }
    g_test_add_func("/block/deflate/any-length", any_length);
    g_test_add_func("/block/deflate/never-past-its-room", never_past_its_room);
    return g_test_run();
}
