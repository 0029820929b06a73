/* SPDX-License-Identifier: GPL-2.0-or-later
 * CPUID and the CPU models.  Sources: APM vol. 3, appendix E; SDM vol. 2, CPUID; features.def is the table
 * of bits.
 *
 * Both models are AMD family 0Fh with automatic IBRS: a kernel then has neither page-table isolation nor
 * return trampolines to set up.  Those protect nothing here: a translated return is an ordinary jump,
 * however it was written. */
#include <string.h>

#include "target/x86/sys.h"
#include "util/error.h"
#include "util/log.h"

static const X86Feature features[X86F_N] = {
#define F(id, name, leaf, sub, reg, bit, done) [X86F_##id] = { name, leaf, sub, reg, bit, done },
#include "target/x86/features.def"
#undef F
};

const X86Feature *x86_feature(unsigned feature) { return &features[feature]; }

/* --- models */

static const uint8_t qemu64_features[] = {
    X86F_FPU,     X86F_DE,           X86F_PSE,     X86F_TSC,           X86F_MSR,       X86F_PAE, X86F_MCE,
    X86F_CX8,     X86F_APIC,         X86F_SEP,     X86F_MTRR,          X86F_PGE,       X86F_MCA, X86F_CMOV,
    X86F_PAT,     X86F_PSE36,        X86F_CLFLUSH, X86F_MMX,           X86F_FXSR,      X86F_SSE, X86F_SSE2,
    X86F_SSE3,    X86F_CX16,         X86F_X2APIC,  X86F_HYPERVISOR,    X86F_SYSCALL,   X86F_NX,  X86F_LM,
    X86F_LAHF_LM, X86F_TSC_DEADLINE, X86F_INVTSC,  X86F_NULL_SEL_BASE, X86F_AUTO_IBRS,
};

typedef struct ModelRow {
    X86Model       m;
    const char    *help;
    const uint8_t *features;    /* NULL: all that is implemented */
    unsigned       n_features;
} ModelRow;

static const ModelRow models[] = {
    { { "qemu64", "AuthenticAMD", "Rhea Virtual CPU", 15, 107, 1, 0xd, 0x80000021, 40, 48, { 0 } },
      "baseline x86-64 with SSE3 and CX16", qemu64_features, sizeof qemu64_features },
    { { "max", "AuthenticAMD", "Rhea Virtual CPU, all features", 15, 107, 1, 0xd, 0x80000021, 40, 48, { 0 } },
      "everything that works", NULL, 0 },
};

static void set_feature(X86Model *m, unsigned f, bool on)
{
    uint64_t bit = UINT64_C(1) << f % 64;
    m->has[f / 64] = on ? m->has[f / 64] | bit : m->has[f / 64] & ~bit;
}

/* Whether name is one of the names, separated by '|'.  '_' and '-' are the same. */
static bool name_is(const char *names, const char *name)
{
    for (const char *p = names;; p++) {
        const char *n = name;
        while (*p && *p != '|' && (*p == *n || (*p == '-' && *n == '_') || (*p == '_' && *n == '-')))
            p++, n++;
        if ((!*p || *p == '|') && !*n)
            return true;
        p = strchr(p, '|');
        if (!p)
            return false;
    }
}

static unsigned find_feature(const char *name)
{
    for (unsigned f = 1; f < X86F_N; f++)
        if (name_is(features[f].names, name))
            return f;
    return X86F_NONE;
}

/* Letters that must change to make a into b, for "did you mean". */
static unsigned distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    unsigned row[64];
    if (na >= 63 || nb >= 63)
        return 99;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        unsigned diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned up = row[j], best = MIN(row[j - 1], up) + 1;
            best = MIN(best, diag + (a[i - 1] != b[j - 1]));
            diag = up;
            row[j] = best;
        }
    }
    return row[nb];
}

/* "; did you mean 'sse4.1' or 'sse4.2'?" */
static char *suggest(const char *name)
{
    GString *s = g_string_new(NULL);
    unsigned n = 0;
    for (unsigned f = 1; f < X86F_N && n < 4; f++) {
        g_auto(GStrv) names = g_strsplit(features[f].names, "|", -1);
        for (char **p = names; features[f].done && *p; p++) {
            if (distance(name, *p) <= (strlen(name) > 4 ? 2u : 1u)) {
                g_string_append_printf(s, "%s'%s'", n++ ? ", " : "; near it are ", *p);
                break;
            }
        }
    }
    return g_string_free(s, FALSE);
}

/* What the accelerator can give: all that is implemented, or no more than its own host's model. */
static bool can_have(const X86Model *host, unsigned f)
{
    return host ? host->has[f / 64] >> f % 64 & 1 : features[f].done;
}

static bool switch_feature(X86Model *m, const X86Model *host, const char *name, bool on, GError **err)
{
    unsigned f = find_feature(name);
    if (!f) {
        g_autofree char *near = suggest(name);
        return fail(err, "CPU feature '%s' is unknown%s (-cpu help lists them)", name, near);
    }
    if (on && !can_have(host, f))
        return host ? fail(err, "CPU feature '%s' is not to be had from this host's processor and accelerator", name)
                    : fail(err, "CPU feature '%s' is not emulated", name);
    set_feature(m, f, on);
    return true;
}

static bool parse_number(const char *key, const char *text, unsigned max, uint32_t *out, GError **err)
{
    char *end;
    guint64 v = g_ascii_strtoull(text, &end, 0);
    if (!*text || *end || v > max)
        return fail(err, "CPU property '%s' wants a number up to %u, not '%s'", key, max, text);
    *out = v;
    return true;
}

static bool set_property(X86Model *m, const X86Model *host, const char *key, const char *value, GError **err)
{
    uint32_t n;
    if (!strcmp(key, "family"))
        return parse_number(key, value, 0xff + 0xf, &m->family, err);
    if (!strcmp(key, "model"))
        return parse_number(key, value, 0xff, &m->model, err);
    if (!strcmp(key, "stepping"))
        return parse_number(key, value, 0xf, &m->stepping, err);
    if (!strcmp(key, "phys-bits")) {
        if (!parse_number(key, value, 48, &n, err))
            return false;
        if (n < 36)
            return fail(err, "CPU property 'phys-bits' is 36 to 48, not %u", n);
        m->phys_bits = n;
        return true;
    }
    if (!strcmp(key, "vendor")) {
        if (strlen(value) != 12)
            return fail(err, "CPU property 'vendor' is exactly 12 characters, '%s' is not", value);
        g_free((char *)m->vendor);
        m->vendor = g_strdup(value);
        return true;
    }
    if (!strcmp(key, "model-id")) {
        if (strlen(value) > 47)
            return fail(err, "CPU property 'model-id' is at most 47 characters");
        g_free((char *)m->brand);
        m->brand = g_strdup(value);
        return true;
    }
    bool on = !strcmp(value, "on") || !strcmp(value, "true") || !strcmp(value, "yes");
    if (!on && strcmp(value, "off") && strcmp(value, "false") && strcmp(value, "no"))
        return fail(err, "CPU property '%s' is on or off, not '%s'", key, value);
    if (!strcmp(key, "check") || !strcmp(key, "enforce") || !strcmp(key, "migratable"))
        return true; /* limit() looks for "enforce"; what is left out is always told */
    return switch_feature(m, host, key, on, err);
}

static const ModelRow *find_model(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (!strcmp(models[i].m.name, name))
            return &models[i];
    return NULL;
}

static X86Model *model_new(const ModelRow *row, const X86Model *host)
{
    X86Model *m = g_memdup2(row ? &row->m : host, sizeof *m);
    m->vendor = g_strdup(m->vendor);
    m->brand = g_strdup(m->brand);
    for (unsigned i = 0; row && i < row->n_features; i++)
        set_feature(m, row->features[i], true);
    for (unsigned f = 1; row && !row->features && f < X86F_N; f++)
        set_feature(m, f, can_have(host, f));
    return m;
}

static bool apply(X86Model *m, const X86Model *host, const char *part, GError **err)
{
    if (*part == '+' || *part == '-')
        return switch_feature(m, host, part + 1, *part == '+', err);
    const char *eq = strchr(part, '=');
    if (!eq)
        return set_property(m, host, part, "on", err);
    g_autofree char *key = g_strndup(part, eq - part);
    return set_property(m, host, key, eq + 1, err);
}

void x86_model_free(const X86Model *m)
{
    g_free((char *)m->vendor);
    g_free((char *)m->brand);
    g_free((X86Model *)m);
}

/* Takes out what the host cannot give. */
static bool limit(X86Model *m, const X86Model *host, bool tell, bool enforce, GError **err)
{
    g_autoptr(GString) left_out = g_string_new(NULL);
    for (unsigned f = 1; f < X86F_N; f++) {
        if (!(m->has[f / 64] >> f % 64 & 1) || can_have(host, f))
            continue;
        set_feature(m, f, false);
        g_string_append_printf(left_out, "%s%.*s", left_out->len ? ", " : "", (int)strcspn(features[f].names, "|"),
                               features[f].names);
    }
    m->phys_bits = MIN(m->phys_bits, host->phys_bits);
    if (!left_out->len || !tell)
        return true;
    if (enforce)
        return fail(err, "CPU model '%s' has what this host's processor and accelerator cannot give: %s", m->name,
                    left_out->str);
    log_warn(NULL, "CPU model '%s' goes without what this host cannot give: %s", m->name, left_out->str);
    return true;
}

const X86Model *x86_model_parse(const char *spec, GError **err) { return x86_model_parse_for(spec, NULL, err); }

const X86Model *x86_model_parse_for(const char *spec, const X86Model *host, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(spec ? spec : "qemu64", ",", -1);
    const char *name = parts[0] ? parts[0] : "";
    bool as_host = host && !strcmp(name, host->name), enforce = false;
    const ModelRow *row = as_host ? NULL : find_model(name);
    if (!row && !as_host) {
        GString *all = g_string_new(NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
            g_string_append_printf(all, "%s%s", i ? ", " : "", models[i].m.name);
        g_autofree char *list = g_string_free(all, FALSE);
        fail(err, !strcmp(name, "host") ? "CPU model '%s' needs an accelerator that runs the guest on the host's processor; "
                                          "there are: %s (-cpu help)"
                                        : "CPU model '%s' is unknown; there are: %s (-cpu help)", name, list);
        return NULL;
    }
    X86Model *m = model_new(row, host);
    for (char **p = parts + 1; *p; p++) {
        enforce |= !strcmp(*p, "enforce") || !strcmp(*p, "enforce=on");
        if (!apply(m, host, *p, err)) {
            x86_model_free(m);
            return NULL;
        }
    }
    if (host && !limit(m, host, spec, enforce, err)) {
        x86_model_free(m);
        return NULL;
    }
    return m;
}

void x86_models_help(GString *out)
{
    g_string_append(out, "Available CPUs:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(out, "  %-12s %s\n", models[i].m.name, models[i].help);
    g_string_append(out, "  host         the host's processor, with -accel kvm\n");
    g_string_append(out, "\nRecognized CPUID flags (+flag, -flag, flag=on|off):\n ");
    unsigned col = 1;
    for (unsigned f = 1; f < X86F_N; f++) {
        if (!features[f].done)
            continue;
        unsigned len = strcspn(features[f].names, "|");
        if (col + len + 1 > 78) {
            g_string_append(out, "\n ");
            col = 1;
        }
        g_string_append_printf(out, " %.*s", len, features[f].names);
        col += len + 1;
    }
    g_string_append(out, "\n\nProperties: family= model= stepping= phys-bits= vendor= model-id=\n");
}

/* --- CPUID */

static uint32_t signature(const X86Model *m)
{
    uint32_t fam = MIN(m->family, 15u), ext = m->family - fam;
    return ext << 20 | (m->model >> 4) << 16 | fam << 8 | (m->model & 15) << 4 | m->stepping;
}

static uint32_t word(const char *s) { uint32_t v; memcpy(&v, s, 4); return v; }

static void vendor(const X86Model *m, uint32_t max, uint32_t out[4])
{
    out[0] = max;
    out[1] = word(m->vendor);
    out[3] = word(m->vendor + 4);
    out[2] = word(m->vendor + 8);
}

/* The hypervisor's own leaves: a signature, and at +10h the frequencies in kHz, in the place where VMware
 * has them. */
static void hypervisor_leaf(uint32_t leaf, uint32_t out[4])
{
    if (leaf == 0x40000000) {
        out[0] = 0x40000010;
        out[1] = out[2] = out[3] = word("Rhea");
    } else if (leaf == 0x40000010) {
        out[0] = X86_TSC_HZ / 1000;
        out[1] = 1000000;
    }
}

static bool apic_on(X86Cpu *c)
{
    uint64_t base;
    return c->port.intc && c->port.intc->msr_read(c->port.intc_self, 0x1b, &base) && (base >> 11 & 1);
}

static void xsave_leaf(const X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    if (!x86_has(c, X86F_XSAVE)) {
        out[0] = out[1] = out[2] = out[3] = 0;
    } else if (sub == 0) {
        out[0] = x86_has(c, X86F_AVX) ? 7 : 3;                  /* x87, SSE, AVX */
        out[1] = out[2] = x86_has(c, X86F_AVX) ? 512 + 64 + 256 : 512 + 64;
    } else if (sub == 2 && x86_has(c, X86F_AVX)) {
        out[0] = 256;                   /* size and place of the upper halves */
        out[1] = 512 + 64;
    }
}

static void topology_leaf(const X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    out[2] = sub & 0xff;
    out[3] = c->port.cpu_index;
    if (sub > 1)
        return;
    out[1] = 1;
    out[2] |= (sub + 1) << 8;           /* thread, core */
}

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const X86Model *m = c->model;
    memset(out, 0, 4 * sizeof *out);
    if (leaf >> 28 == 4 && x86_has(c, X86F_HYPERVISOR)) {
        hypervisor_leaf(leaf, out);
        return;
    }
    if (leaf >> 31 ? leaf > m->xlevel : leaf > m->level)
        return;                         /* AMD: zeros beyond the last leaf */
    for (unsigned f = 1; f < X86F_N; f++)
        if (features[f].leaf == leaf && x86_has(c, f) &&
            (features[f].sub == sub || (leaf != 7 && leaf != 0xd)))
            out[features[f].reg] |= UINT32_C(1) << features[f].bit;
    switch (leaf) {
    case 0: vendor(m, m->level, out); break;
    case 1:
        out[0] = signature(m);
        out[1] = c->port.cpu_index << 24 | 1 << 16 | 8 << 8; /* APIC id, one thread, CLFLUSH 64 bytes */
        if (c->cr4 & CR4_OSXSAVE)
            out[2] |= 1u << 27;
        if (!apic_on(c))
            out[3] &= ~(1u << 9);
        break;
    case 0xb: topology_leaf(c, sub, out); break;
    case 0xd: xsave_leaf(c, sub, out); break;
    case 0x80000000: vendor(m, m->xlevel, out); break;
    case 0x80000001:
        out[0] = signature(m);
        for (unsigned f = 1; f < X86F_N; f++)   /* AMD repeats the low bits of leaf 1 here */
            if (features[f].leaf == 1 && features[f].reg == 3 && x86_has(c, f))
                out[3] |= UINT32_C(1) << features[f].bit & 0x0183f3ff;
        break;
    case 0x80000002: case 0x80000003: case 0x80000004: {
        char brand[48] = { 0 };
        memcpy(brand, m->brand, strlen(m->brand));
        for (unsigned i = 0; i < 4; i++)
            out[i] = word(brand + (leaf - 0x80000002) * 16 + 4 * i);
        break;
    }
    case 0x80000005:                    /* L1: 64 KiB, 2 ways, 64-byte lines; TLBs */
        out[0] = 0x01ff01ff;
        out[1] = 0x01ff01ff;
        out[2] = out[3] = 0x40020140;
        break;
    case 0x80000006:                    /* L2: 512 KiB, 16 ways */
        out[1] = 0x42004200;
        out[2] = 0x02008140;
        break;
    case 0x80000008: out[0] = m->virt_bits << 8 | m->phys_bits; break;
    }
}
