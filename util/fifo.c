/* SPDX-License-Identifier: GPL-2.0-or-later
 * A ring of bytes. */
#include "util/fifo.h"

#include <glib.h>

void fifo8_set_cap(Fifo8 *f, unsigned cap)
{
    g_assert(cap >= 1 && cap <= FIFO8_MAX);
    f->cap = (uint16_t)cap;
    if (f->n > cap)
        f->n = (uint16_t)cap;
}

static void tell_source(Fifo8 *f)
{
    if (f->wanted && f->on_room) {
        f->wanted = false;
        f->on_room(f->on_room_self);
    }
}

void fifo8_clear(Fifo8 *f)
{
    f->head = f->n = 0;
    tell_source(f);
}

bool fifo8_push(Fifo8 *f, uint8_t byte)
{
    if (fifo8_full(f))
        return false;
    f->bytes[(f->head + f->n++) % FIFO8_MAX] = byte;
    return true;
}

void fifo8_drop(Fifo8 *f)
{
    if (!f->n)
        return;
    f->head = (uint16_t)((f->head + 1) % FIFO8_MAX);
    f->n--;
    tell_source(f);
}

uint8_t fifo8_peek(const Fifo8 *f, unsigned i)
{
    return i < f->n ? f->bytes[(f->head + i) % FIFO8_MAX] : 0;
}
