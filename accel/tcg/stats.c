/* SPDX-License-Identifier: GPL-2.0-or-later
 * "info jit": what the accelerator has done so far. */
#include "accel/tcg/tcg_int.h"

typedef struct StatRow { const char *name; size_t at; } StatRow;
#define ROW(text, m) { text, offsetof(TcgStats, m) }

static const StatRow rows[] = {
    ROW("entries into code", enters),
    ROW("services", services),
    ROW("halts", halts),
    ROW("kicks seen at heads", kicks),
    ROW("jump cache fills (misses)", jump_fills),
    ROW("  into a place in use", jump_replaced),
    ROW("jump cache entries dropped", jump_dropped),
    ROW("direct links made", links),
    ROW("TLB fills", tlb_fills),
    ROW("  into a place in use", tlb_replaced),
    ROW("  for more rights to a page", tlb_upgraded),
    ROW("TLB entries dropped", tlb_dropped),
    ROW("TLB fills that faulted", fill_faults),
    ROW("fetch TLB fills", fetch_fills),
    ROW("context selections", selects),
    ROW("  not in the selection cache", select_misses),
    ROW("  contexts reused", context_reuses),
    ROW("accesses in another view", view_other),
    ROW("flushes of everything", flush_all),
    ROW("flushes of an address space", flush_asid),
    ROW("  of these with globals", flush_global),
    ROW("flushes of a page", flush_page),
    ROW("  maybe global", flush_page_all),
    ROW("  that searched for large pages", flush_page_scans),
    ROW("slow loads", loads),
    ROW("slow stores", stores),
    ROW("slow atomics", atomics),
    ROW("  crossing a page", cross),
    ROW("  read-modify-write probes", rmw),
    ROW("  I/O loads", io_loads),
    ROW("  I/O stores", io_stores),
    ROW("  stores to pages with code", code_page_stores),
    ROW("  pages made fast again", upgrades),
    ROW("loads by helpers", helper_loads),
    ROW("stores by helpers", helper_stores),
    ROW("host pointers given to helpers", host_ok),
    ROW("  refused", host_miss),
    ROW("times alone", alone),
    ROW("blocks checked", checked),
};

static const char *const reasons[] = {
    [EXITR_NONE] = "none", [EXITR_LINK] = "unlinked direct jump", [EXITR_LOOKUP] = "jump cache miss",
    [EXITR_KICK] = "countdown", [EXITR_FAULT] = "fault", [EXITR_RAISE] = "exception", [EXITR_HALT] = "halt",
};

static double per(uint64_t a, uint64_t b) { return b ? (double)a / b : 0; }

/* --- helpers */

/* Lock held, as it is while code is made. */
uint64_t *helper_counter(void *tcg, const IrHelper *h)
{
    Tcg *t = tcg;
    uint64_t *n = g_hash_table_lookup(t->counters, h);
    if (!n) {
        n = g_new0(uint64_t, 1);
        g_hash_table_insert(t->counters, (void *)h, n);
    }
    return n;
}

static int by_calls(gconstpointer a, gconstpointer b, gpointer counters)
{
    const uint64_t *x = g_hash_table_lookup(counters, a), *y = g_hash_table_lookup(counters, b);
    return *x < *y ? 1 : *x > *y ? -1 : 0;
}

/* An instruction that calls two helpers counts twice: the share is an upper bound. */
static void helper_stats(Tcg *t, GString *out)
{
    uint64_t insns = 0, calls = 0;
    for (unsigned i = 0; i < t->a.vcpus->len; i++) {
        const TcgVcpu *v = t->a.vcpus->pdata[i];
        insns += v->cpu->insns;
    }
    if (!t->stats || t->use_interp) {
        g_string_append(out, "helper calls: not counted (-accel tcg,stats=on)\n");
        return;
    }
    GList *all = g_list_sort_with_data(g_hash_table_get_keys(t->counters), by_calls, t->counters);
    for (const GList *l = all; l; l = l->next)
        calls += *(const uint64_t *)g_hash_table_lookup(t->counters, l->data);
    g_string_append_printf(out, "helper calls: %" G_GUINT64_FORMAT ", %.3f %% of guest instructions\n", calls,
                           100 * per(calls, insns));
    for (const GList *l = all; l; l = l->next) {
        const IrHelper *h = l->data;
        uint64_t n = *(const uint64_t *)g_hash_table_lookup(t->counters, h);
        if (n)
            g_string_append_printf(out, "  %-34s %14" G_GUINT64_FORMAT " %8.3f %%\n", h->name, n, 100 * per(n, insns));
    }
    g_list_free(all);
}

static void vcpu_stats(TcgVcpu *v, GString *out)
{
    g_string_append_printf(out, "CPU %u: %" G_GUINT64_FORMAT " guest instructions%s\n", v->v.index, v->cpu->insns,
                           v->tcg->stats || v->tcg->use_interp ? "" : " (blocks left early count in full)");
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        g_string_append_printf(out, "  %-34s %14" G_GUINT64_FORMAT "\n", rows[i].name,
                               G_STRUCT_MEMBER(uint64_t, &v->st, rows[i].at));
    for (unsigned i = 0; i < G_N_ELEMENTS(v->st.exits); i++) {
        if (!v->st.exits[i])
            continue;
        char name[32];
        if (i < G_N_ELEMENTS(reasons) && reasons[i])
            g_snprintf(name, sizeof name, "exits: %s", reasons[i]);
        else
            g_snprintf(name, sizeof name, "exits: target %u", i);
        g_string_append_printf(out, "  %-34s %14" G_GUINT64_FORMAT "\n", name, v->st.exits[i]);
    }
    g_string_append_printf(out, "  %-34s %14u of %u, %zu KiB each\n", "TLB contexts", v->n_ctxs, N_CONTEXTS,
                           sizeof(Context) >> 10);
}

void tcg_stats(Accel *a, GString *out)
{
    Tcg *t = (Tcg *)a;
    size_t used = t->thunks, live = 0;
    for (unsigned i = 0; i < t->n_seg; i++) {
        used += t->seg[i].used;
        live += t->seg[i].blocks->len;
    }
    g_string_append_printf(out, "code memory: %zu of %zu KiB in %u segments, %zu blocks there\n", used >> 10,
                           (size_t)t->tb_size >> 10, t->n_seg, live);
    g_string_append_printf(out, "translated: %" G_GUINT64_FORMAT " blocks (and %" G_GUINT64_FORMAT
                           " for one run), %" G_GUINT64_FORMAT " guest instructions, %" G_GUINT64_FORMAT
                           " guest bytes to %" G_GUINT64_FORMAT " bytes of code and %" G_GUINT64_FORMAT " of data\n",
                           t->st.blocks, t->st.one_insn_blocks, t->st.guest_insns, t->st.guest_bytes, t->st.host_bytes,
                           t->st.data_bytes);
    g_string_append_printf(out, "  per guest instruction: %.1f bytes of code, %.1f of data; per block %.1f instructions\n",
                           per(t->st.host_bytes, t->st.guest_insns), per(t->st.data_bytes, t->st.guest_insns),
                           per(t->st.guest_insns, t->st.blocks));
    if (t->st.translate_ns)
        g_string_append_printf(out, "  time: %.3f s translating and %.3f s compiling, %.0f and %.0f ns per guest "
                               "instruction\n", t->st.translate_ns / 1e9, t->st.compile_ns / 1e9,
                               per(t->st.translate_ns, t->st.guest_insns), per(t->st.compile_ns, t->st.guest_insns));
    g_string_append_printf(out, "invalidated: %" G_GUINT64_FORMAT " blocks by %" G_GUINT64_FORMAT " stores (%"
                           G_GUINT64_FORMAT " run again by themselves) and %" G_GUINT64_FORMAT " device writes; %"
                           G_GUINT64_FORMAT " whole pages\n", t->st.invalidated, t->st.code_stores, t->st.retries,
                           t->st.dma_hits, t->st.page_drops);
    g_string_append_printf(out, "evicted: %" G_GUINT64_FORMAT " segments with %" G_GUINT64_FORMAT " blocks\n",
                           t->st.evictions, t->st.evicted);
    helper_stats(t, out);
    for (unsigned i = 0; i < a->vcpus->len; i++)
        vcpu_stats(a->vcpus->pdata[i], out);
}
