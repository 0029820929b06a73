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

/* Slots that lie side by side: what is copied and compared at every block would take most of the time slot by slot. */
typedef struct Span { uint32_t at, len; } Span;
typedef struct Spans { Span span[MAX_SLOTS]; unsigned n; } Spans;

/* How much is kept and compared around a run.  The head of the struct always; other slots if the block mentions some;
 * everything, kilobytes of system state, which only helpers change, when a block runs for the first times: where its
 * code stores is the same always. */
typedef enum Extent { HEAD = 1, SLOTS, WHOLE } Extent;
enum { WHOLE_RUNS = 8, HEAD_LEN = offsetof(CpuState, dump_gpr) };

struct Check {
    TcgVcpu   *v;
    Interp    *interp;
    bool       replaying;
    Block     *b;
    GArray    *notes;
    unsigned   next;
    Extent     extent;
    GByteArray *images;
    Spans      head, rest;              /* of all slots in the head, of all others */
    Spans      scratch;                 /* among the others: means nothing between instructions */
    uint32_t   image_len;               /* of one image of the slots: their spans one behind the other */
    uint32_t   place[MAX_SLOTS];        /* in an image */
    uint8_t   *pre, *post;              /* whole CPU before, and after the interpreter */
};

static const SlotTable *slots_of(const Check *c) { return c->v->target->slots; }

static int by_offset(const void *a, const void *b)
{
    const Slot *x = *(const Slot *const *)a, *y = *(const Slot *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static void spans_add(Spans *s, uint32_t at, uint32_t len)
{
    Span *last = s->n ? &s->span[s->n - 1] : NULL;
    if (last && last->at + last->len == at)
        last->len += len;
    else if (len)
        s->span[s->n++] = (Span){ at, len };
}

static void spans_find(Check *c)
{
    const Slot *slot = slots_of(c)->slot, *sorted[MAX_SLOTS];
    unsigned n = slots_of(c)->n;
    for (unsigned i = 0; i < n; i++)
        sorted[i] = &slot[i];
    qsort(sorted, n, sizeof *sorted, by_offset);
    for (unsigned i = 0; i < n; i++) {
        uint32_t at = sorted[i]->offset, len = type_size(sorted[i]->type);
        c->place[sorted[i] - slot] = c->image_len;
        c->image_len += len;
        spans_add(at < HEAD_LEN ? &c->head : &c->rest, at, len);
        if (sorted[i]->scratch && at >= HEAD_LEN)
            spans_add(&c->scratch, at, len);
    }
}

static bool in_span(const Spans *s, uint32_t at)
{
    for (unsigned i = 0; i < s->n; i++)
        if (at - s->span[i].at < s->span[i].len)
            return true;
    return false;
}

static void spans_copy(const Spans *s, void *to, const void *from)
{
    for (unsigned i = 0; i < s->n; i++)
        memcpy((uint8_t *)to + s->span[i].at, (const uint8_t *)from + s->span[i].at, s->span[i].len);
}

/* The slots as they are, at *at in c->images. */
static void image_save(Check *c, const CpuState *cpu, size_t *at)
{
    *at = c->images->len;
    g_byte_array_set_size(c->images, *at + c->image_len);
    uint8_t *to = c->images->data + *at;
    for (unsigned i = 0; i < c->head.n + c->rest.n; i++) {
        const Span *s = i < c->head.n ? &c->head.span[i] : &c->rest.span[i - c->head.n];
        memcpy(to, (const uint8_t *)cpu + s->at, s->len);
        to += s->len;
    }
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

/* For the dump: what has not been saved is as it is now. */
static void complete(const Check *c, uint8_t *saved)
{
    const uint8_t *now = (const uint8_t *)c->v->cpu;
    for (uint32_t at = HEAD_LEN; c->extent != WHOLE && at < c->v->target->cpu_size; at++)
        if (c->extent == HEAD || !in_span(&c->rest, at))
            saved[at] = now[at];
}

static void wrong(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;
static void wrong(Check *c, const char *fmt, ...)
{
    const CpuState *pre = (const CpuState *)c->pre;
    complete(c, c->pre);
    if (c->replaying)
        complete(c, c->post);
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
    image_save(c, cpu, &n.before);
    HelperFn *fn = (HelperFn *)(uintptr_t)h->fn;
    n.ret = ret_of(h, fn(cpu, a[0], a[1], a[2], a[3], a[4]));
    image_save(c, cpu, &n.after);
    const uint8_t *before = c->images->data + n.before, *after = c->images->data + n.after;
    bool same = !memcmp(before, after, c->image_len);
    for (unsigned i = 0; !same && i < slots_of(c)->n; i++) {
        const Slot *s = &slots_of(c)->slot[i];
        if (memcmp(before + c->place[i], after + c->place[i], type_size(s->type)) && !slotset_has(&h->writes, i) &&
            !slot_is_protocol(s))
            wrong(c, "helper %s writes the slot %s without declaring it", h->name, s->name);
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
        size_t at = c->place[i];
        if (slotset_has(&h->reads, i) && !slot_is_protocol(s) && memcmp(p, c->images->data + n->before + at, len))
            wrong(c, "slot %s is not up to date at the call of %s, which reads it", s->name, h->name);
        if (slotset_has(&h->writes, i))
            memcpy(p, c->images->data + n->after + at, len);
    }
    return n->ret;
}

/* The interpreter's doors: there are no guest vectors in host registers that would have to be kept. */
static int direct(CpuState *cpu, uint64_t va, uint32_t memop, unsigned kind)
{
    CheckAccess a = { cpu, va, memop, kind, 0 };
    note_access(tcg_vcpu(cpu)->chk, &a);
    return a.status;
}
static int direct_load(CpuState *cpu, uint64_t va, uint32_t memop) { return direct(cpu, va, memop, CHECK_LOAD); }
static int direct_store(CpuState *cpu, uint64_t va, uint32_t memop) { return direct(cpu, va, memop, CHECK_STORE); }
static int direct_atomic(CpuState *cpu, uint64_t va, uint32_t flags) { return direct(cpu, va, flags, CHECK_ATOMIC); }
static const SlowOps direct_ops = { direct_load, direct_store, direct_atomic, check_helper };

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
    c->interp = interp_new(&direct_ops);
    c->notes = g_array_new(FALSE, FALSE, sizeof(Note));
    c->images = g_byte_array_new();
    size_t len = (v->target->cpu_size + 63) & ~(size_t)63;
    c->pre = aligned_alloc(64, len);
    c->post = aligned_alloc(64, len);
    if (!c->pre || !c->post)
        g_error("out of memory");
    spans_find(c);
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
    spans_copy(&c->head, cpu, c->pre);
    if (c->extent != HEAD)
        spans_copy(&c->rest, cpu, c->pre);
    cpu->countdown = ((const CpuState *)c->pre)->countdown;
    cpu->fp_control = ((const CpuState *)c->pre)->fp_control;
}

/* In everything behind CpuState but the port, which others write too. */
static char *whole_differs(Check *c, const CpuState *cpu)
{
    const TcgVcpu *v = c->v;
    const uint8_t *now = (const uint8_t *)cpu, *want = c->post;
    size_t port = v->v.port ? (size_t)((const uint8_t *)v->v.port - now) : SIZE_MAX;
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

static char *state_differs(Check *c, const CpuState *cpu)
{
    const CpuState *post = (const CpuState *)c->post;
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
    if (c->extent == HEAD)
        return NULL;
    spans_copy(&c->scratch, c->post, cpu);
    for (unsigned i = 0; i < c->rest.n; i++) {
        const Span *s = &c->rest.span[i];
        if (memcmp((const uint8_t *)cpu + s->at, c->post + s->at, s->len))
            return g_strdup("a slot differs");
    }
    return c->extent == WHOLE ? whole_differs(c, cpu) : NULL;
}

static void state_save(const Check *c, uint8_t *to)
{
    const CpuState *cpu = c->v->cpu;
    memcpy(to, cpu, HEAD_LEN);
    if (c->extent == SLOTS)
        spans_copy(&c->rest, to, cpu);
    else if (c->extent == WHOLE)
        memcpy(to + sizeof *cpu, cpu + 1, c->v->target->cpu_size - sizeof *cpu);
}

/* Whether a block reads or writes slots that are not in the head. */
static bool mentions_rest(const Check *c, const Ir *ir)
{
    const Slot *slot = slots_of(c)->slot;
    for (uint32_t i = 0; i < ir->n_insns; i++) {
        const IrInsn *in = &ir->insns[i];
        if ((in->op == IR_SLOT_GET || in->op == IR_SLOT_PUT) && slot[in->aux].offset >= HEAD_LEN)
            return true;
    }
    for (uint32_t i = 0; i < ir->n_commits; i++)
        if (slot[ir->commits[i].slot].offset >= HEAD_LEN)
            return true;
    for (uint32_t i = 0; i < ir->n_helpers; i++)
        for (unsigned s = 0; s < slots_of(c)->n; s++)
            if (slot[s].offset >= HEAD_LEN && (slotset_has(&ir->helpers[i]->reads, s) || slotset_has(&ir->helpers[i]->writes, s)))
                return true;
    return false;
}

static Extent extent_of(const Check *c, Block *b)
{
    if (b->checked < WHOLE_RUNS) {
        b->checked++;
        return WHOLE;
    }
    if (!b->extent)
        b->extent = mentions_rest(c, b->ir) ? SLOTS : HEAD;
    return b->extent;
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
    c->extent = extent_of(c, b);
    state_save(c, c->pre);
    CpuExit a = interp_run(c->interp, cpu, b->ir);
    state_save(c, c->post);

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
