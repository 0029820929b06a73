/* SPDX-License-Identifier: GPL-2.0-or-later
 * Jobs: long work on images while guests use them.  States, verbs and events are those that QMP's documentation names, so
 * that the monitor has nothing to add.
 *
 *   created - running (paused) - [ready (standby)] - waiting - pending - concluded - null
 *                     any of these - aborting - concluded - null
 *
 * A job belongs to a graph and runs in coroutines of its loop; everything here is called on that thread, and what says so
 * in a coroutine.  Errors have sentences. */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "block/block.h"

typedef enum JobStatus {
    JOB_CREATED, JOB_RUNNING, JOB_PAUSED, JOB_READY, JOB_STANDBY, JOB_WAITING, JOB_PENDING, JOB_ABORTING, JOB_CONCLUDED, JOB_NULL
} JobStatus;
/* What a failed read of the source or write of the target does: ends the job; is tried again after a while (stream: passed
 * over, and the job fails in the end); pauses the job; pauses it if there is no space and ends it otherwise. */
typedef enum JobOnError { JOB_ON_ERROR_REPORT, JOB_ON_ERROR_IGNORE, JOB_ON_ERROR_STOP, JOB_ON_ERROR_ENOSPC } JobOnError;
typedef enum JobEvent {
    JOB_EVENT_STATUS, JOB_EVENT_READY, JOB_EVENT_ERROR, JOB_EVENT_PENDING, JOB_EVENT_COMPLETED, JOB_EVENT_CANCELLED
} JobEvent;

typedef struct Job Job;
typedef struct JobHooks { void *self; void (*event)(void *self, Job *j, JobEvent e); } JobHooks;
typedef struct JobOptions {
    const char *id;                     /* NULL: the name of the node */
    uint64_t    speed;                  /* bytes a second, 0: as fast as may be */
    JobOnError  on_source_error, on_target_error;
    bool        manual_finalize, manual_dismiss;
    const JobHooks *hooks;              /* copied; NULL: nobody listens */
} JobOptions;

/* --- making one; in coroutines.  o may be NULL.  NULL on error.  References are taken to what is passed. */

/* The data of the images from top down to above base into base.  top has an image over it: that one's backing file becomes
 * base, by the name backing_name (NULL: base's own); without one, the job becomes ready, and completing it puts base in
 * top's place.  base NULL: top's own backing file. */
Job *job_commit(Block *top, Block *base, const char *backing_name, const JobOptions *o, GError **err);
/* What top reads from images above base becomes its own; base (NULL: none) is its backing file then, by that name. */
Job *job_stream(Block *top, Block *base, const char *backing_name, const JobOptions *o, GError **err);
/* The same down to and with bottom; the base is whatever lies below that when the job ends. */
Job *job_stream_to(Block *top, Block *bottom, const char *backing_name, const JobOptions *o, GError **err);
/* What top reads from its backing file and `now` (NULL: zeros) would show otherwise becomes its own, so that it may lie over now. */
Job *job_rebase(Block *top, Block *now, const JobOptions *o, GError **err);

typedef enum JobSync { JOB_SYNC_FULL, JOB_SYNC_TOP, JOB_SYNC_NONE, JOB_SYNC_BITMAP } JobSync;
typedef struct MirrorOptions {
    JobSync  sync;                      /* not bitmap */
    uint64_t granularity, buf_size;     /* 0: the target's clusters, 16 MiB */
    bool     write_blocking;            /* writes of guests reach both before they end */
    bool     no_unmap;                  /* zeros do not become holes of the target */
    Block   *replaces;                  /* whose place the target takes: the source (NULL), or what lies below it if that is a filter */
} MirrorOptions;
/* Makes target what source is, gets ready, and keeps it so; completing puts target in source's place. */
Job *job_mirror(Block *source, Block *target, const MirrorOptions *m, const JobOptions *o, GError **err);

typedef enum JobBitmapMode { JOB_BITMAP_ON_SUCCESS, JOB_BITMAP_NEVER, JOB_BITMAP_ALWAYS } JobBitmapMode;
typedef struct BackupOptions {
    JobSync       sync;
    const char   *bitmap;               /* of the source: with sync=bitmap */
    JobBitmapMode mode;
    bool          compress;
} BackupOptions;
/* Target becomes what source is at this moment. */
Job *job_backup(Block *source, Block *target, const BackupOptions *b, const JobOptions *o, GError **err);

/* --- having one */

bool job_start(Job *j, GError **err);
bool job_pause(Job *j, GError **err);
bool job_resume(Job *j, GError **err);
bool job_set_speed(Job *j, uint64_t speed, GError **err);
/* A mirror that is ready and not forced ends well, with a target that is what the source is now. */
bool job_cancel(Job *j, bool force, GError **err);
bool job_complete(Job *j, GError **err);
bool job_finalize(Job *j, GError **err);
bool job_dismiss(Job *j, GError **err);
/* In a coroutine: until it has ended or, if ready: is ready.  Does not free it, even if it dismisses itself otherwise.  0 or
 * -errno of the job, whose sentence is in err. */
int job_wait(Job *j, bool ready, GError **err);

Job *job_find(BlockGraph *g, const char *id, GError **err);
const char *job_type(const Job *j);
JobStatus job_status(const Job *j);
const char *job_status_name(JobStatus s);
void job_progress(const Job *j, uint64_t *offset, uint64_t *len);
Json *job_query(const Job *j);          /* as query-block-jobs has it */
bool job_parse_on_error(const char *text, JobOnError *out, GError **err);

#endif
