/* SPDX-License-Identifier: GPL-2.0-or-later
 * AVX instructions that touch memory element by element, each of which may fault.  Sources: Intel SDM vol. 2, VMASKMOV,
 * VPMASKMOV, VGATHERDPD and relatives; vol. 1, 14.5.2. */
#include "target/x86/avx.h"
#include "target/x86/string.h"
#include "target/x86/sys.h"

int avx_enabled(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if (!(c->cr0 & CR0_TS))
        return 0;
    x86_raise(c, EXC_NM, 0);
    return 1;
}

int avx_probe(CpuState *s, uint64_t va, uint32_t len) { return !x86_cpu(s)->hooks->probe(s, va, len, ACC_WRITE, -1); }

/* --- elements of 4 or 8 bytes */

static bool active(const V256 *mask, unsigned i, unsigned size)
{
    return size == 4 ? mask->v[i / 4].s32[i % 4] < 0 : mask->v[i / 2].s64[i % 2] < 0;
}

static uint64_t get(const V256 *v, unsigned i, unsigned size)
{
    return size == 4 ? v->v[i / 4].u32[i % 4] : v->v[i / 2].u64[i % 2];
}

static void put(V256 *v, unsigned i, unsigned size, uint64_t x)
{
    if (size == 4)
        v->v[i / 4].u32[i % 4] = (uint32_t)x;
    else
        v->v[i / 2].u64[i % 2] = x;
}

static const V256 zero;

/* False: beyond the segment's limit, recorded.  In 32-bit code each element's offset wraps at 4 GiB (AMD's hardware). */
static bool element_at(X86Cpu *c, uint64_t ea, uint64_t base, uint32_t word, bool write, uint64_t *va)
{
    unsigned seg = word >> ELEM_SEG & 7, size = word >> ELEM_SIZE & 15;
    if (!(word & ELEM_LONG))
        ea = (uint32_t)ea;
    if (word & ELEM_LIMITS && !x86_within(c, seg, ea, size, write))
        return x86_fault(c, seg == SS ? EXC_SS : EXC_GP, 0);
    *va = word & ELEM_LONG ? base + ea : (uint32_t)(base + ea);
    return true;
}

int avx_masked_load(CpuState *s, uint64_t ea, uint64_t base, uint32_t word)
{
    X86Cpu *c = x86_cpu(s);
    unsigned size = word >> ELEM_SIZE & 15, n = word >> ELEM_N & 15;
    V256 r = zero;
    for (unsigned i = 0; i < n; i++) {
        uint64_t x, va;
        if (!active(&c->vtmp[0], i, size))
            continue;
        if (!element_at(c, ea + i * size, base, word, false, &va) || !c->hooks->load(s, va, size, -1, &x))
            return 1;
        put(&r, i, size, x);
    }
    c->vtmp[0] = r;
    return 0;
}

/* Nothing is written when an element would fault. */
int avx_masked_store(CpuState *s, uint64_t ea, uint64_t base, uint32_t word)
{
    X86Cpu *c = x86_cpu(s);
    unsigned size = word >> ELEM_SIZE & 15, n = word >> ELEM_N & 15;
    uint64_t va[8];
    for (unsigned i = 0; i < n; i++)
        if (active(&c->vtmp[0], i, size) &&
            (!element_at(c, ea + i * size, base, word, true, &va[i]) || !c->hooks->probe(s, va[i], size, ACC_WRITE, -1)))
            return 1;
    for (unsigned i = 0; i < n; i++)
        if (active(&c->vtmp[0], i, size) && !c->hooks->store(s, va[i], size, -1, get(&c->vtmp[1], i, size)))
            return 1;
    return 0;
}

static uint64_t element_offset(const V256 *index, unsigned i, uint64_t ea, uint32_t word)
{
    unsigned index_size = word >> GATHER_INDEX & 15, address_size = word >> GATHER_ADDRESS & 15;
    int64_t x = index_size == 4 ? index->v[i / 4].s32[i % 4] : index->v[i / 2].s64[i % 2];
    uint64_t at = ea + ((uint64_t)x << (word >> GATHER_SCALE & 3));
    return address_size == 8 ? at : address_size == 4 ? (uint32_t)at : (uint16_t)at;
}

static bool gather_one(X86Cpu *c, unsigned i, uint64_t ea, uint64_t base, uint32_t word, uint64_t *x)
{
    uint64_t va, at = element_offset(&c->vtmp[2], i, ea, word);
    return element_at(c, at, base, word, false, &va) && c->hooks->load(&c->s, va, word >> ELEM_SIZE & 15, -1, x);
}

int avx_gather(CpuState *s, uint64_t ea, uint64_t base, uint32_t word)
{
    X86Cpu *c = x86_cpu(s);
    unsigned size = word >> ELEM_SIZE & 15, n = word >> ELEM_N & 15;
    V256 dest = c->vtmp[0], mask = c->vtmp[1];
    bool progress = false, stopped = false;
    for (unsigned i = 0; i < n && !stopped; i++) {
        uint64_t x;
        if (!active(&mask, i, size)) {          /* passed: its mask is cleared like that of one that is done */
            progress |= get(&mask, i, size) != 0;
            put(&mask, i, size, 0);
        } else if (gather_one(c, i, ea, base, word, &x)) {
            put(&dest, i, size, x);
            put(&mask, i, size, 0);
            progress = true;
        } else if (progress) {
            c->exc_pending = false;             /* the next run meets it at once */
            stopped = true;
        } else {
            return 1;
        }
    }
    for (unsigned i = n; i * size < 32 && !stopped; i++)        /* in the end there are zeros beyond the elements */
        put(&dest, i, size, 0);
    c->vtmp[0] = dest;
    c->vtmp[1] = stopped ? mask : zero;
    s->helper_ret = stopped;
    return 0;
}
