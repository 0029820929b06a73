/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lines and messages: calls to sinks in the nesting order, or queued.
 *
 * A queued change carries the level that it is about.  When it is delivered the line may have moved on, by
 * another thread even, so the delivery ends with a look at the line under the sink's lock: whatever the order
 * in which deliveries get there, the last one leaves the sink at the line's level, and no edge is lost. */
#include "util/line.h"

#include <glib.h>

typedef struct LateLevel { const Line *line; LineSink sink; bool level; } LateLevel;

static void deliver_late(void *arg)
{
    LateLevel *late = arg;
    LineSink *s = &late->sink;
    domain_enter(s->domain);
    s->fn(s->self, s->n, late->level);
    bool now = line_level(late->line);
    if (now != late->level)
        s->fn(s->self, s->n, now);
    domain_leave(s->domain);
}
G_STATIC_ASSERT(sizeof(LateLevel) <= DEFER_ARG);

static void tell(const Line *l, const LineSink *s, bool level)
{
    if (domain_held(s->domain)) {
        s->fn(s->self, s->n, level);
    } else if (domain_may_enter(s->domain)) {
        domain_enter(s->domain);
        s->fn(s->self, s->n, level);
        domain_leave(s->domain);
    } else {
        LateLevel late = { .line = l, .sink = *s, .level = level };
        domain_defer(deliver_late, &late, sizeof late);
    }
}

void line_connect(Line *l, LineFn *fn, void *self, unsigned n, LockDomain *domain)
{
    l->sinks = g_renew(LineSink, l->sinks, l->n_sinks + 1);
    l->sinks[l->n_sinks++] = (LineSink){ fn, self, n, domain };
    if (line_level(l))
        tell(l, &l->sinks[l->n_sinks - 1], true);
}

void line_disconnect_all(Line *l)
{
    g_free(l->sinks);
    l->sinks = NULL;
    l->n_sinks = 0;
}

void line_disconnect(Line *l, const void *from, const void *to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->n_sinks; i++)
        if ((const char *)l->sinks[i].self < (const char *)from ||
            (const char *)l->sinks[i].self >= (const char *)to)
            l->sinks[n++] = l->sinks[i];
    l->n_sinks = n;
}

void line_retell(Line *l)
{
    for (unsigned i = 0; i < l->n_sinks && line_level(l); i++)
        tell(l, &l->sinks[i], true);
}

void line_set(Line *l, bool level)
{
    if (__atomic_exchange_n(&l->level, level, __ATOMIC_RELAXED) == level)
        return;
    for (unsigned i = 0; i < l->n_sinks; i++)
        tell(l, &l->sinks[i], level);
}

void line_pulse(Line *l)
{
    line_set(l, true);
    line_set(l, false);
}

typedef struct LateMsi { MsiSink to; uint64_t addr; uint32_t data; } LateMsi;

static void msi_late(void *arg)
{
    LateMsi *late = arg;
    domain_enter(late->to.domain);
    late->to.fn(late->to.self, late->addr, late->data);
    domain_leave(late->to.domain);
}

void msi_send(const MsiSink *to, uint64_t addr, uint32_t data)
{
    if (!to->fn)
        return;
    if (domain_held(to->domain)) {
        to->fn(to->self, addr, data);
    } else if (domain_may_enter(to->domain)) {
        domain_enter(to->domain);
        to->fn(to->self, addr, data);
        domain_leave(to->domain);
    } else {
        LateMsi late = { *to, addr, data };
        domain_defer(msi_late, &late, sizeof late);
    }
}
