/* SPDX-License-Identifier: GPL-2.0-or-later
 * Backup: the target becomes what the source was when the job was made.  A copy-before-write filter saves what guests are
 * about to overwrite; the job copies the rest.
 *
 * With a bitmap: it is emptied at that moment and records on, for the next backup; if this one fails, what it had comes back
 * (on-success), or as much of it as was not copied (always). */
#include <assert.h>
#include <errno.h>

#include "block/copy_before_write.h"
#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

typedef struct Backup {
    Job         *job;
    Block       *guest;         /* the place that all others see: the filter lies there during the job */
    Block       *below;         /* where the source lies meanwhile */
    Block       *target;
    BlockBitmap *bitmap, *had;  /* had: what was in it; of the source, too */
    JobBitmapMode mode;
    JobSync      sync;
    uint64_t     cursor;
} Backup;

static int next(void *self, uint64_t *at, uint64_t *len)
{
    Backup *k = self;
    int r = cbw_broken(k->guest);
    if (r || !block_bitmap_next_dirty(cbw_todo(k->guest), k->cursor, JOB_PIECE, at, len))
        return r;
    k->cursor = *at + *len;
    return 0;
}

static int perform(void *self, uint64_t at, uint64_t len, bool *reading)
{
    Backup *k = self;
    return cbw_copy(k->guest, at, len, reading);
}

/* sync=top: not what the image leaves to its backing file. */
static int leave_out_backing(Backup *k)
{
    int r = 0;
    Extent e;
    for (uint64_t at = 0, len = k->below->length; at < len && !r; at += e.len) {
        r = block_map(k->below, at, len - at, &e);
        if (!r && !(e.flags & EXTENT_ALLOCATED))
            block_bitmap_clear(cbw_todo(k->guest), at, e.len);
    }
    return r;
}

static int backup_run(Job *j)
{
    Backup *k = j->state;
    int r = k->sync == JOB_SYNC_TOP ? leave_out_backing(k) : 0;
    j->len = block_bitmap_count(cbw_todo(k->guest));
    while (!r && k->sync == JOB_SYNC_NONE) {       /* guests' writes do it all */
        r = job_point(j);
        if (!r)
            r = cbw_broken(k->guest);
        if (!r)
            co_queue_wait(&j->wake);
    }
    /* A guest's write that failed to save its part leaves it to us. */
    while (!r && (r = cbw_broken(k->guest)) == 0 && cbw_todo(k->guest)->n_set) {
        JobCopy c = { .next = next, .perform = perform, .self = k, .workers = 8 };
        k->cursor = 0;
        r = job_copy(j, &c);
    }
    return r;
}

static int backup_finish(Job *j, int r, GError **err)
{
    Backup *k = j->state;
    Block *filter = k->below;
    block_drain_begin(k->guest);
    if (!r)
        r = cbw_broken(k->guest);
    /* Part of what was copied may still have to be written, and who knows which if that fails. */
    int flushed = block_flush(k->target);
    r = r ? r : flushed;
    BlockBitmap *left = cbw_todo(k->guest);
    if (k->bitmap && k->mode != JOB_BITMAP_NEVER && r)
        block_bitmap_merge(k->bitmap, k->mode == JOB_BITMAP_ON_SUCCESS || flushed ? k->had : left);
    block_drain_begin(filter);
    block_replace(k->guest, filter);
    block_drain_end(filter);
    block_drain_end(k->guest);
    if (k->had)
        block_bitmap_free(k->had);
    if (k->bitmap)
        k->bitmap->busy = false;
    block_close(filter);
    block_close(k->target);
    block_close(k->guest);
    if (r && r != -ECANCELED)
        fail_errno(err, -r, "backup of %s", j->id);
    return r;
}

static const JobType backup_type = { .name = "backup", .size = sizeof(Backup), .co_run = backup_run, .co_finish = backup_finish };

static bool insert(Backup *k, bool compress, GError **err)
{
    Json *o = json_object();
    json_set(o, "file", json_string(block_name(k->guest)));
    json_set(o, "target", json_string(block_name(k->target)));
    Block *f = block_open_driver(k->guest->graph, &block_copy_before_write_driver, o, k->guest->flags & (BLOCK_RDWR | BLOCK_UNMAP), err);
    if (!f)
        return false;
    cbw_set_compress(f, compress);
    if (k->sync == JOB_SYNC_NONE || k->sync == JOB_SYNC_BITMAP)
        block_bitmap_clear(cbw_todo(f), 0, UINT64_MAX);
    if (k->sync == JOB_SYNC_NONE)
        block_bitmap_set(cbw_todo(f), 0, f->length);
    block_drain_begin(k->guest);
    if (k->bitmap) {
        block_bitmap_merge(cbw_todo(f), k->bitmap);
        block_bitmap_merge(k->had, k->bitmap);
        if (k->mode != JOB_BITMAP_NEVER)
            block_bitmap_clear(k->bitmap, 0, UINT64_MAX);
    }
    block_drain_begin(f);
    block_replace(k->guest, f);
    block_drain_end(f);
    block_drain_end(k->guest);
    k->below = f;
    return true;
}

Job *job_backup(Block *source, Block *target, const BackupOptions *b, const JobOptions *o, GError **err)
{
    BlockInfo info = { 0 };
    BlockBitmap *bitmap = NULL;
    bool ok = true;
    if (source == target)
        ok = fail(err, "Source and target cannot be the same");
    else if (!block_writable(target))
        ok = fail(err, "%s is read-only", block_filename(target));
    else if (target->length != source->length)
        ok = fail(err, "the target has %" PRIu64 " bytes, the source %" PRIu64, target->length, source->length);
    else if ((b->sync == JOB_SYNC_BITMAP) != (b->bitmap != NULL))
        ok = fail(err, b->bitmap ? "a bitmap goes with sync=bitmap or incremental" : "sync=bitmap needs a bitmap");
    if (ok && b->bitmap) {
        bitmap = block_bitmap_find(source, b->bitmap, err);
        ok = bitmap && block_bitmap_usable(bitmap, err);
    }
    if (ok && b->compress) {
        ok = !block_info(target, &info);
        json_free(info.specific);
        ok = (ok && info.can_compress && info.granule) || fail(err, "Compression is not supported for this drive");
    }
    Job *j = ok ? job_new(&backup_type, source, o, err) : NULL;
    if (!j)
        return NULL;
    Backup *k = j->state;
    *k = (Backup){ .job = j, .guest = source, .target = target, .bitmap = bitmap, .mode = b->mode, .sync = b->sync };
    if (bitmap) {
        k->had = block_bitmap_new(source, NULL, UINT64_C(1) << bitmap->shift, err);
        if (k->had)
            k->had->enabled = false;
    }
    if ((bitmap && !k->had) || !insert(k, b->compress, err)) {
        if (k->had)
            block_bitmap_free(k->had);
        job_drop(j);
        return NULL;
    }
    if (bitmap)
        bitmap->busy = true;
    block_ref(source);
    block_ref(target);
    return j;
}
