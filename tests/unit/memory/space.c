/* SPDX-License-Identifier: GPL-2.0-or-later
 * Address spaces: random trees against a naive model, accesses, listeners, and the hooks for code and dirty
 * pages. */
#include "memory/space.h"

#include <string.h>

#include "memory/dirty.h"
#include "memory/dma.h"
#include "util/bits.h"
#include "util/log.h"
#include "util/qsr.h"

/* --- a naive model: what is at this address?  Asks the tree for one address at a time. --- */

typedef struct Found { Region *region; uint64_t offset; bool readonly; } Found;

static bool resolve(Region *r, uint64_t off, Found *out)
{
    if (r->disabled || off > region_last(r))
        return false;
    if (r->kind == REGION_ALIAS)
        return resolve(r->target, r->target_at + off, out);
    if (r->kind != REGION_CONTAINER) {
        *out = (Found){ r, off, r->kind == REGION_ROM };
        return true;
    }
    for (guint i = 0; r->children && i < r->children->len; i++) {
        Region *c = r->children->pdata[i];
        if (off >= c->at && resolve(c, off - c->at, out))
            return true;
    }
    return false;
}

typedef struct Access { uint64_t off, v; unsigned size; bool write; } Access;
typedef struct Io { uint8_t bytes[264]; Access log[64]; unsigned n; } Io;

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    Io *io = self;
    if (io->n < G_N_ELEMENTS(io->log))
        io->log[io->n++] = (Access){ off, 0, size, false };
    return load_le(&io->bytes[off % 256], size);
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Io *io = self;
    if (io->n < G_N_ELEMENTS(io->log))
        io->log[io->n++] = (Access){ off, v, size, true };
    store_le(&io->bytes[off % 256], size, v);
}

static const RegionOps plain_ops = { io_read, io_write };

enum { N_LEAVES = 14, N_CONTAINERS = 5, N_ALIASES = 6, PAGES = 48 };

static void compare(Space *s, GRand *r, uint64_t span)
{
    for (unsigned i = 0; i < 600; i++) {
        uint64_t pa = ((uint64_t)g_rand_int(r) << 20 | g_rand_int(r)) % span;
        if (i & 1)                          /* edges of pages are where the mistakes are */
            pa = align_down(pa, 4096) - (i & 2 ? 1 : 0);
        Found want;
        MemSection got;
        bool there = resolve(space_root(s), pa, &want);
        g_assert_cmpint(space_lookup(s, pa, &got), ==, there);
        g_assert_cmpuint(got.pa, ==, pa);
        g_assert_cmpuint(got.len, >, 0);
        if (there) {
            g_assert_true(got.region == want.region);
            g_assert_cmpuint(got.offset, ==, want.offset);
            g_assert_cmpint(got.readonly, ==, want.readonly);
            g_assert_cmpint(!!got.host, ==, want.region->block != NULL);
            if (got.host) {
                g_assert_true(got.host == want.region->block->host + want.offset);
                g_assert_true(ram_page_host(space_ram_map(s), got.ram_page) + want.offset % 4096 == got.host);
            }
        }
        /* The whole section, or hole, is of one kind. */
        uint64_t at = got.len == UINT64_MAX ? 0 : g_rand_int(r) % got.len;
        Found other;
        bool other_there = resolve(space_root(s), pa + at, &other);
        g_assert_cmpint(other_there, ==, there);
        if (there)
            g_assert_true(other.region == want.region && other.offset == want.offset + at);
        if (got.len <= UINT64_MAX - pa && resolve(space_root(s), pa + got.len, &other) && there)
            g_assert_false(other.region == want.region && other.offset == want.offset + got.len);
    }
}

/* A listener that keeps its own list of sections, as KVM's slots would be. */
typedef struct Slots { GArray *sections; unsigned begins, commits; } Slots;

static void slots_begin(void *self) { ((Slots *)self)->begins++; }
static void slots_commit(void *self) { ((Slots *)self)->commits++; }

static void slots_add(void *self, const MemSection *sec)
{
    Slots *k = self;
    for (guint i = 0; i < k->sections->len; i++) {
        const MemSection *have = &g_array_index(k->sections, MemSection, i);
        g_assert_true(have->pa + have->len - 1 < sec->pa || sec->pa + sec->len - 1 < have->pa);
    }
    g_array_append_val(k->sections, *sec);
}

static void slots_remove(void *self, const MemSection *sec)
{
    Slots *k = self;
    for (guint i = 0; i < k->sections->len; i++) {
        const MemSection *have = &g_array_index(k->sections, MemSection, i);
        if (have->pa == sec->pa) {
            g_assert_cmpuint(have->len, ==, sec->len);
            g_assert_true(have->region == sec->region);
            g_array_remove_index_fast(k->sections, i);
            return;
        }
    }
    g_assert_not_reached();
}

static const MemoryListener slots_ops = { slots_begin, slots_add, slots_remove, slots_commit };

static void slots_compare(Slots *k, Space *s)
{
    uint64_t mapped = 0, listed = 0;
    for (guint i = 0; i < k->sections->len; i++) {
        const MemSection *have = &g_array_index(k->sections, MemSection, i);
        MemSection now;
        g_assert_true(space_lookup(s, have->pa, &now));
        g_assert_true(now.region == have->region && now.offset == have->offset && now.len == have->len &&
                      now.readonly == have->readonly && now.host == have->host);
        listed += have->len;
    }
    MemSection now;
    for (uint64_t pa = 0;; pa += now.len) {
        mapped += space_lookup(s, pa, &now) ? now.len : 0;
        if (now.len > UINT64_MAX - pa)
            break;
    }
    g_assert_cmpuint(mapped, ==, listed);
    g_assert_cmpuint(k->begins, ==, k->commits);
}

static void random_tree(uint32_t seed)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(seed);
    RamMap *m = ram_map_new();
    Space *s = space_new("memory", seed % 3 == 0 ? 64 : seed % 3 == 1 ? 40 : 32, m);
    Slots k = { .sections = g_array_new(FALSE, FALSE, sizeof(MemSection)) };
    space_add_listener(s, &slots_ops, &k);
    uint64_t span = (uint64_t)PAGES * 4096;
    static Io io;
    Region all[N_LEAVES + N_CONTAINERS + N_ALIASES];
    unsigned n = 0;
    for (unsigned i = 0; i < N_LEAVES; i++, n++) {
        uint64_t pages = 1 + g_rand_int(r) % 8;
        switch (g_rand_int(r) % 3) {
        case 0: g_assert_true(region_init_ram(&all[n], "ram", m, pages * 4096, NULL)); break;
        case 1:
            g_assert_true(region_init_rom(&all[n], "rom", m, pages * 4096, NULL, NULL, NULL, NULL));
            break;
        default:
            region_init_io(&all[n], "io", g_rand_boolean(r) ? pages * 4096 : 1 + g_rand_int(r) % 9000,
                           &plain_ops, &io, NULL);
        }
    }
    for (unsigned i = 0; i < N_CONTAINERS; i++, n++)
        region_init_container(&all[n], "container", (4 + g_rand_int(r) % 30) * 4096);
    for (unsigned i = 0; i < N_ALIASES; i++, n++) {     /* of leaves and containers only: no cycles */
        uint64_t len = (1 + g_rand_int(r) % 12) * 4096;
        region_init_alias(&all[n], "alias", &all[g_rand_int(r) % (N_LEAVES + N_CONTAINERS)],
                          (g_rand_int(r) % 6) * 4096, len);
    }
    for (unsigned step = 0; step < 60; step++) {
        unsigned i = g_rand_int(r) % n;
        Region *c = &all[i];
        bool io_kind = c->kind == REGION_IO;
        uint64_t at = (g_rand_int(r) % PAGES) * 4096;
        if (io_kind && g_rand_boolean(r))
            at += g_rand_int(r) % 4096;
        bool batch = g_rand_int(r) % 4 == 0;
        if (batch)
            space_begin(s);
        if (!c->parent) {
            /* Containers go into containers of smaller index, and what aliases show never holds the alias:
             * aliases are children of the root only. */
            unsigned limit = i < N_LEAVES ? N_CONTAINERS : i < N_LEAVES + N_CONTAINERS ? i - N_LEAVES : 0;
            unsigned p = limit ? g_rand_int(r) % (limit + 1) : 0;
            region_map(p ? &all[N_LEAVES + p - 1] : space_root(s), at, c, g_rand_int_range(r, -2, 3));
        } else {
            switch (g_rand_int(r) % 5) {
            case 0: region_unmap(c); break;
            case 1: region_move(c, at); break;
            case 2: region_enable(c, c->disabled); break;
            case 3:
                if (c->kind == REGION_ALIAS)
                    region_set_alias_at(c, (g_rand_int(r) % 6) * 4096);
                break;
            default:
                if (c->block)
                    region_set_readonly(c, c->kind == REGION_RAM);
            }
        }
        if (batch) {
            Region *other = &all[g_rand_int(r) % n];
            region_enable(other, other->disabled);
            space_commit(s);
        }
        qsr_quiescent();
        compare(s, r, span);
        slots_compare(&k, s);
    }
    space_remove_listener(s, &slots_ops, &k);
    while (n--)
        region_destroy(&all[n]);
    MemSection whole;
    g_assert_false(space_lookup(s, 0, &whole));
    space_free(s);
    ram_map_free(m);
    g_array_free(k.sections, TRUE);
}

static void random_trees_match_the_model(void)
{
    qsr_register();
    for (uint32_t seed = 1; seed <= 60; seed++)
        random_tree(seed);
    qsr_unregister();
}

/* --- accesses --- */

typedef struct Box { RamMap *m; Space *s; Region ram, rom, io; Io dev; LockDomain d; } Box;

static void box_init(Box *b, const RegionOps *ops)
{
    qsr_register();
    memset(b, 0, sizeof *b);
    domain_init(&b->d, "dev", RANK_DEVICE);
    b->m = ram_map_new();
    b->s = space_new("memory", 64, b->m);
    g_assert_true(region_init_ram(&b->ram, "ram", b->m, 0x10000, NULL));
    g_assert_true(region_init_rom(&b->rom, "rom", b->m, 0x1000, NULL, NULL, NULL, NULL));
    region_init_io(&b->io, "io", 0x100, ops, &b->dev, &b->d);
    region_map(space_root(b->s), 0, &b->ram, 0);
    region_map(space_root(b->s), 0x10000, &b->rom, 0);
    region_map(space_root(b->s), 0x20000, &b->io, 0);
}

static void box_free(Box *b)
{
    region_destroy(&b->ram);
    region_destroy(&b->rom);
    region_destroy(&b->io);
    space_free(b->s);
    ram_map_free(b->m);
    domain_destroy(&b->d);
    qsr_unregister();
}

static void loads_and_stores(void)
{
    Box b;
    MemStatus st;
    box_init(&b, &plain_ops);
    g_assert_cmpint(space_store(b.s, 0x100, 8, 0x1122334455667788), ==, MEM_OK);
    g_assert_cmphex(space_load(b.s, 0x100, 8, &st), ==, 0x1122334455667788);
    g_assert_cmpint(st, ==, MEM_OK);
    g_assert_cmphex(space_load(b.s, 0x101, 4, NULL), ==, 0x44556677);
    g_assert_cmphex(space_load(b.s, 0x107, 1, NULL), ==, 0x11);
    g_assert_cmpint(space_store(b.s, 0x10000, 4, 1), ==, MEM_READONLY);
    g_assert_cmphex(space_load(b.s, 0x10000, 4, NULL), ==, 0);
    g_assert_cmphex(space_load(b.s, 0x50000, 4, &st), ==, 0xffffffff);
    g_assert_cmpint(st, ==, MEM_UNASSIGNED);
    g_assert_cmpint(space_store(b.s, 0x50000, 4, 1), ==, MEM_UNASSIGNED);
    g_assert_cmpint(space_store(b.s, 0xfffe, 4, 0xaabbccdd), ==, MEM_READONLY);     /* half RAM, half ROM */
    g_assert_cmphex(space_load(b.s, 0xfffe, 4, &st), ==, 0x0000ccdd);
    g_assert_cmpint(st, ==, MEM_OK);
    g_assert_cmphex(space_load(b.s, 0x10ffe, 4, &st), ==, 0xffff0000);  /* half ROM, half nothing */
    g_assert_cmpint(st, ==, MEM_UNASSIGNED);
    space_store(b.s, 0, 8, 0);
    g_assert_cmphex(space_load(b.s, UINT64_MAX - 1, 8, &st), ==, 0xffff);  /* goes round to address 0 */
    g_assert_cmpint(st, ==, MEM_UNASSIGNED);
    uint8_t buf[0x300], back[0x300];
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i * 7);
    g_assert_cmpint(space_write(b.s, 0x20003, buf, 0xf0), ==, MEM_OK);
    g_assert_cmpint(space_read(b.s, 0x20003, back, 0xf0), ==, MEM_OK);
    g_assert_cmpmem(buf, 0xf0, back, 0xf0);
    g_assert_cmpint(space_write(b.s, 0x1ff80, buf, 0x300), ==, MEM_UNASSIGNED);     /* hole, device, hole */
    g_assert_cmpmem(b.dev.bytes, 0xf0, buf + 0x80, 0xf0);
    uint64_t len = 0x20000;
    g_assert_true(dma_map(b.s, 0x8000, &len, true) == region_host(&b.ram) + 0x8000);
    g_assert_cmpuint(len, ==, 0x8000);
    len = 16;
    g_assert_null(dma_map(b.s, 0x10000, &len, true));
    g_assert_nonnull(dma_map(b.s, 0x10000, &len, false));
    g_assert_null(dma_map(b.s, 0x20000, &len, false));
    g_assert_cmpint(dma_fill(b.s, 0xff00, 0x5a, 0x200), ==, MEM_READONLY);
    g_assert_cmphex(dma_load16(b.s, 0xfffe), ==, 0x5a5a);
    box_free(&b);
}

static void check_log(Box *b, const Access *want, unsigned n)
{
    g_assert_cmpuint(b->dev.n, ==, n);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(b->dev.log[i].off, ==, want[i].off);
        g_assert_cmpuint(b->dev.log[i].size, ==, want[i].size);
        g_assert_cmphex(b->dev.log[i].v, ==, want[i].v);
        g_assert_cmpint(b->dev.log[i].write, ==, want[i].write);
    }
    b->dev.n = 0;
}
#define CHECK_LOG(b, ...) do { \
        const Access want[] = { __VA_ARGS__ }; \
        check_log(b, want, G_N_ELEMENTS(want)); \
    } while (0)

static void odd_accesses_are_split_and_widened(void)
{
    static const RegionOps words = { io_read, io_write, .min = 4, .max = 4 };
    static const RegionOps bytes = { io_read, io_write, .min = 1, .max = 1 };
    static const RegionOps any = { io_read, io_write, .unaligned = true };
    Box b;
    box_init(&b, &words);
    space_store(b.s, 0x20010, 8, 0x1122334455667788);
    CHECK_LOG(&b, { 0x10, 0x55667788, 4, true }, { 0x14, 0x11223344, 4, true });
    g_assert_cmphex(space_load(b.s, 0x20011, 1, NULL), ==, 0x77);
    CHECK_LOG(&b, { 0x10, 0, 4, false });
    g_assert_cmphex(space_load(b.s, 0x20013, 2, NULL), ==, 0x4455);
    CHECK_LOG(&b, { 0x10, 0, 4, false }, { 0x14, 0, 4, false });
    space_store(b.s, 0x20016, 1, 0xab);
    CHECK_LOG(&b, { 0x14, 0xab0000, 4, true });
    box_free(&b);
    box_init(&b, &bytes);
    space_store(b.s, 0x20001, 2, 0x1234);
    CHECK_LOG(&b, { 1, 0x34, 1, true }, { 2, 0x12, 1, true });
    box_free(&b);
    box_init(&b, &plain_ops);
    g_assert_cmphex(space_load(b.s, 0x20002, 4, NULL), ==, 0);
    CHECK_LOG(&b, { 2, 0, 2, false }, { 4, 0, 2, false });
    box_free(&b);
    box_init(&b, &any);
    space_load(b.s, 0x20003, 4, NULL);
    CHECK_LOG(&b, { 3, 0, 4, false });
    box_free(&b);
}

static void dma_to_a_device_waits_for_the_locks(void)
{
    Box b;
    LockDomain other;
    box_init(&b, &plain_ops);
    domain_init(&other, "other", RANK_DEVICE);
    domain_enter(&other);
    space_store(b.s, 0x20000, 4, 0x12345678);
    space_store(b.s, 0x100, 4, 0x9abcdef0);
    g_assert_cmpuint(b.dev.n, ==, 0);
    g_assert_cmphex(space_load(b.s, 0x100, 4, NULL), ==, 0x9abcdef0);       /* RAM: at once */
    g_assert_cmphex(space_load(b.s, 0x20000, 4, NULL), ==, 0xffffffff);
    domain_leave(&other);
    CHECK_LOG(&b, { 0, 0x12345678, 4, true });
    domain_destroy(&other);
    box_free(&b);
}

/* --- hooks --- */

typedef struct Hits { uint64_t page[16]; unsigned offset[16], len[16], n, protects; } Hits;

static void on_written(void *self, uint64_t page, unsigned offset, unsigned len)
{
    Hits *h = self;
    h->page[h->n] = page;
    h->offset[h->n] = offset;
    h->len[h->n++] = len;
}

static void on_protect(void *self, uint64_t page, uint64_t n) { ((Hits *)self)->protects++; }

static void writes_to_code_are_told(void)
{
    Box b;
    Hits h = { .n = 0 };
    box_init(&b, &plain_ops);
    b.m->written = on_written;
    b.m->written_self = &h;
    space_store(b.s, 0x1000, 4, 1);
    g_assert_cmpuint(h.n, ==, 0);
    b.m->code_flags[1] = b.m->code_flags[3] = 1;
    space_store(b.s, 0x1ffc, 4, 1);
    g_assert_cmpuint(h.n, ==, 1);
    g_assert_true(h.page[0] == 1 && h.offset[0] == 0xffc && h.len[0] == 4);
    uint8_t buf[0x3000] = { 0 };
    space_write(b.s, 0x0f00, buf, 0x2180);
    g_assert_cmpuint(h.n, ==, 3);
    g_assert_true(h.page[1] == 1 && h.offset[1] == 0 && h.len[1] == 0x1000);
    g_assert_true(h.page[2] == 3 && h.offset[2] == 0 && h.len[2] == 0x80);
    dma_done(b.s, region_host(&b.ram) + 0x3ff0, 0x20);
    g_assert_cmpuint(h.n, ==, 4);
    g_assert_true(h.page[3] == 3 && h.offset[3] == 0xff0 && h.len[3] == 0x10);
    space_store(b.s, 0x1ffe, 4, 1);     /* unaligned over two pages */
    g_assert_cmpuint(h.n, ==, 5);
    g_assert_true(h.page[4] == 1 && h.offset[4] == 0xffe && h.len[4] == 2);
    box_free(&b);
}

static void dirty_pages(void)
{
    Box b;
    Hits h = { .n = 0 };
    uint8_t map[3];
    box_init(&b, &plain_ops);
    b.m->protect = on_protect;
    b.m->protect_self = &h;
    dirty_start(b.m, DIRTY_DISPLAY);
    g_assert_cmpuint(dirty_harvest(b.m, DIRTY_DISPLAY, 0, 17, NULL), ==, 17);
    g_assert_cmpuint(h.protects, ==, 1);
    g_assert_false(dirty_settled(b.m, 5));
    space_store(b.s, 0x5ffe, 4, 1);
    space_store(b.s, 0x10000, 4, 1);            /* ROM: dropped */
    g_assert_true(dirty_settled(b.m, 5));
    g_assert_cmpuint(dirty_harvest(b.m, DIRTY_DISPLAY, 0, 17, map), ==, 2);
    g_assert_true(map[0] == 0x60 && map[1] == 0 && map[2] == 0);
    g_assert_cmpuint(dirty_harvest(b.m, DIRTY_DISPLAY, 0, 17, NULL), ==, 0);
    dirty_stop(b.m, DIRTY_DISPLAY);
    g_assert_true(dirty_settled(b.m, 5));
    box_free(&b);
}

static void ports(void)
{
    qsr_register();
    RamMap *m = ram_map_new();
    Space *s = space_new("ports", 16, m);
    Region com, pic, rtc;
    Io io = { .n = 0 };
    MemStatus st;
    region_init_io(&com, "com", 8, &plain_ops, &io, NULL);
    region_init_io(&pic, "pic", 2, &plain_ops, &io, NULL);
    region_init_io(&rtc, "last", 1, &plain_ops, &io, NULL);
    region_map(space_root(s), 0x3f8, &com, 0);
    region_map(space_root(s), 0x20, &pic, 0);
    region_map(space_root(s), 0xffff, &rtc, 0);
    MemSection sec;
    for (unsigned p = 0; p < 0x10000; p++) {
        Region *want = p >= 0x3f8 && p < 0x400 ? &com : p >= 0x20 && p < 0x22 ? &pic
                     : p == 0xffff ? &rtc : NULL;
        g_assert_cmpint(space_lookup(s, p, &sec), ==, want != NULL);
        g_assert_true(sec.region == want);
    }
    io.bytes[0] = 0x42;
    /* the second byte is beyond the last port */
    g_assert_cmphex(space_load(s, 0xffff, 2, &st), ==, 0xff42);
    g_assert_cmpint(st, ==, MEM_UNASSIGNED);
    g_assert_cmphex(space_load(s, 0x80, 1, &st), ==, 0xff);
    g_assert_cmphex(space_load(s, 0x1f, 2, NULL), ==, 0x42ff);
    region_destroy(&com);
    region_destroy(&pic);
    region_destroy(&rtc);
    space_free(s);
    ram_map_free(m);
    qsr_unregister();
}

static void impossible_memory_is_an_error(void)
{
    RamMap *m = ram_map_new();
    GError *err = NULL;
    g_assert_null(ram_alloc(m, "ram", 0, &err));
    g_clear_error(&err);
    g_assert_null(ram_alloc(m, "ram", UINT64_MAX, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    RamBlock *a = ram_alloc(m, "a", 5000, NULL), *b = ram_alloc(m, "b", 6 << 20, NULL);
    g_assert_cmpuint(a->len, ==, 8192);
    g_assert_cmpuint(b->first_page, ==, 2);
    g_assert_cmpuint((uintptr_t)b->host % (2 << 20), ==, 0);
    g_assert_true(ram_page_host(m, 1) == a->host + 4096);
    g_assert_true(ram_page_host(m, 2) == b->host);
    g_assert_null(ram_page_host(m, 2 + 1536));
    g_assert_cmpuint(ram_page_of(m, b->host + 4097), ==, 3);
    g_assert_cmpuint(ram_page_of(m, &err), ==, RAM_PAGE_NONE);
    ram_map_free(m);
}

/* --- two-way DMA between all pairs: four devices, each with its own lock, each on a thread of its own,
 * writing into each other's registers and into RAM while the map changes --- */

enum { DEVICES = 4 };
typedef struct Dma { struct DmaBox *box; LockDomain d; Region region; unsigned i; uint64_t received; } Dma;
typedef struct DmaBox { RamMap *m; Space *s; Region ram, hole; Dma dev[DEVICES]; bool stop; } DmaBox;

static uint64_t dma_dev_read(void *self, uint64_t off, unsigned size) { return ((Dma *)self)->received; }

static void dma_dev_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Dma *d = self;
    g_assert_true(domain_held(&d->d));
    d->received++;
    if (v)      /* answer: the next device's doorbell, with a smaller number */
        space_store(d->box->s, 0x100000 + 0x1000 * ((d->i + 1) % DEVICES), 4, v - 1);
}

static const RegionOps dma_ops = { dma_dev_read, dma_dev_write };

static void *dma_run(void *self)
{
    Dma *d = self;
    qsr_register();
    for (unsigned n = 0; n < 4000; n++) {
        domain_enter(&d->d);
        for (unsigned k = 0; k < DEVICES; k++)
            space_store(d->box->s, 0x100000 + 0x1000 * k, 4, n % 4);
        space_store(d->box->s, 0x1000 * d->i, 8, n);
        g_assert_cmpuint(space_load(d->box->s, 0x1000 * d->i, 8, NULL), ==, n);
        domain_leave(&d->d);
        space_load(d->box->s, 0x100000 + 0x1000 * ((d->i + n) % DEVICES), 4, NULL);
        qsr_quiescent();
    }
    qsr_unregister();
    return NULL;
}

static void two_way_dma_between_all_pairs(void)
{
    static DmaBox b;
    qsr_register();
    b.m = ram_map_new();
    b.s = space_new("memory", 64, b.m);
    g_assert_true(region_init_ram(&b.ram, "ram", b.m, 0x10000, NULL));
    region_map(space_root(b.s), 0, &b.ram, 0);
    region_init_io(&b.hole, "moving", 0x1000, &dma_ops, &b.dev[0], NULL);
    for (unsigned i = 0; i < DEVICES; i++) {
        Dma *d = &b.dev[i];
        *d = (Dma){ .box = &b, .i = i };
        domain_init(&d->d, "dma", RANK_DEVICE);
        region_init_io(&d->region, "dma", 0x1000, &dma_ops, d, &d->d);
        region_map(space_root(b.s), 0x100000 + 0x1000 * i, &d->region, 0);
    }
    GThread *t[DEVICES];
    for (unsigned i = 0; i < DEVICES; i++)
        t[i] = g_thread_new("dma", dma_run, &b.dev[i]);
    for (unsigned i = 0; i < 300; i++) {        /* the view is swapped under their feet */
        if (b.hole.parent)
            region_unmap(&b.hole);
        else
            region_map(space_root(b.s), 0x200000 + 0x1000 * i, &b.hole, 0);
        qsr_quiescent();
    }
    qsr_offline();
    for (unsigned i = 0; i < DEVICES; i++)
        g_thread_join(t[i]);
    qsr_online();
    uint64_t total = 0;
    for (unsigned i = 0; i < DEVICES; i++)
        total += b.dev[i].received;
    /* Each thread rings four bells 4000 times with 0..3, and a bell of n is followed by n more. */
    g_assert_cmpuint(total, ==, (uint64_t)DEVICES * DEVICES * 4000 * (1 + 2 + 3 + 4) / 4);
    region_destroy(&b.hole);
    region_destroy(&b.ram);
    for (unsigned i = 0; i < DEVICES; i++) {
        region_destroy(&b.dev[i].region);
        domain_destroy(&b.dev[i].d);
    }
    space_free(b.s);
    ram_map_free(b.m);
    qsr_quiescent();
    qsr_unregister();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/space/random", random_trees_match_the_model);
    g_test_add_func("/space/access", loads_and_stores);
    g_test_add_func("/space/split", odd_accesses_are_split_and_widened);
    g_test_add_func("/space/dma_order", dma_to_a_device_waits_for_the_locks);
    g_test_add_func("/space/code", writes_to_code_are_told);
    g_test_add_func("/space/dirty", dirty_pages);
    g_test_add_func("/space/ports", ports);
    g_test_add_func("/space/ram", impossible_memory_is_an_error);
    g_test_add_func("/space/dma_stress", two_way_dma_between_all_pairs);
    return g_test_run();
}
