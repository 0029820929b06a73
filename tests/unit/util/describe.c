/* SPDX-License-Identifier: GPL-2.0-or-later
 * Described fields: round trips, ages, and every kind of broken input. */
#include "util/describe.h"

#include <string.h>

typedef struct Channel { uint16_t count; bool gate; int32_t bias; } Channel;
typedef struct Thing {
    bool on;
    uint8_t a, regs[5];
    uint32_t w;
    uint64_t q;
    int64_t s;
    Fifo8 rx;
    Timer t;
    Channel ch[3];
    uint8_t young;
} Thing;

static const Field channel_fields[] = {
    FIELD(Channel, count), FIELD(Channel, gate), FIELD_SINCE(3, Channel, bias), { 0 }
};
static const Field fields[] = {
    FIELD(Thing, on), FIELD(Thing, a), FIELD(Thing, regs), FIELD(Thing, w), FIELD(Thing, q), FIELD(Thing, s),
    FIELD(Thing, rx), FIELD(Thing, t), FIELD_SUB(Thing, ch, 3, channel_fields), FIELD_SINCE(2, Thing, young),
    { 0 }
};
static const Field old_fields[] = {     /* as version 1 had it */
    FIELD(Thing, on), FIELD(Thing, a), FIELD(Thing, regs), FIELD(Thing, w), FIELD(Thing, q), FIELD(Thing, s),
    FIELD(Thing, rx), FIELD(Thing, t), FIELD_SUB(Thing, ch, 3, channel_fields), { 0 }
};

static void never(void *self) { g_assert_not_reached(); }

static void thing_init(Thing *t, Clock *c)
{
    memset(t, 0, sizeof *t);
    timer_init(&t->t, c, never, t);
}

static void fill(Thing *t)
{
    t->on = true;
    t->a = 0xa5;
    memcpy(t->regs, "\1\2\3\4\5", 5);
    t->w = 0xdeadbeef;
    t->q = 0x0123456789abcdef;
    t->s = -5;
    fifo8_set_cap(&t->rx, 20);
    for (unsigned i = 0; i < 13; i++)
        fifo8_push(&t->rx, (uint8_t)i);
    timer_set_ns(&t->t, 12345);
    for (unsigned i = 0; i < 3; i++)
        t->ch[i] = (Channel){ (uint16_t)(1000 + i), i & 1, -(int32_t)i };
    t->young = 9;
}

static void a_round_trip_keeps_all(void)
{
    Clock *c = clock_new_manual();
    Thing a, b;
    GError *err = NULL;
    thing_init(&a, c);
    thing_init(&b, c);
    fill(&a);
    g_autoptr(GByteArray) saved = describe_save(fields, &a);
    g_assert_true(describe_load(fields, &b, describe_version(fields), saved->data, saved->len, &err));
    g_assert_no_error(err);
    g_autoptr(GByteArray) again = describe_save(fields, &b);
    g_assert_cmpmem(saved->data, saved->len, again->data, again->len);
    g_assert_cmpint(timer_deadline_ns(&b.t), ==, 12345);
    g_assert_cmpuint(fifo8_peek(&b.rx, 12), ==, 12);
    g_assert_cmpint(b.ch[2].bias, ==, -2);
    g_assert_cmpint(b.s, ==, -5);
    g_autoptr(GString) text = g_string_new(NULL);
    describe_show(fields, &b, text);
    g_assert_nonnull(strstr(text->str, "w=deadbeef"));
    g_assert_nonnull(strstr(text->str, "regs=01 02 03 04 05"));
    g_assert_nonnull(strstr(text->str, "rx=13/20 bytes"));
    describe_reset(fields, &b);
    g_assert_cmpuint(b.w, ==, 0);
    g_assert_cmpuint(fifo8_used(&b.rx), ==, 0);
    g_assert_cmpuint(fifo8_cap(&b.rx), ==, 20);
    g_assert_false(timer_armed(&b.t));
    g_assert_cmpint(b.ch[2].bias, ==, 0);
    timer_cancel(&a.t);
    clock_free(c);
}

static void an_old_version_loads(void)
{
    Clock *c = clock_new_manual();
    Thing a, b;
    GError *err = NULL;
    thing_init(&a, c);
    thing_init(&b, c);
    fill(&a);
    b.young = 77;
    g_autoptr(GByteArray) saved = describe_save(old_fields, &a);
    g_assert_true(describe_load(fields, &b, 1, saved->data, saved->len, &err));
    g_assert_cmpuint(b.young, ==, 77);
    g_assert_false(describe_load(fields, &b, 2, saved->data, saved->len, &err));
    g_assert_cmpstr(err->message, ==, "field 'young' is missing");
    g_clear_error(&err);
    g_autoptr(GByteArray) new = describe_save(fields, &a);
    g_assert_false(describe_load(old_fields, &b, 1, new->data, new->len, &err));
    g_assert_cmpstr(err->message, ==, "saved state holds an unknown field 'young'");
    g_clear_error(&err);
    timer_cancel(&a.t);
    timer_cancel(&b.t);
    clock_free(c);
}

static void every_truncation_is_an_error(void)
{
    Clock *c = clock_new_manual();
    Thing a, b;
    thing_init(&a, c);
    thing_init(&b, c);
    fill(&a);
    g_autoptr(GByteArray) saved = describe_save(fields, &a);
    for (size_t len = 0; len < saved->len; len++) {
        GError *err = NULL;
        uint8_t *exact = g_memdup2(saved->data, len);       /* so that a sanitizer sees a byte too many */
        g_assert_false(describe_load(fields, &b, 3, exact, len, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
        g_free(exact);
    }
    saved->data[saved->len - 1] = 1;    /* a name of one byte, a NUL, in the place of the end */
    g_byte_array_append(saved, (const uint8_t *)"", 1);
    g_assert_false(describe_load(fields, &b, 3, saved->data, saved->len, NULL));
    g_byte_array_set_size(saved, saved->len - 1);
    saved->data[saved->len - 1] = 0;
    g_assert_true(describe_load(fields, &b, 3, saved->data, saved->len, NULL));
    g_byte_array_append(saved, (const uint8_t *)"x", 1);
    g_assert_false(describe_load(fields, &b, 3, saved->data, saved->len, NULL));
    timer_cancel(&a.t);
    timer_cancel(&b.t);
    clock_free(c);
}

/* Whatever the bytes are: an error or an object that is whole. */
static void spoilt_bytes_do_no_harm(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(3);
    Clock *c = clock_new_manual();
    Thing a, b;
    thing_init(&a, c);
    thing_init(&b, c);
    fill(&a);
    g_autoptr(GByteArray) saved = describe_save(fields, &a);
    unsigned loaded = 0;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t *copy = g_memdup2(saved->data, saved->len);
        for (unsigned k = 1 + g_rand_int(r) % 3; k; k--)
            copy[g_rand_int(r) % saved->len] = (uint8_t)g_rand_int(r);
        loaded += describe_load(fields, &b, 3, copy, saved->len, NULL);
        g_assert_cmpuint(fifo8_used(&b.rx), <=, fifo8_cap(&b.rx));
        g_assert_cmpuint(fifo8_cap(&b.rx), <=, FIFO8_MAX);
        g_free(copy);
    }
    g_test_message("%u of 20000 loaded", loaded);
    timer_cancel(&a.t);
    timer_cancel(&b.t);
    clock_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/describe/round_trip", a_round_trip_keeps_all);
    g_test_add_func("/describe/versions", an_old_version_loads);
    g_test_add_func("/describe/truncated", every_truncation_is_an_error);
    g_test_add_func("/describe/spoilt", spoilt_bytes_do_no_harm);
    return g_test_run();
}
