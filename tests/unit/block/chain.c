/* SPDX-License-Identifier: GPL-2.0-or-later
 * Backing chains whose images have different lengths, cluster sizes and formats, beside a model: what they read, what their
 * maps promise, and what jobs leave of it. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/job.h"

enum { SECTOR = 512, MAX_SECTORS = 4096, MAX_IMAGES = 5, ROUNDS = 60 };

typedef struct Image { Block *b; uint64_t len; uint8_t *model; } Image;      /* model: what it reads */

typedef struct Lab {
    Aio        *aio;
    BlockGraph *graph;
    char       *dir;
    GRand      *rand;
    Image       image[MAX_IMAGES];
    unsigned    n;
} Lab;

static unsigned pick(Lab *l, unsigned n) { return g_rand_int(l->rand) % n; }

static char *path_of(Lab *l, unsigned i)
{
    g_autofree char *name = g_strdup_printf("i%u", i);
    return g_build_filename(l->dir, name, NULL);
}

static const char *format_of(unsigned i) { return i ? "qcow2" : "raw"; }

/* Image i, over the one before it unless `alone`. */
static void make(Lab *l, unsigned i, bool alone)
{
    static const char *const options[] = { "", "cluster_size=512", "cluster_size=4k", "cluster_size=128k", "extended_l2=on" };
    GError *err = NULL;
    Image *m = &l->image[i];
    g_autofree char *path = path_of(l, i);
    const char *more = i ? options[pick(l, G_N_ELEMENTS(options))] : "";
    m->len = (uint64_t)(1 + pick(l, MAX_SECTORS)) * SECTOR;
    m->model = g_malloc0(MAX_SECTORS * SECTOR);
    Json *o = *more ? json_from_options("test", more, NULL, &err) : json_object();
    json_set(o, "size", json_u64(m->len));
    if (i && !alone) {
        g_autofree char *below = path_of(l, i - 1);
        json_set(o, "backing_file", json_string(below));
        json_set(o, "backing_fmt", json_string(format_of(i - 1)));
        memcpy(m->model, m[-1].model, MIN(m->len, m[-1].len));
    }
    block_create(l->graph, block_driver(format_of(i)), path, o, &err);
    g_assert_no_error(err);
    json_free(o);
}

static Block *open_image(Lab *l, unsigned i, unsigned flags)
{
    GError *err = NULL;
    g_autofree char *path = path_of(l, i);
    Json *o = json_object();
    json_set(o, "driver", json_string(format_of(i)));
    Block *b = block_open(l->graph, path, o, flags | BLOCK_UNMAP, &err);
    g_assert_no_error(err);
    return b;
}

static void scatter(Lab *l, unsigned i)
{
    Image *m = &l->image[i];
    Block *b = open_image(l, i, BLOCK_RDWR);
    for (unsigned k = pick(l, 8); k; k--) {
        uint64_t sectors = m->len / SECTOR, from = pick(l, (unsigned)sectors), n = MIN(1 + pick(l, 300), sectors - from);
        uint8_t *p = m->model + from * SECTOR;
        bool zero = !pick(l, 3);
        memset(p, zero ? 0 : 1 + (int)pick(l, 255), n * SECTOR);
        int r = zero ? block_zero(b, from * SECTOR, n * SECTOR, pick(l, 2) ? BLOCK_MAY_UNMAP : 0)
                     : block_write(b, from * SECTOR, p, n * SECTOR, 0);
        g_assert_cmpint(r, ==, 0);
    }
    g_assert_cmpint(block_close(b), ==, 0);
}

static void same(Block *b, const uint8_t *want, uint64_t len, const char *when)
{
    g_autofree uint8_t *buf = g_malloc(len);
    g_assert_cmpuint(block_length(b), >=, len);
    g_assert_cmpint(block_read(b, 0, buf, len), ==, 0);
    for (uint64_t at = 0; at < len; at++)
        if (buf[at] != want[at])
            g_error("%s: %s has %u at %#" PRIx64 ", not %u", when, block_filename(b), buf[at], at, want[at]);
}

static bool zeros(const uint8_t *p, uint64_t len) { return buf_is_zero(p, len); }

/* Each promise of the map of image i down to image `down` (n: all) is kept. */
static void check_map(Lab *l, unsigned i, unsigned down)
{
    Image *m = &l->image[i], *below = down < i ? &l->image[down] : NULL;
    g_autofree uint8_t *buf = g_malloc(MAX_SECTORS * SECTOR);
    for (uint64_t at = 0; at < m->len;) {
        uint64_t want = MIN(m->len - at, 1 + pick(l, pick(l, 2) ? 5000 : MAX_SECTORS * SECTOR));
        Extent e;
        g_assert_cmpint(block_map_above(m->b, below ? below->b : NULL, at, want, &e), ==, 0);
        g_assert_cmpuint(e.len, >, 0);
        g_assert_cmpuint(e.len, <=, want);
        if ((e.flags & EXTENT_ZERO) && !zeros(m->model + at, e.len))
            g_error("image %u of %u above %u: [%#" PRIx64 ", +%#" PRIx64 ") are no zeros", i, l->n, down, at, e.len);
        if ((e.flags & EXTENT_OFFSET) && (e.flags & EXTENT_DATA) && e.file) {
            g_assert_cmpint(block_read(e.file, e.offset, buf, e.len), ==, 0);
            g_assert_cmpmem(buf, e.len, m->model + at, e.len);
        }
        if (!(e.flags & EXTENT_ALLOCATED) && below) {           /* then it is what the image below has, zeros past its end */
            uint64_t there = at < below->len ? MIN(e.len, below->len - at) : 0;
            g_assert_cmpmem(m->model + at, there, below->model + at, there);
            g_assert_true(zeros(m->model + at + there, e.len - there));
        }
        at += e.len;
    }
}

static void run_job(Job *j, bool ready, GError **why)
{
    GError *err = *why;      /* set by whoever made the job, before the call */
    g_assert_no_error(err);
    job_start(j, &err);
    g_assert_no_error(err);
    int r = job_wait(j, ready, &err);
    g_assert_no_error(err);
    if (!r && ready) {
        job_cancel(j, false, &err);
        g_assert_no_error(err);
        r = job_wait(j, false, &err);
    }
    g_assert_cmpint(r, ==, 0);
}

static void job_in(Lab *l)
{
    GError *err = NULL;
    unsigned top = l->n - 1, i = pick(l, top), k = pick(l, top);
    Image *m = &l->image[top];
    Block *b = m->b = open_image(l, top, BLOCK_RDWR);
    for (unsigned n = top; n; n--)
        l->image[n - 1].b = block_backing(l->image[n].b);
    switch (pick(l, 4)) {
    case 0:         /* the active image, down to i */
        run_job(job_commit(b, l->image[i].b, NULL, NULL, &err), true, &err);
        same(l->image[i].b, m->model, m->len, "active commit: the base");
        break;
    case 1:         /* inner images */
        if (top < 2)
            break;
        i = 1 + pick(l, top - 1);
        k = pick(l, i);
        run_job(job_commit(l->image[i].b, l->image[k].b, NULL, NULL, &err), false, &err);
        break;
    case 2:
        run_job(job_stream(b, pick(l, 3) ? l->image[i].b : NULL, NULL, NULL, &err), false, &err);
        break;
    default: {
        Image *other = &l->image[l->n];
        bool none = !pick(l, 3);
        make(l, l->n, true);
        scatter(l, l->n);
        Block *now = none ? NULL : open_image(l, l->n, 0);
        g_autofree char *path = path_of(l, l->n);
        run_job(job_rebase(b, now, NULL, &err), false, &err);
        block_set_backing(b, none ? NULL : path, "qcow2", &err);
        g_assert_no_error(err);
        if (now)
            g_assert_cmpint(block_close(now), ==, 0);
        g_clear_pointer(&other->model, g_free);
    }
    }
    same(b, m->model, m->len, "after a job");
    g_assert_cmpint(block_close(b), ==, 0);
    b = open_image(l, top, 0);
    same(b, m->model, m->len, "after a job, opened anew");
    g_assert_cmpint(block_close(b), ==, 0);
}

static void lab_main(void *self)
{
    Lab *l = self;
    for (unsigned round = 0; round < ROUNDS; round++) {
        l->n = 2 + pick(l, MAX_IMAGES - 2);
        for (unsigned i = 0; i < l->n; i++) {
            make(l, i, false);
            scatter(l, i);
        }
        l->image[l->n - 1].b = open_image(l, l->n - 1, 0);
        for (unsigned i = l->n - 1; i; i--)
            l->image[i - 1].b = block_backing(l->image[i].b);
        for (unsigned i = 0; i < l->n; i++) {
            same(l->image[i].b, l->image[i].model, l->image[i].len, "the chain");
            for (unsigned k = 0; k <= i; k++)
                check_map(l, i, k < i ? k : l->n);
        }
        g_assert_cmpint(block_close(l->image[l->n - 1].b), ==, 0);
        job_in(l);
        for (unsigned i = 0; i < l->n; i++)
            g_clear_pointer(&l->image[i].model, g_free);
    }
}

static void lab(void)
{
    Lab l = { 0 };
    GError *err = NULL;
    l.dir = g_strdup("/dev/shm/rhea-chain-XXXXXX");
    if (!g_mkdtemp(l.dir)) {
        g_free(l.dir);
        l.dir = g_dir_make_tmp("rhea-chain-XXXXXX", &err);
        g_assert_no_error(err);
    }
    l.rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    l.aio = aio_new(AIO_AUTO, &err);
    g_assert_no_error(err);
    l.graph = block_graph_new(l.aio);
    aio_run(l.aio, lab_main, &l);
    block_graph_free(l.graph);
    aio_free(l.aio);
    for (unsigned i = 0; i < MAX_IMAGES; i++) {
        g_autofree char *path = path_of(&l, i);
        unlink(path);
    }
    rmdir(l.dir);
    g_free(l.dir);
    g_rand_free(l.rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/chain", lab);
    return g_test_run();
}
