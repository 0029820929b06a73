/* SPDX-License-Identifier: GPL-2.0-or-later
 * Throttling (throttle.h).
 *
 * Each limit is a clock that each request moves on by what it costs at the permitted rate.  A request may go when the clock is
 * no further ahead of the time than the burst allows: with none a tenth of a second's worth, so that ordinary jitter costs nothing.
 * A burst of one second may come at once, a longer one goes at the rate of max, by a clock of its own.
 *
 * Where somebody waits until no request is under way, those that wait here go on at once: nobody waits for what a guest may not
 * yet do. */
#include "block/throttle.h"

#include <errno.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/options.h"

enum { N_LIMITS = 6 };
#define SECOND_NS 1000000000.0
#define SLICE_NS UINT64_C(20000000)

typedef struct Limit {
    uint64_t avg, max, seconds;         /* per second; max: while a burst of that many seconds lasts */
    double   clock_ns, burst_ns;        /* burst_ns: of max itself, for bursts of more than a second */
} Limit;

static const struct { const char *name; bool bytes; int direction; /* 1: writes, -1: both */ } kinds[N_LIMITS] = {
    { "bps-total", true, -1 }, { "bps-read", true, 0 }, { "bps-write", true, 1 },
    { "iops-total", false, -1 }, { "iops-read", false, 0 }, { "iops-write", false, 1 },
};

struct ThrottleGroup {
    char    *id;
    Limit    limit[N_LIMITS];
    uint64_t iops_size;                 /* a request counts once for each so many bytes; 0: once */
    CoMutex  turn[2];                   /* requests of a direction go in the order in which they came */
};

static bool member(Options *o, const char *name, const char *suffix, uint64_t *out, GError **err)
{
    g_autofree char *a = g_strconcat("limits.", name, suffix, NULL), *b = g_strconcat("x-", name, suffix, NULL);
    const char *v = options_get(o, a);
    if (!v)
        v = options_get(o, b);
    return !v || parse_size(a, v, 1, out, err);
}

static bool limit_read(Options *o, const char *name, Limit *l, GError **err)
{
    l->seconds = 1;
    if (!member(o, name, "", &l->avg, err) || !member(o, name, "-max", &l->max, err) || !member(o, name, "-max-length", &l->seconds, err))
        return false;
    if (l->max && l->max < l->avg)
        return fail(err, "%s-max is below %s", name, name);
    if (l->max && !l->avg)
        return fail(err, "%s-max needs %s", name, name);
    return (l->seconds && l->seconds <= 86400) || fail(err, "%s-max-length is not from 1 to 86400 seconds", name);
}

ThrottleGroup *throttle_group_new(const char *spec, GError **err)
{
    Options *o = options_parse("--object", spec, "qom-type", err);
    if (!o)
        return NULL;
    ThrottleGroup *g = g_new0(ThrottleGroup, 1);
    bool ok = true;
    options_get(o, "qom-type");
    g->id = g_strdup(options_get(o, "id"));
    if (!g->id)
        ok = fail(err, "--object throttle-group: id= is needed");
    for (unsigned i = 0; i < N_LIMITS && ok; i++)
        ok = limit_read(o, kinds[i].name, &g->limit[i], err);
    for (unsigned i = 0; i < N_LIMITS && ok; i += 3)
        if (g->limit[i].avg && (g->limit[i + 1].avg || g->limit[i + 2].avg))
            ok = fail(err, "%s and %s or %s exclude each other", kinds[i].name, kinds[i + 1].name, kinds[i + 2].name);
    ok = ok && member(o, "iops-size", "", &g->iops_size, err) && options_done(o, err);
    options_free(o);
    if (ok)
        return g;
    throttle_group_free(g);
    return NULL;
}

void throttle_group_free(ThrottleGroup *g)
{
    g_free(g->id);
    g_free(g);
}

bool throttle_group_equal(const ThrottleGroup *a, const ThrottleGroup *b)
{
    for (unsigned i = 0; i < N_LIMITS; i++)
        if (a->limit[i].avg != b->limit[i].avg || a->limit[i].max != b->limit[i].max || a->limit[i].seconds != b->limit[i].seconds)
            return false;
    return a->iops_size == b->iops_size;
}

void throttle_group_print(const ThrottleGroup *g, GString *out)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };
    for (unsigned i = 0; i < N_LIMITS; i += 3) {
        for (unsigned k = i; k < i + 3; k++)
            g_string_append_printf(out, "%s=%" PRIu64 " ", names[k], g->limit[k].avg);
        for (unsigned k = i; k < i + 3; k++)
            g_string_append_printf(out, "%s_max=%" PRIu64 " ", names[k], g->limit[k].max);
    }
    for (unsigned k = 0; k < N_LIMITS; k++)
        if (g->limit[k].seconds > 1)
            g_string_append_printf(out, "%s_max_length=%" PRIu64 " ", names[k], g->limit[k].seconds);
    g_string_append_printf(out, "iops_size=%" PRIu64 " group=%s", g->iops_size, g->id);
}

/* How long a request must wait that costs so many ns; they are booked. */
static double book(double *clock, double now, double cost, double ahead)
{
    *clock = MAX(*clock, now);
    double wait = *clock - now - ahead;
    *clock += cost;
    return wait;
}

static double book_limit(Limit *l, double now, double amount)
{
    double each = SECOND_NS / (double)l->avg, tenth = SECOND_NS / 10;
    double wait = book(&l->clock_ns, now, amount * each, l->max ? (double)l->max * (double)l->seconds * each : tenth);
    return l->max && l->seconds > 1 ? MAX(wait, book(&l->burst_ns, now, amount * SECOND_NS / (double)l->max, tenth)) : wait;
}

int64_t throttle_book(ThrottleGroup *g, bool write, uint64_t len, uint64_t now_ns)
{
    uint64_t requests = g->iops_size && len > g->iops_size ? (len + g->iops_size - 1) / g->iops_size : 1;
    double wait = 0;
    for (unsigned i = 0; i < N_LIMITS; i++)
        if (g->limit[i].avg && (kinds[i].direction < 0 || kinds[i].direction == write))
            wait = MAX(wait, book_limit(&g->limit[i], (double)now_ns, kinds[i].bytes ? (double)len : (double)requests));
    return (int64_t)wait;
}

static void take_turn(Block *b, bool write, uint64_t len)
{
    ThrottleGroup *g = *(ThrottleGroup **)b->state;
    co_mutex_lock(&g->turn[write]);
    uint64_t now = block_now_ns(), end = now + (uint64_t)throttle_book(g, write, len, now);
    for (; now < end && !block_draining(b->graph); now = block_now_ns())
        co_sleep_ns(b->aio, (int64_t)MIN(end - now, SLICE_NS));
    co_mutex_unlock(&g->turn[write]);
}

static bool throttle_open(Block *b, GError **err)
{
    const char *id = NULL;
    if (!block_opt_string(b->options, "throttle-group", &id, err))
        return false;
    if (!id)
        return fail(err, "throttle: option 'throttle-group' is missing");
    ThrottleGroup *g = block_throttle_group(b->graph, id, err);
    *(ThrottleGroup **)b->state = g;
    b->length = b->file->length;
    b->growable = b->file->growable;
    return g;
}

static int throttle_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    take_turn(b, false, iov_size(v, nv));
    return block_readv(b->file, at, v, nv);
}

static int throttle_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    take_turn(b, true, iov_size(v, nv));
    int r = block_writev(b->file, at, v, nv, 0);
    b->length = b->file->length;
    return r;
}

static int throttle_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    take_turn(b, true, len);
    int r = block_zero(b->file, at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
    b->length = b->file->length;
    return r;
}

static int throttle_discard(Block *b, uint64_t at, uint64_t len)
{
    take_turn(b, true, len);
    return block_discard(b->file, at, len);
}

static int throttle_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    if (!block_resize(b->file, len, how, err))
        return -EIO;
    b->length = len;
    return 0;
}

static int throttle_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    return block_map(b->file, at, len, out);
}

const BlockDriver block_throttle_driver = {
    .name = "throttle", .kind = BLOCK_KIND_FILTER, .size = sizeof(ThrottleGroup *), .co_open = throttle_open, .co_read = throttle_read,
    .co_write = throttle_write, .co_zero = throttle_zero, .co_discard = throttle_discard, .co_resize = throttle_resize,
    .co_map = throttle_map,
};

ThrottleGroup *throttle_node_group(const Block *b) { return *(ThrottleGroup **)b->state; }
