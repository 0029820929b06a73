/* SPDX-License-Identifier: GPL-2.0-or-later
 * Jobs (job.h): states, verbs, errors, speed; copying by several coroutines. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/job_int.h"
#include "util/bits.h"
#include "util/error.h"

#define SLICE_NS UINT64_C(50000000)
#define RETRY_NS UINT64_C(200000000)

static const char *const status_names[] = {
    "created", "running", "paused", "ready", "standby", "waiting", "pending", "aborting", "concluded", "null"
};

const char *job_type(const Job *j) { return j->type->name; }
JobStatus job_status(const Job *j) { return j->status; }
const char *job_status_name(JobStatus s) { return status_names[s]; }

void job_progress(const Job *j, uint64_t *offset, uint64_t *len)
{
    *offset = j->offset;
    *len = MAX(j->len, j->offset);
}

bool job_parse_on_error(const char *text, JobOnError *out, GError **err)
{
    static const char *const names[] = { "report", "ignore", "stop", "enospc" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], text)) {
            *out = (JobOnError)i;
            return true;
        }
    return fail(err, "'%s' is none of report, ignore, stop, enospc", text);
}

Json *job_query(const Job *j)
{
    Json *o = json_object();
    uint64_t offset, len;
    job_progress(j, &offset, &len);
    json_set(o, "type", json_string(j->type->name));
    json_set(o, "device", json_string(j->id));
    json_set(o, "len", json_u64(len));
    json_set(o, "offset", json_u64(offset));
    json_set(o, "busy", json_bool(j->workers > j->parked));
    json_set(o, "paused", json_bool(j->paused || j->stopped));
    json_set(o, "speed", json_u64(j->speed));
    json_set(o, "io-status", json_string(j->io_status));
    json_set(o, "ready", json_bool(j->status == JOB_READY || j->status == JOB_STANDBY));
    json_set(o, "status", json_string(status_names[j->status]));
    json_set(o, "auto-finalize", json_bool(j->auto_finalize));
    json_set(o, "auto-dismiss", json_bool(j->auto_dismiss));
    if (j->err)
        json_set(o, "error", json_string(j->err->message));
    return o;
}

/* --- coming and going */

static void tell(Job *j, JobEvent e)
{
    if (j->hooks.event)
        j->hooks.event(j->hooks.self, j, e);
}

static void set_status(Job *j, JobStatus s)
{
    if (j->status == s)
        return;
    j->status = s;
    tell(j, JOB_EVENT_STATUS);
    co_queue_wake_all(&j->changed);
}

Job *job_find(BlockGraph *g, const char *id, GError **err)
{
    GPtrArray *all = block_jobs(g);
    for (unsigned i = 0; i < all->len; i++)
        if (!strcmp(((Job *)all->pdata[i])->id, id))
            return all->pdata[i];
    fail(err, "Block job '%s' not found", id);
    return NULL;
}

Job *job_new(const JobType *t, Block *node, const JobOptions *o, GError **err)
{
    static const JobOptions none;
    o = o ? o : &none;
    const char *id = o->id ? o->id : node->node_name;
    if (job_find(node->graph, id, NULL)) {
        fail(err, "Job ID '%s' already in use", id);
        return NULL;
    }
    Job *j = g_new0(Job, 1);
    *j = (Job){ .type = t, .graph = node->graph, .aio = node->aio, .id = g_strdup(id), .speed = o->speed,
                .on_source_error = o->on_source_error, .on_target_error = o->on_target_error,
                .auto_finalize = !o->manual_finalize, .auto_dismiss = !o->manual_dismiss, .io_status = "ok" };
    if (o->hooks)
        j->hooks = *o->hooks;
    j->state = g_malloc0(t->size);
    g_ptr_array_add(block_jobs(j->graph), j);
    return j;
}

static void free_if_unused(Job *j)
{
    if (!j->freed || j->waiters)
        return;
    g_ptr_array_remove(block_jobs(j->graph), j);
    g_clear_error(&j->err);
    g_free(j->state);
    g_free(j->id);
    g_free(j);
}

void job_drop(Job *j)
{
    j->freed = true;
    free_if_unused(j);
}

static void dismiss(Job *j)
{
    set_status(j, JOB_NULL);
    j->freed = true;
    free_if_unused(j);
}

/* --- its life */

static void conclude(Job *j, int r)
{
    GError *why = NULL;
    if (r)
        set_status(j, JOB_ABORTING);
    r = j->type->co_finish(j, r, &why);
    if (r && j->status != JOB_ABORTING)
        set_status(j, JOB_ABORTING);
    j->result = r;
    if (why && !j->err && r)
        j->err = why;
    else
        g_clear_error(&why);
    if (r && !j->err)
        fail_errno(&j->err, -r, "job '%s' failed", j->id);
    if (j->draining)
        block_draining_end(j->graph);
    tell(j, r == -ECANCELED ? JOB_EVENT_CANCELLED : JOB_EVENT_COMPLETED);
    set_status(j, JOB_CONCLUDED);
    co_queue_wake_all(&j->changed);
    if (j->auto_dismiss)
        dismiss(j);
}

static void run(void *self)
{
    Job *j = self;
    int r = job_point(j);
    if (!r)
        r = j->type->co_run(j);
    j->workers = 0;
    if (!r) {
        set_status(j, JOB_WAITING);
        set_status(j, JOB_PENDING);
        if (!j->auto_finalize)
            tell(j, JOB_EVENT_PENDING);
        while (!j->auto_finalize && !j->finalizing && !(j->cancelled && (j->forced || !j->type->gets_ready)))
            co_queue_wait(&j->wake);
        if (!j->auto_finalize && !j->finalizing)
            r = -ECANCELED;
    }
    conclude(j, r);
}

bool job_start(Job *j, GError **err)
{
    if (j->status != JOB_CREATED)
        return fail(err, "job '%s' has been started already", j->id);
    set_status(j, JOB_RUNNING);
    j->workers = 1;
    co_start(run, j);
    return true;
}

/* --- verbs */

typedef enum Verb { VERB_CANCEL, VERB_PAUSE, VERB_RESUME, VERB_SET_SPEED, VERB_COMPLETE, VERB_FINALIZE, VERB_DISMISS } Verb;

static bool may(Job *j, Verb v, GError **err)
{
    enum { LIVE = 1 << JOB_RUNNING | 1 << JOB_PAUSED | 1 << JOB_READY | 1 << JOB_STANDBY, NEW = 1 << JOB_CREATED,
           DONE = 1 << JOB_WAITING | 1 << JOB_PENDING };
    static const struct { const char *name; unsigned in; } verbs[] = {
        [VERB_CANCEL] = { "cancel", NEW | LIVE | DONE }, [VERB_PAUSE] = { "pause", NEW | LIVE }, [VERB_RESUME] = { "resume", NEW | LIVE },
        [VERB_SET_SPEED] = { "set-speed", NEW | LIVE }, [VERB_COMPLETE] = { "complete", 1 << JOB_READY },
        [VERB_FINALIZE] = { "finalize", 1 << JOB_PENDING }, [VERB_DISMISS] = { "dismiss", 1 << JOB_CONCLUDED },
    };
    return (verbs[v].in >> j->status & 1) ||
           fail(err, "Job '%s' in state '%s' cannot accept command verb '%s'", j->id, status_names[j->status], verbs[v].name);
}

bool job_pause(Job *j, GError **err)
{
    if (!may(j, VERB_PAUSE, err))
        return false;
    if (j->paused)
        return fail(err, "Job is already paused");
    j->paused = true;
    co_queue_wake_all(&j->wake);
    return true;
}

bool job_resume(Job *j, GError **err)
{
    if (!may(j, VERB_RESUME, err))
        return false;
    if (!j->paused && !j->stopped)
        return fail(err, "Can't resume a job that was not paused");
    j->paused = j->stopped = false;
    j->io_status = "ok";
    co_queue_wake_all(&j->wake);
    return true;
}

bool job_set_speed(Job *j, uint64_t speed, GError **err)
{
    if (!may(j, VERB_SET_SPEED, err))
        return false;
    j->speed = speed;
    j->clock_ns = block_now_ns();       /* nothing is owed to what it was */
    co_queue_wake_all(&j->wake);
    return true;
}

static bool must_end(const Job *j) { return j->cancelled && j->forced; }

static void conclude_unstarted(void *self) { conclude(self, -ECANCELED); }

bool job_cancel(Job *j, bool force, GError **err)
{
    if (!may(j, VERB_CANCEL, err))
        return false;
    bool unstarted = j->status == JOB_CREATED && !j->cancelled;
    j->cancelled = true;
    /* One that is not ready has nothing to be soft about. */
    j->forced |= force || !j->type->gets_ready || (j->status != JOB_READY && j->status != JOB_STANDBY);
    if (must_end(j) && !j->draining) {      /* its requests that a throttle holds back, among others */
        j->draining = true;
        block_draining_begin(j->graph);
    }
    if (unstarted)
        co_start(conclude_unstarted, j);
    co_queue_wake_all(&j->wake);
    return true;
}

bool job_complete(Job *j, GError **err)
{
    if (!may(j, VERB_COMPLETE, err))
        return false;
    if (j->cancelled || j->paused || j->stopped)
        return fail(err, "The active block job '%s' cannot be completed", j->id);
    j->completing = true;
    co_queue_wake_all(&j->wake);
    return true;
}

bool job_finalize(Job *j, GError **err)
{
    if (!may(j, VERB_FINALIZE, err))
        return false;
    j->finalizing = true;
    co_queue_wake_all(&j->wake);
    return true;
}

bool job_dismiss(Job *j, GError **err)
{
    if (!may(j, VERB_DISMISS, err))
        return false;
    dismiss(j);
    return true;
}

int job_wait(Job *j, bool ready, GError **err)
{
    j->waiters++;
    while (j->status != JOB_CONCLUDED && j->status != JOB_NULL && !(ready && j->status == JOB_READY))
        co_queue_wait(&j->changed);
    int r = j->status == JOB_READY ? 0 : j->result;
    if (r && err && !*err)
        *err = g_error_copy(j->err);
    j->waiters--;
    free_if_unused(j);
    return r;
}

/* --- for kinds of jobs */

int job_point(Job *j)
{
    while (!j->cancelled && (j->paused || j->stopped)) {
        if (++j->parked == j->workers)
            set_status(j, j->status == JOB_READY || j->status == JOB_STANDBY ? JOB_STANDBY : JOB_PAUSED);
        co_queue_wait(&j->wake);
        j->parked--;
        if ((j->cancelled || (!j->paused && !j->stopped)) && j->status != JOB_RUNNING && j->status != JOB_READY)
            set_status(j, j->status == JOB_STANDBY ? JOB_READY : JOB_RUNNING);
    }
    return must_end(j) ? -ECANCELED : 0;
}

/* Less if it is cancelled. */
static void pause_ns(Job *j, uint64_t ns)
{
    for (uint64_t end = block_now_ns() + ns, now; (now = block_now_ns()) < end && !must_end(j);)
        co_sleep_ns(j->aio, (int64_t)MIN(end - now, SLICE_NS));
}

static void pace(Job *j, uint64_t bytes)
{
    while (j->speed && !must_end(j)) {
        uint64_t now = block_now_ns();
        if (j->clock_ns <= now) {       /* what a timer was late is made up for, if it is not much */
            j->clock_ns = MAX(j->clock_ns, now - SLICE_NS) + (uint64_t)((double)bytes * 1e9 / (double)j->speed);
            return;
        }
        if (j->paused || j->stopped)
            job_point(j);
        else
            co_sleep_ns(j->aio, (int64_t)MIN(j->clock_ns - now, SLICE_NS));
    }
}

void job_ready(Job *j)
{
    if (j->status == JOB_READY || j->status == JOB_STANDBY)
        return;
    set_status(j, j->status == JOB_PAUSED ? JOB_STANDBY : JOB_READY);
    tell(j, JOB_EVENT_READY);
}

/* True: try again. */
static bool survive(Job *j, JobOnError policy, int r)
{
    bool stop = policy == JOB_ON_ERROR_STOP || (policy == JOB_ON_ERROR_ENOSPC && r == -ENOSPC);
    if (stop) {
        j->stopped = true;
        j->io_status = r == -ENOSPC ? "nospace" : "failed";
    }
    tell(j, JOB_EVENT_ERROR);
    if (policy == JOB_ON_ERROR_IGNORE)
        pause_ns(j, RETRY_NS);
    return stop || policy == JOB_ON_ERROR_IGNORE;
}

static int one_piece(JobCopy *c, uint64_t at, uint64_t len)
{
    for (;;) {
        bool reading = false;
        int r = c->perform(c->self, at, len, &reading);
        JobOnError policy = reading ? c->job->on_source_error : c->job->on_target_error;
        if (!r)
            return 0;
        if (c->skip && policy == JOB_ON_ERROR_IGNORE) {
            tell(c->job, JOB_EVENT_ERROR);
            c->skipped = c->skipped ? c->skipped : r;
            return 0;
        }
        if (!survive(c->job, policy, r)) {
            if (!c->job->err)
                fail_errno(&c->job->err, -r, "%s failed at %" PRIu64, reading ? "reading" : "writing", at);
            return r;
        }
        r = job_point(c->job);
        if (r)
            return r;
    }
}

static void worker(void *self)
{
    JobCopy *c = self;
    int r = 0;
    while (!r && !c->result) {
        uint64_t at = 0, len = 0;
        r = job_point(c->job);
        if (r)
            break;
        co_mutex_lock(&c->cursor);
        r = c->result ? 0 : c->next(c->self, &at, &len);
        co_mutex_unlock(&c->cursor);
        if (r || !len)
            break;
        pace(c->job, len);
        co_pause(c->job->aio);          /* images in memory answer at once, and nobody else would get a turn */
        r = one_piece(c, at, len);
        if (!r)
            c->job->offset += len;
    }
    if (r && !c->result)
        c->result = r;
    c->job->workers--;
    if (!--c->running)
        co_queue_wake_all(&c->ended);
    /* Those that are left may all be parked now. */
    co_queue_wake_all(&c->job->wake);
}

int job_copy(Job *j, JobCopy *c)
{
    c->job = j;
    c->result = 0;
    c->running = c->workers;
    j->workers += c->workers - 1;       /* the caller only waits */
    for (unsigned i = 0; i < c->workers; i++)
        co_start(worker, c);
    while (c->running)
        co_queue_wait(&c->ended);
    j->workers++;
    return c->result;
}

int job_copy_piece(Block *from, Block *to, uint64_t at, uint64_t len, unsigned flags, bool *reading)
{
    uint64_t piece = flags & BLOCK_COMPRESS ? len : JOB_PIECE;      /* compressed clusters stay whole */
    uint8_t *buf = NULL;
    int r = 0;
    for (uint64_t n; len && !r; at += n, len -= n) {
        Extent e = { .len = len, .flags = EXTENT_DATA };
        *reading = true;
        if (!(flags & BLOCK_COMPRESS))
            r = block_map_above(from, NULL, at, len, &e);
        n = MIN(e.len, piece);
        if (!r && !(e.flags & EXTENT_ZERO)) {
            if (!buf)
                buf = block_memory(MIN(len, piece));
            r = buf ? block_read(from, at, buf, n) : -ENOMEM;
        } else {
            n = e.len;
        }
        if (r)
            break;
        *reading = false;
        bool zero = (e.flags & EXTENT_ZERO) || buf_is_zero(buf, n);
        r = zero ? block_zero(to, at, n, flags & ~(unsigned)BLOCK_COMPRESS)
                 : block_write(to, at, buf, n, flags & ~(unsigned)BLOCK_MAY_UNMAP);
    }
    free(buf);
    return r;
}
