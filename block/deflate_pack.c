/* SPDX-License-Identifier: GPL-2.0-or-later
 * Raw deflate (RFC 1951) of one cluster, with distances up to 4 KiB as qcow2 and qcow demand (a reader's window has 12 bits).
 *
 * zlib's level 6 takes 25 ns for a byte, mostly in moving its window, in chains that reach further than 4 KiB allows, and in
 * writing bit by bit.  Here the cluster lies in memory as a whole: chains of positions by four bytes, one position by
 * three, one step of lazy matching, a Huffman code for each 16 Ki tokens, whole words of output.  The result is as
 * large as zlib's in half (text, programs) to a sixth (random data) of the time. */
#include "block/deflate.h"

#include <errno.h>
#include <glib.h>
#include <stdint.h>
#include <string.h>

#include "util/bits.h"
#include "util/endian.h"

enum {
    WINDOW = 4096, MIN_MATCH = 3, MAX_MATCH = 258, HASH4_BITS = 13, HASH3_BITS = 12,
    DEPTH = 48, GOOD = 16, LAZY = 32, NICE = 96,    /* chain length; from GOOD on a quarter of it; no further looking from there on */
    NEAR3 = 1024,               /* three bytes further away than that cost more than themselves */
    PATIENCE = 64, MAX_SKIP = 16,   /* literals in a row until every second, third... place is looked at */
    BLOCK_TOKENS = 16384, MATCH_TOKEN = 1 << 30,
    N_LITLEN = 286, N_DIST = 30, N_CL = 19, END_OF_BLOCK = 256, MAX_BITS = 15, MAX_CL_BITS = 7,
};

typedef struct Code { uint16_t code[N_LITLEN]; uint8_t len[N_LITLEN]; } Code;

typedef struct Packer {
    uint32_t base;              /* position 0 of this cluster in the tables: older entries are out of the window */
    uint32_t head4[1 << HASH4_BITS], head3[1 << HASH3_BITS], prev[WINDOW];
    uint32_t token[BLOCK_TOKENS];
    unsigned n_tokens;
    uint32_t litlen[N_LITLEN], dist[N_DIST];        /* how often in this block */

    uint8_t *out, *end;
    uint64_t acc;
    unsigned bits;
} Packer;

typedef struct Match { unsigned len, dist; } Match;

/* --- symbols (RFC 1951, 3.2.5) */

static inline unsigned len_symbol(unsigned len, unsigned *extra)
{
    unsigned l = len - MIN_MATCH;
    *extra = 0;
    if (len == MAX_MATCH)
        return 285;
    if (l < 8)
        return 257 + l;
    unsigned b = 31 - (unsigned)__builtin_clz(l);
    *extra = b - 2;
    return 257 + 4 * (b - 1) + (l >> (b - 2) & 3);
}

static inline unsigned dist_symbol(unsigned dist, unsigned *extra)
{
    unsigned d = dist - 1;
    *extra = 0;
    if (d < 4)
        return d;
    unsigned b = 31 - (unsigned)__builtin_clz(d);
    *extra = b - 1;
    return 2 * b + (d >> (b - 1) & 1);
}

/* --- matches */

static inline uint32_t hash(uint32_t v, unsigned bits) { return v * UINT32_C(0x9e3779b1) >> (32 - bits); }
static inline uint32_t load3(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16; }

static inline unsigned common(const uint8_t *a, const uint8_t *b, unsigned max)
{
    unsigned n = 0;
    for (; n + 8 <= max; n += 8) {
        uint64_t x = load_le64(a + n) ^ load_le64(b + n);
        if (x)
            return n + ((unsigned)__builtin_ctzll(x) >> 3);
    }
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* Enters position pos into the tables; the chain's next and the nearest with the same three bytes. */
static inline void enter(Packer *p, const uint8_t *in, uint32_t pos, uint32_t *next4, uint32_t *next3)
{
    uint32_t h4 = hash(load_le32(in + pos), HASH4_BITS), h3 = hash(load3(in + pos), HASH3_BITS), at = p->base + pos;
    *next4 = p->head4[h4];
    *next3 = p->head3[h3];
    p->prev[at & (WINDOW - 1)] = *next4;
    p->head4[h4] = p->head3[h3] = at;
}

/* The longest match for position pos (at least four bytes before the end) that is longer than best; len 0: none.
 * Enters pos. */
static inline Match find(Packer *p, const uint8_t *in, uint32_t pos, uint32_t n, unsigned best, unsigned depth)
{
    uint32_t at4, at3, here = p->base + pos;
    unsigned max = MIN(n - pos, MAX_MATCH);
    Match m = { 0, 0 };
    enter(p, in, pos, &at4, &at3);
    const uint8_t *s = in + pos;
    if (best >= max)
        return m;
    if (best < MIN_MATCH && here - at3 <= NEAR3 && load3(s) == load3(in + (at3 - p->base))) {
        m = (Match){ MIN_MATCH, here - at3 };
        best = MIN_MATCH;
    }
    for (; depth && here - at4 < WINDOW; depth--, at4 = p->prev[at4 & (WINDOW - 1)]) {
        const uint8_t *c = in + (at4 - p->base);
        /* The four bytes that end where a longer match must reach to, then all. */
        unsigned tail = MAX(best, 3) - 3;
        if (load_le32(c + tail) != load_le32(s + tail))
            continue;
        unsigned len = common(s, c, max);
        if (len <= best)
            continue;
        best = len;
        m = (Match){ len, here - at4 };
        if (len >= NICE || len == max)
            break;
    }
    return m;
}

/* --- bits */

static inline void put(Packer *p, uint64_t v, unsigned n)
{
    p->acc |= v << p->bits;
    p->bits += n;
}

/* Leaves at most 7 bits; the room has been looked after. */
static inline void drain(Packer *p)
{
    if (p->end - p->out >= 8) {
        store_le64(p->out, p->acc);
        unsigned bytes = p->bits >> 3;
        p->out += bytes;
        p->acc = bytes == 8 ? 0 : p->acc >> bytes * 8;
        p->bits &= 7;
        return;
    }
    for (; p->bits >= 8; p->bits -= 8, p->acc >>= 8)
        *p->out++ = (uint8_t)p->acc;
}

/* --- Huffman codes (RFC 1951, 3.2.2) */

/* Lengths for n symbols that occur freq[] times, none above max.  At least two symbols get one, since a single code of
 * no bits is none. */
static void code_make(Code *c, const uint32_t *freq, unsigned n, unsigned max)
{
    uint32_t key[N_LITLEN + 1], weight[2 * N_LITLEN];
    uint16_t parent[2 * N_LITLEN];
    unsigned used = 0, count[N_LITLEN] = { 0 };
    memset(c->len, 0, n);
    /* Sorted by frequency; ties by symbol.  */
    for (unsigned i = 0; i < n; i++)
        if (freq[i])
            key[used++] = freq[i] << 9 | i;
    for (unsigned i = 0; used < 2; i++)
        if (!freq[i])
            key[used++] = i;
    for (unsigned gap = used / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (unsigned i = gap; i < used; i++) {
            uint32_t k = key[i];
            unsigned at = i;
            for (; at >= gap && key[at - gap] > k; at -= gap)
                key[at] = key[at - gap];
            key[at] = k;
        }
    /* The tree: the two lightest of what is left, from the leaves' list and the list of those joined already. */
    unsigned leaf = 0, join = used, next = used;
    for (unsigned i = 0; i < used; i++)
        weight[i] = key[i] >> 9;
    for (; next < 2 * used - 1; next++) {
        weight[next] = 0;
        for (unsigned side = 0; side < 2; side++) {
            unsigned pick = leaf < used && (join >= next || weight[leaf] <= weight[join]) ? leaf++ : join++;
            weight[next] += weight[pick];
            parent[pick] = (uint16_t)next;
        }
    }
    /* Depths from the root down; too deep ones are lifted, and others pushed down until the code fits again. */
    uint16_t depth[2 * N_LITLEN];
    depth[next - 1] = 0;
    for (unsigned i = next - 1; i-- > 0;) {
        depth[i] = depth[parent[i]] + 1;
        if (i < used)
            count[MIN(depth[i], max)]++;
    }
    uint32_t room = 0;
    for (unsigned l = 1; l <= max; l++)
        room += count[l] << (max - l);
    while (room > 1u << max) {
        unsigned l = max - 1;
        while (!count[l])
            l--;
        count[l]--;
        count[l + 1]++;
        room -= 1u << (max - l - 1);
    }
    for (; room < 1u << max; room++) {      /* zlib wants each code complete */
        count[max]--;
        count[max - 1]++;
    }
    unsigned i = 0;
    for (unsigned l = max; l; l--)
        for (unsigned k = 0; k < count[l]; k++)
            c->len[key[i++] & 511] = (uint8_t)l;
    /* Codes by length, then symbol; the stream has them from their highest bit on. */
    uint32_t first[MAX_BITS + 2] = { 0 };
    for (unsigned l = 1; l <= max; l++)
        first[l + 1] = (first[l] + count[l]) << 1;
    for (unsigned s = 0; s < n; s++) {
        unsigned l = c->len[s];
        uint32_t v = l ? first[l]++ : 0, r = 0;
        for (unsigned b = 0; b < l; b++)
            r |= (v >> b & 1) << (l - 1 - b);
        c->code[s] = (uint16_t)r;
    }
}

/* Both codes' lengths as the header has them (3.2.7): symbols of the code length code, with their extra bits above. */
static unsigned lengths_pack(const uint8_t *len, unsigned n, uint16_t *out)
{
    unsigned count = 0;
    for (unsigned i = 0, run; i < n; i += run) {
        run = 1;
        while (i + run < n && len[i + run] == len[i])
            run++;
        if (!len[i] && run >= 3) {
            run = MIN(run, 138);
            out[count++] = (uint16_t)(run < 11 ? 17 | (run - 3) << 5 : 18 | (run - 11) << 5);
        } else if (run >= 4) {
            run = MIN(run, 7);
            out[count++] = len[i];
            out[count++] = (uint16_t)(16 | (run - 4) << 5);
        } else {
            run = 1;
            out[count++] = len[i];
        }
    }
    return count;
}

static const uint8_t cl_extra[N_CL] = { [16] = 2, [17] = 3, [18] = 7 };
static const uint8_t cl_order[N_CL] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };

/* --- blocks */

static bool put_stored(Packer *p, const uint8_t *in, size_t n, bool last)
{
    do {
        size_t part = MIN(n, 65535);
        bool end = last && part == n;
        put(p, end, 3);
        p->bits = (p->bits + 7) & ~7u;
        if ((size_t)(p->end - p->out) < p->bits / 8 + 4 + part)
            return false;
        drain(p);
        store_le16(p->out, (uint16_t)part);
        store_le16(p->out + 2, (uint16_t)~part);
        memcpy(p->out + 4, in, part);
        p->out += 4 + part;
        in += part;
        n -= part;
    } while (n);
    return true;
}

static void put_tokens(Packer *p, const Code *litlen, const Code *dist)
{
    for (unsigned i = 0; i < p->n_tokens; i++) {
        uint32_t t = p->token[i];
        if (!(t & MATCH_TOKEN)) {
            put(p, litlen->code[t], litlen->len[t]);
            if (p->bits > 48)
                drain(p);
            continue;
        }
        unsigned len = t >> 16 & 0x1ff, d = t & 0xffff, extra;
        drain(p);
        unsigned s = len_symbol(len, &extra);
        put(p, litlen->code[s], litlen->len[s]);
        put(p, (len - MIN_MATCH) & bits_mask(extra), extra);
        s = dist_symbol(d, &extra);
        put(p, dist->code[s], dist->len[s]);
        put(p, (d - 1) & bits_mask(extra), extra);
        drain(p);
    }
    drain(p);
    put(p, litlen->code[END_OF_BLOCK], litlen->len[END_OF_BLOCK]);
    drain(p);
}

/* The tokens so far, which stand for n bytes at in.  False: no room. */
static bool put_block(Packer *p, const uint8_t *in, size_t n, bool last)
{
    Code litlen, dist, cl;
    p->litlen[END_OF_BLOCK]++;
    code_make(&litlen, p->litlen, N_LITLEN, MAX_BITS);
    code_make(&dist, p->dist, N_DIST, MAX_BITS);
    unsigned nl = N_LITLEN, nd = N_DIST, ncl = N_CL;
    while (nl > 257 && !litlen.len[nl - 1])
        nl--;
    while (nd > 1 && !dist.len[nd - 1])
        nd--;
    uint8_t all[N_LITLEN + N_DIST];
    memcpy(all, litlen.len, nl);
    memcpy(all + nl, dist.len, nd);
    uint16_t packed[N_LITLEN + N_DIST];
    unsigned np = lengths_pack(all, nl + nd, packed);
    uint32_t freq[N_CL] = { 0 };
    for (unsigned i = 0; i < np; i++)
        freq[packed[i] & 31]++;
    code_make(&cl, freq, N_CL, MAX_CL_BITS);
    while (ncl > 4 && !cl.len[cl_order[ncl - 1]])
        ncl--;
    uint64_t bits = 3 + 5 + 5 + 4 + ncl * 3;
    for (unsigned i = 0; i < N_CL; i++)
        bits += (uint64_t)freq[i] * (cl.len[i] + cl_extra[i]);
    for (unsigned i = 0, extra; i < N_LITLEN; i++) {
        extra = i < 265 || i == 285 ? 0 : (i - 261) / 4;
        bits += (uint64_t)p->litlen[i] * (litlen.len[i] + extra);
    }
    for (unsigned i = 0; i < N_DIST; i++)
        bits += (uint64_t)p->dist[i] * (dist.len[i] + (i < 4 ? 0 : i / 2 - 1));
    bool ok;
    if (bits >= n * 8 + 42) {
        ok = put_stored(p, in, n, last);
    } else {
        ok = (uint64_t)(p->end - p->out) * 8 >= p->bits + bits;
        if (!ok)
            return false;
        put(p, last | 2 << 1 | (nl - 257) << 3 | (nd - 1) << 8 | (ncl - 4) << 13, 17);
        drain(p);
        for (unsigned i = 0; i < ncl; i++) {
            put(p, cl.len[cl_order[i]], 3);
            drain(p);
        }
        for (unsigned i = 0; i < np; i++) {
            unsigned s = packed[i] & 31;
            put(p, cl.code[s] | (uint64_t)(packed[i] >> 5) << cl.len[s], cl.len[s] + cl_extra[s]);
            drain(p);
        }
        put_tokens(p, &litlen, &dist);
    }
    p->n_tokens = 0;
    memset(p->litlen, 0, sizeof p->litlen);
    memset(p->dist, 0, sizeof p->dist);
    return ok;
}

static inline void literal(Packer *p, uint8_t c)
{
    p->token[p->n_tokens++] = c;
    p->litlen[c]++;
}

static inline void match(Packer *p, Match m)
{
    unsigned unused;
    p->token[p->n_tokens++] = MATCH_TOKEN | m.len << 16 | m.dist;
    p->litlen[len_symbol(m.len, &unused)]++;
    p->dist[dist_symbol(m.dist, &unused)]++;
}

static bool pack(Packer *p, const uint8_t *in, uint32_t n)
{
    uint32_t pos = 0, done = 0, misses = 0, limit = n >= 4 ? n - 4 : 0;    /* up to there four bytes can be looked at */
    while (pos < limit) {
        if (p->n_tokens + 2 > BLOCK_TOKENS) {
            if (!put_block(p, in + done, pos - done, false))
                return false;
            done = pos;
        }
        Match m = find(p, in, pos, n, MIN_MATCH - 1, DEPTH);
        uint32_t entered = pos + 1;
        while (m.len && m.len < LAZY && pos + 1 < limit && p->n_tokens + 2 <= BLOCK_TOKENS) {
            Match better = find(p, in, entered++, n, m.len, m.len >= GOOD ? DEPTH / 4 : DEPTH);
            if (!better.len)
                break;
            literal(p, in[pos++]);
            m = better;
        }
        if (!m.len) {
            /* Where nothing has matched for long, nothing probably will: look at fewer places. */
            unsigned skip = MIN(1 + ++misses / PATIENCE, MIN(MAX_SKIP, limit - pos));
            skip = MIN(skip, BLOCK_TOKENS - p->n_tokens);
            while (skip--)
                literal(p, in[pos++]);
            continue;
        }
        misses = 0;
        match(p, m);
        for (pos += m.len; entered < MIN(pos, limit); entered++) {
            uint32_t unused4, unused3;
            enter(p, in, entered, &unused4, &unused3);
        }
    }
    for (; pos < n; pos++) {
        if (p->n_tokens + 2 > BLOCK_TOKENS) {
            if (!put_block(p, in + done, pos - done, false))
                return false;
            done = pos;
        }
        literal(p, in[pos]);
    }
    if (!put_block(p, in + done, n - done, true))
        return false;
    put(p, 0, -p->bits & 7);
    if ((size_t)(p->end - p->out) < p->bits / 8)
        return false;
    drain(p);
    return true;
}

int deflate_pack_4k(const void *in, size_t in_len, void *out, size_t *out_len)
{
    /* Tables are of a thread as its stack is: clearing them would cost more than some clusters do. */
    static GPrivate key = G_PRIVATE_INIT(g_free);
    Packer *p = g_private_get(&key);
    if (!p)
        g_private_set(&key, p = g_new0(Packer, 1));
    if (!p->base || p->base > UINT32_MAX / 2) {
        memset(p->head4, 0, sizeof p->head4);
        memset(p->head3, 0, sizeof p->head3);
        p->base = WINDOW + 1;
    }
    p->out = out;
    p->end = p->out + *out_len;
    p->acc = p->bits = p->n_tokens = 0;
    memset(p->litlen, 0, sizeof p->litlen);
    memset(p->dist, 0, sizeof p->dist);
    bool ok = pack(p, in, (uint32_t)in_len);
    p->base += (uint32_t)in_len + WINDOW;
    *out_len = (size_t)(p->out - (uint8_t *)out);
    return ok ? 0 : -ENOSPC;
}
