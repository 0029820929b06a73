/* SPDX-License-Identifier: GPL-2.0-or-later
 * Rows made by loops: rights on two levels of each kind of paging, against privilege, CR0.WP, CR4.SMEP and SMAP, EFLAGS.AC
 * and EFER.NXE.  A line is
 *
 *      page.KIND.cplN.CONTROLS.uUPPER  LEAF:READ/WRITE/EXECUTE ...
 *
 * with LEAF the entry's low bits (4 U, 2 W, 1 P; +8 for XD), and for each access what came of it: an error code of #PF, or
 * a letter: . went well, a = and set A, d = and set A and D, ? something else. */
#include "tests/sys/sys.h"

enum { LEAVES = 16, XD = 8 };

static const struct Kind { const char *name; U8 mode, paging; U32 upper, leaf; } kinds[] = {
    { "2", MODE_P32, PAGING_2, PD2 + 8, PT2 }, { "pae", MODE_P32, PAGING_PAE, PDP + 32, PTP },
    { "4", MODE_L64, PAGING_4, PD4 + 32, PT4 },
};
static const struct Controls { const char *name; U32 cr0, cr4, efer, flags, need; } controls[] = {
    { "none", 0, 0, 0, 0, 0 },
    { "wp", CR0_WP, 0, 0, 0, 0 },
    { "nx", 0, 0, EFER_NXE, 0, NEED_NX },
    { "smep", 0, CR4_SMEP, 0, 0, NEED_SMEP },
    { "smap", CR0_WP, CR4_SMAP, 0, 0, NEED_SMAP },
    { "smap-ac", 0, CR4_SMAP, 0, FL_AC, NEED_SMAP },
    { "smep-nx", CR0_WP, CR4_SMEP, EFER_NXE, 0, NEED_SMEP | NEED_NX },
    { "smap-ac-wp-nx", CR0_WP, CR4_SMEP | CR4_SMAP, EFER_NXE, FL_AC, NEED_SMEP | NEED_SMAP | NEED_NX },
};

/* A write goes beside the instruction that a jump meets. */
static const U8 read32[] = { 0x8b, 0x05, 0, 0, LIN >> 16, 0, 0x0f, 0x0b };
static const U8 write32[] = { 0x89, 0x05, 16, 0, LIN >> 16, 0, 0x0f, 0x0b };
static const U8 read64[] = { 0x8b, 0x04, 0x25, 0, 0, LIN >> 16, 0, 0x0f, 0x0b };
static const U8 write64[] = { 0x89, 0x04, 0x25, 16, 0, LIN >> 16, 0, 0x0f, 0x0b };
static const U8 jump[] = { 0xe9, (LIN - CODE - 5) & 0xff, (LIN - CODE - 5) >> 8 & 0xff, (LIN - CODE - 5) >> 16, 0 };
static const struct { const U8 *code; U32 len; } accesses[2][3] = {
    { { read32, sizeof read32 }, { write32, sizeof write32 }, { jump, sizeof jump } },
    { { read64, sizeof read64 }, { write64, sizeof write64 }, { jump, sizeof jump } },
};

static void set_entry(const struct Kind *k, U32 at, U32 flags, U32 frame)
{
    *(volatile U32 *)at = frame | (flags & 7);
    if (k->paging != PAGING_2)
        *(volatile U32 *)(at + 4) = flags & XD ? 0x80000000 : 0;
}

static void one(const struct Kind *k, const Row *r, U32 leaf, U32 access)
{
    volatile U32 *entry = (volatile U32 *)k->leaf;
    Event e;
    set_entry(k, k->leaf, leaf, FRAME);
    e = run_code(r, accesses[k->mode == MODE_L64][access].code, accesses[k->mode == MODE_L64][access].len);
    if (e.vector == 14 && e.cr2 - LIN == (access == 1 ? 16 : 0))
        print_hex(e.error);
    else if (e.vector == 6 && e.ip == (access == 2 ? LIN : CODE + accesses[k->mode == MODE_L64][access].len - 2))
        print((*entry & 0x60) == 0x60 ? "d" : *entry & 0x20 ? "a" : ".");
    else
        print("?");
}

static void line(const struct Kind *k, const struct Controls *c, U32 cpl, U32 upper)
{
    Row r[2] = { { .mode = k->mode, .paging = k->paging, .cpl = cpl, .eflags = c->flags, .cr0 = c->cr0, .cr4 = c->cr4,
                   .efer = c->efer } };
    U32 nx = k->paging != PAGING_2 && (c->efer & EFER_NXE);
    for (U32 leaf = 0; leaf < (nx ? LEAVES : LEAVES / 2); leaf++) {
        if (!(leaf & 1) && leaf)        /* not present: once is enough */
            continue;
        U32 saved_low = *(volatile U32 *)k->upper, saved_high = *(volatile U32 *)(k->upper + 4);
        /* make_paging() must have run for this privilege before the upper entry is changed; the first run does it. */
        if (leaf == 0)
            run_code(r, jump, sizeof jump);
        set_entry(k, k->upper, upper, k->leaf);
        print(" ");
        print_hex(leaf);
        print(":");
        for (U32 access = 0; access < 3; access++) {
            print(access ? "/" : "");
            one(k, r, leaf, access);
        }
        *(volatile U32 *)k->upper = saved_low;
        *(volatile U32 *)(k->upper + 4) = saved_high;
    }
    *(volatile U32 *)k->leaf = *(volatile U32 *)(k->leaf + 4) = 0;
}

/* The name is put together for wanted(), which looks at the command line's prefix. */
static char name[64];
static void add(const char *s)
{
    U32 n = 0;
    while (name[n])
        n++;
    while (*s)
        name[n++] = *s++;
    name[n] = 0;
}

void paging_rows(void)
{
    static const char *const digit[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f" };
    *(volatile U32 *)FRAME = 0x0b0f0b0f;
    for (U32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (U32 j = 0; j < sizeof controls / sizeof *controls; j++)
            for (U32 cpl = 0; cpl <= 3; cpl += 3)
                for (U32 upper = 1; upper < LEAVES; upper += 2) {
                    const struct Controls *c = &controls[j];
                    if (upper & XD && (kinds[i].paging == PAGING_2 || !(c->efer & EFER_NXE) || (upper & 7) != 7))
                        continue;
                    name[0] = 0;
                    add("page.");
                    add(kinds[i].name);
                    add(cpl ? ".cpl3." : ".cpl0.");
                    add(c->name);
                    add(".u");
                    add(digit[upper]);
                    if (!wanted(name))
                        continue;
                    if (!begin(name, c->need | (kinds[i].mode == MODE_L64 ? NEED_LM : 0), kinds[i].mode, cpl))
                        continue;
                    line(&kinds[i], c, cpl, upper);
                    finish_line();
                }
}
