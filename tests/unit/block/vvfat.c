/* SPDX-License-Identifier: GPL-2.0-or-later
 * vvfat against guests that mean harm, and against states that are only half of a change: what may reach the host folder,
 * and that nothing outside it is touched.  (tests/block/vvfat has the well-behaved guest.) */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "util/bits.h"
#include "util/endian.h"

enum { SECTOR = 512 };

typedef struct Lab {
    char  *top, *dir;           /* top has dir, and beside it "outside", a file, and "other", a folder */
    Block *b;
    unsigned fat, fat_sectors, root, data, cluster_sectors;
    void (*fn)(struct Lab *l);
    Aio   *aio;
    BlockGraph *graph;
} Lab;

static char *path(const Lab *l, const char *name) { return g_build_filename(l->top, name, NULL); }

static void put(const Lab *l, const char *name, const char *text)
{
    g_autofree char *p = path(l, name);
    GError *err = NULL;
    g_file_set_contents(p, text, -1, &err);
    g_assert_no_error(err);
}

static bool has(const Lab *l, const char *name, const char *text)
{
    g_autofree char *p = path(l, name), *now = NULL;
    return g_file_get_contents(p, &now, NULL, NULL) && (!text || !strcmp(now, text));
}

static bool absent(const Lab *l, const char *name)
{
    g_autofree char *p = path(l, name);
    struct stat st;
    return lstat(p, &st) < 0;
}

static void remove_all(const char *p)
{
    g_autoptr(GDir) d = g_dir_open(p, 0, NULL);
    for (const char *n; d && !g_file_test(p, G_FILE_TEST_IS_SYMLINK) && (n = g_dir_read_name(d));) {
        g_autofree char *below = g_build_filename(p, n, NULL);
        remove_all(below);
    }
    remove(p);
}

static void rd(Lab *l, unsigned sector, void *out, unsigned n)
{
    g_assert_cmpint(block_read(l->b, (uint64_t)sector * SECTOR, out, (size_t)n * SECTOR), ==, 0);
}
static void wr(Lab *l, unsigned sector, const void *in, unsigned n)
{
    g_assert_cmpint(block_write(l->b, (uint64_t)sector * SECTOR, in, (size_t)n * SECTOR, 0), ==, 0);
}

static unsigned at_cluster(const Lab *l, unsigned c) { return l->data + (c - 2) * l->cluster_sectors; }

static void fat_set(Lab *l, unsigned c, unsigned v)
{
    uint8_t fat[16 * SECTOR];
    g_assert_cmpuint(l->fat_sectors, <=, 16);
    rd(l, l->fat, fat, l->fat_sectors);
    uint16_t old = load_le16(fat + c * 3 / 2);
    store_le16(fat + c * 3 / 2, c & 1 ? (uint16_t)((old & 15) | v << 4) : (uint16_t)((old & 0xf000) | v));
    wr(l, l->fat, fat, l->fat_sectors);
}

static unsigned fat_get(Lab *l, unsigned c)
{
    uint8_t fat[16 * SECTOR];
    rd(l, l->fat, fat, l->fat_sectors);
    uint16_t v = load_le16(fat + c * 3 / 2);
    return c & 1 ? v >> 4 : v & 0xfff;
}

/* The first entry with this short name in the sector, or the first that is free (name NULL). */
static uint8_t *entry(uint8_t *sector, const char *name)
{
    for (unsigned i = 0; i < SECTOR; i += 32)
        if (name ? !memcmp(sector + i, name, 11) : !sector[i])
            return sector + i;
    g_assert_not_reached();
}

static void add_entry(Lab *l, unsigned sector, const char *name, uint8_t attr, unsigned first, uint32_t size)
{
    uint8_t s[SECTOR];
    rd(l, sector, s, 1);
    uint8_t *e = entry(s, NULL);
    memset(e, 0, 32);
    memcpy(e, name, 11);
    e[11] = attr;
    store_le16(e + 26, (uint16_t)first);
    store_le32(e + 28, size);
    wr(l, sector, s, 1);
}

/* A long name of up to 13 characters before the short one. */
static void add_long(Lab *l, unsigned sector, const char *name, const char *short_name, unsigned first, uint32_t size)
{
    static const uint8_t places[13] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    uint8_t s[SECTOR], sum = 0;
    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + (uint8_t)short_name[i]);
    rd(l, sector, s, 1);
    uint8_t *e = entry(s, NULL);
    memset(e, 0, 32);
    e[0] = 0x41;
    e[11] = 0x0f;
    e[13] = sum;
    for (unsigned i = 0; i < 13; i++)
        store_le16(e + places[i], i < strlen(name) ? (uint8_t)name[i] : i == strlen(name) ? 0 : 0xffff);
    wr(l, sector, s, 1);
    add_entry(l, sector, short_name, 0x20, first, size);
}

static void sync_it(Lab *l) { block_flush(l->b); }

static void lab_main(void *self)
{
    Lab *l = self;
    GError *err = NULL;
    g_autofree char *name = g_strdup_printf("fat:floppy:rw:%s", l->dir);
    Json *o = json_object();
    json_set(o, "driver", json_string("raw"));
    l->b = block_open(l->graph, name, o, BLOCK_RDWR, &err);
    g_assert_no_error(err);
    uint8_t boot[SECTOR];
    rd(l, 0, boot, 1);
    l->fat = load_le16(boot + 14);
    l->fat_sectors = load_le16(boot + 22);
    l->cluster_sectors = boot[13];
    l->root = l->fat + 2 * l->fat_sectors;
    l->data = l->root + load_le16(boot + 17) / 16;
    l->fn(l);
    block_close(l->b);
    g_assert_true(has(l, "outside", "secret"));
    g_assert_true(has(l, "other/b.txt", "other"));
    g_assert_true(absent(l, "x"));
}

static void lab(gconstpointer data)
{
    Lab l = { .fn = *(void (*const *)(Lab *))data };
    GError *err = NULL;
    l.top = g_dir_make_tmp("rhea-vvfat-XXXXXX", &err);
    l.dir = g_build_filename(l.top, "dir", NULL);
    static const char *const folders[] = { "dir", "dir/SUB", "other" };
    for (unsigned i = 0; i < ARRAY_LEN(folders); i++) {
        g_autofree char *p = path(&l, folders[i]);
        g_assert_cmpint(mkdir(p, 0755), ==, 0);
    }
    put(&l, "outside", "secret");
    put(&l, "other/b.txt", "other");
    put(&l, "dir/A.TXT", "alpha");
    put(&l, "dir/B.TXT", "beta");
    put(&l, "dir/SUB/B.TXT", "sub");
    l.aio = aio_new(AIO_AUTO, &err);
    l.graph = block_graph_new(l.aio);
    aio_run(l.aio, lab_main, &l);
    block_graph_free(l.graph);
    aio_free(l.aio);
    remove_all(l.top);
    g_free(l.top);
    g_free(l.dir);
}

static bool all_there(const Lab *l)
{
    return has(l, "dir/A.TXT", "alpha") && has(l, "dir/B.TXT", "beta") && has(l, "dir/SUB/B.TXT", "sub");
}

/* --- names */

static void bad_names(Lab *l)
{
    static const char *const names[] = { "..", ".", "../x", "a/x", "/x", ".rhea-x", "SUB/../../x" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        char sfn[12];
        g_snprintf(sfn, sizeof sfn, "EVIL%u      ", i % 10);
        add_long(l, l->root + 1, names[i], sfn, 0, 0);
    }
    add_entry(l, l->root + 2, "GOOD    TXT", 0x20, 0, 0);
    sync_it(l);
    g_assert_true(absent(l, "dir/GOOD.TXT"));      /* behind the end mark of the sector before */
    uint8_t s[SECTOR];
    rd(l, l->root + 1, s, 1);
    s[14 * 32] = s[15 * 32] = 0xe5;
    wr(l, l->root + 1, s, 1);
    rd(l, l->root, s, 1);                   /* and this makes both sectors part of the folder */
    for (unsigned i = 0; i < SECTOR; i += 32)
        if (!s[i])
            s[i] = 0xe5;
    wr(l, l->root, s, 1);
    sync_it(l);
    g_assert_true(all_there(l));
    g_assert_true(has(l, "dir/GOOD.TXT", ""));
    g_assert_true(absent(l, "dir/EVIL0"));
}

/* --- states that do not fit together change nothing */

static void first_of(Lab *l, const char *name, unsigned *first)
{
    uint8_t s[SECTOR];
    rd(l, l->root, s, 1);
    *first = load_le16(entry(s, name) + 26);
}

static void odd_chains(Lab *l)
{
    unsigned a, b, sub;
    first_of(l, "A       TXT", &a);
    first_of(l, "B       TXT", &b);
    first_of(l, "SUB        ", &sub);
    add_entry(l, l->root, "NEW     TXT", 0x20, 0, 0);
    /* A loop, a chain into another, into nothing, into the free. */
    const unsigned next[] = { a, b, sub, 0xff6, 1, 0 };
    for (unsigned i = 0; i < ARRAY_LEN(next); i++) {
        fat_set(l, a, next[i]);
        uint8_t s[SECTOR];
        rd(l, l->root, s, 1);
        store_le32(entry(s, "A       TXT") + 28, 100000);
        wr(l, l->root, s, 1);
        sync_it(l);
        g_assert_true(all_there(l));
        g_assert_true(absent(l, "dir/NEW.TXT"));
        store_le32(entry(s, "A       TXT") + 28, 5);
        wr(l, l->root, s, 1);
    }
    fat_set(l, a, 0xfff);
    /* A folder within itself. */
    add_entry(l, at_cluster(l, sub), "LOOP       ", 0x10, sub, 0);
    sync_it(l);
    g_assert_true(all_there(l) && absent(l, "dir/NEW.TXT"));
    uint8_t s[SECTOR];
    rd(l, at_cluster(l, sub), s, 1);
    entry(s, "LOOP       ")[0] = 0xe5;
    wr(l, at_cluster(l, sub), s, 1);
    /* All in order again. */
    sync_it(l);
    g_assert_true(all_there(l) && has(l, "dir/NEW.TXT", ""));
}

static void another_file_system(Lab *l)
{
    uint8_t zeros[SECTOR] = { 0 }, boot[SECTOR];
    rd(l, 0, boot, 1);
    wr(l, 0, zeros, 1);
    for (unsigned i = 1; i < l->data; i++)
        wr(l, i, zeros, 1);
    sync_it(l);
    g_assert_true(all_there(l));
    boot[13] = 1;
    wr(l, 0, boot, 1);
    sync_it(l);
    g_assert_true(all_there(l));
}

/* A name that goes while its chain stands is half of a rename. */
static void half_a_rename(Lab *l)
{
    uint8_t s[SECTOR];
    rd(l, l->root, s, 1);
    uint8_t *e = entry(s, "A       TXT");
    e[0] = 0xe5;
    wr(l, l->root, s, 1);
    sync_it(l);
    g_assert_true(all_there(l));
    unsigned a = load_le16(e + 26), sub;
    first_of(l, "SUB        ", &sub);
    add_entry(l, at_cluster(l, sub), "MOVED   TXT", 0x20, a, 5);
    sync_it(l);
    g_assert_true(absent(l, "dir/A.TXT") && has(l, "dir/SUB/MOVED.TXT", "alpha"));
    /* And really deleted. */
    rd(l, at_cluster(l, sub), s, 1);
    entry(s, "MOVED   TXT")[0] = 0xe5;
    wr(l, at_cluster(l, sub), s, 1);
    fat_set(l, a, 0);
    sync_it(l);
    g_assert_true(absent(l, "dir/SUB/MOVED.TXT") && has(l, "dir/B.TXT", "beta"));
}

/* --- contents */

static unsigned free_cluster(Lab *l)
{
    unsigned c = 2;
    while (fat_get(l, c))
        c++;
    return c;
}

static void contents(Lab *l)
{
    unsigned a, c = free_cluster(l);
    uint8_t s[SECTOR], dir[SECTOR];
    first_of(l, "A       TXT", &a);
    rd(l, at_cluster(l, a), s, 1);
    g_assert_cmpmem(s, 5, "alpha", 5);
    memcpy(s, "ALPHA beta", 10);
    wr(l, at_cluster(l, a), s, 1);
    sync_it(l);
    g_assert_true(has(l, "dir/A.TXT", "ALPHA"));        /* its size is what it was */
    rd(l, l->root, dir, 1);
    store_le32(entry(dir, "A       TXT") + 28, 10);
    wr(l, l->root, dir, 1);
    sync_it(l);
    g_assert_true(has(l, "dir/A.TXT", "ALPHA beta"));
    /* Written anew elsewhere, as editors do. */
    memcpy(s, "gamma", 5);
    wr(l, at_cluster(l, c), s, 1);
    fat_set(l, c, 0xfff);
    fat_set(l, a, 0);
    uint8_t *e = entry(dir, "A       TXT");
    store_le16(e + 26, (uint16_t)c);
    store_le32(e + 28, 5);
    wr(l, l->root, dir, 1);
    sync_it(l);
    g_assert_true(has(l, "dir/A.TXT", "gamma"));
    store_le32(e + 28, 2);
    wr(l, l->root, dir, 1);
    sync_it(l);
    g_assert_true(has(l, "dir/A.TXT", "ga"));
    g_assert_true(has(l, "dir/B.TXT", "beta") && has(l, "dir/SUB/B.TXT", "sub"));
}

/* The host puts a link in the place of a folder. */
static void link_in_the_way(Lab *l)
{
    unsigned sub;
    first_of(l, "SUB        ", &sub);
    g_autofree char *p = path(l, "dir/SUB"), *aside = path(l, "aside");
    g_assert_cmpint(rename(p, aside), ==, 0);
    g_assert_cmpint(symlink("../other", p), ==, 0);
    add_entry(l, at_cluster(l, sub), "X          ", 0x20, 0, 0);
    uint8_t s[SECTOR];
    rd(l, at_cluster(l, sub), s, 1);
    unsigned b = load_le16(entry(s, "B       TXT") + 26);
    memset(s, 'E', sizeof s);
    wr(l, at_cluster(l, b), s, 1);
    sync_it(l);
    g_assert_true(absent(l, "other/X"));
    g_assert_true(has(l, "aside/B.TXT", "sub"));
}

/* --- noise */

static void noise(Lab *l)
{
    for (unsigned round = 0; round < 400; round++) {
        uint8_t s[SECTOR];
        for (unsigned k = (unsigned)g_test_rand_int_range(1, 5); k--;) {
            bool in_data = g_test_rand_int_range(0, 3) == 0;
            unsigned sector = in_data ? at_cluster(l, (unsigned)g_test_rand_int_range(2, 12))
                                      : (unsigned)g_test_rand_int_range(1, (int)l->data);
            if (!in_data && sector < l->root && g_test_rand_int_range(0, 3))
                sector = l->root;
            rd(l, sector, s, 1);
            for (unsigned n = (unsigned)g_test_rand_int_range(1, 8); n--;)
                s[g_test_rand_int_range(0, SECTOR)] = (uint8_t)g_test_rand_int_range(0, 256);
            wr(l, sector, s, 1);
        }
        sync_it(l);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL);
    static const struct { const char *name; void (*fn)(Lab *l); } rows[] = {
        { "names", bad_names }, { "odd-chains", odd_chains }, { "another-file-system", another_file_system },
        { "half-a-rename", half_a_rename }, { "contents", contents }, { "link-in-the-way", link_in_the_way }, { "noise", noise },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autofree char *name = g_strconcat("/block/vvfat/", rows[i].name, NULL);
        g_test_add_data_func(name, &rows[i].fn, lab);
    }
    return g_test_run();
}
