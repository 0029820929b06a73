/* SPDX-License-Identifier: GPL-2.0-or-later
 * Page walks: 4-level (long mode), PAE, 2-level with 4 MiB pages, and none.
 * Sources: SDM vol. 3, chapter 4; APM vol. 2, chapter 5.
 *
 * The walk cache remembers, per 2 MiB of linear space, either the page table that serves it or the large
 * page that maps it, so that most misses of the TLB cost one load or none.  It is what the manuals call
 * paging-structure caches and large TLB entries: every flush, of whatever extent, drops all of it by
 * moving walk_gen on.  A fault is never reported from it: the walk is done again from the root (SDM vol.
 * 3, 4.10.4.1: a page fault drops the entries). */
#include "target/x86/sys.h"

enum {
    PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100,
    PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_ID = 16, PF_PK = 32,
};
#define PTE_NX (UINT64_C(1) << 63)

/* rights: PTE_W and PTE_U as gathered, and these; once the leaf is known its protection key; for a large page also PTE_D,
 * PTE_G and its size in bits. */
enum { RIGHT_NX = 1, RIGHT_LEAF = 0x200, RIGHT_KEY_POS = 16, RIGHT_KEY = 15 << RIGHT_KEY_POS, RIGHT_SHIFT_POS = 24 };

typedef struct Entry { uint64_t at, value; } Entry;

typedef struct Walk {
    X86Cpu   *c;
    uint64_t  va, table;
    uint32_t  rights;
    unsigned  level;            /* of the table that is looked at next; 1: page table */
    bool      pae, nxe;
    uint64_t  reserved;
    Entry     seen[4];
    unsigned  n_seen;
    uint64_t  leaf;             /* the entry that maps, with PTE_D as it will be */
    unsigned  shift;            /* bits of the page */
} Walk;

static unsigned level_shift(const Walk *w)
{
    return w->pae ? 12 + 9 * (w->level - 1) : w->level == 2 ? 22 : 12;
}

static bool page_fault(Walk *w, MmuAccess acc, unsigned view, uint32_t why)
{
    X86Cpu *c = w->c;
    if (acc == ACC_WRITE)
        why |= PF_W;
    if (view == VIEW_USER)
        why |= PF_U;
    if (acc == ACC_EXEC && (w->nxe || (c->cr4 & CR4_SMEP)))
        why |= PF_ID;
    x86_raise_pf(c, w->va, why);
    return false;
}

/* One entry.  True: w->table, level have moved down or w->leaf is set.  False: *why says what is wrong. */
static bool step(Walk *w, uint32_t *why)
{
    X86Cpu *c = w->c;
    unsigned shift = level_shift(w), size = w->pae ? 8 : 4;
    uint64_t at = w->table + (w->va >> shift & (w->pae ? 511 : 1023)) * size, e, bad = w->reserved;
    at = x86_a20(c, at);
    if (!c->hooks->phys_load(&c->s, at, size, &e))
        e = w->pae ? UINT64_MAX : UINT32_MAX;           /* nothing there: the bus floats high */
    *why = 0;
    if (!(e & PTE_P))
        return false;
    bool large = w->level > 1 && (e & PTE_PS) && (w->pae || (c->cr4 & CR4_PSE));
    if (large && w->pae) {
        if (w->level == 4 || (w->level == 3 && !x86_has(c, X86F_PDPE1GB)))
            bad |= PTE_PS;
        else
            bad |= ((UINT64_C(1) << shift) - 1) & ~UINT64_C(0x1fff);
    } else if (large) {
        bad |= 1 << 21;                 /* PSE-36: bits 39 to 32 at 20 to 13, as many as there are */
        unsigned bits = x86_has(c, X86F_PSE36) ? CLAMP(c->model->phys_bits, 32, 40) : 32;
        bad |= 0x1fe000 & ~((1u << (bits - 19)) - 1);
    }
    *why = PF_P | PF_RSVD;
    if (e & bad)
        return false;
    w->rights &= (uint32_t)e | ~(uint32_t)(PTE_W | PTE_U);
    if (w->pae && (e & PTE_NX))
        w->rights |= RIGHT_NX;
    w->seen[w->n_seen++] = (Entry){ at, e };
    if (large || w->level == 1) {
        w->leaf = e;
        w->shift = shift;
        w->level = 0;
        if (w->pae)
            w->rights |= (uint32_t)(e >> 59 & 15) << RIGHT_KEY_POS;
    } else {
        w->table = e & (w->pae ? 0x000ffffffffff000 : 0xfffff000);
        w->level--;
    }
    return true;
}

static uint64_t leaf_base(const Walk *w)
{
    uint64_t base = w->leaf & (w->pae ? 0x000ffffffffff000 : 0xfffff000) & ~((UINT64_C(1) << w->shift) - 1);
    if (!w->pae && w->shift == 22)                      /* PSE-36 */
        base |= (w->leaf >> 13 & 0xff) << 32;
    return base;
}

/* Protection keys hold for data in user pages, whoever asks (SDM vol. 3, 4.6.2): bit 0 of the key's two in PKRU denies all,
 * bit 1 writes where a page may be read-only. */
static bool key_allows(const X86Cpu *c, uint32_t rights, unsigned view, bool write)
{
    if (!(c->cr4 & CR4_PKE) || !(rights & PTE_U) || !x86_long(c))
        return true;
    uint32_t deny = c->pkru >> 2 * ((rights & RIGHT_KEY) >> RIGHT_KEY_POS) & 3;
    return !(deny & 1) && !(write && (deny & 2) && (view == VIEW_USER || (c->cr0 & CR0_WP)));
}

static bool may_write(const X86Cpu *c, uint32_t rights, unsigned view)
{
    return ((rights & PTE_W) || (view != VIEW_USER && !(c->cr0 & CR0_WP))) && key_allows(c, rights, view, true);
}
static bool may_read(const X86Cpu *c, uint32_t rights, unsigned view)
{
    return (rights & PTE_U ? view != VIEW_SMAP : view != VIEW_USER) && key_allows(c, rights, view, false);
}
static bool may_exec(const X86Cpu *c, uint32_t rights, unsigned view)
{
    if (rights & RIGHT_NX)
        return false;
    return rights & PTE_U ? view == VIEW_USER || !(c->cr4 & CR4_SMEP) : view != VIEW_USER;
}
static bool allowed(const X86Cpu *c, uint32_t rights, unsigned view, MmuAccess acc)
{
    switch (acc) {
    case ACC_READ: return may_read(c, rights, view);
    case ACC_WRITE: return may_read(c, rights, view) && may_write(c, rights, view);
    case ACC_EXEC: return may_exec(c, rights, view);
    }
    return false;
}

static void fill(const X86Cpu *c, uint64_t va, uint64_t base, unsigned shift, uint32_t rights, bool dirty,
                 bool global, unsigned view, MmuResult *out)
{
    uint64_t len = UINT64_C(1) << shift;
    out->pa = x86_a20(c, base | (va & (len - 1)));
    out->page_len = len;
    out->readable = may_read(c, rights, view);
    out->writable = dirty && out->readable && may_write(c, rights, view);
    out->executable = may_exec(c, rights, view);
    out->global = global && (c->cr4 & CR4_PGE);
}

/* Sets A in all entries on the way and D in the leaf.  False: an entry has changed meanwhile, walk again. */
static bool mark(Walk *w, bool write)
{
    X86Cpu *c = w->c;
    for (unsigned i = 0; i < w->n_seen; i++) {
        Entry *e = &w->seen[i];
        uint64_t want = e->value | PTE_A;
        if (write && w->level == 0 && i == w->n_seen - 1)
            want |= PTE_D;
        if (want == e->value)
            continue;
        unsigned size = w->pae ? 8 : 4;
        uint64_t now;
        if (!c->hooks->phys_cas(&c->s, e->at, size, e->value, want) &&
            c->hooks->phys_load(&c->s, e->at, size, &now) && now != e->value)
            return false;                               /* tables in ROM keep what they hold */
        if (i == w->n_seen - 1)
            w->leaf = want;
    }
    return true;
}

static uint64_t walk_tag(const X86Cpu *c, uint64_t va) { return (va >> 21) << 12 | c->cur_asid; }
static X86Walk *walk_slot(X86Cpu *c, uint64_t va)
{
    return &c->walk[((va >> 21) ^ (va >> 28) ^ c->cur_asid) % X86_WALKS];
}

static void remember(const Walk *w, uint64_t table)
{
    X86Cpu *c = w->c;
    X86Walk *k = walk_slot(c, w->va);
    k->gen = c->walk_gen;
    k->tag = walk_tag(c, w->va);
    if (w->shift > 12) {
        k->table = leaf_base(w);
        k->rights = w->rights | RIGHT_LEAF | (w->leaf & (PTE_D | PTE_G)) | w->shift << RIGHT_SHIFT_POS;
    } else {
        k->table = table;
        k->rights = w->rights;
    }
}

static void start(Walk *w, X86Cpu *c, uint64_t va)
{
    w->c = c;
    w->va = va;
    w->rights = PTE_W | PTE_U;
    w->n_seen = 0;
    w->pae = c->cr4 & CR4_PAE;
    w->nxe = w->pae && (c->efer & EFER_NXE);
    w->reserved = 0;
    if (w->pae) {
        w->reserved = (UINT64_C(1) << 52) - (UINT64_C(1) << c->model->phys_bits);
        if (!w->nxe)
            w->reserved |= PTE_NX;
        if (!x86_long(c))
            w->reserved |= UINT64_C(0x7ff) << 52;
    }
}

/* From the root. */
static bool walk_full(X86Cpu *c, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out)
{
    Walk w;
    for (unsigned tries = 0;; tries++) {
        uint32_t why;
        start(&w, c, va);
        if (x86_long(c)) {
            w.level = 4;
            w.table = c->cr3 & 0x000ffffffffff000;
        } else if (w.pae) {
            uint64_t p = c->pdpte[va >> 30 & 3];
            w.level = 2;
            w.table = p & 0x000ffffffffff000;
            if (!(p & PTE_P))
                return page_fault(&w, acc, view, 0);
        } else {
            w.level = 2;
            w.table = c->cr3 & 0xfffff000;
        }
        uint32_t upper = w.rights;      /* without the leaf's own bits: what the walk cache keeps */
        while (w.level) {
            upper = w.rights;
            if (!step(&w, &why))
                return page_fault(&w, acc, view, why);
        }
        if (!allowed(c, w.rights, view, acc)) {
            bool key = acc != ACC_EXEC && !key_allows(c, w.rights, view, acc == ACC_WRITE);
            return page_fault(&w, acc, view, PF_P | (key ? PF_PK : 0));
        }
        if (mark(&w, acc == ACC_WRITE) || tries == 100) {
            uint32_t rights = w.rights;
            if (w.shift == 12)
                w.rights = upper;
            remember(&w, w.table);
            w.rights = rights;
            break;
        }
    }
    fill(c, va, leaf_base(&w), w.shift, w.rights, w.leaf & PTE_D, w.leaf & PTE_G, view, out);
    return true;
}

/* Through the walk cache.  False: it does not know, or the answer would be a fault. */
static bool walk_short(X86Cpu *c, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out)
{
    const X86Walk *k = walk_slot(c, va);
    if (k->gen != c->walk_gen || k->tag != walk_tag(c, va))
        return false;
    if (k->rights & RIGHT_LEAF) {
        if (!allowed(c, k->rights, view, acc) || (acc == ACC_WRITE && !(k->rights & PTE_D)))
            return false;
        fill(c, va, k->table, k->rights >> RIGHT_SHIFT_POS, k->rights, k->rights & PTE_D, k->rights & PTE_G,
             view, out);
        return true;
    }
    Walk w;
    uint32_t why;
    start(&w, c, va);
    w.level = 1;
    w.table = k->table;
    w.rights = k->rights;
    if (!step(&w, &why) || !allowed(c, w.rights, view, acc) || !mark(&w, acc == ACC_WRITE))
        return false;
    fill(c, va, leaf_base(&w), w.shift, w.rights, w.leaf & PTE_D, w.leaf & PTE_G, view, out);
    return true;
}

bool x86_mmu(CpuState *s, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out)
{
    X86Cpu *c = x86_cpu(s);
    if (x86_long(c)) {
        if (!x86_canonical(va)) {
            x86_raise(c, EXC_GP, x86_ext(c));
            c->exc_noncanonical = true;
            return false;
        }
    } else {
        va &= UINT32_MAX;
    }
    if (!(c->cr0 & CR0_PG)) {
        *out = (MmuResult){
            .pa = va, .page_len = PAGE_SIZE, .readable = true, .writable = true, .executable = true
        };
        out->pa = x86_a20(c, va);
        return true;
    }
    return walk_short(c, va, acc, view, out) || walk_full(c, va, acc, view, out);
}
