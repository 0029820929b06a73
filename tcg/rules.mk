# SPDX-License-Identifier: GPL-2.0-or-later
core-y += tcg/hostop.o tcg/hostop_simd.o tcg/hostop_fp.o tcg/hostop_crypto.o
