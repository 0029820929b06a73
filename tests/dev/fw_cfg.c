/* SPDX-License-Identifier: GPL-2.0-or-later
 * The firmware configuration device by its specification: keys and data port, the file directory, DMA and what it refuses. */
#include "hw/nvram/fw_cfg.h"

#include <string.h>

#include "tests/bench.h"

enum { RAM_LEN = 0x10000, BLOCK = 0x100, TO = 0x1000 };
static void select_key(Bench *b, uint16_t key) { bench_write_at(b, "f", 0, 2, key); }
static uint8_t next(Bench *b) { return bench_read_at(b, "f", 1, 1); }
static uint32_t next_be32(Bench *b)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++)
        v = v << 8 | next(b);
    return v;
}

static void add(Bench *b, const char *name, const char *text)
{
    GError *err = NULL;
    g_assert_true(fw_cfg_add_file(machine_find(b->m, "f"), name, text, strlen(text), &err));
}

static void keys_and_data(Bench *b)
{
    select_key(b, FW_CFG_SIGNATURE);
    g_assert_cmphex(next_be32(b), ==, 0x51454d55);      /* "QEMU" */
    g_assert_cmphex(next(b), ==, 0);                    /* past the end */
    select_key(b, FW_CFG_ID);
    g_assert_cmphex(next(b), ==, 3);
    fw_cfg_add_u16(machine_find(b->m, "f"), FW_CFG_NB_CPUS, 0x1234);
    select_key(b, FW_CFG_NB_CPUS);
    g_assert_cmphex(next(b), ==, 0x34);
    g_assert_cmphex(next(b), ==, 0x12);
    select_key(b, 0x7777);                              /* no such item */
    g_assert_cmphex(next(b), ==, 0);
    select_key(b, FW_CFG_SIGNATURE);
    bench_write_at(b, "f", 1, 1, 5);                    /* writing data is no longer possible: nothing happens */
    g_assert_cmphex(next(b), ==, 'Q');
}

static void the_directory(Bench *b)
{
    char name[57] = "", long_name[57];
    GError *err = NULL;
    add(b, "opt/b", "second");
    add(b, "etc/a", "first");
    add(b, "opt/b", "replaced");
    select_key(b, FW_CFG_FILE_DIR);
    g_assert_cmpuint(next_be32(b), ==, 2);
    g_assert_cmpuint(next_be32(b), ==, 5);
    uint32_t key = next_be32(b) >> 16;
    g_assert_cmphex(key, ==, FW_CFG_FILE_FIRST);
    for (unsigned i = 0; i < 56; i++)
        name[i] = next(b);
    g_assert_cmpstr(name, ==, "etc/a");
    g_assert_cmpuint(next_be32(b), ==, 8);
    key = next_be32(b) >> 16;
    select_key(b, key);
    g_assert_cmphex(next_be32(b), ==, 0x7265706c);      /* "repl" */
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    g_assert_false(fw_cfg_add_file(machine_find(b->m, "f"), long_name, "", 0, &err));
    g_assert_nonnull(strstr(err->message, "1 to 55"));
    g_clear_error(&err);
}

static void put_be(Bench *b, uint64_t at, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        bench_store(b, b->m->mem, at + i, 1, v >> 8 * (n - 1 - i) & 0xff);
}

/* The control word afterwards. */
static uint32_t dma(Bench *b, uint64_t block, uint32_t control, uint32_t len, uint64_t to)
{
    put_be(b, block, control, 4);
    put_be(b, block + 4, len, 4);
    put_be(b, block + 8, to, 8);
    bench_write_at(b, "f/1", 0, 4, GUINT32_SWAP_LE_BE((uint32_t)(block >> 32)));
    bench_write_at(b, "f/1", 4, 4, GUINT32_SWAP_LE_BE((uint32_t)block));
    return GUINT32_SWAP_LE_BE((uint32_t)bench_load(b, b->m->mem, block, 4));
}

static uint8_t byte(Bench *b, uint64_t at) { return bench_load(b, b->m->mem, at, 1); }

static void transfers(Bench *b)
{
    Region ram;
    GError *err = NULL;
    g_assert_true(region_init_ram(&ram, "ram", b->m->ram, RAM_LEN, &err));
    region_map(space_root(b->m->mem), 0, &ram, 0);
    add(b, "opt/x", "0123456789");
    g_assert_cmphex(bench_read_at(b, "f/1", 0, 4), ==, 0x554d4551);     /* "QEMU", "CFG" */
    g_assert_cmphex(bench_read_at(b, "f/1", 4, 4), ==, 0x47464320);
    bench_store(b, b->m->mem, TO + 8, 4, 0xffffffff);
    g_assert_cmphex(dma(b, BLOCK, FW_CFG_FILE_FIRST << 16 | 8 | 2, 4, TO), ==, 0);
    g_assert_cmphex(byte(b, TO + 3), ==, '3');
    g_assert_cmphex(dma(b, BLOCK, 4, 2, 0), ==, 0);                     /* skips 4 and 5 */
    g_assert_cmphex(dma(b, BLOCK, 2, 8, TO + 4), ==, 0);                /* 6789 and zeros */
    g_assert_cmphex(byte(b, TO + 4), ==, '6');
    g_assert_cmphex(byte(b, TO + 7), ==, '9');
    g_assert_cmphex(byte(b, TO + 8), ==, 0);
    g_assert_cmphex(byte(b, TO + 11), ==, 0);
    g_assert_cmphex(next(b), ==, 0);                                    /* the port reads on where DMA ended */
    /* Refused: writing, and what is no RAM; a length that goes beyond it ends there. */
    g_assert_cmphex(dma(b, BLOCK, FW_CFG_FILE_FIRST << 16 | 8 | 16, 4, TO), ==, 1);
    g_assert_cmphex(dma(b, BLOCK, FW_CFG_FILE_FIRST << 16 | 8 | 2, 4, UINT64_C(1) << 40), ==, 1);
    g_assert_cmphex(dma(b, BLOCK, FW_CFG_FILE_FIRST << 16 | 8 | 2, UINT32_MAX, TO), ==, 1);
    g_assert_cmphex(byte(b, RAM_LEN - 1), ==, 0);
    bench_write_at(b, "f/1", 4, 4, GUINT32_SWAP_LE_BE(0xfffffff8u));    /* a control block that is not there */
    region_destroy(&ram);
}

int main(int argc, char **argv)
{
    static const BenchCase cases[] = {
        { "keys and the data port", "fw_cfg,id=f", keys_and_data },
        { "the directory", "fw_cfg,id=f", the_directory },
        { "DMA", "fw_cfg,id=f", transfers },
        { 0 }
    };
    return bench_main(argc, argv, "dev/fw_cfg", cases);
}
