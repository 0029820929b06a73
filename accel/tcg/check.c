/* SPDX-License-Identifier: GPL-2.0-or-later
 * check=on: the interpreter runs each block first, for real, and every access, helper call and their results are noted
 * down.  Then the slots are put back to what they were and the compiled code runs against the notes: it must make the
 * same accesses with the same values in the same order, and is told the same results, without any of it being done
 * twice.  Both must leave in the same way with the same state.  No inline look-up ever hits in this mode (TLB entries
 * are all slow, jump caches empty, links unmade), so that everything comes by here. */
#include "accel/tcg/tcg_int.h"

#include <string.h>
#include "util/log.h"

typedef struct Note {
    uint8_t         kind;
    int             status;
    uint32_t        memop;
    uint64_t        va;
    uint64_t        in[4], out[4];
    /* CHECK_CALL */
    const IrHelper *helper;
    uint64_t        args[5], ret;
    size_t          before, after;      /* in `images`: all slots */
} Note;

struct Check {
    TcgVcpu   *v;
    Interp    *interp;
    bool       replaying;
    Block     *b;
    GArray    *notes;
    unsigned   next;
    GByteArray *images;
    size_t     slots_len;               /* of one image of the slots */
    uint8_t   *pre, *post;              /* whole CPU before, and after the interpreter */
};

static const SlotTable *slots_of(const Check *c) { return c->v->target->slots; }

static void slots_save(Check *c, const CpuState *cpu, size_t *at)
{
    *at = c->images->len;
    for (unsigned i = 0; i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        g_byte_array_append(c->images, (const uint8_t *)cpu + s->offset, type_size(s->type));
    }
}

static size_t slot_place(const Check *c, unsigned slot)
{
    size_t at = 0;
    for (unsigned i = 0; i < slot; i++)
        at += type_size(slots_of(c)->slot[i].type);
    return at;
}

/* Slots that the call protocol itself uses. */
static bool slot_is_protocol(const Slot *s)
{
    return s->offset >= offsetof(CpuState, helper_ret) && s->offset < offsetof(CpuState, vcpu);
}

/* --- what went wrong */

static void hex(GString *s, const uint8_t *p, unsigned n)
{
    for (unsigned i = n; i--; )
        g_string_append_printf(s, "%02x", p[i]);
}

static void differing_slots(const Check *c, GString *s, const CpuState *compiled)
{
    for (unsigned i = 0; i < slots_of(c)->n; i++) {
        const Slot *slot = &slots_of(c)->slot[i];
        unsigned n = type_size(slot->type);
        const uint8_t *a = c->pre + slot->offset, *b = c->post + slot->offset;
        const uint8_t *d = (const uint8_t *)compiled + slot->offset;
        if (!n || !memcmp(b, d, n))
            continue;
        g_string_append_printf(s, "  %-10s before ", slot->name);
        hex(s, a, n);
        g_string_append(s, "  interpreter ");
        hex(s, b, n);
        g_string_append(s, "  compiled ");
        hex(s, d, n);
        g_string_append_c(s, '\n');
    }
}

static void wrong(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;
static void wrong(Check *c, const char *fmt, ...)
{
    const CpuState *pre = (const CpuState *)c->pre;
    GString *s = g_string_new("check=on: ");
    va_list ap;
    va_start(ap, fmt);
    g_string_append_vprintf(s, fmt, ap);
    va_end(ap);
    g_string_append_printf(s, "\nblock at pc %016" G_GINT64_MODIFIER "x, mode %04x, after %" G_GUINT64_FORMAT
                           " instructions\nregisters before:\n", pre->hot[PC_OFFSET / 8], c->b->mode, pre->insns);
    c->v->target->dump(pre, s);
    if (c->replaying) {
        g_string_append(s, "registers after, by the interpreter:\n");
        c->v->target->dump((const CpuState *)c->post, s);
    }
    g_string_append(s, c->replaying ? "registers now, in compiled code:\n" : "registers now:\n");
    c->v->target->dump(c->v->cpu, s);
    if (c->replaying) {
        g_string_append(s, "slots that differ (dirty ones may still be in registers if the block has not ended):\n");
        differing_slots(c, s, c->v->cpu);
    }
    g_string_append(s, "the region:\n");
    ir_print(c->b->ir, s);
    log_write(s->str, s->len);
    disas_host(c->v->tcg, c->b);
    log_flush();
    log_error(NULL, "check=on: compiled code and interpreter differ at pc %016" G_GINT64_MODIFIER
              "x; the log (-D) has the details", pre->hot[PC_OFFSET / 8]);
    abort();
}

static Note *next_note(Check *c, unsigned kind)
{
    static const char *const name[] = { "load", "store", "atomic", "call" };
    if (c->next == c->notes->len)
        wrong(c, "compiled code makes a %s where the interpreter was done", name[kind]);
    Note *n = &g_array_index(c->notes, Note, c->next);
    if (n->kind != kind)
        wrong(c, "access %u is a %s by the interpreter and a %s in compiled code", c->next, name[n->kind], name[kind]);
    c->next++;
    return n;
}

/* --- accesses */

static uint64_t sized(uint64_t x, unsigned bytes) { return bytes < 8 ? x & ((UINT64_C(1) << 8 * bytes) - 1) : x; }

/* The operands as far as the access looks at them. */
static void operands(const CheckAccess *a, uint64_t in[4])
{
    unsigned n = mo_bytes(a->memop);
    in[0] = in[1] = in[2] = in[3] = 0;
    if (a->kind == CHECK_LOAD)
        return;
    in[0] = sized(a->cpu->scratch[0], n);
    if (a->kind == CHECK_STORE ? n > 8 : ATOMIC_OP(a->memop) == AT_CAS)
        in[1] = sized(a->cpu->scratch[1], a->kind == CHECK_STORE ? 8 : n);
    for (unsigned i = 2; i < 4 && a->kind == CHECK_STORE && n == 32; i++)
        in[i] = a->cpu->scratch[i];
}

static void note_access(Check *c, CheckAccess *a)
{
    Note n = { .kind = a->kind, .va = a->va, .memop = a->memop };
    operands(a, n.in);
    switch (a->kind) {
    case CHECK_LOAD:  n.status = slow_load(a->cpu, a->va, a->memop); break;
    case CHECK_STORE: n.status = slow_store(a->cpu, a->va, a->memop); break;
    default:          n.status = slow_atomic(a->cpu, a->va, a->memop); break;
    }
    n.out[0] = a->kind == CHECK_ATOMIC ? a->cpu->helper_ret : a->cpu->scratch[0];
    for (unsigned i = 1; i < 4; i++)
        n.out[i] = a->cpu->scratch[i];
    a->status = n.status;
    g_array_append_val(c->notes, n);
}

static void replay_access(Check *c, CheckAccess *a)
{
    Note *n = next_note(c, a->kind);
    uint64_t in[4];
    operands(a, in);
    if (a->va != n->va || a->memop != n->memop || memcmp(in, n->in, sizeof in))
        wrong(c, "access %u differs: interpreter va %016" G_GINT64_MODIFIER "x memop %x values %016" G_GINT64_MODIFIER
              "x %016" G_GINT64_MODIFIER "x, compiled va %016" G_GINT64_MODIFIER "x memop %x values %016"
              G_GINT64_MODIFIER "x %016" G_GINT64_MODIFIER "x", c->next - 1, n->va, n->memop, n->in[0], n->in[1],
              a->va, a->memop, in[0], in[1]);
    a->status = n->status;
    if (a->kind == CHECK_ATOMIC) {
        a->cpu->helper_ret = n->out[0];
    } else if (a->kind == CHECK_LOAD) {
        memcpy(a->cpu->scratch, n->out, sizeof n->out);
    }
}

void check_access(void *acc)
{
    CheckAccess *a = acc;
    Check *c = tcg_vcpu(a->cpu)->chk;
    if (c->replaying)
        replay_access(c, a);
    else
        note_access(c, a);
}

/* --- helpers */

typedef uint64_t HelperFn(CpuState *cpu, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static uint64_t ret_of(const IrHelper *h, uint64_t x)
{
    if (h->flags & HF_FAULTS)
        return (uint32_t)x;
    return h->ret == T_NONE ? 0 : sized(x, type_size(h->ret));
}

static uint64_t note_helper(Check *c, CpuState *cpu, const IrHelper *h, const uint64_t a[5])
{
    Note n = { .kind = CHECK_CALL, .helper = h };
    memcpy(n.args, a, sizeof n.args);
    slots_save(c, cpu, &n.before);
    HelperFn *fn = (HelperFn *)(uintptr_t)h->fn;
    n.ret = ret_of(h, fn(cpu, a[0], a[1], a[2], a[3], a[4]));
    slots_save(c, cpu, &n.after);
    for (unsigned i = 0, at = 0; i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        unsigned len = type_size(s->type);
        if (memcmp(c->images->data + n.before + at, c->images->data + n.after + at, len) &&
            !slotset_has(&h->writes, i) && !slot_is_protocol(s))
            wrong(c, "helper %s writes the slot %s without declaring it", h->name, s->name);
        at += len;
    }
    g_array_append_val(c->notes, n);
    return n.ret;
}

static uint64_t replay_helper(Check *c, CpuState *cpu, const IrHelper *h, const uint64_t a[5])
{
    Note *n = next_note(c, CHECK_CALL);
    if (n->helper != h)
        wrong(c, "call %u is to %s by the interpreter and to %s in compiled code", c->next - 1, n->helper->name, h->name);
    for (unsigned i = 0; i < h->nargs; i++)
        if (a[i] != n->args[i])
            wrong(c, "argument %u of %s is %016" G_GINT64_MODIFIER "x by the interpreter and %016" G_GINT64_MODIFIER
                  "x in compiled code", i + 1, h->name, n->args[i], a[i]);
    for (unsigned i = 0; i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        unsigned len = type_size(s->type);
        uint8_t *p = (uint8_t *)cpu + s->offset;
        size_t at = slot_place(c, i);
        if (slotset_has(&h->reads, i) && !slot_is_protocol(s) && memcmp(p, c->images->data + n->before + at, len))
            wrong(c, "slot %s is not up to date at the call of %s, which reads it", s->name, h->name);
        if (slotset_has(&h->writes, i))
            memcpy(p, c->images->data + n->after + at, len);
    }
    return n->ret;
}

uint64_t check_helper(CpuState *cpu, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    Check *c = tcg_vcpu(cpu)->chk;
    const IrHelper *h = (const IrHelper *)(uintptr_t)cpu->scratch[0];
    const uint64_t a[5] = { a1, a2, a3, a4, a5 };
    return c->replaying ? replay_helper(c, cpu, h, a) : note_helper(c, cpu, h, a);
}

/* --- a block */

Check *check_new(TcgVcpu *v)
{
    Check *c = g_new0(Check, 1);
    c->v = v;
    c->interp = interp_new(&softmmu_check_ops);
    c->notes = g_array_new(FALSE, FALSE, sizeof(Note));
    c->images = g_byte_array_new();
    size_t len = (v->target->cpu_size + 63) & ~(size_t)63;
    c->pre = aligned_alloc(64, len);
    c->post = aligned_alloc(64, len);
    if (!c->pre || !c->post)
        g_error("out of memory");
    return c;
}

void check_free(Check *c)
{
    interp_free(c->interp);
    g_array_free(c->notes, TRUE);
    g_byte_array_free(c->images, TRUE);
    free(c->pre);
    free(c->post);
    g_free(c);
}

static void slots_restore(Check *c, CpuState *cpu)
{
    for (unsigned i = 0; i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        memcpy((uint8_t *)cpu + s->offset, c->pre + s->offset, type_size(s->type));
    }
    cpu->countdown = ((const CpuState *)c->pre)->countdown;
    cpu->fp_control = ((const CpuState *)c->pre)->fp_control;
}

/* Everything in the CPU struct but what is nobody's business between blocks, and what other threads write. */
static char *state_differs(Check *c, const CpuState *cpu)
{
    const TcgVcpu *v = c->v;
    const uint8_t *now = (const uint8_t *)cpu, *want = c->post;
    const CpuState *post = (const CpuState *)c->post;
    size_t port = v->v.port ? (size_t)((const uint8_t *)v->v.port - now) : SIZE_MAX;
    enum { FLAGS = 0x3f };              /* of MXCSR: compiled code keeps them in the host's register */
    if (cpu->countdown != post->countdown)
        return g_strdup_printf("countdown is %d by the interpreter and %d in compiled code", post->countdown, cpu->countdown);
    if ((cpu->fp_control ^ post->fp_control) & ~FLAGS)
        return g_strdup_printf("fp_control is %x by the interpreter and %x in compiled code", post->fp_control,
                               cpu->fp_control);
    for (unsigned i = 0; i < G_N_ELEMENTS(cpu->hot); i++)
        if (cpu->hot[i] != post->hot[i])
            return g_strdup_printf("hot[%u] is %" G_GINT64_MODIFIER "x by the interpreter and %" G_GINT64_MODIFIER
                                   "x in compiled code", i, post->hot[i], cpu->hot[i]);
    for (unsigned i = 0; i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        if (s->scratch)
            memcpy(c->post + s->offset, now + s->offset, type_size(s->type));
    }
    size_t len = v->target->cpu_size, split = MIN(port, len), on = MIN(split + sizeof(CpuPort), len);
    if (!memcmp(now + sizeof(CpuState), want + sizeof(CpuState), split - sizeof(CpuState)) &&
        !memcmp(now + on, want + on, len - on))
        return NULL;
    for (size_t i = sizeof(CpuState); i < len; i++) {
        if (i == port)
            i = on;
        if (i < len && now[i] != want[i])
            return g_strdup_printf("byte %zu of the CPU struct is %02x by the interpreter and %02x in compiled code", i,
                                   want[i], now[i]);
    }
    return NULL;
}

/* What a block may change: all but the dumps and spills of generated code. */
static void state_save(const TcgVcpu *v, uint8_t *to)
{
    const uint8_t *from = (const uint8_t *)v->cpu;
    memcpy(to, from, offsetof(CpuState, dump_gpr));
    memcpy(to + sizeof(CpuState), from + sizeof(CpuState), v->target->cpu_size - sizeof(CpuState));
}

CpuExit check_run(TcgVcpu *v, Block *b)
{
    Check *c = v->chk;
    CpuState *cpu = v->cpu;
    c->b = b;
    c->next = 0;
    c->replaying = false;
    g_array_set_size(c->notes, 0);
    g_byte_array_set_size(c->images, 0);
    v->hold = true;                     /* kicks would come to one run and not to the other */
    v->held = false;
    state_save(v, c->pre);
    CpuExit a = interp_run(c->interp, cpu, b->ir);
    state_save(v, c->post);

    slots_restore(c, cpu);
    c->replaying = true;
    CpuExit e = code_enter(v, b->cb.code);
    if (e.reason == EXITR_FAULT) {
        Block *at = b;
        unsigned done = code_restore(v, &at, e.arg);
        if (a.reason == EXITR_FAULT && done != a.arg)
            wrong(c, "faults after %u instructions by the interpreter and after %u in compiled code", (unsigned)a.arg, done);
    }
    if (e.reason == EXITR_LOOKUP && a.reason == EXITR_LINK)
        e.reason = EXITR_LINK;          /* a DIRECT exit that is not linkable */
    if (e.reason != a.reason || ((e.reason == EXITR_RAISE || e.reason == EXITR_KICK) && e.arg != a.arg))
        wrong(c, "leaves for %u/%" G_GINT64_MODIFIER "x by the interpreter and for %u/%" G_GINT64_MODIFIER
              "x in compiled code", (unsigned)a.reason, a.arg, (unsigned)e.reason, e.arg);
    if (c->next != c->notes->len)
        wrong(c, "compiled code made %u of %u accesses", c->next, c->notes->len);
    char *differs = state_differs(c, cpu);
    if (differs)
        wrong(c, "at the end of the block %s", differs);
    v->st.checked++;
    v->hold = false;
    if (v->held)
        tcg_vcpu_interrupt(&v->v);
    return a;
}
