/* SPDX-License-Identifier: GPL-2.0-or-later
 * What kinds of jobs implement, and what they have to build on. */
#ifndef BLOCK_JOB_INT_H
#define BLOCK_JOB_INT_H

#include "block/bitmap.h"
#include "block/driver.h"
#include "block/job.h"
#include "block/range.h"

typedef struct JobType {
    const char *name;
    size_t size;                        /* of its state */
    bool gets_ready;
    int  (*co_run)(Job *j);             /* the work: 0, -ECANCELED or -errno */
    /* The changes of the graph after it, r 0, or undoing all, r < 0; the result.  With err where a sentence is due. */
    int  (*co_finish)(Job *j, int r, GError **err);
} JobType;

struct Job {
    const JobType *type;
    void       *state;
    BlockGraph *graph;
    Aio        *aio;
    char       *id;
    JobStatus   status;
    uint64_t    offset, len, speed;
    JobOnError  on_source_error, on_target_error;
    bool        auto_finalize, auto_dismiss;
    JobHooks    hooks;
    bool        cancelled, forced, completing, finalizing, paused, stopped, freed, draining;
    unsigned    waiters, workers, parked;
    const char *io_status;              /* "ok", "failed", "nospace" */
    int         result;
    GError     *err;
    CoQueue     wake;                   /* a verb has come; kinds of jobs may wake it, too */
    CoQueue     changed;                /* of status */
    uint64_t    clock_ns;               /* when the next piece may go */
};

enum { JOB_PIECE = 1 << 20 };

/* mirror.c: of an image that has none over it. */
Job *job_commit_active(Block *top, Block *base, const JobOptions *o, GError **err);

Job *job_new(const JobType *t, Block *node, const JobOptions *o, GError **err);
void job_drop(Job *j);                  /* one that could not be set up */
/* Where a job may stop: waits while it is paused; -ECANCELED: it is to end. */
int  job_point(Job *j);
void job_ready(Job *j);

/* Copying by several coroutines.  next: a piece, *len 0: no more, one call at a time; perform: 0 or -errno, *reading says of
 * which side.  skip: failed pieces are passed over where on-error is ignore, and *skipped is the error. */
typedef struct JobCopy {
    int (*next)(void *self, uint64_t *at, uint64_t *len);
    int (*perform)(void *self, uint64_t at, uint64_t len, bool *reading);
    void    *self;
    unsigned workers;
    bool     skip;
    int      skipped;
    /* its own */
    Job     *job;
    CoMutex  cursor;
    CoQueue  ended;
    unsigned running;
    int      result;
} JobCopy;
int job_copy(Job *j, JobCopy *c);
/* [at, at + len) of from to to, zeros as zeros; flags for the writes. */
int job_copy_piece(Block *from, Block *to, uint64_t at, uint64_t len, unsigned flags, bool *reading);

#endif
