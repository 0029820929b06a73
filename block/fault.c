/* SPDX-License-Identifier: GPL-2.0-or-later
 * A filter that makes things go wrong on demand, for tests: it fails, tears or delays the n-th request, ends the
 * process at it, or stands for a disk whose power goes.
 *
 *   driver=fault,file.driver=file,file.filename=a,rules.0.on=write,rules.0.nth=3,rules.0.action=error,rules.0.errno=28
 *   ...,volatile=on,seed=7,rules.0.on=flush,rules.0.nth=2,rules.0.action=crash
 *
 * volatile=on: writes stay in memory until a flush, as in a disk's cache.  A crash keeps a random part of them, in a
 * random order, some of them torn between sectors; from then on everything fails. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/driver.h"
#include "util/bits.h"
#include "util/error.h"

enum { ON_READ = 1, ON_WRITE = 2, ON_FLUSH = 4, ON_ZERO = 8, ON_DISCARD = 16, ON_ANY = 31, SECTOR = 512 };
typedef enum Action { ACT_ERROR, ACT_TEAR, ACT_DELAY, ACT_EXIT, ACT_CRASH } Action;

typedef struct Rule { unsigned on; uint64_t nth, count; bool always; Action action; int error; int64_t delay_ns; } Rule;
typedef struct Held { uint64_t at, len; uint8_t *data; } Held;
typedef struct Fault {
    GArray *rules;      /* Rule */
    GArray *held;       /* Held, oldest first */
    GRand  *random;
    bool    is_volatile, dead;
    CoMutex lock;       /* one request at a time where writes are held */
} Fault;

static bool one_of(const char *what, const char *text, const char *const *names, unsigned n, unsigned *out, GError **err)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(names[i], text)) {
            *out = i;
            return true;
        }
    return fail(err, "fault: %s '%s' is unknown", what, text);
}

static bool rule_read(Json *o, Rule *r, GError **err)
{
    static const char *const ons[] = { "read", "write", "flush", "zero", "discard", "any" };
    static const char *const actions[] = { "error", "tear", "delay", "exit", "crash" };
    const char *on = "any", *action = "error";
    uint64_t nth = 0, error = EIO, delay_ms = 0;
    unsigned on_index, action_index;
    if (o->type != JSON_OBJECT)
        return fail(err, "fault: a rule must be an object");
    if (!block_opt_string(o, "on", &on, err) || !block_opt_string(o, "action", &action, err) ||
        !block_opt_u64(o, "nth", UINT64_MAX, &nth, err) || !block_opt_u64(o, "errno", 4095, &error, err) ||
        !block_opt_u64(o, "delay-ms", 3600000, &delay_ms, err) || !block_opt_done(o, "fault rule", err) ||
        !one_of("event", on, ons, ARRAY_LEN(ons), &on_index, err) ||
        !one_of("action", action, actions, ARRAY_LEN(actions), &action_index, err))
        return false;
    *r = (Rule){ .on = on_index == 5 ? ON_ANY : 1u << on_index, .nth = nth, .always = !nth, .action = (Action)action_index,
                 .error = (int)error, .delay_ns = (int64_t)delay_ms * 1000000 };
    return true;
}

static bool fault_open(Block *b, GError **err)
{
    Fault *s = b->state;
    uint64_t seed = 0;
    s->rules = g_array_new(FALSE, FALSE, sizeof(Rule));
    s->held = g_array_new(FALSE, FALSE, sizeof(Held));
    Json *rules = json_get(b->options, "rules");
    if (rules) {
        rules->seen = true;
        if (rules->type != JSON_ARRAY)
            return fail(err, "fault: option 'rules' must be an array");
        for (unsigned i = 0; i < json_count(rules); i++) {
            Rule r;
            if (!rule_read(json_item(rules, i), &r, err))
                return false;
            g_array_append_val(s->rules, r);
        }
    }
    if (!block_opt_bool(b->options, "volatile", &s->is_volatile, err) ||
        !block_opt_u64(b->options, "seed", UINT32_MAX, &seed, err))
        return false;
    s->random = g_rand_new_with_seed((guint32)seed);
    b->length = b->file->length;
    b->growable = b->file->growable;
    return true;
}

static void forget(Fault *s)
{
    for (unsigned i = 0; i < s->held->len; i++)
        g_free(g_array_index(s->held, Held, i).data);
    g_array_set_size(s->held, 0);
}

static int put(Block *b, const Held *h, uint64_t from, uint64_t len)
{
    return block_write(b->file, h->at + from, h->data + from, len, 0);
}

static int put_all(Block *b)
{
    Fault *s = b->state;
    int r = 0;
    for (unsigned i = 0; i < s->held->len && !r; i++) {
        Held *h = &g_array_index(s->held, Held, i);
        r = put(b, h, 0, h->len);
    }
    forget(s);
    return r;
}

/* The power goes. */
static void crash(Block *b)
{
    Fault *s = b->state;
    s->dead = true;
    GArray *held = s->held;
    for (unsigned i = held->len; i > 1; i--) {      /* shuffle */
        unsigned k = (unsigned)g_rand_int_range(s->random, 0, (gint32)i);
        Held t = g_array_index(held, Held, i - 1);
        g_array_index(held, Held, i - 1) = g_array_index(held, Held, k);
        g_array_index(held, Held, k) = t;
    }
    for (unsigned i = 0; i < held->len; i++) {
        Held *h = &g_array_index(held, Held, i);
        unsigned fate = g_rand_int(s->random) % 3;
        if (fate == 0)
            put(b, h, 0, h->len);
        /* Sectors are written whole or not at all. */
        for (uint64_t at = 0, n; fate == 1 && at < h->len; at += n) {
            n = MIN(h->len - at, SECTOR - (h->at + at) % SECTOR);
            if (g_rand_boolean(s->random))
                put(b, h, at, n);
        }
    }
    forget(s);
    block_flush(b->file);
}

static int fault_close(Block *b)
{
    Fault *s = b->state;
    int r = s->held && b->opened && !s->dead ? put_all(b) : 0;
    if (s->held) {
        forget(s);
        g_array_free(s->held, TRUE);
        g_array_free(s->rules, TRUE);
    }
    if (s->random)
        g_rand_free(s->random);
    return r;
}

/* What happens to this request: 0, it goes on; > 0, it is torn; < 0, it fails. */
static int fate(Block *b, unsigned on)
{
    Fault *s = b->state;
    int r = s->dead ? -EIO : 0;
    for (unsigned i = 0; i < s->rules->len && !r; i++) {
        Rule *rule = &g_array_index(s->rules, Rule, i);
        if (!(rule->on & on) || (++rule->count != rule->nth && !rule->always))
            continue;
        switch (rule->action) {
        case ACT_ERROR: r = -rule->error; break;
        case ACT_TEAR:  r = 1; break;
        case ACT_DELAY: co_sleep_ns(b->aio, rule->delay_ns); break;
        case ACT_EXIT:  _exit(99);
        case ACT_CRASH: crash(b); r = -EIO; break;
        }
    }
    return r;
}

static void enter(Fault *s)
{
    if (s->is_volatile)
        co_mutex_lock(&s->lock);
}

static int leave(Fault *s, int r)
{
    if (s->is_volatile)
        co_mutex_unlock(&s->lock);
    return r;
}

static int fault_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Fault *s = b->state;
    enter(s);
    int r = fate(b, ON_READ);
    r = r > 0 ? -EIO : r;
    if (!r)
        r = block_readv(b->file, at, v, nv);
    uint64_t end = at + iov_size(v, nv);
    for (unsigned i = 0; i < s->held->len && !r; i++) {
        Held *h = &g_array_index(s->held, Held, i);
        uint64_t from = MAX(at, h->at), to = MIN(end, h->at + h->len);
        if (from < to)
            iov_from_buf(v, nv, from - at, h->data + (from - h->at), to - from);
    }
    return leave(s, r);
}

static int fault_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Fault *s = b->state;
    enter(s);
    int r = fate(b, ON_WRITE);
    if (r < 0)
        return leave(s, r);
    uint64_t len = iov_size(v, nv);
    if (r > 0) {        /* a part of it, and the caller is told */
        g_autofree struct iovec *part = g_new(struct iovec, nv);
        uint64_t half = align_down(len / 2, SECTOR);
        int n = iov_slice(v, nv, 0, half, part);
        if (half)
            block_writev(b->file, at, part, n, 0);
        return leave(s, -EIO);
    }
    if (b->growable)
        b->length = MAX(b->length, at + len);
    if (!s->is_volatile)
        return block_writev(b->file, at, v, nv, 0);
    Held h = { .at = at, .len = len, .data = g_malloc(len) };
    iov_to_buf(v, nv, 0, h.data, len);
    g_array_append_val(s->held, h);
    return leave(s, 0);
}

static int fault_flush(Block *b)
{
    Fault *s = b->state;
    enter(s);
    int r = fate(b, ON_FLUSH);
    return leave(s, r > 0 ? -EIO : r ? r : put_all(b));
}

static int fault_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Fault *s = b->state;
    if (s->is_volatile)
        return -ENOTSUP;        /* becomes a write */
    int r = fate(b, ON_ZERO);
    if (r)
        return r > 0 ? -EIO : r;
    r = block_zero(b->file, at, len, flags & (BLOCK_MAY_UNMAP | BLOCK_NO_FALLBACK));
    if (!r && b->growable)
        b->length = MAX(b->length, at + len);
    return r;
}

static int fault_discard(Block *b, uint64_t at, uint64_t len)
{
    Fault *s = b->state;
    if (s->is_volatile)
        return 0;
    int r = fate(b, ON_DISCARD);
    return r > 0 ? -EIO : r ? r : block_discard(b->file, at, len);
}

static int fault_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    Fault *s = b->state;
    enter(s);
    int r = s->dead ? -EIO : put_all(b);
    if (!r && !block_resize(b->file, len, how, err))
        r = -EIO;
    if (!r)
        b->length = len;
    return leave(s, r);
}

static int fault_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Fault *s = b->state;
    unsigned data = s->held->len ? EXTENT_DATA : EXTENT_DATA | EXTENT_OFFSET;
    *out = (Extent){ .len = len, .flags = EXTENT_ALLOCATED | data, .file = b->file, .offset = at };
    return 0;
}

const BlockDriver block_fault_driver = {
    .name = "fault", .kind = BLOCK_KIND_FILTER, .size = sizeof(Fault), .co_open = fault_open, .co_close = fault_close,
    .co_read = fault_read, .co_write = fault_write, .co_flush = fault_flush, .co_zero = fault_zero,
    .co_discard = fault_discard, .co_resize = fault_resize, .co_map = fault_map,
};
