/* SPDX-License-Identifier: GPL-2.0-or-later
 * Page walks: every level, right, fault code and A/D rule, as tables. */
#include <string.h>

#include "target/debug.h"
#include "tests/x86_fake.h"
#include "util/qsr.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)
enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_ID = 16, E_PK = 32 };
#define KEY3 (3ull << 59)
enum { AD3 = 1 << 6, WD3 = 2 << 6 };        /* of PKRU */

static const uint64_t va = 0x00007f8040201123;      /* PML4 255, PDPT 1, PD 1, PT 1 */
static const uint64_t page = 0x00500000;

typedef struct Case {
    const char *name;
    uint64_t    pml4, pdpte, pde, pte;  /* bits beside the addresses; the fixture adds those */
    MmuAccess   acc;
    unsigned    view;
    uint64_t    cr4, cr0_off, efer_off;
    int         error;                  /* -1: works */
    uint8_t     writable, executable, global;
    uint64_t    len;                    /* 0: 4 KiB */
    uint64_t    pde_addr;               /* of a large page: instead of the table */
    uint32_t    pkru;
} Case;

#define FULL P | W | U
static const Case cases[] = {
    { "user read",               FULL, FULL, FULL, FULL, ACC_READ, VIEW_USER, .error = -1, .executable = 1 },
    { "user write sets D",       FULL, FULL, FULL, FULL, ACC_WRITE, VIEW_USER, .error = -1, .writable = 1, .executable = 1 },
    { "dirty page reads writable", FULL, FULL, FULL, FULL | D, ACC_READ, VIEW_USER, .error = -1, .writable = 1, .executable = 1 },
    { "no pml4e",                0, FULL, FULL, FULL, ACC_READ, VIEW_USER, .error = E_U },
    { "no pdpte",                FULL, 0, FULL, FULL, ACC_WRITE, VIEW_USER, .error = E_U | E_W },
    { "no pde",                  FULL, FULL, 0, FULL, ACC_READ, VIEW_KERNEL, .error = 0 },
    { "no pte",                  FULL, FULL, FULL, 0, ACC_EXEC, VIEW_KERNEL, .error = E_ID },
    { "exec fault without NXE",  FULL, FULL, FULL, 0, ACC_EXEC, VIEW_KERNEL, .efer_off = EFER_NXE, .error = 0 },
    { "exec fault with SMEP",    FULL, FULL, FULL, 0, ACC_EXEC, VIEW_KERNEL, CR4_SMEP, .efer_off = EFER_NXE, .error = E_ID },
    { "read-only at pml4",       P | U, FULL, FULL, FULL, ACC_WRITE, VIEW_USER, .error = E_P | E_W | E_U },
    { "read-only at pdpt",       FULL, P | U, FULL, FULL, ACC_WRITE, VIEW_USER, .error = E_P | E_W | E_U },
    { "read-only at pd",         FULL, FULL, P | U, FULL, ACC_WRITE, VIEW_KERNEL, .error = E_P | E_W },
    { "read-only at pt",         FULL, FULL, FULL, P | U, ACC_WRITE, VIEW_KERNEL, .error = E_P | E_W },
    { "WP off",                  FULL, FULL, FULL, P | U, ACC_WRITE, VIEW_KERNEL, .cr0_off = CR0_WP, .error = -1, .writable = 1, .executable = 1 },
    { "WP off is not for users", FULL, FULL, FULL, P | U, ACC_WRITE, VIEW_USER, .cr0_off = CR0_WP, .error = E_P | E_W | E_U },
    { "supervisor at pml4",      P | W, FULL, FULL, FULL, ACC_READ, VIEW_USER, .error = E_P | E_U },
    { "supervisor at pt",        FULL, FULL, FULL, P | W, ACC_READ, VIEW_USER, .error = E_P | E_U },
    { "supervisor page",         FULL, FULL, FULL, P | W | G, ACC_READ, VIEW_KERNEL, CR4_PGE, .error = -1, .executable = 1, .global = 1 },
    { "G without PGE",           FULL, FULL, FULL, P | W | G, ACC_READ, VIEW_KERNEL, .error = -1, .executable = 1 },
    { "SMAP read",               FULL, FULL, FULL, FULL, ACC_READ, VIEW_SMAP, CR4_SMAP, .error = E_P },
    { "SMAP write",              FULL, FULL, FULL, FULL, ACC_WRITE, VIEW_SMAP, CR4_SMAP, .error = E_P | E_W },
    { "SMAP, AC set",            FULL, FULL, FULL, FULL, ACC_READ, VIEW_KERNEL, CR4_SMAP, .error = -1, .executable = 1 },
    { "SMAP, kernel page",       FULL, FULL, FULL, P | W, ACC_READ, VIEW_SMAP, CR4_SMAP, .error = -1, .executable = 1 },
    { "SMEP",                    FULL, FULL, FULL, FULL, ACC_EXEC, VIEW_KERNEL, CR4_SMEP, .error = E_P | E_ID },
    { "SMEP is not for users",   FULL, FULL, FULL, FULL, ACC_EXEC, VIEW_USER, CR4_SMEP, .error = -1, .executable = 1 },
    { "SMEP, data",              FULL, FULL, FULL, FULL, ACC_READ, VIEW_KERNEL, CR4_SMEP, .error = -1 },
    { "NX at pt",                FULL, FULL, FULL, FULL | NX, ACC_EXEC, VIEW_USER, .error = E_P | E_U | E_ID },
    { "NX at pml4",              FULL | NX, FULL, FULL, FULL, ACC_EXEC, VIEW_USER, .error = E_P | E_U | E_ID },
    { "NX read",                 FULL, FULL | NX, FULL, FULL, ACC_READ, VIEW_USER, .error = -1 },
    { "NX reserved without NXE", FULL, FULL, FULL, FULL | NX, ACC_READ, VIEW_USER, .efer_off = EFER_NXE, .error = E_P | E_U | E_RSVD },
    { "reserved address bit",    FULL, FULL, FULL | 1ull << 45, FULL, ACC_READ, VIEW_USER, .error = E_P | E_U | E_RSVD },
    { "reserved, not present",   FULL, FULL, 1ull << 45, FULL, ACC_READ, VIEW_USER, .error = E_U },
    { "PS in pml4e",             FULL | PS, FULL, FULL, FULL, ACC_WRITE, VIEW_KERNEL, .error = E_P | E_W | E_RSVD },
    { "2 MiB page",              FULL, FULL, FULL | PS, 0, ACC_READ, VIEW_USER, .error = -1, .executable = 1, .len = 1 << 21, .pde_addr = 0x600000 },
    { "2 MiB write",             FULL, FULL, FULL | PS, 0, ACC_WRITE, VIEW_USER, .error = -1, .writable = 1, .executable = 1, .len = 1 << 21, .pde_addr = 0x600000 },
    { "2 MiB PAT bit",           FULL, FULL, FULL | PS | 1 << 12, 0, ACC_READ, VIEW_USER, .error = -1, .executable = 1, .len = 1 << 21, .pde_addr = 0x600000 },
    { "key allows",              FULL, FULL, FULL, FULL | KEY3, ACC_WRITE, VIEW_USER, CR4_PKE, .error = -1, .writable = 1, .executable = 1, .pkru = ~(3u << 6) },
    { "key denies all",          FULL, FULL, FULL, FULL | KEY3, ACC_READ, VIEW_USER, CR4_PKE, .error = E_P | E_U | E_PK, .pkru = AD3 },
    { "key denies all, kernel",  FULL, FULL, FULL, FULL | KEY3, ACC_READ, VIEW_KERNEL, CR4_PKE, .error = E_P | E_PK, .pkru = AD3 },
    { "key without PKE",         FULL, FULL, FULL, FULL | KEY3, ACC_READ, VIEW_USER, .error = -1, .executable = 1, .pkru = AD3 },
    { "key denies writing",      FULL, FULL, FULL, FULL | KEY3, ACC_WRITE, VIEW_USER, CR4_PKE, .error = E_P | E_W | E_U | E_PK, .pkru = WD3 },
    { "key lets read",           FULL, FULL, FULL, FULL | KEY3 | D, ACC_READ, VIEW_USER, CR4_PKE, .error = -1, .executable = 1, .pkru = WD3 },
    { "key, kernel without WP",  FULL, FULL, FULL, FULL | KEY3, ACC_WRITE, VIEW_KERNEL, CR4_PKE, .cr0_off = CR0_WP, .error = -1, .writable = 1, .executable = 1, .pkru = WD3 },
    { "key, kernel with WP",     FULL, FULL, FULL, FULL | KEY3, ACC_WRITE, VIEW_KERNEL, CR4_PKE, .error = E_P | E_W | E_PK, .pkru = WD3 },
    { "key, kernel's page",      FULL, FULL, FULL, P | W | KEY3, ACC_WRITE, VIEW_KERNEL, CR4_PKE, .error = -1, .writable = 1, .executable = 1, .pkru = AD3 },
    { "key, read-only as well",  FULL, FULL, FULL, P | U | KEY3, ACC_WRITE, VIEW_USER, CR4_PKE, .error = E_P | E_W | E_U | E_PK, .pkru = WD3 },
    { "key, other",              FULL, FULL, FULL, FULL | KEY3, ACC_READ, VIEW_USER, CR4_PKE, .error = -1, .executable = 1, .pkru = AD3 << 2 },
    { "key, large page",         FULL, FULL, FULL | PS | KEY3, 0, ACC_WRITE, VIEW_USER, CR4_PKE, .error = E_P | E_W | E_U | E_PK, .pde_addr = 0x600000, .pkru = WD3 },
    { "2 MiB reserved bit",      FULL, FULL, FULL | PS | 1 << 13, 0, ACC_READ, VIEW_USER, .error = E_P | E_U | E_RSVD, .pde_addr = 0x600000 },
};

static void set_up(Fake *f, const Case *k)
{
    fake_long(f);
    X86Cpu *c = f->c;
    fake_put64(f, F_PML4 + 8 * 255, 0x100000 | k->pml4);
    fake_put64(f, 0x100000 + 8, 0x101000 | k->pdpte);
    fake_put64(f, 0x101000 + 8, (k->pde_addr ? k->pde_addr : 0x102000) | k->pde);
    fake_put64(f, 0x102000 + 8, page | k->pte);
    c->cr0 &= ~k->cr0_off;
    c->efer &= ~k->efer_off;
    c->cr4 |= k->cr4;
    c->pkru = k->pkru;
    c->walk_gen++;
    x86_mode_changed(c);
}

static void check(Fake *f, const Case *k)
{
    X86Cpu *c = f->c;
    MmuResult r;
    c->exc_pending = false;
    bool ok = x86_mmu(&c->s, va, k->acc, k->view, &r);
    g_test_message("%s", k->name);
    if (k->error >= 0) {
        g_assert_false(ok);
        g_assert_true(c->exc_pending);
        g_assert_cmpuint(c->exc_vector, ==, EXC_PF);
        g_assert_cmphex(c->exc_error, ==, k->error);
        g_assert_cmphex(c->exc_cr2, ==, va);
        return;
    }
    uint64_t len = k->len ? k->len : 4096, base = k->len ? k->pde_addr : page;
    g_assert_true(ok);
    g_assert_cmphex(r.pa, ==, base | (va & (len - 1)));
    g_assert_cmpuint(r.page_len, ==, len);
    g_assert_true(r.readable);
    g_assert_cmpuint(r.writable, ==, k->writable);
    g_assert_cmpuint(r.executable, ==, k->executable);
    g_assert_cmpuint(r.global, ==, k->global);
}

static void four_levels(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fake *f = fake_new("max");
        set_up(f, &cases[i]);
        check(f, &cases[i]);
        check(f, &cases[i]);            /* once more, through the walk cache where it knows */
        fake_free(f);
    }
}

static void accessed_and_dirty(void)
{
    for (unsigned race = 0; race < 2; race++) {
        Fake *f = fake_new("max");
        MmuResult r;
        set_up(f, &cases[0]);
        f->racing = race;
        g_assert_true(x86_mmu(&f->c->s, va, ACC_READ, VIEW_USER, &r));
        g_assert_false(r.writable);
        g_assert_cmphex(fake_get64(f, F_PML4 + 8 * 255) & (A | D), ==, A);
        g_assert_cmphex(fake_get64(f, 0x101008) & (A | D), ==, A);
        g_assert_cmphex(fake_get64(f, 0x102008) & (A | D), ==, A);
        g_assert_true(x86_mmu(&f->c->s, va, ACC_WRITE, VIEW_USER, &r));
        g_assert_true(r.writable);
        g_assert_cmphex(fake_get64(f, 0x102008) & (A | D), ==, A | D);
        g_assert_cmphex(fake_get64(f, 0x101008) & D, ==, 0);
        fake_free(f);
    }
    Fake *f = fake_new("max");          /* a fault marks nothing */
    MmuResult r;
    set_up(f, &(Case){ "", FULL, FULL, FULL, P | U });
    g_assert_false(x86_mmu(&f->c->s, va, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(fake_get64(f, 0x102008) & (A | D), ==, 0);
    fake_free(f);
}

/* The cache may serve old tables until a flush, but never reports a fault from them. */
static void walk_cache(void)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    MmuResult r;
    set_up(f, &cases[0]);
    g_assert_true(x86_mmu(&c->s, va, ACC_READ, VIEW_USER, &r));
    f->phys_loads = 0;
    g_assert_true(x86_mmu(&c->s, va + 0x1000 - 0x1000, ACC_READ, VIEW_USER, &r));
    g_assert_cmpuint(f->phys_loads, ==, 1);
    fake_put64(f, 0x102010, 0x700000 | FULL);           /* made present: seen at once */
    g_assert_true(x86_mmu(&c->s, va + 0x1000, ACC_READ, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x700123);
    fake_put64(f, 0x101008, 0x103000 | FULL);           /* another table: after a flush at the latest */
    fake_put64(f, 0x103008, 0x710000 | FULL);
    g_assert_true(x86_set_cr(c, 3, c->cr3));
    g_assert_true(x86_mmu(&c->s, va, ACC_READ, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x710123);
    fake_put64(f, 0x101008, 0x103000 | P | U);          /* rights gained and lost above */
    c->walk_gen++;
    g_assert_true(x86_mmu(&c->s, va, ACC_READ, VIEW_USER, &r));
    fake_put64(f, 0x101008, 0x103000 | FULL);
    g_assert_true(x86_mmu(&c->s, va, ACC_WRITE, VIEW_USER, &r));
    fake_free(f);
}

static void gigabyte_pages(void)
{
    for (unsigned have = 0; have < 2; have++) {
        Fake *f = fake_new(have ? "max" : "qemu64");
        MmuResult r;
        set_up(f, &(Case){ "", FULL, FULL, FULL, FULL });
        fake_put64(f, 0x100008, 0xc0000000 | FULL | PS);
        bool ok = x86_mmu(&f->c->s, va, ACC_READ, VIEW_USER, &r);
        g_assert_cmpuint(ok, ==, have);
        if (have) {
            g_assert_cmphex(r.pa, ==, 0xc0000000 | (va & 0x3fffffff));
            g_assert_cmphex(r.page_len, ==, 1 << 30);
        } else {
            g_assert_cmphex(f->c->exc_error, ==, E_P | E_U | E_RSVD);
        }
        fake_free(f);
    }
}

static void canonical(void)
{
    static const struct { uint64_t va; bool ok; } t[] = {
        { 0x00007fffffffffff, true }, { 0x0000800000000000, false }, { 0xffff7fffffffffff, false },
        { 0xffff800000000000, true }, { 0x8000000000000000, false }, { UINT64_MAX, true },
    };
    Fake *f = fake_new("max");
    fake_long(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        MmuResult r;
        f->c->exc_pending = false;
        g_assert_false(x86_mmu(&f->c->s, t[i].va, ACC_READ, VIEW_KERNEL, &r));
        g_assert_cmpuint(f->c->exc_vector, ==, t[i].ok ? EXC_PF : EXC_GP);
        g_assert_cmpuint(f->c->exc_error, ==, 0);
    }
    fake_free(f);
}

static void two_levels(void)
{
    static const struct { uint32_t pde, pte; uint64_t cr4; MmuAccess acc; unsigned view; int error; uint64_t pa, len; } t[] = {
        { 0x101000 | FULL, 0x500000 | FULL, 0, ACC_READ, VIEW_USER, -1, 0x500123, 4096 },
        { 0x101000 | FULL, 0x500000 | P | U, 0, ACC_WRITE, VIEW_USER, 7, 0, 0 },
        { 0x101000 | FULL, 0x500000 | P | W, 0, ACC_READ, VIEW_USER, 5, 0, 0 },
        { 0x101000 | FULL, 0, 0, ACC_EXEC, VIEW_USER, 4, 0, 0 },
        { 0x400000 | FULL | PS, 0, CR4_PSE, ACC_WRITE, VIEW_USER, -1, 0x401123, 1 << 22 },
        { 0x400000 | FULL | PS | 0x2000, 0, CR4_PSE, ACC_READ, VIEW_USER, -1, 0x100401123, 1 << 22 },
        { 0x400000 | FULL | PS | 1 << 21, 0, CR4_PSE, ACC_READ, VIEW_USER, 13, 0, 0 },
        /* no PSE: a table */
        { 0x101000 | FULL | PS, 0x500000 | FULL, 0, ACC_READ, VIEW_USER, -1, 0x500123, 4096 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = fake_new("max");
        X86Cpu *c = f->c;
        MmuResult r;
        fake_protected(f);
        fake_put32(f, 0x100000 + 4 * 5, t[i].pde);
        fake_put32(f, 0x101000 + 4 * 1, t[i].pte);
        c->cr3 = 0x100000;
        c->cr4 = t[i].cr4;
        g_assert_true(x86_set_cr(c, 0, CR0_PE | CR0_WP | CR0_PG));
        bool ok = x86_mmu(&c->s, 0x1401123, t[i].acc, t[i].view, &r);
        g_assert_cmpint(ok ? -1 : (int)c->exc_error, ==, t[i].error);
        if (ok) {
            g_assert_cmphex(r.pa, ==, t[i].pa);
            g_assert_cmphex(r.page_len, ==, t[i].len);
        }
        fake_free(f);
    }
}

static void legacy_pae(void)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    MmuResult r;
    fake_protected(f);
    fake_put64(f, 0x100000, 0x101000 | P);
    fake_put64(f, 0x101008, 0x102000 | FULL);
    fake_put64(f, 0x102008, 0x500000 | FULL);
    c->cr3 = 0x100000;
    g_assert_true(x86_set_cr(c, 4, CR4_PAE));
    g_assert_true(x86_set_cr(c, 0, CR0_PE | CR0_WP | CR0_PG));
    g_assert_true(x86_mmu(&c->s, 0x201123, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x500123);
    fake_put64(f, 0x100000, 0x103000 | P);              /* the registers keep the old one */
    c->walk_gen++;
    g_assert_true(x86_mmu(&c->s, 0x201123, ACC_WRITE, VIEW_USER, &r));
    g_assert_false(x86_mmu(&c->s, 0x40201123, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(c->exc_error, ==, 6);
    fake_put64(f, 0x100000, 0x103000 | P | W);          /* W is reserved there */
    c->exc_pending = false;
    g_assert_false(x86_set_cr(c, 3, 0x100000));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    fake_free(f);
}

static void paging_off(void)
{
    Fake *f = fake_new("max");
    MmuResult r;
    fake_protected(f);
    g_assert_true(x86_mmu(&f->c->s, 0x100123456, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x123456);
    g_assert_true(r.writable && r.executable);
    fake_free(f);
}

/* PSE-36: address bits 39 to 32 in a 4 MiB page's entry, those beyond the processor's are reserved (SDM vol. 3, 4.3). */
static void pse36(void)
{
    static const struct { const char *model; uint32_t entry; bool ok; uint64_t pa; } t[] = {
        { "max", 0x00400083 | 1 << 13, true, UINT64_C(0x100400000) },
        { "max", 0x00400083 | 1 << 20, true, UINT64_C(0x8000400000) },
        { "max", 0x00400083 | 1 << 21, false, 0 },
        { "pentium", 0x00400083 | 1 << 13, false, 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = fake_new(t[i].model);
        MmuResult r;
        fake_protected(f);
        fake_put32(f, F_PML4 + 4, t[i].entry);
        f->c->cr3 = F_PML4;
        g_assert_true(x86_set_cr(f->c, 4, CR4_PSE) && x86_set_cr(f->c, 0, f->c->cr0 | CR0_PG));
        g_assert_cmpint(x86_mmu(&f->c->s, 0x400000, ACC_READ, VIEW_KERNEL, &r), ==, t[i].ok);
        if (t[i].ok)
            g_assert_cmphex(r.pa, ==, t[i].pa);
        else
            g_assert_cmphex(f->c->exc_error, ==, 9);
        fake_free(f);
    }
}

/* The A20 gate masks all that leaves the processor, the walk's own accesses too. */
static void a20(void)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    MmuResult r;
    fake_protected(f);
    unsigned flushes = f->flushes;
    port_line(&c->port, LINE_A20M, true);
    x86_service(&c->s);
    g_assert_cmpuint(f->flushes, ==, flushes + 1);
    g_assert_true(x86_mmu(&c->s, 0x123456, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x23456);
    fake_put32(f, 0x2000, 0x103007);            /* page tables at 102000h and 103000h, seen 1 MiB lower */
    fake_put32(f, 0x3000, 0x100067);
    c->cr3 = 0x102000;
    g_assert_true(x86_set_cr(c, 0, c->cr0 | CR0_PG));
    g_assert_true(x86_mmu(&c->s, 0x45, ACC_WRITE, VIEW_USER, &r));
    g_assert_cmphex(r.pa, ==, 0x45);
    port_line(&c->port, LINE_A20M, true);
    g_assert_cmpuint(atomic_load(&c->port.pending), ==, 0);    /* nothing new */
    x86_reset(c);
    g_assert_true(c->a20_off);                  /* the line is the board's */
    c->s.hot[RDX] = 0x92;                       /* OUT that opens it: the very next access */
    *x86_seg_base(c, CS) = F_CODE;
    *x86_pc(c) = 0;
    f->ram[F_CODE] = 0xee;
    x86_mode_changed(c);
    port_line(&c->port, LINE_A20M, false);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_false(c->a20_off);
    fake_free(f);
}

static bool count(void *self, const DebugMap *m)
{
    ++*(unsigned *)self;
    return true;
}

/* "info mem" stops a machine while it lists the tables: those that lead to each other have 2^36 entries. */
static void listing_is_bounded(void)
{
    enum { RAM = 1 << 24 };
    static const struct { uint64_t pml4e, pdpte, pde, pte; unsigned n, pages; bool all; } k[] = {
        { F_PDPT | FULL, F_PD | FULL, F_PT | FULL, FULL, 1, 1, true },
        { F_PDPT | FULL, F_PD | FULL, F_PT | FULL, FULL, 8, 8 * 8 * 8 * 8, true },
        { F_PDPT | FULL, F_PD | FULL, F_PT | FULL, 0, 8, 0, true },
        { (1 << 30) | FULL, 0, 0, 0, 512, 0, true },                    /* no RAM there */
        { F_PDPT | FULL, F_PD | FULL, F_PT | FULL, 0, 512, 0, false },
        { F_PML4 | FULL, F_PD | FULL, F_PT | FULL, FULL, 512, 0, false },
    };
    qsr_register();
    RamMap *map = ram_map_new();
    Space *mem = space_new("memory", 64, map);
    Region ram;
    g_assert_true(region_init_ram(&ram, "ram", map, RAM, NULL));
    region_map(space_root(mem), 0, &ram, 0);
    Fake *f = fake_new("max");
    fake_long(f);
    f->c->cr3 = F_PML4;
    for (unsigned i = 0; i < G_N_ELEMENTS(k); i++) {
        const uint64_t entry[] = { k[i].pml4e, k[i].pdpte, k[i].pde, k[i].pte };
        memset(region_host(&ram), 0, F_GDT);
        for (unsigned level = 0; level < 4; level++)
            for (unsigned n = 0; n < k[i].n; n++)
                memcpy(region_host(&ram) + F_PML4 + level * 0x1000 + 8 * n, &entry[level], 8);
        unsigned pages = 0;
        g_assert_cmpint(x86_target.debug->maps(&f->c->s, mem, count, &pages), ==, k[i].all);
        if (k[i].all)
            g_assert_cmpuint(pages, ==, k[i].pages);
        g_assert_cmpuint(pages, <=, 1 << 24);
    }
    fake_free(f);
    region_destroy(&ram);
    space_free(mem);
    ram_map_free(map);
    qsr_unregister();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/mmu/four-levels", four_levels);
    g_test_add_func("/x86/mmu/accessed-dirty", accessed_and_dirty);
    g_test_add_func("/x86/mmu/walk-cache", walk_cache);
    g_test_add_func("/x86/mmu/gigabyte", gigabyte_pages);
    g_test_add_func("/x86/mmu/canonical", canonical);
    g_test_add_func("/x86/mmu/two-levels", two_levels);
    g_test_add_func("/x86/mmu/a20", a20);
    g_test_add_func("/x86/mmu/pse36", pse36);
    g_test_add_func("/x86/mmu/legacy-pae", legacy_pae);
    g_test_add_func("/x86/mmu/off", paging_off);
    g_test_add_func("/x86/mmu/listing-is-bounded", listing_is_bounded);
    return g_test_run();
}
