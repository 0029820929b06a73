/* SPDX-License-Identifier: GPL-2.0-or-later
 * Loads and stores of a stated byte order at any alignment. */
#ifndef UTIL_ENDIAN_H
#define UTIL_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define ENDIAN_ACCESSORS(bits)                                                                             \
    static inline uint##bits##_t load_le##bits(const void *p)                                              \
    { uint##bits##_t v; memcpy(&v, p, sizeof v); return le##bits##toh(v); }                                \
    static inline uint##bits##_t load_be##bits(const void *p)                                              \
    { uint##bits##_t v; memcpy(&v, p, sizeof v); return be##bits##toh(v); }                                \
    static inline void store_le##bits(void *p, uint##bits##_t v)                                           \
    { v = htole##bits(v); memcpy(p, &v, sizeof v); }                                                       \
    static inline void store_be##bits(void *p, uint##bits##_t v)                                           \
    { v = htobe##bits(v); memcpy(p, &v, sizeof v); }
ENDIAN_ACCESSORS(16)
ENDIAN_ACCESSORS(32)
ENDIAN_ACCESSORS(64)
#undef ENDIAN_ACCESSORS

/* Little-endian, size 1, 2, 4 or 8. */
static inline uint64_t load_le(const void *p, unsigned size)
{
    switch (size) {
    case 1: return *(const uint8_t *)p;
    case 2: return load_le16(p);
    case 4: return load_le32(p);
    default: return load_le64(p);
    }
}
static inline void store_le(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1: *(uint8_t *)p = (uint8_t)v; break;
    case 2: store_le16(p, (uint16_t)v); break;
    case 4: store_le32(p, (uint32_t)v); break;
    default: store_le64(p, v); break;
    }
}

#endif
