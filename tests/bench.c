/* SPDX-License-Identifier: GPL-2.0-or-later
 * The bench for device tests. */
#include "tests/bench.h"

#include <string.h>

/* A test's own mistake: say which name was wrong and stop. */
#define NEED(what, name) do { if (!(what)) g_error("bench: no such thing: '%s'", (name)); } while (0)

static void split(const char *name, char **dev, char **rest)
{
    const char *dot = strchr(name, '.');
    NEED(dot, name);
    *dev = g_strndup(name, (gsize)(dot - name));
    *rest = g_strdup(dot + 1);
}

static Device *device(Bench *b, const char *id)
{
    Device *d = machine_find(b->m, id);
    NEED(d, id);
    return d;
}

Bench *bench_new_types(const DeviceType *const *types, const char *opts)
{
    Bench *b = g_new0(Bench, 1);
    b->m = machine_new("bench", clock_new_manual());
    for (; types && *types; types++)
        machine_add_type(b->m, *types);
    if (opts)
        bench_add(b, opts);
    return b;
}

Bench *bench_new(const char *opts) { return bench_new_types(NULL, opts); }

/* Character devices that a property names and that are not there become memory streams. */
static void make_streams(Bench *b, const char *opts)
{
    Options *o = options_parse("bench", opts, "driver", NULL);
    NEED(o, opts);
    const DeviceType *t = device_type_find(b->m, options_get(o, "driver"));
    NEED(t, opts);
    for (const Field *f = t->props; f && f->name; f++) {
        const char *id = f->type == FT_STREAM ? options_get(o, f->name) : NULL;
        if (id && !machine_stream(b->m, id))
            machine_add_stream(b->m, stream_new_memory(b->m->loop, id));
    }
    options_free(o);
}

Device *bench_add(Bench *b, const char *opts)
{
    make_streams(b, opts);
    GError *err = NULL;
    Device *d = device_new(b->m, opts, NULL, &err);
    if (!d)
        g_error("bench: %s", err->message);
    device_reset(d);
    return d;
}

void bench_free(Bench *b)
{
    machine_free(b->m);
    g_free(b);
}

static void between(Bench *b)
{
    if (b->cycles)
        bench_cycle(b);
}

/* An access as the bus makes it: under the lock, through the region's functions. */
static uint64_t access_read(Bench *b, Device *d, unsigned w, uint64_t off, unsigned size)
{
    between(b);
    domain_enter(d->domain);
    uint64_t v = d->windows[w].ops->read(d->windows[w].self, off, size);
    domain_leave(d->domain);
    return v;
}

static void access_write(Bench *b, Device *d, unsigned w, uint64_t off, uint64_t v, unsigned size)
{
    between(b);
    domain_enter(d->domain);
    d->windows[w].ops->write(d->windows[w].self, off, v, size);
    domain_leave(d->domain);
}

static Device *find_reg(Bench *b, const char *name, unsigned *w, uint64_t *at, unsigned *width)
{
    char *id, *reg;
    split(name, &id, &reg);
    Device *d = device(b, id);
    NEED(device_reg_find(d, reg, w, at, width), name);
    g_free(id);
    g_free(reg);
    return d;
}

uint64_t bench_read(Bench *b, const char *reg)
{
    unsigned w, width;
    uint64_t at;
    Device *d = find_reg(b, reg, &w, &at, &width);
    return access_read(b, d, w, at, width);
}

void bench_write(Bench *b, const char *reg, uint64_t v)
{
    unsigned w, width;
    uint64_t at;
    Device *d = find_reg(b, reg, &w, &at, &width);
    access_write(b, d, w, at, v, width);
}

uint64_t bench_peek(Bench *b, const char *name)
{
    char *id, *reg;
    uint64_t v;
    split(name, &id, &reg);
    NEED(device_reg_peek(device(b, id), reg, &v), name);
    g_free(id);
    g_free(reg);
    return v;
}

static Device *find_window(Bench *b, const char *name, unsigned *w)
{
    const char *slash = strchr(name, '/');
    char *id = slash ? g_strndup(name, (gsize)(slash - name)) : g_strdup(name);
    *w = slash ? (unsigned)strtoul(slash + 1, NULL, 0) : 0;
    Device *d = device(b, id);
    NEED(*w < d->n_windows, name);
    g_free(id);
    return d;
}

uint64_t bench_read_at(Bench *b, const char *dev, uint64_t off, unsigned size)
{
    unsigned w;
    Device *d = find_window(b, dev, &w);
    return access_read(b, d, w, off, size);
}

void bench_write_at(Bench *b, const char *dev, uint64_t off, unsigned size, uint64_t v)
{
    unsigned w;
    Device *d = find_window(b, dev, &w);
    access_write(b, d, w, off, v, size);
}

void bench_send(Bench *b, const char *stream, const char *text)
{
    Stream *s = machine_stream(b->m, stream);
    NEED(s, stream);
    between(b);
    stream_feed(s, text, strlen(text));
}

void bench_expect(Bench *b, const char *stream, const char *text)
{
    Stream *s = machine_stream(b->m, stream);
    NEED(s, stream);
    char *got = stream_take(s, NULL);
    g_assert_cmpstr(got, ==, text);
    g_free(got);
}

bool bench_pin(Bench *b, const char *name)
{
    char *id, *pin;
    split(name, &id, &pin);
    Line *l = device_line(device(b, id), pin);
    NEED(l, name);
    g_free(id);
    g_free(pin);
    return line_level(l);
}

void bench_drive(Bench *b, const char *name, unsigned n, bool level)
{
    char *id, *pin;
    split(name, &id, &pin);
    NEED(device_has_input(device(b, id), pin, n), name);
    between(b);
    device_input(device(b, id), pin, n, level);
    g_free(id);
    g_free(pin);
}

void bench_wire(Bench *b, const char *from, const char *to, unsigned n)
{
    char *from_id, *from_pin, *to_id, *to_pin;
    GError *err = NULL;
    split(from, &from_id, &from_pin);
    split(to, &to_id, &to_pin);
    if (!device_wire(device(b, from_id), from_pin, device(b, to_id), to_pin, n, &err))
        g_error("bench: %s", err->message);
    g_free(from_id);
    g_free(from_pin);
    g_free(to_id);
    g_free(to_pin);
}

void bench_step_ns(Bench *b, int64_t ns)
{
    between(b);
    clock_step_ns(b->m->clock, ns);
    while (loop_run_once(b->m->loop, false))
        ;
}

void bench_reset(Bench *b) { machine_reset(b->m); }
GByteArray *bench_save(Bench *b) { return machine_save(b->m); }

/* Fails with the names that come before the first difference. */
static void expect_same(const GByteArray *got, const GByteArray *want)
{
    guint i = 0;
    while (i < got->len && i < want->len && got->data[i] == want->data[i])
        i++;
    if (i == got->len && i == want->len)
        return;
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint k = i > 60 ? i - 60 : 0; k < i; k++)
        g_string_append_c(names, g_ascii_isprint(want->data[k]) ? want->data[k] : ' ');
    g_error("bench: saving what was restored differs at byte %u, after '%s': %02x, not %02x", i, names->str,
            i < got->len ? got->data[i] : 0, i < want->len ? want->data[i] : 0);
}

void bench_restore(Bench *b, GByteArray *saved)
{
    GError *err = NULL;
    if (!machine_restore(b->m, saved->data, saved->len, &err))
        g_error("bench: %s", err->message);
    GByteArray *again = machine_save(b->m);
    expect_same(again, saved);
    g_byte_array_free(again, TRUE);
}

void bench_cycle(Bench *b)
{
    GByteArray *saved = bench_save(b);
    machine_reset(b->m);
    bench_restore(b, saved);
    g_byte_array_free(saved, TRUE);
}

uint64_t bench_load(Bench *b, Space *s, uint64_t at, unsigned size)
{
    between(b);
    return space_load(s, at, size, NULL);
}

void bench_store(Bench *b, Space *s, uint64_t at, unsigned size, uint64_t v)
{
    between(b);
    space_store(s, at, size, v);
}

static void run_case(const BenchCase *c, bool cycles)
{
    Bench *b = bench_new(c->device);
    b->cycles = cycles;
    c->fn(b);
    bench_free(b);
}

static void run_plain(gconstpointer data) { run_case(data, false); }
static void run_cycled(gconstpointer data) { run_case(data, true); }

int bench_main(int argc, char **argv, const char *room, const BenchCase *cases)
{
    g_test_init(&argc, &argv, NULL);
    for (const BenchCase *c = cases; c->name; c++) {
        char *plain = g_strdup_printf("/%s/%s", room, c->name);
        char *cycled = g_strdup_printf("/%s/restored at every step/%s", room, c->name);
        g_test_add_data_func(plain, c, run_plain);
        g_test_add_data_func(cycled, c, run_cycled);
        g_free(plain);
        g_free(cycled);
    }
    return g_test_run();
}
