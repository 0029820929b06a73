/* SPDX-License-Identifier: GPL-2.0-or-later
 * Images that were made to do harm: each is refused or read as an error, in bounded time and memory; random damage to
 * good ones too.  Also what probing refuses, locks, options, and the event loop's two engines. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "block/bitmap.h"
#include "util/endian.h"

enum { DISK = 1 << 20, CLUSTER = 65536 };

typedef struct Lab { Aio *aio; BlockGraph *graph; char *dir, *path; void (*fn)(struct Lab *l); } Lab;

static void lab_main(void *self) { Lab *l = self; l->fn(l); }

static void lab(gconstpointer data)
{
    Lab l = { .fn = *(void (*const *)(Lab *))data };
    GError *err = NULL;
    l.dir = g_dir_make_tmp("rhea-block-XXXXXX", &err);
    g_assert_no_error(err);
    l.path = g_build_filename(l.dir, "a", NULL);
    l.aio = aio_new(AIO_AUTO, &err);
    g_assert_no_error(err);
    l.graph = block_graph_new(l.aio);
    aio_run(l.aio, lab_main, &l);
    block_graph_free(l.graph);
    aio_free(l.aio);
    unlink(l.path);
    rmdir(l.dir);
    g_free(l.path);
    g_free(l.dir);
}

static void make(Lab *l, const char *format, const char *options)
{
    GError *err = NULL;
    Json *o = json_from_options("test", options, NULL, &err);
    g_assert_no_error(err);
    block_create(l->graph, block_driver(format), l->path, o, &err);
    g_assert_no_error(err);
    json_free(o);
}

static Block *open_it(Lab *l, const char *format, unsigned flags, GError **err)
{
    Json *o = json_object();
    if (format)
        json_set(o, "driver", json_string(format));
    return block_open(l->graph, l->path, o, flags, err);
}

static void patch(Lab *l, uint64_t at, uint64_t v, unsigned bytes)
{
    uint8_t p[8];
    FILE *f = fopen(l->path, "r+b");
    g_assert_nonnull(f);
    store_be64(p, v);
    fseek(f, (long)at, SEEK_SET);
    g_assert_cmpuint(fwrite(p + 8 - bytes, 1, bytes, f), ==, bytes);
    fclose(f);
}

/* The first one, whatever it is called. */
static void delete_snapshot(Block *b)
{
    GPtrArray *list;
    if (!block_snapshot_list(b, &list, NULL))
        return;
    if (list->len)
        block_snapshot_delete(b, ((BlockSnapshot *)list->pdata[0])->name, NULL);
    g_ptr_array_free(list, TRUE);
}

/* All that one can do with an image; results do not matter, coming back does. */
static void use_it(Lab *l, const char *format, unsigned flags)
{
    g_autofree uint8_t *buf = g_malloc0(DISK);
    GError *err = NULL;
    BlockCheck k;
    Block *b = open_it(l, format, flags, &err);
    if (!b) {
        g_assert_nonnull(err);
        g_clear_error(&err);
        return;
    }
    uint64_t len = MIN(block_length(b), DISK);
    Extent e;
    for (uint64_t at = 0; at < len && !block_map(b, at, len - at, &e); at += e.len)
        continue;
    block_read(b, 0, buf, len);
    if (flags & BLOCK_RDWR) {
        block_write(b, 0, buf, MIN(len, 1000), 0);
        block_write(b, len / 2, buf, len - len / 2, 0);
        block_zero(b, 0, len / 2, BLOCK_MAY_UNMAP);
        block_snapshot_create(b, "new", NULL);
        block_flush(b);
        delete_snapshot(b);
    }
    block_check(b, flags & BLOCK_RDWR ? CHECK_FIX_LEAKS | CHECK_FIX_ERRORS : 0, &k, NULL);
    block_check_clear(&k);
    block_close(b);
}

static void crafted(Lab *l)
{
    static const struct { const char *what; uint64_t at, v; unsigned bytes; bool opens; } rows[] = {
        { "version 4", 4, 4, 4 }, { "cluster bits 8", 20, 8, 4 }, { "cluster bits 31", 20, 31, 4 }, { "cluster bits 2^31", 20, 0x80000000, 4 },
        { "size 2^63", 24, UINT64_C(1) << 63, 8 }, { "size -1", 24, UINT64_MAX, 8 }, { "larger than its L1", 24, UINT64_C(1) << 40, 8 },
        { "encrypted", 32, 1, 4 }, { "L1 of 2^32-1", 36, UINT32_MAX, 4 }, { "L1 of none", 36, 0, 4 }, { "L1 beyond the file", 40, UINT64_C(1) << 50, 8 },
        { "L1 at -1", 40, UINT64_MAX & ~(CLUSTER - 1ull), 8 }, { "L1 not aligned", 40, 3 * CLUSTER + 512, 8 }, { "L1 over the header", 40, 0, 8 },
        { "refcounts beyond the file", 48, UINT64_C(1) << 60, 8 }, { "no refcounts", 56, 0, 4 }, { "refcount table of 2^32-1", 56, UINT32_MAX, 4 },
        { "a billion snapshots", 60, 1000000000, 4 }, { "a snapshot over the header", 60, 1, 4 },
        { "unknown feature", 72, UINT64_C(1) << 40, 8 }, { "data file without a name", 72, 4, 8 }, { "zstd without the type", 72, 8, 8 },
        { "refcount order 7", 96, 7, 4 }, { "header of 2^31", 100, 0x80000000, 4 }, { "header of 8", 100, 8, 4 },
        { "backing name far away", 8, UINT64_C(1) << 62, 8 }, { "extension of 4 GiB", 112 + 4, UINT32_MAX, 4 },
        { "L2 not aligned", 3 * CLUSTER, UINT64_C(0x8000000000000200), 8, true }, { "L2 is the L1", 3 * CLUSTER, (UINT64_C(1) << 63) | 3 * CLUSTER, 8, true },
        { "L2 is the refcounts", 3 * CLUSTER, (UINT64_C(1) << 63) | 2 * CLUSTER, 8, true }, { "L2 is the header", 3 * CLUSTER, UINT64_C(1) << 63, 8, true },
        { "L2 beyond the file", 3 * CLUSTER, (UINT64_C(1) << 63) | (UINT64_C(1) << 50), 8, true },
        { "refcount block not aligned", CLUSTER, 0x20200, 8, true }, { "refcount block is the table", CLUSTER, CLUSTER, 8, true },
        { "refcount block beyond", CLUSTER, UINT64_C(1) << 60, 8, true }, { "nothing is counted", CLUSTER, 0, 8, true },
        { "dirty", 72, 1, 8, true }, { "corrupt", 72, 2, 8, false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        GError *err = NULL;
        make(l, "qcow2", "size=1M");
        patch(l, rows[i].at, rows[i].v, rows[i].bytes);
        Block *b = open_it(l, "qcow2", BLOCK_RDWR, &err);
        if (!b != !rows[i].opens)
            g_error("%s: %s", rows[i].what, b ? "opened" : err->message);
        if (b)
            block_close(b);
        else
            g_test_message("%s: %s", rows[i].what, err->message);
        g_clear_error(&err);
        use_it(l, "qcow2", 0);
        use_it(l, "qcow2", BLOCK_RDWR);
        use_it(l, "qcow2", BLOCK_RDWR | BLOCK_CHECK);
    }
}

static uint64_t word_at(Lab *l, uint64_t at)
{
    uint8_t p[8] = { 0 };
    FILE *f = fopen(l->path, "rb");
    g_assert_nonnull(f);
    fseek(f, (long)at, SEEK_SET);
    g_assert_cmpuint(fread(p, 1, 8, f), ==, 8);
    fclose(f);
    return load_be64(p);
}

/* LUKS headers, also within qcow2: whatever they say, the answer comes soon, and without the password nothing opens. */
static void luks_headers(Lab *l)
{
    enum { SLOT = 208, SLOTS_APART = 48 };
    static const struct { const char *what; uint64_t at, v; unsigned bytes; bool opens; } rows[] = {
        { "as it was made", 592, 0, 1, true }, { "magic", 0, 0, 1 }, { "version 2", 6, 2, 2 }, { "version 0", 6, 0, 2 },
        { "cipher", 8, 'x', 1 }, { "no cipher", 8, 0, 1 }, { "mode", 40, 'y', 1 }, { "no mode", 40, 0, 1 }, { "hash", 72, 'y', 1 }, { "no hash", 72, 0, 1 },
        { "payload at 0", 104, 0, 4 }, { "payload beyond", 104, UINT32_MAX, 4 }, { "payload over the slots", 104, 2, 4 }, { "key of 0", 108, 0, 4 },
        { "key of 63", 108, 63, 4 }, { "key of 128", 108, 128, 4 }, { "key of 2^32-1", 108, UINT32_MAX, 4 }, { "shorter key", 108, 32, 4 },
        { "digest", 112, 1, 8 }, { "digest's salt", 132, 1, 8 }, { "no digest iterations", 164, 0, 4 }, { "digest iterations", 164, UINT32_MAX, 4 },
        { "digest iterations again", 164, (1 << 27) + 1, 4 }, { "slot's state", SLOT, 1, 4 }, { "no slot active", SLOT, 0xdead, 4 },
        { "iterations", SLOT + 4, UINT32_MAX, 4 }, { "iterations again", SLOT + 4, (1 << 27) + 1, 4 }, { "no iterations", SLOT + 4, 0, 4 },
        { "salt", SLOT + 8, 1, 8 }, { "material in the header", SLOT + 40, 1, 4 }, { "material at 0", SLOT + 40, 0, 4 },
        { "material beyond", SLOT + 40, UINT32_MAX, 4 }, { "material in the payload", SLOT + 40, 4040, 4 }, { "no stripes", SLOT + 44, 0, 4 },
        { "stripes", SLOT + 44, UINT32_MAX, 4 }, { "twice the stripes", SLOT + 44, 8000, 4 }, { "fewer stripes", SLOT + 44, 3999, 4 },
        { "slots overlap", SLOT + SLOTS_APART + 40, 8, 4 }, { "slots overlap a little", SLOT + SLOTS_APART + 40, 507, 4 },
        { "stripes of an unused slot", SLOT + SLOTS_APART + 44, UINT32_MAX, 4 }, { "another one's iterations", SLOT + SLOTS_APART + 4, UINT32_MAX, 4, true },
    };
    GError *err = NULL;
    g_assert_true(block_add_object(l->graph, "secret,id=s,data=password", &err));
    for (unsigned inside = 0; inside < 2; inside++) {
        g_autofree char *good = NULL;
        gsize len;
        const char *format = inside ? "qcow2" : "luks", *key = inside ? "encrypt.key-secret=s" : "key-secret=s";
        make(l, format, inside ? "size=1M,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1" : "size=1M,key-secret=s,iter-time=1");
        uint64_t base = inside ? word_at(l, 112 + 8) : 0;       /* the header extension */
        g_assert_true(g_file_get_contents(l->path, &good, &len, &err));
        for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
            g_assert_true(g_file_set_contents(l->path, good, (gssize)len, &err));
            patch(l, base + rows[i].at, rows[i].v, rows[i].bytes);
            Json *o = json_from_options("test", key, NULL, &err);
            json_set(o, "driver", json_string(format));
            Block *b = block_open(l->graph, l->path, o, BLOCK_RDWR, &err);
            if (!b != !rows[i].opens)
                g_error("%s: %s: %s", format, rows[i].what, b ? "opened" : err->message);
            if (b)
                block_close(b);
            else
                g_test_message("%s: %s: %s", format, rows[i].what, err->message);
            g_clear_error(&err);
            use_it(l, format, BLOCK_NO_IO);
            use_it(l, format, BLOCK_RDWR | BLOCK_CHECK);
        }
        for (unsigned i = 0; i < 60; i++) {
            g_autofree char *bad = g_memdup2(good, len);
            for (unsigned n = 1 + (unsigned)g_test_rand_int_range(0, 4); n; n--)
                bad[base + (gsize)g_test_rand_int_range(0, 592)] = (char)g_test_rand_int();
            g_assert_true(g_file_set_contents(l->path, bad, (gssize)(i % 4 ? len : base + 1000), &err));
            use_it(l, format, i % 2 ? BLOCK_NO_IO : BLOCK_RDWR | BLOCK_CHECK);
        }
    }
}

/* The extension lies right behind the header, at 112: type, length, count, 0, directory's size and place. */
static void bitmaps(Lab *l)
{
    enum { EXTENSION = 112 };
    static const struct { const char *what; int where; uint64_t at, v; unsigned bytes; bool opens; } rows[] = {
        { "short extension", 0, 4, 16, 4 }, { "none", 0, 8, 0, 4 }, { "65536", 0, 8, 65536, 4 }, { "more than there are", 0, 8, 3, 4 },
        { "directory of 2^63", 0, 16, UINT64_C(1) << 63, 8 }, { "directory of 0", 0, 16, 0, 8 }, { "directory in the header", 0, 24, 0, 8 },
        { "directory beyond", 0, 24, UINT64_C(1) << 50, 8 }, { "directory not aligned", 0, 24, 0x10001, 8 }, { "directory over the L1", 0, 24, 3 * CLUSTER, 8 },
        { "table beyond", 1, 0, UINT64_C(1) << 60, 8, true }, { "table not aligned", 1, 0, 0x10200, 8, true }, { "table of 2^32-1", 1, 8, UINT32_MAX, 4, true },
        { "table is the L1", 1, 0, 3 * CLUSTER, 8, true }, { "unknown flags", 1, 12, 0xf0, 4, true }, { "type 2", 1, 16, 2, 1, true },
        { "granularity 2^63", 1, 17, 63, 1, true }, { "granularity 1", 1, 17, 0, 1, true }, { "no name", 1, 18, 0, 2 },
        { "name of 65535", 1, 18, 65535, 2 }, { "extra data of 2^32-1", 1, 20, UINT32_MAX, 4 }, { "both of one name", 1, 24, 'b', 1 },
        { "cluster beyond", 2, 0, UINT64_C(1) << 50, 8, true }, { "cluster not aligned", 2, 0, 512, 8, true }, { "cluster is the L1", 2, 0, 3 * CLUSTER, 8, true },
        { "reserved bits", 2, 0, UINT64_C(1) << 62, 8, true },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows) + 50; i++) {
        GError *err = NULL;
        make(l, "qcow2", "size=1M");
        Block *b = open_it(l, "qcow2", BLOCK_RDWR, &err);
        for (const char *name = "ab"; *name; name++) {
            const char text[] = { *name, 0 };
            BlockBitmap *m = block_bitmap_new(b, text, 65536, &err);
            g_assert_nonnull(m);
            g_assert_true(block_bitmap_persist(m, &err));
            block_bitmap_set(m, 0, 100000);
        }
        block_close(b);
        uint64_t directory = word_at(l, EXTENSION + 24), where[] = { EXTENSION, directory, word_at(l, directory) };
        if (i < G_N_ELEMENTS(rows)) {
            patch(l, where[rows[i].where] + rows[i].at, rows[i].v, rows[i].bytes);
            b = open_it(l, "qcow2", 0, &err);
            if (!b != !rows[i].opens)
                g_error("%s: %s", rows[i].what, b ? "opened" : err->message);
            if (b)
                block_close(b);
            g_clear_error(&err);
        } else {
            static const uint8_t sizes[] = { 32, 64, 8 };
            unsigned n = 1 + (uint32_t)g_test_rand_int() % 3;
            for (unsigned k = 0; k < n; k++) {
                unsigned area = (uint32_t)g_test_rand_int() % 3;
                patch(l, where[area] + (uint32_t)g_test_rand_int() % sizes[area], (uint32_t)g_test_rand_int() % 2 ? (uint32_t)g_test_rand_int() & 255 : 1u << (uint32_t)g_test_rand_int() % 8, 1);
            }
        }
        use_it(l, "qcow2", 0);
        use_it(l, "qcow2", BLOCK_RDWR);
        use_it(l, "qcow2", BLOCK_RDWR | BLOCK_CHECK);
    }
}

static void random_damage(Lab *l)
{
    static const struct { const char *format, *options; } shapes[] = {
        { "qcow2", "size=1M,cluster_size=4k" }, { "qcow2", "size=1M,cluster_size=512" }, { "qcow2", "size=1M,extended_l2=on,cluster_size=16k" },
        { "qcow2", "size=1M,compression_type=zstd,cluster_size=4k" }, { "qcow", "size=1M" }, { "qed", "size=1M,cluster_size=4k" },
        { "vdi", "size=4M" }, { "vpc", "size=4M" }, { "parallels", "size=1M,cluster_size=4k" }, { "vmdk", "size=1M" },
        { "vmdk", "size=1M,subformat=streamOptimized" }, { "vhdx", "size=4M,block_size=1M" },
    };
    g_autofree uint8_t *data = g_malloc(DISK);
    memset(data, 'x', DISK);
    for (unsigned s = 0; s < G_N_ELEMENTS(shapes); s++) {
        GError *err = NULL;
        g_autofree char *good = NULL;
        gsize len;
        const char *format = shapes[s].format;
        make(l, format, shapes[s].options);
        Block *b = open_it(l, format, BLOCK_RDWR, &err);
        g_assert_no_error(err);
        g_assert_cmpint(block_write(b, 0, data, 100000, 0), ==, 0);
        block_write(b, 512 << 10, data, 65536, BLOCK_COMPRESS);
        block_snapshot_create(b, "one", NULL);
        g_assert_cmpint(block_write(b, 300000, data, 50000, 0), ==, 0);
        g_assert_cmpint(block_close(b), ==, 0);
        g_assert_true(g_file_get_contents(l->path, &good, &len, &err));
        for (unsigned round = 0; round < 25; round++) {
            g_autofree char *bad = g_memdup2(good, len);
            for (unsigned n = 1 + (unsigned)g_test_rand_int_range(0, 6); n; n--) {
                static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0x40 };
                gsize at = g_test_rand_bit() ? (gsize)g_test_rand_int_range(0, 512)
                         : g_test_rand_bit() ? (gsize)g_test_rand_int_range(0, (gint32)MIN(len, 5000)) : (gsize)g_test_rand_int_range(0, (gint32)len);
                bad[at] = (char)(g_test_rand_bit() ? odd[g_test_rand_int_range(0, sizeof odd)] : (uint8_t)g_test_rand_int());
            }
            g_assert_true(g_file_set_contents(l->path, bad, (gssize)(g_test_rand_int() % 8 ? len : len / 2), &err));
            use_it(l, format, round % 3 == 0 ? 0 : round % 3 == 1 ? BLOCK_RDWR : BLOCK_RDWR | BLOCK_CHECK);
        }
    }
}

static void probing(Lab *l)
{
    GError *err = NULL;
    uint8_t head[512] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
    g_autofree uint8_t *zeros = g_malloc0(DISK);
    g_assert_true(g_file_set_contents(l->path, (char *)zeros, DISK, &err));
    Block *b = open_it(l, NULL, BLOCK_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(block_format(b), ==, "raw");
    g_assert_cmpint(block_write(b, 0, head, sizeof head, 0), ==, -EPERM);
    g_assert_cmpint(block_write(b, 512, head, sizeof head, 0), ==, 0);
    block_close(b);
    b = open_it(l, "raw", BLOCK_RDWR, &err);        /* who says it is raw may write what they like */
    g_assert_cmpint(block_write(b, 0, head, sizeof head, 0), ==, 0);
    block_close(b);
}

static void locks(Lab *l)
{
    GError *err = NULL;
    make(l, "qcow2", "size=1M");
    Block *b = open_it(l, "qcow2", BLOCK_RDWR, &err);
    g_assert_no_error(err);
    g_assert_null(open_it(l, "qcow2", BLOCK_RDWR, &err));
    g_assert_nonnull(strstr(err->message, "in use by another process"));
    g_clear_error(&err);
    g_assert_null(open_it(l, "qcow2", 0, &err));
    g_clear_error(&err);
    Block *c = open_it(l, "qcow2", BLOCK_SHARE, &err);
    g_assert_no_error(err);
    block_close(c);
    block_close(b);
    b = open_it(l, "qcow2", 0, &err);
    c = open_it(l, "qcow2", 0, &err);
    g_assert_no_error(err);
    block_close(b);
    block_close(c);
}

static void options(Lab *l)
{
    static const struct { const char *text, *says; } rows[] = {
        { "{\"driver\": \"qcow3\"}", "unknown driver" }, { "{\"driver\": \"qcow2\"}", "missing" }, { "{\"driver\": 5}", "must be a string" },
        { "{\"driver\": \"null-co\", \"sise\": 4}", "unknown option 'sise'" }, { "{\"driver\": \"null-co\", \"size\": -1}", "number" },
        { "{\"driver\": \"raw\", \"file\": \"nobody\"}", "no node" }, { "{", "JSON" }, { "[]", "object" },
        { "{\"driver\": \"raw\", \"offset\": \"2G\", \"file\": {\"driver\": \"null-co\"}}", "beyond" },
        { "{\"driver\": \"null-co\", \"cache\": {\"drect\": true}}", "unknown option 'drect'" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        GError *err = NULL;
        g_autofree char *name = g_strdup_printf("json:%s", rows[i].text);
        g_assert_null(block_open(l->graph, name, NULL, 0, &err));
        if (!strstr(err->message, rows[i].says))
            g_error("%s: %s", rows[i].text, err->message);
        g_clear_error(&err);
    }
    GError *err = NULL;
    uint8_t byte = 1;
    Block *b = block_open(l->graph, "json:{\"driver\": \"raw\", \"node-name\": \"top\", \"offset\": 512, \"size\": \"4k\", "
                          "\"file\": {\"driver\": \"null-co\", \"size\": \"1M\", \"read-zeroes\": true}}", NULL, BLOCK_RDWR, &err);
    g_assert_no_error(err);
    g_assert_true(block_node(l->graph, "top") == b);
    g_assert_cmpuint(block_length(b), ==, 4096);
    g_assert_cmpint(block_read(b, 4095, &byte, 1), ==, 0);
    g_assert_cmpuint(byte, ==, 0);
    g_assert_cmpint(block_read(b, 4096, &byte, 1), ==, -EIO);
    g_assert_cmpint(block_write(b, UINT64_MAX, &byte, 1, 0), ==, -ENOSPC);
    block_close(b);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*fn)(Lab *l); } tests[] = {
        { "crafted", crafted }, { "luks", luks_headers }, { "random-damage", random_damage }, { "bitmaps", bitmaps }, { "probing", probing }, { "locks", locks }, { "options", options },
    };
    g_test_init(&argc, &argv, NULL);
    /* Files end at 16 TiB, as on ext4: where memory's file system lets a damaged image write at 2^50, a repair goes through it all. */
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ INT64_C(1) << 44, INT64_C(1) << 44 });
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *name = g_strdup_printf("/block/hostile/%s", tests[i].name);
        g_test_add_data_func(name, &tests[i].fn, lab);
    }
    return g_test_run();
}
