/* SPDX-License-Identifier: GPL-2.0-or-later
 * Small functions on bits and alignment.  Counts and positions out of range are the caller's bug. */
#ifndef UTIL_BITS_H
#define UTIL_BITS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n) (UINT64_C(1) << (n))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

/* n ones, 0 <= n <= 64. */
static inline uint64_t bits_mask(unsigned n) { return n >= 64 ? UINT64_MAX : BIT(n) - 1; }
/* All the bits of an access of size 1, 2, 4, 8 bytes. */
static inline uint64_t size_mask(unsigned size) { return bits_mask(8 * size); }

static inline uint64_t bits_get(uint64_t v, unsigned at, unsigned n) { return v >> at & bits_mask(n); }
static inline uint64_t bits_put(uint64_t v, unsigned at, unsigned n, uint64_t field)
{
    uint64_t m = bits_mask(n) << at;
    return (v & ~m) | (field << at & m);
}
/* Sign extension from n bits, 1 <= n <= 64. */
static inline int64_t bits_sext(uint64_t v, unsigned n) { return (int64_t)(v << (64 - n)) >> (64 - n); }

static inline bool is_pow2(uint64_t v) { return v && !(v & (v - 1)); }
static inline uint64_t align_down(uint64_t v, uint64_t pow2) { return v & ~(pow2 - 1); }
static inline uint64_t align_up(uint64_t v, uint64_t pow2) { return (v + pow2 - 1) & ~(pow2 - 1); }
/* 64 for zero. */
static inline unsigned bits_ctz(uint64_t v) { return v ? (unsigned)__builtin_ctzll(v) : 64; }
static inline unsigned bits_clz(uint64_t v) { return v ? (unsigned)__builtin_clzll(v) : 64; }
static inline unsigned bits_count(uint64_t v) { return (unsigned)__builtin_popcountll(v); }

#endif
