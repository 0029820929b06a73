/* SPDX-License-Identifier: GPL-2.0-or-later
 * deflate_pack.c beside zlib: what it makes is read by zlib with a window of 12 bits, is about as large as zlib's, and
 * never goes past its room. */
#include "block/deflate.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { SIZE = 65536, ROOM = SIZE * 2, GUARD = 64 };

typedef struct Bufs { uint8_t in[SIZE], out[ROOM + GUARD], back[SIZE + 1]; } Bufs;

static size_t by_zlib(const uint8_t *in, size_t n, uint8_t *out)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)n, .next_out = out, .avail_out = ROOM };
    g_assert_cmpint(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), ==, Z_OK);
    g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
    deflateEnd(&z);
    return ROOM - z.avail_out;
}

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

static size_t round_trip(Bufs *b, size_t n)
{
    size_t len = ROOM;
    memset(b->out, 0xa5, sizeof b->out);
    g_assert_cmpint(deflate_pack_4k(b->in, n, b->out, &len), ==, 0);
    g_assert_cmpuint(len, <=, ROOM);
    for (unsigned i = 0; i < GUARD; i++)
        g_assert_cmpuint(b->out[ROOM + i], ==, 0xa5);
    read_back(b, n, len);
    return len;
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

static void as_large_as_zlib(gconstpointer data)
{
    const Kind *k = data;
    g_autofree Bufs *b = g_new(Bufs, 1);
    size_t own = 0, other = 0;
    for (unsigned i = 0; i < 20; i++) {
        k->make(b->in, SIZE);
        own += round_trip(b, SIZE);
        other += by_zlib(b->in, SIZE, b->out);
    }
    g_test_message("%s: %zu, zlib %zu", k->name, own, other);
    g_assert_cmpuint(own, <=, other + other / 20);
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
        g_assert_cmpint(deflate_pack_4k(b->in, n, b->out, &whole), ==, 0);
        size_t room = (size_t)g_test_rand_int_range(0, (gint32)(2 * whole)), len = room;
        memset(b->out, 0xa5, sizeof b->out);
        int r = deflate_pack_4k(b->in, n, b->out, &len);
        g_assert_cmpint(r, ==, room < whole ? -ENOSPC : 0);
        room < whole ? full++ : fitted++;
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
        g_autofree char *name = g_strdup_printf("/block/deflate/as-large-as-zlib/%s", kinds[i].name);
        g_test_add_data_func(name, &kinds[i], as_large_as_zlib);
    }
    g_test_add_func("/block/deflate/any-length", any_length);
    g_test_add_func("/block/deflate/never-past-its-room", never_past_its_room);
    return g_test_run();
}
