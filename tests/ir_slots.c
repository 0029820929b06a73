/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/ir_slots.h"

#define HOT(n) (offsetof(CpuState, hot) + 8 * (n))

static const Slot slots[TS_N] = {
    [TS_R0] = { "r0", I64, HOT(0) }, [TS_R1] = { "r1", I64, HOT(1) }, [TS_R2] = { "r2", I64, HOT(2) },
    [TS_R3] = { "r3", I64, HOT(3) }, [TS_R4] = { "r4", I64, HOT(4) }, [TS_R5] = { "r5", I64, HOT(5) },
    [TS_R6] = { "r6", I64, HOT(6) }, [TS_R7] = { "r7", I64, HOT(7) },
    [TS_PC] = { "pc", I64, PC_OFFSET },
    [TS_W0] = { "w0", I32, HOT(17) }, [TS_W1] = { "w1", I32, HOT(17) + 4 },
    [TS_B0] = { "b0", I8, HOT(18) }, [TS_H0] = { "h0", I16, HOT(18) + 4 },
    [TS_V0] = { "v0", V128T, offsetof(TestCpu, v[0]) }, [TS_V1] = { "v1", V128T, offsetof(TestCpu, v[1]) },
    [TS_V2] = { "v2", V128T, offsetof(TestCpu, v[2]) }, [TS_V3] = { "v3", V128T, offsetof(TestCpu, v[3]) },
    [TS_HELPER_RET] = { "ret", I64, offsetof(CpuState, helper_ret) },
    [TS_TMP] = { "tmp", I64, offsetof(TestCpu, tmp), .scratch = true },
    [TS_SYS] = { "sys", T_NONE, 0 },
};
const SlotTable test_slots = { slots, TS_N, TS_PC };
