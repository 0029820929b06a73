/* SPDX-License-Identifier: GPL-2.0-or-later
 * A ring of bytes inside its owner, up to FIFO8_MAX.  Not locked: it belongs to whoever holds its owner's
 * lock. */
#ifndef UTIL_FIFO_H
#define UTIL_FIFO_H

#include <stdbool.h>
#include <stdint.h>

enum { FIFO8_MAX = 256, FIFO8_DEFAULT = 16 };

typedef struct Fifo8 {
    uint16_t cap;               /* 0, as in a zeroed object, stands for FIFO8_DEFAULT */
    uint16_t head, n;
    bool     wanted;            /* the source of the bytes found no room: tell it when there is some */
    void   (*on_room)(void *self);
    void    *on_room_self;
    uint8_t  bytes[FIFO8_MAX];
} Fifo8;

/* cap 1..FIFO8_MAX; bytes beyond a smaller new cap are lost. */
void fifo8_set_cap(Fifo8 *f, unsigned cap);
void fifo8_clear(Fifo8 *f);
/* False and no change when full. */
bool fifo8_push(Fifo8 *f, uint8_t byte);
/* Drops the oldest; nothing on an empty fifo. */
void fifo8_drop(Fifo8 *f);
/* i-th oldest byte; 0 where there is none. */
uint8_t fifo8_peek(const Fifo8 *f, unsigned i);

static inline unsigned fifo8_cap(const Fifo8 *f) { return f->cap ? f->cap : FIFO8_DEFAULT; }
static inline unsigned fifo8_used(const Fifo8 *f) { return f->n; }
static inline unsigned fifo8_room(const Fifo8 *f) { return f->n < fifo8_cap(f) ? fifo8_cap(f) - f->n : 0; }
static inline bool fifo8_empty(const Fifo8 *f) { return f->n == 0; }
static inline bool fifo8_full(const Fifo8 *f) { return fifo8_room(f) == 0; }
static inline uint8_t fifo8_head(const Fifo8 *f) { return fifo8_peek(f, 0); }
/* Oldest byte, dropped; 0 on an empty fifo. */
static inline uint8_t fifo8_pop(Fifo8 *f) { uint8_t b = fifo8_head(f); fifo8_drop(f); return b; }

#endif
