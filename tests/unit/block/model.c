/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random requests to writable formats beside a model in memory, with several under way at once, reopening, crashes of
 * the disk below and torn writes: what was flushed is there, check finds no corruption, repair loses nothing.
 *
 * After a crash a byte may be what it was at the last flush or what any later write made of it; the model keeps, for
 * each sector, the set of contents it may have. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "util/bits.h"

enum { SECTOR = 512, DISK = 1 << 20, SECTORS = DISK / SECTOR, MAX_VERSIONS = 12 };

/* Contents are made from a stamp: 0 is zeros. */
typedef struct Model {
    uint32_t now[SECTORS];                  /* the stamp that a read must find */
    uint32_t maybe[SECTORS][MAX_VERSIONS];  /* since the last flush: what it may be after a crash */
    uint8_t  n_maybe[SECTORS];
    uint32_t next;
} Model;

typedef struct Run {
    Aio        *aio;
    BlockGraph *graph;
    GRand      *rand;
    char       *dir, *path, *base;
    const char *format, *options;
    Block      *b;
    Model       model;
    unsigned    under_way;
    CoQueue     ended;
    bool        has_snapshot, backing, fails;
    uint32_t    snapshot[SECTORS];
    uint8_t     busy[SECTORS];
} Run;

static void fill(uint8_t *buf, uint64_t sector, uint32_t stamp)
{
    memset(buf, 0, SECTOR);
    for (unsigned i = 0; stamp && i < SECTOR; i += 16) {
        memcpy(buf + i, &stamp, 4);
        memcpy(buf + i + 4, &sector, 8);
    }
}

static bool is(const uint8_t *buf, uint64_t sector, uint32_t stamp)
{
    uint8_t want[SECTOR];
    fill(want, sector, stamp);
    return !memcmp(buf, want, SECTOR);
}

static void remember(Model *m, unsigned s, uint32_t stamp)
{
    if (m->n_maybe[s] < MAX_VERSIONS)
        m->maybe[s][m->n_maybe[s]++] = stamp;
    m->now[s] = stamp;
}

static void flushed(Model *m)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        m->maybe[s][0] = m->now[s];
        m->n_maybe[s] = 1;
    }
}

static Block *open_image(Run *r, unsigned flags, const char *fault, GError **err)
{
    g_autofree char *text = g_strdup_printf("driver=%s,discard=unmap,%sfile.driver=%s%s%s%s", r->format,
                                            strstr(r->options, "encrypt.") ? "encrypt.key-secret=s," : "",
                                            fault ? "fault" : "file",
                                            fault ? ",file.file.driver=file,file.file.filename=" : ",file.filename=", r->path,
                                            fault ? fault : "");
    Json *o = json_from_options("test", text, NULL, err);
    g_assert_nonnull(o);
    return block_open(r->graph, NULL, o, flags, err);
}

static void check_image(Run *r, bool leaks_allowed, const char *when)
{
    GError *err = NULL;
    BlockCheck k;
    /* A log is replayed by whoever may write. */
    unsigned replay = !strcmp(r->format, "vhdx") ? BLOCK_RDWR : 0;
    Block *b = open_image(r, BLOCK_CHECK | BLOCK_NO_BACKING | replay, NULL, &err);
    g_assert_no_error(err);
    int result = block_check(b, 0, &k, &err);
    g_assert_true(result == 0 || result == -ENOTSUP);
    g_assert_no_error(err);
    if (k.corruptions || (k.leaks && !leaks_allowed)) {
        for (unsigned i = 0; i < MIN(k.messages->len, 10); i++)
            g_test_message("%s", (char *)k.messages->pdata[i]);
        g_error("%s: %" PRIu64 " corruptions, %" PRIu64 " leaks", when, k.corruptions, k.leaks);
    }
    block_check_clear(&k);
    block_close(b);
}

static void verify(Run *r, uint32_t *now, const char *when)
{
    g_autofree uint8_t *buf = g_malloc(DISK);
    g_assert_cmpint(block_read(r->b, 0, buf, DISK), ==, 0);
    for (unsigned s = 0; s < SECTORS; s++)
        if (!is(buf + s * SECTOR, s, now[s]))
            g_error("%s: sector %u is not %u", when, s, now[s]);
}

/* After a crash: each sector is one of what it may be, and that is what it is from now on. */
static void settle(Run *r)
{
    g_autofree uint8_t *buf = g_malloc(DISK);
    Model *m = &r->model;
    g_assert_cmpint(block_read(r->b, 0, buf, DISK), ==, 0);
    for (unsigned s = 0; s < SECTORS; s++) {
        bool found = m->n_maybe[s] == MAX_VERSIONS;
        for (unsigned i = 0; i < m->n_maybe[s] && !found; i++)
            if (is(buf + s * SECTOR, s, m->maybe[s][i])) {
                m->now[s] = m->maybe[s][i];
                found = true;
            }
        if (!found)
            g_error("sector %u holds nothing that was ever written to it since the last flush (%u)", s, m->maybe[s][0]);
        if (m->n_maybe[s] == MAX_VERSIONS) {        /* too many to tell: write it anew */
            uint8_t data[SECTOR];
            fill(data, s, ++m->next);
            g_assert_cmpint(block_write(r->b, (uint64_t)s * SECTOR, data, SECTOR, 0), ==, 0);
            m->now[s] = m->next;
        }
    }
    g_assert_cmpint(block_flush(r->b), ==, 0);
    flushed(m);
}

typedef struct Request { Run *r; unsigned op, from, n; uint32_t stamp; } Request;

/* One request by itself: sectors that are busy with another are left alone, since their order would not be known. */
static void request(void *self)
{
    Request *q = self;
    Run *r = q->r;
    uint64_t at = (uint64_t)q->from * SECTOR, len = (uint64_t)q->n * SECTOR;
    uint8_t *buf = block_memory(len);
    int result = 0;
    switch (q->op) {
    case 0:
        result = block_read(r->b, at, buf, len);
        for (unsigned i = 0; i < q->n && !result && !r->fails; i++)
            if (!is(buf + i * SECTOR, q->from + i, r->model.now[q->from + i]))
                g_error("read: sector %u is not %u", q->from + i, r->model.now[q->from + i]);
        break;
    case 1: case 4:
        for (unsigned i = 0; i < q->n; i++)
            fill(buf + i * SECTOR, q->from + i, q->stamp);
        result = block_write(r->b, at, buf, len, q->op == 4 ? BLOCK_COMPRESS : 0);
        break;
    case 2: result = block_zero(r->b, at, len, BLOCK_MAY_UNMAP); break;
    case 3: result = block_zero(r->b, at, len, 0); break;
    }
    free(buf);
    if (result && !r->fails)
        g_test_message("operation %u on %u+%u: %s", q->op, q->from, q->n, g_strerror(-result));
    r->fails |= result != 0;
    for (unsigned i = 0; i < q->n; i++)
        r->busy[q->from + i] = 0;
    g_free(q);
    r->under_way--;
    co_queue_wake_all(&r->ended);
}

static void wait_all(Run *r)
{
    while (r->under_way)
        co_queue_wait(&r->ended);
}

static void start_request(Run *r, unsigned cluster, bool compress)
{
    Request *q = g_new0(Request, 1);
    q->r = r;
    q->op = g_rand_int(r->rand) % (compress ? 5 : 4);
    unsigned most = g_rand_int(r->rand) % 8 ? 40 : 600;
    q->from = g_rand_int(r->rand) % SECTORS;
    q->n = 1 + g_rand_int(r->rand) % most;
    q->n = MIN(q->n, SECTORS - q->from);
    if (q->op == 4) {       /* whole clusters */
        unsigned per = cluster / SECTOR;
        q->from = q->from / per * per;
        q->n = MIN(MAX(q->n / per, 1) * per, SECTORS - q->from);
    }
    for (unsigned i = 0; i < q->n; i++)
        if (r->busy[q->from + i]) {
            g_free(q);
            return;
        }
    q->stamp = q->op == 1 || q->op == 4 ? ++r->model.next : 0;
    for (unsigned i = 0; i < q->n; i++) {
        r->busy[q->from + i] = 1;
        if (q->op)
            remember(&r->model, q->from + i, q->stamp);
    }
    r->under_way++;
    co_start(request, q);
}

static void snapshot_step(Run *r)
{
    GError *err = NULL;
    wait_all(r);
    if (r->fails)
        return;
    if (!r->has_snapshot) {
        if (block_snapshot_create(r->b, "s", &err)) {
            memcpy(r->snapshot, r->model.now, sizeof r->snapshot);
            r->has_snapshot = true;
        }
    } else if (g_rand_boolean(r->rand)) {
        if (block_snapshot_apply(r->b, "s", &err))
            memcpy(r->model.now, r->snapshot, sizeof r->snapshot);
    } else if (block_snapshot_delete(r->b, "s", &err)) {
        r->has_snapshot = false;
    }
    g_assert_no_error(err);
    g_assert_cmpint(block_flush(r->b), ==, 0);
    flushed(&r->model);
    verify(r, r->model.now, "after a snapshot command");
}

static void make_image(Run *r)
{
    GError *err = NULL;
    g_autofree char *text = r->backing ? g_strdup_printf("%s%sbacking_file=%s,backing_fmt=raw", r->options, *r->options ? "," : "", r->base)
                                       : g_strdup(r->options);
    Json *o = *text ? json_from_options("test", text, NULL, &err) : json_object();
    g_assert_no_error(err);
    memset(&r->model, 0, sizeof r->model);
    r->has_snapshot = false;
    if (r->backing) {
        g_autofree uint8_t *buf = g_malloc(DISK);
        r->model.next = 1;
        for (unsigned s = 0; s < SECTORS; s++) {
            r->model.now[s] = s / 64 % 2;
            fill(buf + s * SECTOR, s, r->model.now[s]);
        }
        g_assert_true(g_file_set_contents(r->base, (char *)buf, DISK, &err));
    }
    json_set(o, "size", json_u64(DISK));
    block_create(r->graph, block_driver(r->format), r->path, o, &err);
    g_assert_no_error(err);
    json_free(o);
    flushed(&r->model);
}

static void requests(Run *r, unsigned n, unsigned cluster, bool compress, bool snapshots)
{
    for (unsigned i = 0; i < n && !r->fails; i++) {
        while (r->under_way >= 6)
            co_queue_wait(&r->ended);
        unsigned what = g_rand_int(r->rand) % 100;
        if (what < 4 && snapshots) {
            snapshot_step(r);
        } else if (what < 10) {
            /* Only what was done before the flush is sure. */
            wait_all(r);
            if (!r->fails && !block_flush(r->b))
                flushed(&r->model);
        } else {
            start_request(r, cluster, compress);
        }
    }
    wait_all(r);
}

typedef struct Case { const char *name, *options; unsigned cluster; bool compress, snapshots, backing; const char *format; } Case;
static const Case cases[] = {
    { "default", "", 65536, true, true, false },
    { "backing", "", 65536, true, true, true },
    { "4k", "cluster_size=4k", 4096, true, true, true },
    { "512", "cluster_size=512", 512, false, true, false },
    { "v2", "compat=0.10,cluster_size=4k", 4096, true, true, false },
    { "v2-backing", "compat=0.10", 65536, false, false, true },
    { "zstd", "compression_type=zstd,cluster_size=8k", 8192, true, false, true },
    { "extended", "extended_l2=on,cluster_size=16k", 16384, true, true, true },
    { "refcount-1", "refcount_bits=1,cluster_size=4k", 4096, true, false, false },
    { "refcount-64", "refcount_bits=64,cluster_size=2k", 2048, true, true, true },
    { "lazy", "lazy_refcounts=on,cluster_size=4k", 4096, true, false, true },
    { "luks", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,cluster_size=4k", 4096, false, true, true },
    { "luks-extended", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,"
      "extended_l2=on,cluster_size=16k", 16384, false, true, true },
    { "luks-v2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,compat=0.10,cluster_size=512", 512, false, true, false },
    { "qcow", "", 4096, true, false, false, "qcow" },
    { "qcow-backing", "", 512, true, false, true, "qcow" },
    { "qed", "", 65536, false, false, false, "qed" },
    { "qed-backing", "cluster_size=4k,table_size=2", 4096, false, false, true, "qed" },
    { "vdi", "", 1 << 20, false, false, false, "vdi" },
    { "vdi-static", "static=on", 1 << 20, false, false, false, "vdi" },
    { "vpc", "force_size=on", 2 << 20, false, false, false, "vpc" },
    { "vpc-fixed", "force_size=on,subformat=fixed", 0, false, false, false, "vpc" },
    { "vmdk", "", 65536, false, false, false, "vmdk" },
    { "vmdk-zeroed", "zeroed_grain=on", 65536, false, false, false, "vmdk" },
    { "vmdk-stream", "subformat=streamOptimized", 65536, false, false, false, "vmdk" },
    { "vmdk-split", "subformat=twoGbMaxExtentSparse", 65536, false, false, false, "vmdk" },
    { "vmdk-flat", "subformat=monolithicFlat", 65536, false, false, false, "vmdk" },
    { "vhdx", "block_size=1M", 1 << 20, false, false, false, "vhdx" },
    { "vhdx-none", "block_state_zero=off", 8 << 20, false, false, false, "vhdx" },
    { "vhdx-fixed", "subformat=fixed", 8 << 20, false, false, false, "vhdx" },
    { "parallels", "cluster_size=64k", 65536, false, false, false, "parallels" },
};

static void steady(Run *r, const Case *c)
{
    GError *err = NULL;
    for (unsigned round = 0; round < 3; round++) {
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, NULL, &err);
        g_assert_no_error(err);
        verify(r, r->model.now, "reopened");
        requests(r, 250, c->cluster, c->compress, c->snapshots);
        g_assert_false(r->fails);
        verify(r, r->model.now, "at the end");
        g_assert_cmpint(block_close(r->b), ==, 0);
        check_image(r, false, "closed");
    }
}

static void crashing(Run *r, const Case *c)
{
    GError *err = NULL;
    for (unsigned round = 0; round < 12; round++) {
        bool flush = g_rand_boolean(r->rand);
        g_autofree char *fault = g_strdup_printf(",file.volatile=on,file.seed=%u,file.rules.0.on=%s,file.rules.0.nth=%u,file.rules.0.action=crash",
                                                 g_rand_int(r->rand), flush ? "flush" : "write",
                                                 1 + g_rand_int(r->rand) % (flush ? 12 : 120));
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, fault, &err);
        if (!r->b) {            /* it crashed while it was opened */
            g_clear_error(&err);
        } else {
            r->fails = false;
            requests(r, 150, c->cluster, c->compress, false);
            r->fails = false;
            block_close(r->b);
        }
        /* Lazy refcounts are wrong until the next opening for writing, which the dirty bit tells. */
        if (!strstr(c->options, "lazy"))
            check_image(r, true, "after a crash");
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, NULL, &err);
        g_assert_no_error(err);
        settle(r);
        block_close(r->b);
        if (g_rand_boolean(r->rand)) {          /* repair, and nothing is lost by it */
            BlockCheck k;
            r->b = open_image(r, BLOCK_RDWR | BLOCK_CHECK, NULL, &err);
            g_assert_no_error(err);
            int result = block_check(r->b, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &k, &err);
            g_assert_true(result == 0 || result == -ENOTSUP);
            block_check_clear(&k);
            block_close(r->b);
            check_image(r, false, "repaired");
            r->b = open_image(r, 0, NULL, &err);
            verify(r, r->model.now, "repaired");
            block_close(r->b);
        }
    }
}

static void failing(Run *r, const Case *c)
{
    GError *err = NULL;
    for (unsigned round = 0; round < 8; round++) {
        g_autofree char *fault = g_strdup_printf(",file.rules.0.on=%s,file.rules.0.nth=%u,file.rules.0.action=%s",
                                                 g_rand_boolean(r->rand) ? "write" : "any", 1 + g_rand_int(r->rand) % 60,
                                                 g_rand_boolean(r->rand) ? "error" : "tear");
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, fault, &err);
        if (!r->b) {
            g_clear_error(&err);
            continue;
        }
        r->fails = false;
        requests(r, 60, c->cluster, c->compress, false);
        r->fails = false;
        block_close(r->b);
        if (!strstr(c->options, "lazy"))
            check_image(r, true, "after a failed request");
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, NULL, &err);
        g_assert_no_error(err);
        settle(r);
        block_close(r->b);
    }
}

static bool recount(Run *r, unsigned bits, GError **err)
{
    Json *o = json_object();
    json_set(o, "refcount_bits", json_u64(bits));
    bool ok = block_amend(r->b, o, err);
    json_free(o);
    return ok;
}

/* Refcounts get another width, and the power goes somewhere on the way: the image has the old width or the new one. */
static void recounting(Run *r, const Case *c)
{
    GError *err = NULL;
    for (unsigned round = 0; round < 24; round++) {
        unsigned bits = 1u << g_rand_int(r->rand) % 7;
        bool flush = g_rand_boolean(r->rand), crash = round % 4;
        g_autofree char *fault = g_strdup_printf(",file.volatile=on,file.seed=%u,file.rules.0.on=%s,file.rules.0.nth=%u,file.rules.0.action=crash",
                                                 g_rand_int(r->rand), flush ? "flush" : "write", 1 + g_rand_int(r->rand) % (flush ? 6 : 10));
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, NULL, &err);
        g_assert_no_error(err);
        requests(r, 40, c->cluster, c->compress, false);
        g_assert_cmpint(block_close(r->b), ==, 0);
        flushed(&r->model);
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, crash ? fault : NULL, &err);
        if (!r->b) {
            g_clear_error(&err);
        } else {
            /* Packed clusters share theirs, and may do so more often than few bits can say. */
            bool ok = recount(r, bits, &err), full = !ok && strstr(err->message, "Cannot decrease");
            g_assert_true(ok || crash || full);
            g_clear_error(&err);
            requests(r, crash ? 10 : 40, c->cluster, c->compress && bits > 4, false);
            g_assert_true(crash || !r->fails);
            r->fails = false;
            block_close(r->b);
        }
        if (!strstr(c->options, "lazy"))
            check_image(r, crash, "after another width");
        r->b = open_image(r, BLOCK_RDWR | BLOCK_UNMAP, NULL, &err);
        g_assert_no_error(err);
        settle(r);
        /* Up again, for the next round's requests. */
        g_assert_true(recount(r, 16, &err));
        g_assert_cmpint(block_close(r->b), ==, 0);
        BlockCheck k;
        r->b = open_image(r, BLOCK_RDWR | BLOCK_CHECK, NULL, &err);
        g_assert_no_error(err);
        g_assert_cmpint(block_check(r->b, CHECK_FIX_LEAKS, &k, &err), ==, 0);
        g_assert_cmpuint(k.corruptions, ==, 0);
        g_assert_true(crash || !k.leaks);
        block_check_clear(&k);
        block_close(r->b);
        check_image(r, false, "back at 16 bits");
    }
}

typedef struct Test { const Case *c; void (*fn)(Run *r, const Case *c); AioEngine engine; Run *run; } Test;

static void test_main(void *self)
{
    Test *t = self;
    make_image(t->run);
    t->fn(t->run, t->c);
}

static void test(gconstpointer data)
{
    Test t = *(const Test *)data;
    Run *r = g_new0(Run, 1);
    GError *err = NULL;
    t.run = r;
    /* In memory, where flushes cost nothing. */
    r->dir = g_strdup("/dev/shm/rhea-block-XXXXXX");
    if (!g_mkdtemp(r->dir)) {
        g_free(r->dir);
        r->dir = g_dir_make_tmp("rhea-block-XXXXXX", NULL);
    }
    r->path = g_build_filename(r->dir, "a.qcow2", NULL);
    r->base = g_build_filename(r->dir, "base.raw", NULL);
    r->aio = aio_new(t.engine, &err);
    if (!r->aio && t.engine == AIO_URING) {     /* the kernel refuses it */
        g_clear_error(&err);
        r->aio = aio_new(AIO_THREADS, &err);
    }
    g_assert_no_error(err);
    r->graph = block_graph_new(r->aio);
    g_assert_true(block_add_object(r->graph, "secret,id=s,data=password", &err));
    r->rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    r->options = t.c->options;
    r->format = t.c->format ? t.c->format : "qcow2";
    r->backing = t.c->backing;
    aio_run(r->aio, test_main, &t);
    static const char *const extents[] = { "a.qcow2-s001.vmdk", "a.qcow2-flat.vmdk" };
    for (unsigned i = 0; i < G_N_ELEMENTS(extents); i++) {
        g_autofree char *extent = g_build_filename(r->dir, extents[i], NULL);
        unlink(extent);
    }
    unlink(r->path);
    unlink(r->base);
    rmdir(r->dir);
    block_graph_free(r->graph);
    aio_free(r->aio);
    g_rand_free(r->rand);
    g_free(r->dir);
    g_free(r->path);
    g_free(r->base);
    g_free(r);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*fn)(Run *r, const Case *c); AioEngine engine; } kinds[] = {
        { "steady", steady, AIO_URING }, { "threads", steady, AIO_THREADS }, { "at-once", steady, AIO_AUTO },
        { "crash", crashing, AIO_AUTO }, { "fail", failing, AIO_URING }, { "recount", recounting, AIO_AUTO },
    };
    static Test tests[G_N_ELEMENTS(cases)][G_N_ELEMENTS(kinds)];
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
        for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
            if (kinds[k].fn == recounting && (cases[i].format || strstr(cases[i].options, "compat=0.10")))
                continue;
            g_autofree char *name = g_strdup_printf("/block/%s/%s/%s", cases[i].format ? cases[i].format : "qcow2", kinds[k].name, cases[i].name);
            tests[i][k] = (Test){ &cases[i], kinds[k].fn, kinds[k].engine, NULL };
            g_test_add_data_func(name, &tests[i][k], test);
        }
    return g_test_run();
}
