/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img commit and rebase: images and what lies below them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/job.h"
#include "tools/img/img.h"

/* --- jobs, seen to their end */

typedef struct Watch { Img *m; Job *job; bool over, left; CoQueue ended; } Watch;

/* Shows how far the job is, and cancels it when the user says so. */
static void watch(void *self)
{
    Watch *w = self;
    while (!w->over) {
        uint64_t offset, len;
        job_progress(w->job, &offset, &len);
        if (offset < len)
            img_progress(w->m, offset, len);
        if (*w->m->interrupted)
            job_cancel(w->job, true, NULL);
        co_sleep_ns(w->m->aio, 5000000);        /* run_job() waits for the last of these */
    }
    w->left = true;
    co_queue_wake_all(&w->ended);
}

/* ready: the job gets ready, and then ends well by being cancelled: nobody changes places. */
static bool run_job(Img *m, Job *j, bool ready, const char *interrupted, GError **err)
{
    if (!j || !job_start(j, err))
        return false;
    Watch w = { .m = m, .job = j };
    co_start(watch, &w);
    int r = job_wait(j, ready, err);
    w.over = true;
    if (!r && ready) {
        job_cancel(j, false, NULL);
        r = job_wait(j, false, err);
    }
    while (!w.left)
        co_queue_wait(&w.ended);
    if (!r)
        img_progress(m, 1, 1);
    else if (*m->interrupted) {
        g_clear_error(err);
        fail(err, "%s", interrupted);
    }
    return !r;
}

/* --- commit */

/* The images of top's chain above base into base; top stays what it is. */
static bool commit_into(Img *m, Block *top, Block *base, uint64_t rate, GError **err)
{
    const JobOptions o = { .id = "commit", .speed = rate };
    return run_job(m, job_commit(top, base, NULL, &o, err), true, "interrupted; the image still has everything", err);
}

int img_commit(Img *m)
{
    const char *cache = NULL, *base_name = NULL;
    uint64_t rate = 0;
    bool drop = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "t:b:dr:", NULL)) != -1;) {
        switch (c) {
        case 't': cache = optarg; break;
        case 'b': base_name = optarg; break;
        case 'd': drop = true; break;
        case 'r':
            if (!img_parse_size(optarg, &rate, &err))
                return img_fail(err);
            break;
        default: return 1;
        }
    }
    if (optind != m->argc - 1)
        return img_error("commit: which image?");
    Block *top = img_open(m, m->argv[optind], m->format, cache, BLOCK_RDWR | BLOCK_UNMAP, &err);
    if (!top)
        return img_fail(err);
    Block *base = block_backing(top);
    if (!base)
        return img_close(top, img_error("%s has no backing file", block_filename(top)));
    drop |= base_name != NULL;
    if (base_name) {
        while (base && strcmp(block_filename(base), base_name)) {
            g_autofree char *beside = block_path_beside(block_filename(top), base_name);
            if (!strcmp(block_filename(base), beside))
                break;
            base = block_backing(base);
        }
        if (!base)
            return img_close(top, img_error("%s is not below %s", base_name, block_filename(top)));
    }
    bool ok = commit_into(m, top, base, rate, &err);
    if (ok && !drop && block_backing(top) == base) {
        int r = block_make_empty(top);
        if (r)
            ok = fail_errno(&err, -r, "committed, but %s cannot be emptied", block_filename(top));
    }
    int result = img_close(top, ok ? 0 : img_fail(err));
    if (!result && !m->quiet)
        printf("Image committed.\n");
    return result;
}

/* --- rebase */

int img_rebase(Img *m)
{
    const char *cache = NULL, *source_cache = NULL, *base = NULL, *format = NULL;
    bool unsafe = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "t:T:b:F:u", NULL)) != -1;) {
        switch (c) {
        case 't': cache = optarg; break;
        case 'T': source_cache = optarg; break;
        case 'b': base = optarg; break;
        case 'F': format = optarg; break;
        case 'u': unsafe = true; break;
        default: return 1;
        }
    }
    if (unsafe && !base)
        base = "";
    if (optind != m->argc - 1 || !base)
        return img_error("rebase: -b BACKING (\"\" for none) and an image, please");
    if (*base && !format)
        return img_error("the backing file's format is not given (-F): a probed one could be chosen by a guest");
    bool share = m->share;
    m->share = false;           /* -U means the new backing file: the image is written */
    Block *b = img_open(m, m->argv[optind], m->format, cache, BLOCK_RDWR | (unsafe ? BLOCK_NO_BACKING : 0), &err);
    m->share = share;
    if (!b)
        return img_fail(err);
    Block *now = NULL;
    bool ok = true;
    if (!unsafe) {
        if (*base) {
            g_autofree char *path = block_path_beside(block_filename(b), base);
            bool opts = m->image_opts;
            m->image_opts = false;
            now = img_open(m, path, format, source_cache, 0, &err);
            m->image_opts = opts;
            ok = now;
        }
        const JobOptions o = { .id = "rebase" };
        ok = ok && run_job(m, job_rebase(b, now, &o, &err), false, "interrupted; the image still has its old backing file", &err);
    }
    ok = ok && block_set_backing(b, *base ? base : NULL, format, &err);
    int result = ok ? 0 : img_fail(err);
    result = img_close(now, result);
    return img_close(b, result);
}
