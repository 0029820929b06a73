/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random numbers of the fuzzers' cases: splitmix64, so that a seed makes the same case everywhere. */
#ifndef RHEA_TESTS_FUZZ_RNG_H
#define RHEA_TESTS_FUZZ_RNG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Rng { uint64_t s; } Rng;

static inline uint64_t rnd64(Rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline unsigned rnd(Rng *r, unsigned n) { return (rnd64(r) >> 32) % n; }
static inline bool chance(Rng *r, unsigned one_in) { return rnd(r, one_in) == 0; }
#define PICK(r, a) ((a)[rnd(r, G_N_ELEMENTS(a))])

/* Kinds 0 to 5 lie at some edge, others anywhere. */
static inline uint64_t rnd_kind(Rng *r, unsigned kind)
{
    switch (kind) {
    case 0: return rnd(r, 256);
    case 1: return -(uint64_t)rnd(r, 256);
    case 2: return 1ull << rnd(r, 64);
    case 3: return (1ull << rnd(r, 64)) - 1;
    case 4: return (int64_t)(int32_t)rnd64(r);
    case 5: return (uint32_t)rnd64(r);
    default: return rnd64(r);
    }
}

#endif
