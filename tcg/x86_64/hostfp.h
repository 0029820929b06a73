/* SPDX-License-Identifier: GPL-2.0-or-later
 * Scalar SSE arithmetic for the portable functions of hostop.def, by the host's own instructions: a
 * compiler may swap the operands of + and *, which changes the NaN that comes out, and may move arithmetic
 * across a change of MXCSR.  So each primitive is one asm statement: guest MXCSR in, operation, flags out,
 * host MXCSR back.
 *
 * Each takes rounding, FTZ and DAZ from *mxcsr, runs with all exceptions masked, and ors the flags raised
 * in. */
#ifndef RHEA_TCG_X86_64_HOSTFP_H
#define RHEA_TCG_X86_64_HOSTFP_H

#include <stdbool.h>
#include <stdint.h>

enum { MX_FLAGS = 0x3f, MX_IE = 1, MX_PE = 0x20, MX_DAZ = 0x40, MX_MASKS = 0x1f80, MX_RC = 0x6000,
       MX_RC_SHIFT = 13,
       MX_FTZ = 0x8000, MX_VALID = 0xffff };

#define FP_RUN(insn, out, ...) do {                                                                          \
        uint32_t host_, guest_ = (*mxcsr & (MX_RC | MX_FTZ | MX_DAZ)) | MX_MASKS;                            \
        asm volatile("stmxcsr %[host]\n\tldmxcsr %[guest]\n\t" insn "\n\tstmxcsr %[guest]\n\tldmxcsr %[host]"\
                     : [host] "=m"(host_), [guest] "+m"(guest_), out : __VA_ARGS__);                         \
        *mxcsr |= guest_ & MX_FLAGS;                                                                         \
    } while (0)

#define FP_BINARY(name, type, insn)                                                                          \
    static inline type name(type x, type y, uint32_t *mxcsr)                                                 \
    {                                                                                                        \
        FP_RUN(insn " %[y], %[x]", [x] "+x"(x), [y] "x"(y));                                                 \
        return x;                                                                                            \
    }
FP_BINARY(f32_add, float, "addss")
FP_BINARY(f32_sub, float, "subss")
FP_BINARY(f32_mul, float, "mulss")
FP_BINARY(f32_div, float, "divss")
FP_BINARY(f32_min, float, "minss")
FP_BINARY(f32_max, float, "maxss")
FP_BINARY(f64_add, double, "addsd")
FP_BINARY(f64_sub, double, "subsd")
FP_BINARY(f64_mul, double, "mulsd")
FP_BINARY(f64_div, double, "divsd")
FP_BINARY(f64_min, double, "minsd")
FP_BINARY(f64_max, double, "maxsd")

#define FP_UNARY(name, to, c, from, k, insn)                                                                 \
    static inline to name(from x, uint32_t *mxcsr)                                                           \
    {                                                                                                        \
        to r = 0;                                                                                            \
        FP_RUN(insn " %[x], %[r]", [r] "+" c(r), [x] k(x));                                                  \
        return r;                                                                                            \
    }
FP_UNARY(f32_sqrt,    float,   "x", float,   "x", "sqrtss")
FP_UNARY(f64_sqrt,    double,  "x", double,  "x", "sqrtsd")
FP_UNARY(f32_rcp,     float,   "x", float,   "x", "rcpss")
FP_UNARY(f32_rsqrt,   float,   "x", float,   "x", "rsqrtss")
FP_UNARY(f32_to_f64,  double,  "x", float,   "x", "cvtss2sd")
FP_UNARY(f64_to_f32,  float,   "x", double,  "x", "cvtsd2ss")
FP_UNARY(f32_to_i32,  int32_t, "r", float,   "x", "cvtss2si")
FP_UNARY(f64_to_i32,  int32_t, "r", double,  "x", "cvtsd2si")
FP_UNARY(f32_to_i64,  int64_t, "r", float,   "x", "cvtss2si")
FP_UNARY(f64_to_i64,  int64_t, "r", double,  "x", "cvtsd2si")
FP_UNARY(f32_chop_i32, int32_t, "r", float,  "x", "cvttss2si")
FP_UNARY(f64_chop_i32, int32_t, "r", double, "x", "cvttsd2si")
FP_UNARY(f32_chop_i64, int64_t, "r", float,  "x", "cvttss2si")
FP_UNARY(f64_chop_i64, int64_t, "r", double, "x", "cvttsd2si")
FP_UNARY(i32_to_f32,  float,   "x", int32_t, "r", "cvtsi2ssl")
FP_UNARY(i64_to_f32,  float,   "x", int64_t, "r", "cvtsi2ssq")
FP_UNARY(i32_to_f64,  double,  "x", int32_t, "r", "cvtsi2sdl")
FP_UNARY(i64_to_f64,  double,  "x", int64_t, "r", "cvtsi2sdq")

/* ZF PF CF at their EFLAGS places.  LDMXCSR and STMXCSR leave the flags alone. */
#define FP_COMPARE(name, type, insn)                                                                         \
    static inline unsigned name(type x, type y, uint32_t *mxcsr)                                             \
    {                                                                                                        \
        bool cf, pf, zf;                                                                                     \
        uint32_t host, guest = (*mxcsr & (MX_RC | MX_FTZ | MX_DAZ)) | MX_MASKS;                              \
        asm volatile("stmxcsr %[host]\n\tldmxcsr %[guest]\n\t" insn " %[y], %[x]\n\t"                        \
                     "stmxcsr %[guest]\n\tldmxcsr %[host]"                                                   \
                     : [host] "=m"(host), [guest] "+m"(guest), "=@ccc"(cf), "=@ccp"(pf), "=@ccz"(zf)         \
                     : [x] "x"(x), [y] "x"(y));                                                              \
        *mxcsr |= guest & MX_FLAGS;                                                                          \
        return cf | pf << 2 | zf << 6;                                                                       \
    }
FP_COMPARE(f32_comi, float, "comiss")
FP_COMPARE(f64_comi, double, "comisd")
FP_COMPARE(f32_ucomi, float, "ucomiss")
FP_COMPARE(f64_ucomi, double, "ucomisd")

#endif
