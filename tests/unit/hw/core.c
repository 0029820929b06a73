/* SPDX-License-Identifier: GPL-2.0-or-later
 * The device core: register rows, pins, properties, timers, boards, saved state, two machines in one
 * process. */
#include <string.h>

#include "tests/bench.h"
#include "util/bits.h"

/* --- a device that has some of everything --- */

enum { STAT_DONE = 1, STAT_ERROR = 2 };

typedef struct Gadget {
    Device   dev;
    Line     irq, out[3];
    Stream  *chr;
    Device  *friend;
    char    *label;
    uint32_t speed;
    bool     fast;
    Fifo8    rx;
    Timer    timer;
    uint8_t  low, bank, bytes[4];
    uint32_t ctrl, stat, table[4], battery;
    uint64_t wide;
    uint16_t reads, inputs, fired, last_index;
    uint64_t last_write;
    bool     level[2];
} Gadget;

static bool banked(const void *self) { const Gadget *g = self; return g->bank & 0x80; }
static uint64_t data_value(const void *self) { const Gadget *g = self; return fifo8_head(&g->rx); }
static void data_read(void *self) { Gadget *g = self; fifo8_drop(&g->rx); g->reads++; }
static void data_write(void *self, uint64_t v) { Gadget *g = self; stream_put(g->chr, (uint8_t)v); }
static void ctrl_write(void *self, uint64_t v)
{
    Gadget *g = self;
    g->last_write = v;
    if (v & 1)
        timer_set_ns(&g->timer, clock_now_ns(g->dev.machine->clock) + 1000);
}
static void table_write(void *self, unsigned i, uint64_t v)
{
    Gadget *g = self;
    g->last_index = (uint16_t)i;
    g->last_write = v;
}

static void move_window(void *self)
{
    Gadget *g = self;
    g_assert_true(domain_held(g->dev.domain) && domain_held(&g->dev.machine->topology));
    region_move(&g->dev.windows[0], g->battery);
}
static void batt_write(void *self, uint64_t v)
{
    Gadget *g = self;
    if (v >= 0x1000)
        device_remap(g, move_window);
}

static const Reg gadget_regs[] = {
    { 0, "LOW",  REG(Gadget, low), .mask = 0xff, .reset = 12, .when = banked },
    { 0, "DATA", .value = data_value, .on_read = data_read, .on_write = data_write },
    { 1, "BANK", REG(Gadget, bank), .mask = 0xf0 },
    { 2, "ID",   .reset = 0xb0 },
    { 4, "BYTES", REG(Gadget, bytes), .mask = 0x0f, .reset = 3, .count = 4 },
    { 8, "CTRL", REG(Gadget, ctrl), .mask = 0x00ffff01, .reset = 0x80000000, .on_write = ctrl_write,
        .width = 4 },
    { 12, "STAT", REG(Gadget, stat), .w1c = STAT_DONE | STAT_ERROR, .width = 4 },
    { 16, "TABLE", REG(Gadget, table), .mask = 0xffffffff, .count = 4, .stride = 8, .width = 4,
      .on_write_at = table_write },
    { 48, "WIDE", REG(Gadget, wide), .mask = UINT64_MAX, .width = 8 },
    { 56, "BATT", REG(Gadget, battery), .mask = UINT32_MAX, .width = 4, .keep = true,
        .on_write = batt_write },
    /* the same member: the first row decides */
    { 60, "BANK2", REG(Gadget, bank), .mask = 0xff, .reset = 0x55 },
    { 0 }
};

static uint64_t plain_read(void *self, uint64_t off, unsigned size) { return off << 8 | size; }
static void plain_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Gadget *g = self;
    g->stat |= STAT_ERROR;
}
static const RegionOps plain_ops = { plain_read, plain_write, .min = 2, .max = 2 };

static void fired(void *self) { Gadget *g = self; g->fired++; g->stat |= STAT_DONE; }
static void input(void *self, unsigned n, bool level) { Gadget *g = self; g->inputs++; g->level[n] = level; }

static const Field gadget_props[] = {
    PROP(Gadget, chr, "chardev", "bytes"), PROP(Gadget, friend, "friend", "another device"),
    PROP(Gadget, label, "label", "a name"), PROP_SET(Gadget, speed, "speed", "9600", "baud"),
    PROP(Gadget, fast, "fast", "go fast"), { 0 }
};
static const Field gadget_pins[] = {
    PIN(Gadget, irq, "irq"), PIN(Gadget, out, "out"), PIN_IN("in", 2, input), { 0 }
};
static const Field gadget_state[] = {
    FIELD(Gadget, rx), FIELD(Gadget, timer), FIELD(Gadget, reads), FIELD(Gadget, fired),
    FIELD(Gadget, inputs), FIELD(Gadget, level), { 0 }
};

static void gadget_settle(void *self)
{
    Gadget *g = self;
    line_set(&g->irq, g->stat || !fifo8_empty(&g->rx));
    line_set(&g->out[1], g->level[1]);
}

static bool gadget_init(void *self, GError **err)
{
    Gadget *g = self;
    device_timer_init(g, &g->timer, fired);
    if (g->speed > 1000000)
        return fail(err, "speed %u is beyond 1000000", g->speed);
    return stream_fill(g->chr, &g->rx, gadget_settle, g, err);
}

static bool gadget_restored(void *self, GError **err)
{
    Gadget *g = self;
    return g->reads != 999 || fail(err, "999 reads are not possible");
}

static const DeviceType gadget_type = {
    .name = "gadget", .size = sizeof(Gadget), .span = 64, .regs = gadget_regs,
    .windows = { [1] = { .name = "doorbell", .span = 16, .ops = &plain_ops } },
    .props = gadget_props, .pins = gadget_pins, .state = gadget_state,
    .init = gadget_init, .settle = gadget_settle, .restored = gadget_restored,
};
static const DeviceType *const types[] = { &gadget_type, NULL };

static Gadget *gadget(Bench *b, const char *id) { return (Gadget *)machine_find(b->m, id); }

static void registers(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    Gadget *g = gadget(b, "g");
    g_assert_cmphex(bench_read(b, "g.ID"), ==, 0xb0);
    g_assert_cmphex(bench_read(b, "g.CTRL"), ==, 0x80000000);
    bench_write(b, "g.CTRL", 0x12345678);               /* bits outside the mask stay */
    g_assert_cmphex(g->ctrl, ==, 0x80345600);
    g_assert_cmphex(g->last_write, ==, 0x00345600);
    bench_write_at(b, "g", 9, 1, 0xab);                 /* one byte of it */
    g_assert_cmphex(g->ctrl, ==, 0x8034ab00);
    g_assert_cmphex(bench_read_at(b, "g", 8, 4), ==, 0x8034ab00);
    g_assert_cmphex(bench_read_at(b, "g", 10, 2), ==, 0x8034);
    g_assert_cmphex(bench_read_at(b, "g", 10, 4), ==, 0x8034);      /* runs on into STAT */

    g_assert_cmphex(bench_read(b, "g.BYTES[3]"), ==, 3);
    bench_write_at(b, "g", 4, 4, 0xf1f2f3f4);           /* four registers at once */
    g_assert_cmphex(bench_read_at(b, "g", 4, 4), ==, 0x01020304);

    bench_write(b, "g.TABLE[2]", 0xcafe);
    g_assert_cmphex(g->table[2], ==, 0xcafe);
    g_assert_cmpuint(g->last_index, ==, 2);
    /* upper half: the gap of the stride */
    g_assert_cmphex(bench_read_at(b, "g", 16 + 2 * 8, 8), ==, 0xcafe);
    bench_write(b, "g.WIDE", 0x1122334455667788);
    g_assert_cmphex(bench_read_at(b, "g", 52, 4), ==, 0x11223344);

    g->stat = STAT_DONE | STAT_ERROR | 8;
    bench_write_at(b, "g", 13, 1, 0xff);                /* another byte: clears nothing */
    g_assert_cmphex(g->stat, ==, STAT_DONE | STAT_ERROR | 8);
    bench_write(b, "g.STAT", STAT_ERROR);
    g_assert_cmphex(g->stat, ==, STAT_DONE | 8);

    g_assert_cmphex(bench_read_at(b, "g", 63, 4), ==, 0);   /* beyond the end */
    bench_write_at(b, "g", 62, 8, UINT64_MAX);
    g_assert_cmphex(bench_read_at(b, "g/1", 6, 2), ==, 0x602);
    bench_free(b);
}

static void rows_in_turn(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    bench_send(b, "c", "hello");
    g_assert_true(bench_pin(b, "g.irq"));
    g_assert_cmphex(bench_peek(b, "g.DATA"), ==, 'h');
    g_assert_cmphex(bench_read(b, "g.DATA"), ==, 'h');
    g_assert_cmphex(bench_peek(b, "g.DATA"), ==, 'e');
    bench_write(b, "g.BANK", 0x8f);
    g_assert_cmphex(bench_read(b, "g.BANK"), ==, 0x80);
    g_assert_cmphex(bench_read(b, "g.LOW"), ==, 12);
    bench_write_at(b, "g", 0, 1, 34);
    g_assert_cmphex(bench_read_at(b, "g", 0, 1), ==, 34);
    bench_write(b, "g.BANK", 0);
    for (const char *p = "ello"; *p; p++)
        g_assert_cmphex(bench_read(b, "g.DATA"), ==, *p);
    g_assert_false(bench_pin(b, "g.irq"));
    bench_write(b, "g.DATA", 'x');
    bench_write(b, "g.DATA", 'y');
    bench_expect(b, "c", "xy");
    GString *s = g_string_new(NULL);
    device_regs_show(machine_find(b->m, "g"), s);
    g_assert_nonnull(strstr(s->str, "g.ID           b0\n"));
    g_string_free(s, TRUE);
    bench_free(b);
}

static void reset_and_time(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    Gadget *g = gadget(b, "g");
    bench_write(b, "g.BATT", 77);
    bench_write(b, "g.CTRL", 1);
    bench_step_ns(b, 999);
    g_assert_false(bench_pin(b, "g.irq"));
    bench_step_ns(b, 1);
    g_assert_true(bench_pin(b, "g.irq"));               /* settled after the timer */
    bench_send(b, "c", "abc");
    bench_write(b, "g.CTRL", 1);
    bench_reset(b);
    g_assert_cmpuint(g->fired, ==, 0);
    g_assert_true(fifo8_empty(&g->rx));
    g_assert_false(timer_armed(&g->timer));
    g_assert_false(bench_pin(b, "g.irq"));
    g_assert_cmphex(bench_read(b, "g.CTRL"), ==, 0x80000000);
    g_assert_cmphex(bench_read(b, "g.BANK"), ==, 0);
    g_assert_cmphex(bench_read(b, "g.BATT"), ==, 77);
    g_assert_cmphex(g->stat, ==, 0);
    bench_free(b);
}

static void expect_no_device(Bench *b, const char *opts, const char *message)
{
    GError *err = NULL;
    g_assert_null(device_new(b->m, opts, NULL, &err));
    g_assert_cmpstr(err->message, ==, message);
    g_clear_error(&err);
}

static void properties(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g,label=x,,y,speed=0x10,fast=on");
    Gadget *g = gadget(b, "g");
    g_assert_cmpstr(g->label, ==, "x,y");
    g_assert_cmpuint(g->speed, ==, 16);
    g_assert_true(g->fast);
    bench_add(b, "gadget,friend=g,chardev=c");
    Gadget *h = gadget(b, "gadget0");
    g_assert_true(h->friend == &g->dev);
    g_assert_cmpuint(h->speed, ==, 9600);
    expect_no_device(b, "gadgte", "'gadgte' is not a device type");
    expect_no_device(b, "gadget,id=g", "there is a device 'g' already");
    expect_no_device(b, "gadget,id=x,sped=1", "x: -device: unknown parameter 'sped'");
    expect_no_device(b, "gadget,id=x,speed=fast", "x: 'speed' is 'fast', which is not a number");
    expect_no_device(b, "gadget,id=x,speed=2000000", "x: speed 2000000 is beyond 1000000");
    expect_no_device(b, "gadget,id=x,chardev=nix", "x: chardev: there is no character device 'nix'");
    expect_no_device(b, "gadget,id=x,chardev=c", "x: character device 'c' is in use by 'gadget0'");
    expect_no_device(b, "gadget,id=x,friend=nix", "x: friend: there is no device 'nix'");
    g_assert_cmpuint(b->m->devices->len, ==, 2);
    device_free(&h->dev);                               /* frees its character device for the next */
    bench_add(b, "gadget,id=again,chardev=c");
    bench_free(b);
}

static void pins(void)
{
    Bench *b = bench_new_types(types, "gadget,id=a");
    bench_add(b, "gadget,id=b");
    bench_wire(b, "a.irq", "b.in", 1);
    Gadget *g = gadget(b, "b");
    bench_write_at(b, "a/1", 0, 2, 0);                  /* error: irq up, b's input, b's output */
    g_assert_true(g->level[1]);
    g_assert_true(bench_pin(b, "b.out[1]"));
    bench_reset(b);
    g_assert_false(g->level[1]);
    bench_drive(b, "b.in", 0, true);
    g_assert_true(g->level[0]);
    /* A line that is high through a reset of the machine is told to its sink again. */
    gadget(b, "a")->out[2] = (Line){ .level = true };
    bench_wire(b, "a.out[2]", "b.in", 0);
    bench_reset(b);
    g_assert_true(g->level[0]);
    /* A device that goes takes its sinks along. */
    device_free(&g->dev);
    bench_write_at(b, "a/1", 0, 2, 0);
    bench_free(b);
}

static void saved_state(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    Gadget *g = gadget(b, "g");
    bench_send(b, "c", "rest");
    bench_read(b, "g.DATA");
    bench_write(b, "g.WIDE", 0xfeedface);
    bench_write(b, "g.CTRL", 1);
    bench_step_ns(b, 400);
    GByteArray *saved = bench_save(b);
    bench_step_ns(b, 5000);
    bench_reset(b);
    bench_restore(b, saved);
    g_assert_true(bench_pin(b, "g.irq"));
    g_assert_cmphex(bench_read(b, "g.DATA"), ==, 'e');
    g_assert_cmphex(g->wide, ==, 0xfeedface);
    g_assert_cmpint(clock_now_ns(b->m->clock), ==, 400);
    bench_step_ns(b, 599);
    g_assert_cmpuint(g->fired, ==, 0);
    bench_step_ns(b, 1);
    g_assert_cmpuint(g->fired, ==, 1);
    bench_cycle(b);

    for (guint len = 0; len < saved->len; len++) {
        GError *err = NULL;
        uint8_t *exact = g_memdup2(saved->data, len);
        g_assert_false(machine_restore(b->m, exact, len, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
        g_free(exact);
    }
    g_autoptr(GRand) r = g_rand_new_with_seed(5);
    for (unsigned i = 0; i < 5000; i++) {
        uint8_t *copy = g_memdup2(saved->data, saved->len);
        copy[g_rand_int(r) % saved->len] = (uint8_t)g_rand_int(r);
        machine_restore(b->m, copy, saved->len, NULL);
        g_free(copy);
    }
    bench_restore(b, saved);
    g->reads = 999;
    g_byte_array_free(saved, TRUE);
    saved = bench_save(b);
    GError *err = NULL;
    g_assert_false(machine_restore(b->m, saved->data, saved->len, &err));
    g_assert_cmpstr(err->message, ==, "device 'g': 999 reads are not possible");
    g_clear_error(&err);
    g_byte_array_free(saved, TRUE);
    bench_free(b);
}

static void boards(void)
{
    static const BoardSlot slots[] = {
        { "gadget", "a", 0x3f8, "b:1", .space = SLOT_IO, .props = "speed=300" },
        { "gadget", "b", 0x10000000, "irq=a.in:0 out[1]=a:1", .more = { { 0x2000, SLOT_IO } } },
        { "gadget", "c", .space = SLOT_NONE },
        { 0 }
    };
    Bench *b = bench_new_types(types, NULL);
    GError *err = NULL;
    g_assert_true(board_build(b->m, slots, NULL, &err));
    machine_reset(b->m);
    g_assert_cmphex(space_load(b->m->io, 0x3fa, 1, NULL), ==, 0xb0);
    g_assert_cmphex(space_load(b->m->mem, 0x10000008, 4, NULL), ==, 0x80000000);
    g_assert_cmphex(space_load(b->m->io, 0x2004, 2, NULL), ==, 0x402);
    space_store(b->m->io, 0x2000, 2, 1);  /* b's error: a.in:0, and a:1 by way of b's own input */
    g_assert_true(gadget(b, "a")->level[0]);
    static const BoardSlot bad[] = { { "gadget", "x", 0, "nix:1", .space = SLOT_NONE }, { 0 } };
    g_assert_false(board_build(b->m, bad, NULL, &err));
    g_assert_cmpstr(err->message, ==, "wire 'nix:1' of x leads to no device");
    g_clear_error(&err);
    static const char *const wires[] = { "a", "a:2", "irq=a:x", "nix=a:1", "irq=a.irq:0",
                                         "irq=a:99999999999" };
    for (unsigned i = 0; i < G_N_ELEMENTS(wires); i++) {
        g_assert_false(board_wire(b->m, machine_find(b->m, "b"), wires[i], &err));
        g_clear_error(&err);
    }
    bench_free(b);
}

/* A base address register: the window moves when the access that wrote it has ended. */
static void a_window_moves_itself(void)
{
    Bench *b = bench_new_types(types, "gadget,id=g");
    device_map(machine_find(b->m, "g"), 0, b->m->mem, 0x1000, 0);
    space_store(b->m->mem, 0x1000 + 56, 4, 0x8000);
    g_assert_cmphex(space_load(b->m->mem, 0x8002, 1, NULL), ==, 0xb0);
    g_assert_cmphex(space_load(b->m->mem, 0x1002, 1, NULL), ==, 0xff);
    bench_free(b);
}

/* --- run state --- */

typedef struct Cpus { unsigned pauses, resumes, resets; } Cpus;
static void cpus_pause(void *self) { ((Cpus *)self)->pauses++; }
static void cpus_resume(void *self) { ((Cpus *)self)->resumes++; }
static void cpus_reset(void *self) { ((Cpus *)self)->resets++; }
static const MachineHooks hooks = { cpus_pause, cpus_resume, cpus_reset };

static void *ask_from_elsewhere(void *self)
{
    machine_request_exit(self, 33);
    return NULL;
}

static void run_state(void)
{
    Machine *m = machine_new("m", NULL);
    Cpus cpus = { 0 };
    m->hooks = &hooks;
    m->hooks_self = &cpus;
    g_assert_cmpint(clock_now_ns(m->clock), ==, 0);
    g_assert_false(clock_running(m->clock));
    machine_reset(m);
    machine_start(m);
    g_assert_true(clock_running(m->clock));
    machine_request_reset(m, CAUSE_GUEST_RESET);
    g_assert_true(machine_poll(m));
    g_assert_true(cpus.resets == 2 && cpus.pauses == 1 && cpus.resumes == 2 && m->state == RUN_RUNNING);
    machine_request_pause(m);
    g_assert_true(machine_poll(m) && m->state == RUN_PAUSED && !clock_running(m->clock));
    machine_request_resume(m);
    g_assert_true(machine_poll(m) && m->state == RUN_RUNNING);
    m->no_shutdown = true;
    machine_request_shutdown(m, CAUSE_GUEST_SHUTDOWN);
    g_assert_true(machine_poll(m) && m->state == RUN_PAUSED);
    machine_start(m);
    GThread *t = g_thread_new("ask", ask_from_elsewhere, m);
    g_assert_cmpint(machine_run(m), ==, 33);
    g_thread_join(t);
    g_assert_true(m->state == RUN_SHUTDOWN);
    machine_free(m);

    m = machine_new("m", NULL);
    m->no_reboot = true;
    machine_start(m);
    machine_request_reset(m, CAUSE_GUEST_RESET);
    g_assert_cmpint(machine_run(m), ==, 0);
    g_assert_cmpint(m->request_cause, ==, CAUSE_GUEST_RESET);
    machine_free(m);
}

static void two_machines(void)
{
    Bench *a = bench_new_types(types, "gadget,id=g,chardev=c");
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    bench_send(a, "c", "A");
    bench_write(b, "g.CTRL", 1);
    bench_step_ns(b, 2000);
    g_assert_cmphex(bench_read(a, "g.DATA"), ==, 'A');
    g_assert_cmphex(bench_read(b, "g.DATA"), ==, 0);
    g_assert_cmphex(bench_read(a, "g.STAT"), ==, 0);
    g_assert_cmphex(bench_read(b, "g.STAT"), ==, STAT_DONE);
    g_assert_cmpint(clock_now_ns(a->m->clock), ==, 0);
    g_assert_cmpint(clock_now_ns(b->m->clock), ==, 2000);
    Region ram_a, ram_b;
    g_assert_true(region_init_ram(&ram_a, "ram", a->m->ram, 4096, NULL));
    g_assert_true(region_init_ram(&ram_b, "ram", b->m->ram, 4096, NULL));
    region_map(space_root(a->m->mem), 0, &ram_a, 0);
    region_map(space_root(b->m->mem), 0, &ram_b, 0);
    space_store(a->m->mem, 0, 4, 1);
    space_store(b->m->mem, 0, 4, 2);
    g_assert_cmphex(space_load(a->m->mem, 0, 4, NULL), ==, 1);
    /* What one has saved the other takes up. */
    GByteArray *saved = bench_save(b);
    bench_restore(a, saved);
    g_assert_cmphex(bench_read(a, "g.STAT"), ==, STAT_DONE);
    g_byte_array_free(saved, TRUE);
    region_destroy(&ram_b);
    bench_free(b);
    g_assert_cmphex(space_load(a->m->mem, 0, 4, NULL), ==, 1);
    region_destroy(&ram_a);
    bench_free(a);
}

/* Any access at any place: no crash, and state that saves and restores. */
static void random_accesses(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);
    Bench *b = bench_new_types(types, "gadget,id=g,chardev=c");
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t off = g_rand_int(r) % 64;
        unsigned size = 1u << g_rand_int(r) % 4;
        switch (g_rand_int(r) % 8) {
        case 0: bench_send(b, "c", "0123456789abcdef"); break;
        case 1: bench_step_ns(b, g_rand_int(r) % 700); break;
        case 2: bench_drive(b, "g.in", g_rand_int(r) % 2, g_rand_boolean(r)); break;
        case 3: case 4: bench_read_at(b, "g", off, size); break;
        default: bench_write_at(b, "g", off, size, (uint64_t)g_rand_int(r) << 32 | g_rand_int(r));
        }
        if (i % 64 == 0)
            bench_cycle(b);
    }
    bench_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/core/registers", registers);
    g_test_add_func("/core/rows", rows_in_turn);
    g_test_add_func("/core/reset", reset_and_time);
    g_test_add_func("/core/properties", properties);
    g_test_add_func("/core/pins", pins);
    g_test_add_func("/core/saved_state", saved_state);
    g_test_add_func("/core/boards", boards);
    g_test_add_func("/core/remap", a_window_moves_itself);
    g_test_add_func("/core/run_state", run_state);
    g_test_add_func("/core/two_machines", two_machines);
    g_test_add_func("/core/random", random_accesses);
    return g_test_run();
}
