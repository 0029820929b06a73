# SPDX-License-Identifier: GPL-2.0-or-later
core-y += tcg/hostop.o tcg/hostop_simd.o tcg/hostop_fp.o tcg/hostop_fma.o tcg/hostop_crypto.o
core-y += tcg/ir.o tcg/build.o tcg/fold.o tcg/pass_dead.o tcg/print.o tcg/parse.o tcg/verify.o tcg/interp/interp.o
