/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include "tests/ir_slots.h"
#include "util/bits.h"

#define HOT(n) (offsetof(CpuState, hot) + 8 * (n))

static const Slot slots[TS_N] = {
    [TS_R0] = { "r0", I64, HOT(0) }, [TS_R1] = { "r1", I64, HOT(1) }, [TS_R2] = { "r2", I64, HOT(2) },
    [TS_R3] = { "r3", I64, HOT(3) }, [TS_R4] = { "r4", I64, HOT(4) }, [TS_R5] = { "r5", I64, HOT(5) },
    [TS_R6] = { "r6", I64, HOT(6) }, [TS_R7] = { "r7", I64, HOT(7) },
    [TS_PC] = { "pc", I64, PC_OFFSET },
    [TS_W0] = { "w0", I32, HOT(17) }, [TS_W1] = { "w1", I32, HOT(17) + 4 },
    [TS_B0] = { "b0", I8, HOT(18) }, [TS_H0] = { "h0", I16, HOT(18) + 4 },
    [TS_V0] = { "v0", V128T, offsetof(TestCpu, v[0]), .upper = TS_V1 }, [TS_V1] = { "v1", V128T, offsetof(TestCpu, v[1]) },
    [TS_V2] = { "v2", V128T, offsetof(TestCpu, v[2]), .upper = TS_V3 }, [TS_V3] = { "v3", V128T, offsetof(TestCpu, v[3]) },
    [TS_HELPER_RET] = { "ret", I64, offsetof(CpuState, helper_ret) },
    [TS_TMP] = { "tmp", I64, offsetof(TestCpu, tmp), .scratch = true },
    [TS_SYS] = { "sys", T_NONE, 0 },
};
const SlotTable test_slots = { slots, TS_N, TS_PC };

/* --- memory --------------------------------------------------------------------------------------------------- */

static bool refused(TestCpu *cpu, uint64_t va, uint32_t memop, bool write)
{
    unsigned bytes = mo_bytes(memop);

    if (memop & MO_ALIGN && va & (bytes - 1))
        goto no;
    for (unsigned i = 0; i < bytes; i++) {
        uint64_t page = (va + i) >> PAGE_BITS;
        if (page >= TEST_RAM >> PAGE_BITS || page == TEST_BAD_PAGE || (write && page == TEST_ROM_PAGE))
            goto no;
    }
    return false;
no:
    cpu->fault_va = va;
    return true;
}

static uint64_t swap_bytes(uint64_t v, uint32_t memop)
{
    return memop & MO_BE ? __builtin_bswap64(v) >> (64 - 8 * mo_bytes(memop)) : v;
}

static int slow_load(CpuState *s, uint64_t va, uint32_t memop)
{
    TestCpu *cpu = (TestCpu *)s;
    if (refused(cpu, va, memop, memop & MO_RMW))
        return 1;
    s->scratch[0] = s->scratch[1] = 0;
    memcpy(s->scratch, cpu->ram + va, mo_bytes(memop));
    s->scratch[0] = swap_bytes(s->scratch[0], memop);
    return 0;
}

static int slow_store(CpuState *s, uint64_t va, uint32_t memop)
{
    TestCpu *cpu = (TestCpu *)s;
    if (refused(cpu, va, memop, true))
        return 1;
    uint64_t v[4] = { s->scratch[0], s->scratch[1], s->scratch[2], s->scratch[3] };
    if (memop & MO_BE)
        v[0] = swap_bytes(v[0] & size_mask(mo_bytes(memop)), memop);
    memcpy(cpu->ram + va, v, mo_bytes(memop));
    return 0;
}

static int slow_atomic(CpuState *s, uint64_t va, uint32_t flags)
{
    TestCpu *cpu = (TestCpu *)s;
    unsigned bytes = mo_bytes(flags);
    uint64_t mask = size_mask(bytes), old = 0, v;

    if (refused(cpu, va, flags, true))
        return 1;
    memcpy(&old, cpu->ram + va, bytes);
    switch ((AtomicOp)ATOMIC_OP(flags)) {
    case AT_ADD:  v = old + s->scratch[0]; break;
    case AT_AND:  v = old & s->scratch[0]; break;
    case AT_OR:   v = old | s->scratch[0]; break;
    case AT_XOR:  v = old ^ s->scratch[0]; break;
    case AT_XCHG: v = s->scratch[0]; break;
    default:      v = old == (s->scratch[0] & mask) ? s->scratch[1] : old; break;
    }
    memcpy(cpu->ram + va, &v, bytes);
    s->helper_ret = old;
    return 0;
}

const SlowOps test_slow_ops = { slow_load, slow_store, slow_atomic, NULL };

/* --- helpers -------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v) { return (h ^ v) * 0x9e3779b97f4a7c15u + (h >> 29); }

static uint64_t pure(CpuState *s, uint64_t a, uint64_t b, uint64_t c) { return (a * 3 + b) ^ c; }

static uint64_t five(TestCpu *cpu, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    cpu->sys = mix(mix(mix(mix(mix(cpu->sys, a), b), c), d), e);
    return cpu->sys;
}

static uint64_t read_slots(TestCpu *cpu)
{
    return mix(mix(mix(cpu->s.hot[0], cpu->s.hot[1]), cpu->v[0].u64[1]), cpu->tmp);
}

static uint64_t mutate(TestCpu *cpu, uint64_t a)
{
    if (a & 1)
        cpu->s.hot[2] += a;
    cpu->s.hot[4] = cpu->s.hot[3] ^ a;
    *(uint32_t *)&cpu->s.hot[17] ^= (uint32_t)a;
    if (a & 2)
        cpu->v[1].u64[0] = a;
    return a >> 5;
}

/* Fails on multiples of 8; otherwise writes a slot and helper_ret. */
static int check(TestCpu *cpu, uint64_t a, uint64_t b)
{
    if (!(a & 7)) {
        cpu->fault_va = b;
        return 1;
    }
    cpu->s.hot[6] = cpu->s.hot[5] + b;
    cpu->s.helper_ret = a ^ b;
    return 0;
}

/* Takes the sticky flags. */
static uint32_t fp(TestCpu *cpu)
{
    uint32_t flags = cpu->s.fp_control & 0x3f;
    cpu->s.fp_control &= ~0x3fu;
    return flags;
}

static void set_pc(TestCpu *cpu, uint64_t pc) { cpu->s.hot[16] = pc; }

#define S(n) (UINT64_C(1) << (n))
const IrHelper th_pure   = { "pure", (void *)pure, I64, 3, HF_PURE, { { 0 } }, { { 0 } } };
const IrHelper th_five   = { "five", (void *)five, I32, 5, 0, { { S(TS_SYS) } }, { { S(TS_SYS) } } };
const IrHelper th_read   = { "read", (void *)read_slots, I64, 0, 0,
                             { { S(TS_R0) | S(TS_R1) | S(TS_V0) | S(TS_TMP) } }, { { 0 } } };
const IrHelper th_mutate = { "mutate", (void *)mutate, I16, 1, 0, { { S(TS_R2) | S(TS_R3) | S(TS_W0) } },
                             { { S(TS_R2) | S(TS_R4) | S(TS_W0) | S(TS_V1) } } };
const IrHelper th_check  = { "check", (void *)check, T_NONE, 2, HF_FAULTS, { { S(TS_R5) } },
                             { { S(TS_R6) | S(TS_HELPER_RET) } } };
const IrHelper th_fp     = { "fp", (void *)fp, I32, 0, HF_FP, { { 0 } }, { { 0 } } };
const IrHelper th_pc     = { "set_pc", (void *)set_pc, T_NONE, 1, 0, { { 0 } }, { { S(TS_PC) } } };
#undef S

const IrHelper *const test_helpers[] = { &th_pure, &th_five, &th_read, &th_mutate, &th_check, &th_fp, &th_pc };
const unsigned n_test_helpers = sizeof test_helpers / sizeof *test_helpers;

/* --- state ---------------------------------------------------------------------------------------------------- */

TestCpu *test_cpu_new(void)
{
    TestCpu *cpu = aligned_alloc(4096, sizeof *cpu);
    memset(cpu, 0, sizeof *cpu);
    return cpu;
}

void test_cpu_seed(TestCpu *cpu, uint32_t seed)
{
    uint64_t x = mix(seed, 0x1234567) | 1;
    uint64_t *ram = (uint64_t *)(void *)cpu->ram;

    memset(&cpu->s, 0, sizeof cpu->s);
    for (unsigned i = 0; i < TEST_RAM / 8; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        ram[i] = x;
    }
    for (unsigned i = 0; i < 19; i++)
        cpu->s.hot[i] = i % 5 == 4 ? ram[i] % 3 : ram[i];
    memcpy(cpu->v, ram + 64, sizeof cpu->v);
    if (seed & 1) {                                     /* ordinary numbers among the NaNs */
        for (unsigned i = 0; i < 4; i++)
            cpu->v[i].f32[i] = (float)(int16_t)x / 8;
        cpu->v[1].f64[0] = (double)(int32_t)x / 16;
    }
    cpu->s.hot[16] = (seed & 2 ? UINT64_C(0xffffffff80000000) : 0x400000) + (x & 0xfff);
    cpu->s.countdown = 1000;
    cpu->s.fp_control = 0x1f80 | (seed >> 2 & 3) << 13 | (seed & 16 ? 0x8040 : 0);
    cpu->s.fp_host = 0x1f80;
    cpu->sys = cpu->fault_va = 0;
    cpu->tmp = 0;
}

char *test_cpu_diff(const TestCpu *a, const TestCpu *b)
{
    for (unsigned i = 0; i < TS_N; i++) {
        const Slot *slot = &slots[i];
        const uint8_t *pa = (const uint8_t *)a + slot->offset, *pb = (const uint8_t *)b + slot->offset;
        if (slot->scratch || i == TS_HELPER_RET || !memcmp(pa, pb, type_size(slot->type)))
            continue;
        V128 x = { .u64 = { 0, 0 } }, y = x;
        memcpy(&x, pa, type_size(slot->type));
        memcpy(&y, pb, type_size(slot->type));
        return g_strdup_printf("%s: %" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "x, %" G_GINT64_MODIFIER "x:%"
                               G_GINT64_MODIFIER "x", slot->name, x.u64[1], x.u64[0], y.u64[1], y.u64[0]);
    }
    for (unsigned i = 0; i < TEST_RAM && memcmp(a->ram, b->ram, TEST_RAM); i++) {
        if (a->ram[i] != b->ram[i])
            return g_strdup_printf("memory at 0x%x: %02x, %02x", i, a->ram[i], b->ram[i]);
    }
    if (a->s.countdown != b->s.countdown)
        return g_strdup_printf("countdown: %d, %d", a->s.countdown, b->s.countdown);
    if (a->s.fp_control != b->s.fp_control)
        return g_strdup_printf("fp control: %x, %x", a->s.fp_control, b->s.fp_control);
    if (a->sys != b->sys)
        return g_strdup("calls differ");
    if (a->fault_va != b->fault_va)
        return g_strdup_printf("faulting address: %" G_GINT64_MODIFIER "x, %" G_GINT64_MODIFIER "x", a->fault_va,
                               b->fault_va);
    return NULL;
}
