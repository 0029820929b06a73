/* SPDX-License-Identifier: GPL-2.0-or-later
 * Jobs beside a model, while a guest writes at random: after each the images hold what they must.
 *
 * The guest's writes never overlap each other in time, so the model always knows what the disk reads; what a job must
 * have copied is compared with the model as it was at the moment that counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "block/job.h"

enum { DISK = 3 << 20, SECTOR = 512, SECTORS = DISK / SECTOR, MAX_GUESTS = 4, MAX_WRITES = 400 };

typedef struct Lab {
    Aio        *aio;
    BlockGraph *graph;
    char       *dir;
    GRand      *rand;
    uint8_t    *model;          /* what the guest's disk reads */
    uint8_t    *busy;           /* a sector that is being written */
    uint8_t    *unsure;         /* a write of it has failed */
    Block      *guest;
    bool        stop, may_fail;
    unsigned    guests, writes, failed, pause_ms;
    CoQueue     ended;
    unsigned    events[8];
    void      (*fn)(struct Lab *l);
} Lab;

static unsigned pick(Lab *l, unsigned n) { return g_rand_int(l->rand) % n; }

/* --- images */

static char *path_of(Lab *l, const char *name) { return g_build_filename(l->dir, name, NULL); }

static void make(Lab *l, const char *name, const char *backing, const char *options)
{
    GError *err = NULL;
    g_autofree char *path = path_of(l, name);
    bool raw = g_str_has_suffix(name, ".raw");
    Json *o = *options ? json_from_options("test", options, NULL, &err) : json_object();
    g_assert_no_error(err);
    json_set(o, "size", json_u64(DISK));
    if (backing) {
        json_set(o, "backing_file", json_string(backing));
        json_set(o, "backing_fmt", json_string(g_str_has_suffix(backing, ".raw") ? "raw" : "qcow2"));
    }
    block_create(l->graph, block_driver(raw ? "raw" : "qcow2"), path, o, &err);
    g_assert_no_error(err);
    json_free(o);
}

/* NULL: the fault came at once. */
static Block *try_open(Lab *l, const char *name, const char *more, unsigned flags)
{
    GError *err = NULL;
    g_autofree char *path = path_of(l, name);
    g_autofree char *text = g_strdup_printf("driver=%s,file.driver=fault,file.file.driver=file,file.file.filename=%s%s",
                                            g_str_has_suffix(name, ".raw") ? "raw" : "qcow2", path, more);
    Json *o = json_from_options("test", text, NULL, &err);
    g_assert_no_error(err);
    Block *b = block_open(l->graph, NULL, o, flags | BLOCK_UNMAP, &err);
    g_assert_true(b || strstr(more, "action=crash"));
    g_clear_error(&err);
    return b;
}

static Block *open_image(Lab *l, const char *name, const char *more, unsigned flags)
{
    Block *b = try_open(l, name, more, flags);
    g_assert_nonnull(b);
    return b;
}

static void check_image(Lab *l, const char *name)
{
    GError *err = NULL;
    BlockCheck k;
    Block *b = open_image(l, name, "", BLOCK_CHECK | BLOCK_NO_BACKING);
    int r = block_check(b, 0, &k, &err);
    g_assert_true(r == 0 || r == -ENOTSUP);
    g_assert_cmpuint(k.corruptions, ==, 0);
    block_check_clear(&k);
    g_assert_cmpint(block_close(b), ==, 0);
}

static void same(Lab *l, Block *b, const uint8_t *want, const char *when)
{
    g_autofree uint8_t *buf = g_malloc(DISK);
    g_assert_cmpint(block_read(b, 0, buf, DISK), ==, 0);
    for (unsigned s = 0; s < SECTORS; s++)
        if (!l->unsure[s] && memcmp(buf + s * SECTOR, want + s * SECTOR, SECTOR))
            g_error("%s: sector %u of %s differs (first byte %u, not %u)", when, s, block_filename(b), buf[s * SECTOR], want[s * SECTOR]);
}

static void same_file(Lab *l, const char *name, const uint8_t *want, const char *when)
{
    Block *b = open_image(l, name, "", 0);
    same(l, b, want, when);
    g_assert_cmpint(block_close(b), ==, 0);
    check_image(l, name);
}

/* Some data at random in an image, and in the model. */
static void scatter(Lab *l, Block *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned from = pick(l, SECTORS), len = 1 + pick(l, 200);
        len = MIN(len, SECTORS - from);
        uint8_t *p = l->model + from * SECTOR;
        if (pick(l, 4)) {
            memset(p, 1 + (int)pick(l, 255), len * SECTOR);
            g_assert_cmpint(block_write(b, (uint64_t)from * SECTOR, p, len * SECTOR, 0), ==, 0);
        } else {
            memset(p, 0, len * SECTOR);
            g_assert_cmpint(block_zero(b, (uint64_t)from * SECTOR, len * SECTOR, BLOCK_MAY_UNMAP), ==, 0);
        }
    }
}

/* Images named by `names`, each over the one before it, all with data; the last is the guest's. */
static void chain(Lab *l, const char *const *names, unsigned n, const char *options)
{
    memset(l->model, 0, DISK);
    memset(l->unsure, 0, SECTORS);
    for (unsigned i = 0; i < n; i++) {
        make(l, names[i], i ? names[i - 1] : NULL, g_str_has_suffix(names[i], ".raw") ? "" : options);
        Block *b = open_image(l, names[i], "", BLOCK_RDWR);
        scatter(l, b, 12);
        g_assert_cmpint(block_close(b), ==, 0);
    }
}

/* --- the guest */

static void guest_main(void *self)
{
    Lab *l = self;
    uint8_t *buf = block_memory(DISK);
    while (!l->stop) {
        unsigned from = pick(l, SECTORS), n = 1 + pick(l, pick(l, 6) ? 60 : 700), what = pick(l, 10);
        n = MIN(n, SECTORS - from);
        for (unsigned i = 0; i < n; i++)
            if (l->busy[from + i])
                n = i;
        /* Not for ever: a mirror gets ready when it has caught up. */
        if (n && l->writes < MAX_WRITES) {
            uint64_t at = (uint64_t)from * SECTOR, len = (uint64_t)n * SECTOR;
            int r = 0;
            memset(l->busy + from, 1, n);
            if (what < 6) {
                memset(buf, 1 + (int)pick(l, 255), len);
                r = block_write(l->guest, at, buf, len, 0);
            } else if (what < 8) {
                memset(buf, 0, len);
                r = block_zero(l->guest, at, len, what == 6 ? BLOCK_MAY_UNMAP : 0);
            } else if (what == 8) {
                r = block_read(l->guest, at, buf, len);
                for (unsigned i = 0; i < n && !r; i++)
                    if (!l->unsure[from + i])
                        g_assert_cmpmem(buf + i * SECTOR, SECTOR, l->model + at + i * SECTOR, SECTOR);
            } else {
                r = block_flush(l->guest);
            }
            if (what < 8 && !r)
                memcpy(l->model + at, buf, len);
            if (what < 8)
                memset(l->unsure + from, r != 0, n);
            if (r && !l->may_fail)
                g_error("guest: %s", g_strerror(-r));
            l->failed += r != 0;
            memset(l->busy + from, 0, n);
            l->writes++;
        }
        co_sleep_ns(l->aio, (int64_t)pick(l, l->pause_ms * 1000000));
    }
    free(buf);
    l->guests--;
    co_queue_wake_all(&l->ended);
}

static void guest_start(Lab *l, Block *b)
{
    l->guest = b;
    l->stop = false;
    l->writes = l->failed = 0;
    l->pause_ms = 2 + pick(l, 6);
    l->guests = 1 + pick(l, MAX_GUESTS);
    for (unsigned i = 0; i < l->guests; i++)
        co_start(guest_main, l);
}

static void guest_stop(Lab *l)
{
    l->stop = true;
    while (l->guests)
        co_queue_wait(&l->ended);
}

/* --- jobs */

static void on_event(void *self, Job *j, JobEvent e)
{
    Lab *l = self;
    l->events[e]++;
}

static JobOptions options_for(Lab *l, JobHooks *hooks)
{
    *hooks = (JobHooks){ l, on_event };
    memset(l->events, 0, sizeof l->events);
    return (JobOptions){ .id = "j", .manual_dismiss = true, .hooks = hooks, .speed = pick(l, 3) ? 0 : 30 << 20 };
}

static void start(Job *j, GError *err)
{
    g_assert_no_error(err);
    job_start(j, &err);
    g_assert_no_error(err);
}

/* Verbs at random while it runs. */
static void disturb(Lab *l, Job *j)
{
    for (unsigned i = pick(l, 4); i; i--) {
        co_sleep_ns(l->aio, (int64_t)pick(l, 2000000));
        switch (pick(l, 3)) {
        case 0: job_pause(j, NULL); break;
        case 1: job_set_speed(j, pick(l, 2) ? 0 : 20 << 20, NULL); break;
        default: json_free(job_query(j));
        }
        co_sleep_ns(l->aio, (int64_t)pick(l, 1000000));
        job_resume(j, NULL);
    }
}

/* Until it has ended; true: it went well. */
static bool finish(Lab *l, Job *j)
{
    GError *err = NULL;
    bool ok = !job_wait(j, false, &err);
    g_assert_true(ok == !err);
    g_clear_error(&err);
    g_assert_true(job_dismiss(j, NULL));
    g_assert_null(job_find(l->graph, "j", NULL));
    g_assert_cmpuint(l->events[JOB_EVENT_COMPLETED] + l->events[JOB_EVENT_CANCELLED], ==, 1);
    return ok;
}

static const char *const targets[] = { "", "cluster_size=4k", "extended_l2=on,cluster_size=16k" };
static const char *target_options(Lab *l) { return targets[pick(l, G_N_ELEMENTS(targets))]; }

/* Options of the fault node under an image: its n-th request of some kind fails, now and then. */
static char *fault(Lab *l, const char *on, bool *any)
{
    *any = !pick(l, 3);
    return *any ? g_strdup_printf(",file.rules.0.on=%s,file.rules.0.nth=%u,file.rules.0.errno=%u", on, 20 + pick(l, 60), pick(l, 2) ? EIO : ENOSPC)
                : g_strdup("");
}

/* A filter over it, and what lies below that. */
static Block *under_filter(Lab *l, Block *image, Block **below)
{
    GError *err = NULL;
    Json *o = json_object();
    json_set(o, "driver", json_string("fault"));
    json_set(o, "file", json_string(block_name(image)));
    Block *over = block_open(l->graph, NULL, o, BLOCK_RDWR, &err);
    g_assert_no_error(err);
    *below = block_file(over);
    block_close(image);
    return over;
}

static void mirror(Lab *l)
{
    static const char *const names[] = { "base.raw", "mid.qcow2", "top.qcow2" };
    for (unsigned round = 0; round < 8; round++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        bool raw = !pick(l, 3), faulty, top = !raw && !pick(l, 3);
        g_autofree char *faults = fault(l, "write", &faulty);
        MirrorOptions m = { .sync = top ? JOB_SYNC_TOP : JOB_SYNC_FULL, .write_blocking = pick(l, 2), .granularity = pick(l, 2) ? 0 : 4096 << pick(l, 6),
                            .buf_size = pick(l, 2) ? 0 : 1 << 20, .no_unmap = !pick(l, 4) };
        const char *target = raw ? "t.raw" : "t.qcow2";
        chain(l, names, 3, target_options(l));
        make(l, target, top ? "mid.qcow2" : NULL, raw ? "" : target_options(l));
        Block *guest = open_image(l, "top.qcow2", "", BLOCK_RDWR), *t = open_image(l, target, faults, BLOCK_RDWR | (top ? BLOCK_NO_BACKING : 0));
        if (!top && pick(l, 2))         /* the target takes the place below a filter */
            guest = under_filter(l, guest, &m.replaces);
        guest_start(l, guest);
        o.on_target_error = faulty && pick(l, 2) ? JOB_ON_ERROR_IGNORE : JOB_ON_ERROR_REPORT;
        Job *j = job_mirror(guest, t, &m, &o, &err);
        block_close(t);
        start(j, err);
        disturb(l, j);
        unsigned how = pick(l, 4);
        bool ready = false;
        if (how == 3) {         /* cancelled somewhere */
            co_sleep_ns(l->aio, (int64_t)pick(l, 3000000));
            job_cancel(j, true, NULL);
        } else {
            ready = !job_wait(j, true, NULL);
            if (ready) {
                g_assert_cmpuint(l->events[JOB_EVENT_READY], ==, 1);
                co_sleep_ns(l->aio, (int64_t)pick(l, 3000000));
                if (job_status(j) != JOB_READY)
                    ready = false;
                else if (how == 2)
                    job_cancel(j, false, &err);     /* a copy of this moment */
                else
                    job_complete(j, &err);
                g_assert_no_error(err);
            } else {
                g_assert_true(faulty);
            }
        }
        bool ok = finish(l, j);
        guest_stop(l);
        if (how == 3)
            g_assert_false(ok && !faulty && l->events[JOB_EVENT_CANCELLED]);
        same(l, guest, l->model, "mirror: the guest's disk");
        bool pivoted = ok && ready && how < 2;
        if (m.replaces)
            g_assert_true(g_str_has_suffix(block_filename(block_file(guest)), pivoted ? target : "top.qcow2"));
        g_assert_cmpint(block_close(guest), ==, 0);
        same_file(l, pivoted ? target : "top.qcow2", l->model, "mirror: afterwards");
        if (!pivoted)
            check_image(l, "top.qcow2");
    }
}

/* A copy that guests go on changing: what it is at its moment, no more is known than that it is whole. */
static void quiet_copy(Lab *l)
{
    static const char *const names[] = { "base.raw", "top.qcow2" };
    JobHooks hooks;
    GError *err = NULL;
    JobOptions o = options_for(l, &hooks);
    chain(l, names, 2, "");
    make(l, "t.qcow2", NULL, "");
    Block *guest = open_image(l, "top.qcow2", "", BLOCK_RDWR), *t = open_image(l, "t.qcow2", "", BLOCK_RDWR);
    Job *j = job_mirror(guest, t, NULL, &o, &err);
    start(j, err);
    guest_start(l, guest);
    g_assert_cmpint(job_wait(j, true, NULL), ==, 0);
    guest_stop(l);
    job_cancel(j, false, &err);
    g_assert_true(finish(l, j));
    same(l, t, l->model, "a soft cancel");
    block_close(t);
    block_close(guest);
}

static void backup(Lab *l)
{
    static const char *const names[] = { "base.raw", "top.qcow2" };
    for (unsigned round = 0; round < 8; round++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        bool faulty, compress = !pick(l, 4);
        g_autofree char *faults = fault(l, "write", &faulty);
        g_autofree uint8_t *then = g_malloc(DISK);
        BackupOptions k = { .sync = JOB_SYNC_FULL, .compress = compress };
        chain(l, names, 2, target_options(l));
        make(l, "t.qcow2", NULL, compress ? "" : target_options(l));
        Block *guest = open_image(l, "top.qcow2", "", BLOCK_RDWR), *t = open_image(l, "t.qcow2", faults, BLOCK_RDWR);
        l->may_fail = faulty;       /* break-guest-write: the target's errors are theirs */
        Job *j = job_backup(guest, t, &k, &o, &err);
        block_close(t);
        memcpy(then, l->model, DISK);
        guest_start(l, guest);
        start(j, err);
        disturb(l, j);
        bool cancel = !pick(l, 5);
        if (cancel)
            job_cancel(j, false, NULL);
        bool ok = finish(l, j);
        guest_stop(l);
        l->may_fail = false;
        same(l, guest, l->model, "backup: the guest's disk");
        g_assert_cmpint(block_close(guest), ==, 0);
        if (!faulty && !cancel)
            g_assert_true(ok);
        memset(l->unsure, 0, SECTORS);
        if (ok)
            same_file(l, "t.qcow2", then, "backup");
        check_image(l, "top.qcow2");
    }
}

/* A full backup, then incremental ones, each over the one before: each is what the disk was at its moment. */
static void incremental(Lab *l)
{
    enum { STEPS = 5 };
    static const char *const names[] = { "top.qcow2" };
    for (unsigned round = 0; round < 3; round++) {
        GError *err = NULL;
        char *copies[STEPS];
        uint8_t *then[STEPS];
        chain(l, names, 1, "");
        Block *guest = open_image(l, "top.qcow2", "", BLOCK_RDWR);
        BlockBitmap *bitmap = block_bitmap_new(guest, "b", 65536, &err);
        g_assert_no_error(err);
        block_bitmap_persist(bitmap, &err);
        g_assert_no_error(err);
        block_bitmap_set(bitmap, 0, DISK);
        unsigned n = 0;
        for (unsigned tries = 0; n < STEPS && tries < 30; tries++) {
            JobHooks hooks;
            JobOptions o = options_for(l, &hooks);
            BackupOptions k = { .sync = JOB_SYNC_BITMAP, .bitmap = "b", .mode = JOB_BITMAP_ON_SUCCESS };
            copies[n] = g_strdup_printf("i%u.qcow2", n);
            make(l, copies[n], n ? copies[n - 1] : NULL, "");
            bool cancel = !pick(l, 3), faulty;
            g_autofree char *faults = fault(l, "write", &faulty);
            Block *t = open_image(l, copies[n], faults, BLOCK_RDWR);
            l->may_fail = faulty;
            Job *j = job_backup(guest, t, &k, &o, &err);
            block_close(t);
            then[n] = g_memdup2(l->model, DISK);
            guest_start(l, guest);
            start(j, err);
            if (cancel) {
                co_sleep_ns(l->aio, (int64_t)pick(l, 1000000));
                job_cancel(j, false, NULL);
            }
            bool ok = finish(l, j);
            guest_stop(l);
            l->may_fail = false;
            memset(l->unsure, 0, SECTORS);
            same(l, guest, l->model, "between backups");
            if (ok) {
                n++;
            } else {            /* again, with the bitmap that came back */
                g_free(copies[n]);
                g_free(then[n]);
            }
        }
        g_assert_cmpint(block_close(guest), ==, 0);
        check_image(l, "top.qcow2");
        for (unsigned i = 0; i < n; i++) {
            same_file(l, copies[i], then[i], "incremental");
            g_free(then[i]);
        }
        for (unsigned i = 0; i < n; i++)
            g_free(copies[i]);
    }
}

/* The very last of a backup is that the target is flushed: where that fails, the bitmap has all that it had. */
static void flush_fails(Lab *l)
{
    static const char *const names[] = { "top.qcow2" };
    static const JobBitmapMode modes[] = { JOB_BITMAP_ON_SUCCESS, JOB_BITMAP_ALWAYS };
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        chain(l, names, 1, "");
        make(l, "t.qcow2", NULL, "");
        Block *guest = open_image(l, "top.qcow2", "", BLOCK_RDWR), *t = open_image(l, "t.qcow2", ",file.rules.0.on=flush,file.rules.0.errno=5", BLOCK_RDWR);
        BlockBitmap *bitmap = block_bitmap_new(guest, "b", 65536, &err);
        block_bitmap_set(bitmap, 0, DISK);
        Job *j = job_backup(guest, t, &(BackupOptions){ .sync = JOB_SYNC_BITMAP, .bitmap = "b", .mode = modes[i] }, &o, &err);
        block_close(t);
        start(j, err);
        g_assert_false(finish(l, j));
        g_assert_cmpuint(block_bitmap_count(bitmap), ==, DISK);
        block_close(guest);
    }
}

static void commit(Lab *l)
{
    static const char *const names[] = { "a.raw", "b.qcow2", "c.qcow2", "d.qcow2" };
    for (unsigned round = 0; round < 10; round++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        chain(l, names, 4, target_options(l));
        Block *guest = open_image(l, "d.qcow2", "", BLOCK_RDWR), *node[4] = { NULL, NULL, NULL, guest };
        for (unsigned i = 3; i; i--)
            node[i - 1] = block_backing(node[i]);
        unsigned top = 1 + pick(l, 3), base = pick(l, top);
        bool active = top == 3, cancel = !pick(l, 4), complete = pick(l, 2);
        guest_start(l, guest);
        Job *j = job_commit(node[top], node[base], NULL, &o, &err);
        start(j, err);
        disturb(l, j);
        if (cancel) {
            co_sleep_ns(l->aio, (int64_t)pick(l, 2000000));
            job_cancel(j, true, NULL);
        } else if (active) {
            g_assert_cmpint(job_wait(j, true, NULL), ==, 0);
            co_sleep_ns(l->aio, (int64_t)pick(l, 2000000));
            if (complete)
                job_complete(j, &err);
            else
                job_cancel(j, false, &err);
            g_assert_no_error(err);
        }
        bool ok = finish(l, j);
        g_assert_true(ok || cancel);
        for (unsigned i = pick(l, 20); i; i--)
            co_pause(l->aio);
        guest_stop(l);
        same(l, guest, l->model, "commit: the guest's disk");
        g_assert_cmpint(block_close(guest), ==, 0);
        bool pivoted = ok && active && complete && !cancel;
        same_file(l, pivoted ? names[base] : "d.qcow2", l->model, "commit: afterwards");
        if (ok && !active) {        /* those between are needed no more */
            for (unsigned i = base + 1; i <= top; i++) {
                g_autofree char *path = path_of(l, names[i]);
                unlink(path);
            }
            same_file(l, "d.qcow2", l->model, "commit: without the images that it emptied");
        }
    }
}

static void stream(Lab *l)
{
    static const char *const names[] = { "a.raw", "b.qcow2", "c.qcow2", "d.qcow2" };
    for (unsigned round = 0; round < 8; round++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        bool faulty;
        g_autofree char *faults = fault(l, "read", &faulty);
        chain(l, names, 4, target_options(l));
        Block *guest = open_image(l, "d.qcow2", faults, BLOCK_RDWR), *node[4] = { NULL, NULL, NULL, guest };
        for (unsigned i = 3; i; i--)
            node[i - 1] = block_backing(node[i]);
        unsigned top = 1 + pick(l, 3);
        int base = (int)pick(l, top + 1) - 1;
        bool cancel = !pick(l, 4), bitmap = pick(l, 2);
        BlockBitmap *m = bitmap ? block_bitmap_new(node[top], "b", 65536, &err) : NULL;
        l->may_fail = faulty;
        if (!m || pick(l, 2)) {
            guest_start(l, guest);
            m = NULL;
        }
        Job *j = base + 1 < (int)top && pick(l, 2) ? job_stream_to(node[top], node[base + 1], NULL, &o, &err)
                                                  : job_stream(node[top], base < 0 ? NULL : node[base], NULL, &o, &err);
        Block *other = node[top == 1 ? 2 : 1];
        g_assert_null(job_stream(other, NULL, NULL, &o, NULL));       /* the id is taken */
        g_assert_false(block_writable(other));
        start(j, err);
        disturb(l, j);
        if (cancel)
            job_cancel(j, true, NULL);
        bool ok = finish(l, j);
        g_assert_true(ok || cancel || faulty);
        guest_stop(l);
        l->may_fail = false;
        if (m)
            g_assert_cmpuint(block_bitmap_count(m), ==, 0);     /* nothing has changed */
        if (!faulty)
            same(l, guest, l->model, "stream: the guest's disk");
        g_assert_cmpint(block_close(guest), ==, 0);
        if (ok)
            for (int i = base + 1; i < (int)top; i++) {
                g_autofree char *path = path_of(l, names[i]);
                unlink(path);
            }
        same_file(l, "d.qcow2", l->model, "stream: afterwards");
    }
}

/* Over a chain of other contents, shorter or longer, or over nothing. */
static void rebase(Lab *l)
{
    static const char *const names[] = { "a.raw", "b.qcow2", "c.qcow2" }, *const others[] = { "n.raw", "m.qcow2" };
    for (unsigned round = 0; round < 6; round++) {
        JobHooks hooks;
        GError *err = NULL;
        bool faulty, none = !pick(l, 3), cancel = !pick(l, 4);
        g_autofree char *faults = fault(l, "any", &faulty);
        chain(l, others, 2, target_options(l));         /* the model is then that of the chain to be rebased */
        chain(l, names, 3, target_options(l));
        JobOptions o = options_for(l, &hooks);
        Block *top = open_image(l, "c.qcow2", faults, BLOCK_RDWR), *now = none ? NULL : open_image(l, "m.qcow2", "", 0);
        Job *j = job_rebase(top, now, &o, &err);
        start(j, err);
        disturb(l, j);
        if (cancel)
            job_cancel(j, true, NULL);
        bool ok = finish(l, j);
        g_assert_true(ok || cancel || faulty);
        if (ok && !block_set_backing(top, none ? NULL : "m.qcow2", none ? NULL : "qcow2", &err)) {
            g_assert_true(faulty);
            g_clear_error(&err);
            ok = false;
        }
        block_close(top);
        if (now)
            block_close(now);
        if (ok)
            for (unsigned i = 0; i < 2; i++) {
                g_autofree char *path = path_of(l, names[i]);
                unlink(path);
            }
        same_file(l, "c.qcow2", l->model, "rebase: afterwards");
        check_image(l, "c.qcow2");
    }
}

/* The power goes somewhere in a job: the chain reads what was flushed. */
static void crash(Lab *l)
{
    static const char *const names[] = { "a.qcow2", "b.qcow2", "c.qcow2" };
    for (unsigned round = 0; round < 10; round++) {
        JobHooks hooks;
        GError *err = NULL;
        JobOptions o = options_for(l, &hooks);
        chain(l, names, 3, target_options(l));
        unsigned kind = pick(l, 3);
        g_autofree char *at = g_strdup_printf(",file.volatile=on,file.seed=%u,file.rules.0.on=%s,file.rules.0.nth=%u,file.rules.0.action=crash",
                                              g_rand_int(l->rand), pick(l, 2) ? "write" : "any", 1 + pick(l, 60));
        /* Of intermediate commits the base, which lies two below; of the others the top. */
        Block *b = try_open(l, "c.qcow2", kind ? at : "", BLOCK_RDWR);
        Job *j;
        if (!b)
            continue;
        if (kind == 0) {
            block_close(b);
            g_autofree char *path = path_of(l, "a.qcow2"), *mid = path_of(l, "b.qcow2"), *top = path_of(l, "c.qcow2");
            g_autofree char *text = g_strdup_printf("driver=qcow2,file.driver=file,file.filename=%s,backing.driver=qcow2,backing.file.driver=file,"
                                                    "backing.file.filename=%s,backing.backing.driver=qcow2,backing.backing.file.driver=fault,"
                                                    "backing.backing.file.file.driver=file,backing.backing.file.file.filename=%s%s", top, mid, path, "");
            g_autofree char *rules = g_strdup(at);
            char **parts = g_strsplit(rules, ",file.", -1);
            g_autofree char *moved = g_strjoinv(",backing.backing.file.", parts);
            g_strfreev(parts);
            g_autofree char *all = g_strconcat(text, moved, NULL);
            Json *json = json_from_options("test", all, NULL, &err);
            g_assert_no_error(err);
            b = block_open(l->graph, NULL, json, BLOCK_RDWR | BLOCK_UNMAP, &err);
            g_clear_error(&err);
            if (!b)
                continue;
            Block *middle = block_backing(b);
            j = job_commit(middle, block_backing(middle), NULL, &o, &err);
        } else if (kind == 1) {
            j = job_stream(b, NULL, NULL, &o, &err);
        } else {
            make(l, "t.qcow2", NULL, "");
            Block *t = open_image(l, "t.qcow2", "", BLOCK_RDWR);
            j = job_mirror(b, t, NULL, &o, &err);
            block_close(t);
        }
        if (j) {
            start(j, err);
            if (kind == 2 && !job_wait(j, true, NULL))
                job_complete(j, NULL);
            finish(l, j);
        }
        g_clear_error(&err);
        block_close(b);
        /* A crash may have come before; what is there was flushed. */
        Block *again = open_image(l, "c.qcow2", "", BLOCK_RDWR);
        same(l, again, l->model, "after a crash");
        block_close(again);
        check_image(l, "c.qcow2");
        check_image(l, "a.qcow2");
    }
}

/* copy-before-write as a node of its own: errors of the target, by either policy, and a limit of time. */
static void before_write(Lab *l)
{
    static const char *const names[] = { "s.qcow2" };
    static const struct { const char *filter, *target; bool guest_fails; } rows[] = {
        { "", "", false }, { ",on-cbw-error=break-guest-write", ",target.file.rules.0.on=write", true },
        { ",on-cbw-error=break-snapshot", ",target.file.rules.0.on=write", false },
        { ",cbw-timeout=1,on-cbw-error=break-snapshot", ",target.file.rules.0.on=write,target.file.rules.0.action=delay,target.file.rules.0.delay-ms=1500", false },
        { ",bitmap.node=src,bitmap.name=b", "", false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        GError *err = NULL;
        chain(l, names, 1, "");
        make(l, "t.qcow2", NULL, "");
        g_autofree uint8_t *then = g_memdup2(l->model, DISK), *buf = g_malloc(DISK);
        g_autofree char *source = path_of(l, "s.qcow2"), *target = path_of(l, "t.qcow2");
        g_autofree char *below = g_strdup_printf("driver=qcow2,node-name=src,file.driver=file,file.filename=%s", source);
        Block *s = block_open(l->graph, NULL, json_from_options("test", below, NULL, &err), BLOCK_RDWR, &err);
        g_assert_no_error(err);
        BlockBitmap *m = block_bitmap_new(s, "b", 65536, &err);
        block_bitmap_set(m, 1 << 20, 1 << 20);
        m->enabled = false;
        g_autofree char *text = g_strdup_printf("driver=copy-before-write,file=src,target.driver=qcow2,target.file.driver=fault,target.file.file.driver=file,"
                                                "target.file.file.filename=%s%s%s", target, rows[i].filter, rows[i].target);
        Block *f = block_open(l->graph, NULL, json_from_options("test", text, NULL, &err), BLOCK_RDWR, &err);
        g_assert_no_error(err);
        memset(buf, 7, DISK);
        int r = block_write(f, 0, buf, DISK, 0);
        g_assert_true((r != 0) == rows[i].guest_fails);
        block_close(f);
        same(l, s, rows[i].guest_fails ? then : buf, "copy-before-write: the disk");
        block_close(s);
        if (i == 4) {       /* what was not dirty in the bitmap is not there */
            memset(then, 0, 1 << 20);
            memset(then + (2 << 20), 0, DISK - (2 << 20));
        }
        if (!*rows[i].target)
            same_file(l, "t.qcow2", then, "copy-before-write");
    }
}

/* What may be said to a job in which state. */
static void verbs(Lab *l)
{
    static const char *const names[] = { "a.raw", "b.qcow2" };
    JobHooks hooks;
    GError *err = NULL;
    JobOptions o = options_for(l, &hooks);
    chain(l, names, 2, "");
    make(l, "t.qcow2", NULL, "");
    Block *guest = open_image(l, "b.qcow2", "", BLOCK_RDWR), *t = open_image(l, "t.qcow2", "", BLOCK_RDWR);
    o.manual_finalize = o.manual_dismiss = true;
    o.speed = 0;
    Job *j = job_mirror(guest, t, NULL, &o, &err);
    g_assert_no_error(err);
    g_assert_null(job_mirror(guest, t, NULL, &o, NULL));        /* the id is taken */
    g_assert_null(job_mirror(t, t, NULL, NULL, NULL));
    g_assert_cmpint(job_status(j), ==, JOB_CREATED);
    g_assert_false(job_complete(j, NULL));
    g_assert_false(job_dismiss(j, NULL));
    g_assert_false(job_resume(j, NULL));
    g_assert_true(job_pause(j, NULL));
    start(j, NULL);
    while (job_status(j) != JOB_PAUSED)
        co_pause(l->aio);
    g_assert_false(job_pause(j, NULL));
    g_assert_true(job_resume(j, NULL));
    g_assert_cmpint(job_wait(j, true, NULL), ==, 0);
    g_assert_true(job_pause(j, NULL));
    while (job_status(j) != JOB_STANDBY)
        co_pause(l->aio);
    g_assert_false(job_complete(j, NULL));
    g_assert_true(job_resume(j, NULL));
    while (job_status(j) != JOB_READY)
        co_pause(l->aio);
    g_assert_false(job_finalize(j, NULL));
    g_assert_true(job_complete(j, NULL));
    while (job_status(j) != JOB_PENDING)
        co_pause(l->aio);
    scatter(l, guest, 5);       /* still the source's, and copied all the same */
    g_assert_true(job_finalize(j, NULL));
    g_assert_cmpint(job_wait(j, false, NULL), ==, 0);
    g_assert_cmpint(job_status(j), ==, JOB_CONCLUDED);
    g_assert_false(job_cancel(j, true, NULL));
    g_assert_cmpstr(block_filename(guest), ==, block_filename(block_file(guest)));
    Json *q = job_query(j);
    g_assert_cmpstr(json_get(q, "status")->string, ==, "concluded");
    g_assert_cmpstr(json_get(q, "type")->string, ==, "mirror");
    json_free(q);
    g_assert_true(job_dismiss(j, NULL));
    same(l, guest, l->model, "verbs");
    block_close(t);
    block_close(guest);
    same_file(l, "t.qcow2", l->model, "verbs");

    /* An error stops the job, and it goes on when told to. */
    make(l, "u.qcow2", NULL, "");
    guest = open_image(l, "t.qcow2", "", BLOCK_RDWR);
    t = open_image(l, "u.qcow2", ",file.rules.0.on=write,file.rules.0.nth=3,file.rules.0.errno=28", BLOCK_RDWR);
    o = options_for(l, &hooks);
    o.on_target_error = JOB_ON_ERROR_ENOSPC;
    j = job_backup(guest, t, &(BackupOptions){ .sync = JOB_SYNC_FULL }, &o, &err);
    start(j, err);
    while (job_status(j) != JOB_PAUSED)
        co_pause(l->aio);
    q = job_query(j);
    g_assert_cmpstr(json_get(q, "io-status")->string, ==, "nospace");
    json_free(q);
    g_assert_true(job_resume(j, NULL));
    g_assert_true(finish(l, j));
    block_close(t);
    block_close(guest);
    same_file(l, "u.qcow2", l->model, "after no space");

    /* Cancelled before it starts. */
    guest = open_image(l, "t.qcow2", "", BLOCK_RDWR);
    t = open_image(l, "u.qcow2", "", BLOCK_RDWR);
    o = options_for(l, &hooks);
    j = job_backup(guest, t, &(BackupOptions){ .sync = JOB_SYNC_FULL }, &o, &err);
    g_assert_no_error(err);
    g_assert_true(job_cancel(j, false, NULL));
    g_assert_false(finish(l, j));
    same(l, guest, l->model, "cancelled before its start");
    block_close(t);
    block_close(guest);
}

/* --- the speed, and jobs whose images answer at once */

static Block *null_disk(Lab *l, const char *name)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("driver=null-co,size=64T,node-name=%s", name);
    Block *b = block_open(l->graph, NULL, json_from_options("test", text, NULL, &err), BLOCK_RDWR, &err);
    g_assert_no_error(err);
    return b;
}

static double seconds_of(uint64_t since) { return (double)(block_now_ns() - since) / 1e9; }

static void await(Lab *l, Job *j, JobStatus s)
{
    for (uint64_t start = block_now_ns(); job_status(j) != s; co_sleep_ns(l->aio, 1000000))
        if (seconds_of(start) > 120)
            g_error("the job is %s and not %s", job_status_name(job_status(j)), job_status_name(s));
}

/* Bytes in half a second at so many a second, of which none are owed to the time before. */
static double measure(Lab *l, Job *j, uint64_t speed)
{
    uint64_t before, after, len;
    GError *err = NULL;
    job_set_speed(j, speed, &err);
    g_assert_no_error(err);
    uint64_t start = block_now_ns();
    job_progress(j, &before, &len);
    co_sleep_ns(l->aio, 500000000);
    job_progress(j, &after, &len);
    double seconds = seconds_of(start), share = (double)(after - before) / seconds / (double)speed;
    /* A twentieth of a second may be made up for, and each worker has a piece in hand that was paid for before. */
    g_assert_cmpfloat(share, <, 1.0 + 0.05 / seconds + 17.0 * (1 << 20) / ((double)speed * seconds));
    return share;
}

static void speed(Lab *l)
{
    GError *err = NULL;
    const JobOptions o = { .id = "j", .speed = 1, .manual_dismiss = true };
    Block *a = null_disk(l, "a"), *b = null_disk(l, "b");
    Job *j = job_mirror(a, b, NULL, &o, &err);
    start(j, err);
    co_sleep_ns(l->aio, 10000000);
    /* A byte a second: all wait for a week, and can be stopped nonetheless. */
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(job_pause(j, NULL));
        await(l, j, JOB_PAUSED);
        g_assert_true(job_resume(j, NULL));
        await(l, j, JOB_RUNNING);
    }
    /* Too fast is wrong each time; too slow may be the machine, but not always. */
    double best = 0;
    for (unsigned i = 0; i < 20 && best < 0.6; i++)
        best = MAX(best, measure(l, j, (uint64_t)(200 + 100 * (i % 2)) << 20));
    g_assert_cmpfloat(best, >=, 0.6);
    /* As fast as may be: no piece ever waits for a device, and the others get their turn. */
    g_assert_true(job_set_speed(j, 0, NULL));
    co_sleep_ns(l->aio, 20000000);
    g_assert_cmpint(job_status(j), ==, JOB_RUNNING);
    g_assert_true(job_cancel(j, true, NULL));
    g_assert_cmpint(job_wait(j, false, NULL), ==, -ECANCELED);
    g_assert_true(job_dismiss(j, NULL));
    block_close(a);
    block_close(b);
}

/* Requests that a throttled node holds back do not hold up who waits until there are none. */
static void write_throttled(void *self)
{
    Lab *l = self;
    uint8_t *buf = block_memory(65536);
    memset(buf, 7, 65536);
    g_assert_cmpint(block_write(l->guest, l->writes++ * 65536, buf, 65536, 0), ==, 0);
    free(buf);
    l->guests--;
    co_queue_wake_all(&l->ended);
}

static void throttled(Lab *l)
{
    GError *err = NULL;
    g_assert_true(block_add_object(l->graph, "throttle-group,id=g,limits.bps-total=1", &err));
    make(l, "a.qcow2", NULL, "");
    make(l, "t.qcow2", NULL, "");
    g_autofree char *path = path_of(l, "a.qcow2");
    g_autofree char *text = g_strdup_printf("driver=throttle,throttle-group=g,file.driver=qcow2,file.file.driver=file,file.file.filename=%s", path);
    Block *guest = block_open(l->graph, NULL, json_from_options("test", text, NULL, &err), BLOCK_RDWR, &err);
    g_assert_no_error(err);
    Block *t = open_image(l, "t.qcow2", "", BLOCK_RDWR);
    l->guest = guest;
    l->writes = 0;
    for (l->guests = 0; l->guests < 4; l->guests++)
        co_start(write_throttled, l);
    co_sleep_ns(l->aio, 20000000);
    g_assert_cmpuint(l->guests, >, 0);
    Job *j = job_mirror(guest, t, NULL, NULL, &err);        /* its filter comes when no request is under way */
    g_assert_no_error(err);
    g_assert_cmpuint(l->guests, ==, 0);
    start(j, NULL);
    co_sleep_ns(l->aio, 20000000);
    g_assert_true(job_cancel(j, true, NULL));               /* nor its reading */
    g_assert_cmpint(job_wait(j, false, NULL), ==, -ECANCELED);
    block_close(t);
    block_close(guest);
}

static void lab_main(void *self) { Lab *l = self; l->fn(l); }

static void lab(gconstpointer data)
{
    Lab l = { .fn = *(void (*const *)(Lab *))data };
    GError *err = NULL;
    l.dir = g_strdup("/dev/shm/rhea-jobs-XXXXXX");
    if (!g_mkdtemp(l.dir)) {
        g_free(l.dir);
        l.dir = g_dir_make_tmp("rhea-jobs-XXXXXX", &err);
        g_assert_no_error(err);
    }
    l.rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    l.model = g_malloc0(DISK);
    l.busy = g_malloc0(SECTORS);
    l.unsure = g_malloc0(SECTORS);
    l.aio = aio_new(AIO_AUTO, &err);
    g_assert_no_error(err);
    l.graph = block_graph_new(l.aio);
    aio_run(l.aio, lab_main, &l);
    block_graph_free(l.graph);
    aio_free(l.aio);
    GDir *d = g_dir_open(l.dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(d));) {
        g_autofree char *path = path_of(&l, name);
        unlink(path);
    }
    g_dir_close(d);
    rmdir(l.dir);
    g_free(l.dir);
    g_free(l.model);
    g_free(l.busy);
    g_free(l.unsure);
    g_rand_free(l.rand);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*fn)(Lab *l); } tests[] = {
        { "verbs", verbs }, { "mirror", mirror }, { "quiet-copy", quiet_copy }, { "backup", backup }, { "incremental", incremental },
        { "flush-fails", flush_fails },
        { "commit", commit }, { "stream", stream }, { "rebase", rebase }, { "crash", crash }, { "before-write", before_write },
        { "speed", speed }, { "throttled", throttled },
    };
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *name = g_strdup_printf("/block/jobs/%s", tests[i].name);
        g_test_add_data_func(name, &tests[i].fn, lab);
    }
    return g_test_run();
}
