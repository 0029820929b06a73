/* SPDX-License-Identifier: GPL-2.0-or-later
 * The CPU models and -cpu.  What a model of QEMU's name has was read off QEMU 11.1's answers to CPUID (tests/guest/cpuid
 * compares them); what is left out of it, and why, stands in docs/x86-system.md.  features.def is the table of bits.
 *
 * max and qemu64 are AMD family 0Fh with automatic IBRS: a kernel then has neither page-table isolation nor return
 * trampolines to set up.  Those protect nothing here: a translated return is an ordinary jump, however it was written.
 * The other models have the errata of their namesakes, and kernels work around them. */
#include <string.h>

#include "config.h"
#include "target/x86/sys.h"
#include "tcg/hostop.h"
#include "util/error.h"
#include "util/log.h"

static const X86Feature features[X86F_N] = {
#define F(id, name, leaf, sub, reg, bit, have) [X86F_##id] = { name, leaf, sub, reg, bit, have },
#include "target/x86/features.def"
#undef F
};

const X86Feature *x86_feature(unsigned feature) { return &features[feature]; }

/* --- models */

typedef struct ModelRow {
    X86Model    m;
    const char *alias;          /* the same, with QEMU's version suffix */
    const char *help;
    const char *features;       /* names; NULL: all that can be had */
} ModelRow;

#define QEMU32 "hypervisor fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2 pni "
#define QEMU64 QEMU32 "mtrr mca pse36 clflush cx16 syscall nx lm lahf-lm "
#define NEHALEM QEMU64 "vme ssse3 sse4.1 sse4.2 popcnt "
#define SANDYBRIDGE NEHALEM "pclmulqdq aes avx xsave xsaveopt x2apic tsc-deadline arat rdtscp "
#define HASWELL SANDYBRIDGE "fma f16c movbe rdrand pcid fsgsbase bmi1 bmi2 avx2 smep erms invpcid abm "
#define SKYLAKE HASWELL "rdseed adx smap 3dnowprefetch xsavec xgetbv1 "
#define EPYC NEHALEM "pclmulqdq aes avx xsave xsaveopt arat rdtscp fma f16c movbe rdrand fsgsbase bmi1 bmi2 avx2 smep abm " \
    "rdseed adx smap 3dnowprefetch xsavec xgetbv1 clflushopt sha-ni mmxext fxsr-opt pdpe1gb cr8legacy sse4a osvw topoext "

/* AMD's legacy leaves: TLBs and L1 by 80000005h, L2 and L3 by 80000006h; and Intel's: descriptors, deterministic parameters
 * (EAX without the counts of threads and cores), L2 for AMD's leaf. */
static const X86Caches amd_caches = {
    .l1 = { 0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140 }, .l2 = { 0, 0x42004200, 0x02008140, 0x00808140 },
};
static const X86Caches intel_caches = {
    .descriptors = { 1, 0, 0, 0xff }, .l2 = { 0, 0, 0x10008040, 0 },
    .cache = { { 0x121, 0x01c0003f, 63, 1 }, { 0x122, 0x01c0003f, 63, 1 }, { 0x143, 0x03c0003f, 4095, 1 },
               { 0x163, 0x03c0003f, 16383, 6 } },
};
static const X86Caches epyc_caches = {
    .l1 = { 0x01ff01ff, 0x01ff01ff, 0x20080140, 0x40040140 }, .l2 = { 0, 0x42004200, 0x02006140, 0x00408140 },
    .cache = { { 0x121, 0x01c0003f, 63, 1 }, { 0x122, 0x00c0003f, 255, 1 }, { 0x043, 0x01c0003f, 1023, 0 },
               { 0x163, 0x03c0003f, 8191, 2 } },
};

#define AMD "AuthenticAMD"
#define INTEL "GenuineIntel"
static const ModelRow models[] = {
    { { "qemu64", AMD, "QEMU Virtual CPU version 2.5+", 15, 107, 1, 0xd, 0x8000000a, &amd_caches }, "qemu64-v2",
      "baseline x86-64 with SSE3 and CX16, and what guests run faster with",
      QEMU64 "x2apic tsc-deadline tsc-adjust invtsc null-sel-clr-base auto-ibrs" },
    { { "qemu64-v1", AMD, "QEMU Virtual CPU version 2.5+", 15, 107, 1, 0xd, 0x8000000a, &amd_caches }, NULL,
      "baseline x86-64, bit for bit", QEMU64 },
    { { "qemu32", INTEL, "QEMU Virtual CPU version 2.5+", 6, 6, 3, 4, 0x80000004, &intel_caches }, "qemu32-v1",
      "32-bit, with SSE3", QEMU32 },
    { { "486", INTEL, "", 4, 8, 0, 1, 0, NULL }, "486-v1", "32-bit, no more than an FPU", "hypervisor fpu vme pse" },
    { { "pentium", INTEL, "", 5, 4, 3, 1, 0, NULL }, "pentium-v1", "32-bit with MMX",
      "hypervisor fpu vme de pse tsc msr mce cx8 apic mmx" },
    { { "Nehalem", INTEL, "Intel Core i7 9xx (Nehalem Class Core i7)", 6, 26, 3, 0xb, 0x80000008, &intel_caches },
      "Nehalem-v1", "x86-64-v2: SSE4.2", NEHALEM },
    { { "SandyBridge", INTEL, "Intel Xeon E312xx (Sandy Bridge)", 6, 42, 1, 0xd, 0x80000008, &intel_caches },
      "SandyBridge-v1", "with AVX, AES", SANDYBRIDGE },
    { { "Haswell", INTEL, "Intel Core Processor (Haswell)", 6, 60, 4, 0xd, 0x80000008, &intel_caches }, "Haswell-v1",
      "x86-64-v3: AVX2, BMI, FMA", HASWELL },
    { { "Haswell-noTSX", INTEL, "Intel Core Processor (Haswell, no TSX)", 6, 60, 1, 0xd, 0x80000008, &intel_caches },
      "Haswell-v2", "the same under its other name", HASWELL },
    { { "Skylake-Client", INTEL, "Intel Core Processor (Skylake)", 6, 94, 3, 0xd, 0x80000008, &intel_caches },
      "Skylake-Client-v1", "with SMAP, XSAVEC", SKYLAKE },
    { { "EPYC", AMD, "AMD EPYC Processor", 23, 1, 2, 0xd, 0x8000001e, &epyc_caches }, "EPYC-v1",
      "AMD's of 2017, with SHA", EPYC },
    { { "max", AMD, "Rhea Virtual CPU, all features", 15, 107, 1, 0xd, 0x80000021, &amd_caches }, NULL,
      "everything that works", NULL },
};

/* A feature is absent without the one that it rests on (SDM vol. 1, 13.2, 14.3; vol. 2 at the instructions). */
static const struct { uint8_t feature, needs; } dependencies[] = {
    { X86F_FXSR_OPT, X86F_FXSR }, { X86F_SSE, X86F_FXSR },
    { X86F_SSE2, X86F_SSE }, { X86F_SSE3, X86F_SSE2 }, { X86F_SSSE3, X86F_SSE2 }, { X86F_SSE41, X86F_SSE2 },
    { X86F_SSE42, X86F_SSE2 }, { X86F_SSE4A, X86F_SSE2 }, { X86F_AES, X86F_SSE2 }, { X86F_PCLMULQDQ, X86F_SSE2 },
    { X86F_SHA_NI, X86F_SSE2 }, { X86F_MMXEXT, X86F_MMX },
    { X86F_XSAVEOPT, X86F_XSAVE }, { X86F_XSAVEC, X86F_XSAVE }, { X86F_XGETBV1, X86F_XSAVE },
    { X86F_XSAVES, X86F_XSAVEC }, { X86F_PKU, X86F_XSAVE }, { X86F_AVX, X86F_XSAVE },
    { X86F_AVX2, X86F_AVX }, { X86F_FMA, X86F_AVX }, { X86F_F16C, X86F_AVX }, { X86F_VAES, X86F_AVX },
    { X86F_VPCLMULQDQ, X86F_AVX }, { X86F_LM, X86F_PAE }, { X86F_PCID, X86F_LM }, { X86F_SYSCALL, X86F_LM },
    { X86F_CX16, X86F_LM }, { X86F_FSGSBASE, X86F_LM }, { X86F_PDPE1GB, X86F_LM }, { X86F_TSC_DEADLINE, X86F_APIC },
    { X86F_X2APIC, X86F_APIC }, { X86F_NPT, X86F_SVM }, { X86F_NRIP_SAVE, X86F_SVM },
};

/* What QEMU has besides and what it may be set to here. */
static const struct { const char *name, *value, *why; } settled[] = {
    { "pmu", "off", "there are no performance counters" },
    { "kvm", "off", "the hypervisor's leaves are Rhea's own under tcg" },
    { "host-phys-bits", "off", "a named model never depends on the host; phys-bits= is there" },
    { "host-cache-info", "off", "a named model never depends on the host" },
    { "cpuid-0xb", "on", "the topology leaf is always there" },
    { "l3-cache", "on", "caches are the model's" },
    { "legacy-cache", "on", "caches are the model's" },
};

static bool has(const X86Model *m, unsigned f) { return m->has[f / 64] >> f % 64 & 1; }

static void set_bit(uint64_t *map, unsigned f, bool on)
{
    uint64_t bit = UINT64_C(1) << f % 64;
    map[f / 64] = on ? map[f / 64] | bit : map[f / 64] & ~bit;
}
static void set_feature(X86Model *m, unsigned f, bool on) { set_bit(m->has, f, on); }

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

/* What the accelerator can give: all that is implemented, or no more than its own host's model.  Values of 256 bits live
 * in the host's registers: an x86-64 host without AVX has no place for them. */
static bool can_have(const X86Model *host, unsigned f)
{
    if (!host && f == X86F_AVX && HOST_X86_64 && !(host_features() & HOST_AVX))
        return false;
    return host ? has(host, f) : features[f].have == FEAT_YES || features[f].have == FEAT_ASKED;
}

/* "; did you mean 'sse4.1' or 'sse4.2'?" */
static char *suggest(const char *name)
{
    GString *s = g_string_new(NULL);
    unsigned n = 0;
    for (unsigned f = 1; f < X86F_N && n < 4; f++) {
        g_auto(GStrv) names = g_strsplit(features[f].names, "|", -1);
        for (char **p = names; can_have(NULL, f) && *p; p++) {
            if (distance(name, *p) <= (strlen(name) > 4 ? 2u : 1u)) {
                g_string_append_printf(s, "%s'%s'", n++ ? ", " : "; near it are ", *p);
                break;
            }
        }
    }
    return g_string_free(s, FALSE);
}

/* Names that QEMU knows and nobody can have here: in groups the paravirtual interfaces of Hyper-V and KVM, VMX's sub-features,
 * vector extensions beyond AVX2; one by one bits of MSRs that say what a processor does not suffer from, parts of SGX, VIA's
 * instructions and the latest ones. */
static bool known_absent(const char *name)
{
    static const char *const prefixes[] = { "hv-", "hv_", "kvm-", "kvm_", "kvmclock", "vmx-", "avx512", "avx10", "amx-", "xen-" };
    static const char *const names[] = {
        "ace2", "ace2-en", "apx-nci-ndd-nf", "apxf", "avx-ne-convert", "avx-vnni-int16", "avx-vnni-int8",
        "bhi-no", "fb-clear", "fbsdp-no", "full-width-write", "gds-no", "gmet", "ibrs-all", "intel-pt-lip",
        "its-no", "mds-no", "movrs", "msr-imm", "pbrsb-no", "perfmon-v2", "phe", "phe-en", "pmm", "pmm-en",
        "prefetchiti", "pschange-mc-no", "psdp-no", "rdctl-no", "rfds-clear", "rfds-no", "rsba",
        "sbdr-ssdp-no", "sgx-aex-notify", "sgx-debug", "sgx-edeccssa", "sgx-exinfo", "sgx-kss",
        "sgx-mode64", "sgx-provisionkey", "sgx-tokenkey", "sgx1", "sgx2", "sha512", "skip-l1dfl-vmentry",
        "sm3", "sm4", "split-lock-detect", "ssb-no", "taa-no", "tsa-l1-no", "tsa-sq-no", "tsx-ctrl",
        "verw-clear", "wrmsrns", "xcrypt", "xcrypt-en", "xstore", "xstore-en"
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(prefixes); i++)
        if (g_str_has_prefix(name, prefixes[i]))
            return true;
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (name_is(names[i], name))
            return true;
    return false;
}

static bool switch_feature(X86Model *m, const X86Model *host, const char *name, bool on, GError **err)
{
    unsigned f = find_feature(name);
    if (!f && known_absent(name))
        return !on || fail(err, "CPU feature '%s' is not emulated", name);
    if (!f) {
        g_autofree char *near = suggest(name);
        return fail(err, "CPU feature '%s' is unknown%s (-cpu help lists them)", name, near);
    }
    if (f == X86F_OSXSAVE || f == X86F_OSPKE)
        return fail(err, "CPU feature '%s' is the operating system's to set", name);
    if (on && !can_have(host, f))
        return host ? fail(err, "CPU feature '%s' is not to be had from this host's processor and accelerator", name)
                    : fail(err, "CPU feature '%s' is not emulated", name);
    set_feature(m, f, on);
    set_bit(m->asked, f, on);           /* the latest word counts */
    return true;
}

static bool parse_number(const char *key, const char *text, uint32_t max, uint32_t *out, GError **err)
{
    char *end;
    guint64 v = g_ascii_strtoull(text, &end, 0);
    if (!*text || *end || v > max)
        return fail(err, "CPU property '%s' wants a number up to %u, not '%s'", key, max, text);
    *out = v;
    return true;
}

static bool parse_phys_bits(X86Model *m, const char *value, GError **err)
{
    uint32_t n;
    if (!parse_number("phys-bits", value, 48, &n, err))
        return false;
    if (n && n < 32)
        return fail(err, "CPU property 'phys-bits' is 32 to 48, or 0 for the model's own, not %u", n);
    m->phys_bits = n ? n : m->phys_bits;
    return true;
}

static bool parse_text(const char *key, const char *value, size_t least, size_t most, const char **out, GError **err)
{
    size_t n = strlen(value);
    if (n < least)
        return fail(err, "CPU property '%s' is exactly %zu characters, '%s' is not", key, least, value);
    if (n > most)
        return fail(err, "CPU property '%s' is at most %zu characters", key, most);
    g_free((char *)*out);
    *out = g_strdup(value);
    return true;
}

static bool parse_switch(const char *key, const char *value, bool *on, GError **err)
{
    *on = !strcmp(value, "on") || !strcmp(value, "true") || !strcmp(value, "yes") || !strcmp(value, "y");
    if (!*on && strcmp(value, "off") && strcmp(value, "false") && strcmp(value, "no") && strcmp(value, "n"))
        return fail(err, "CPU property '%s' is on or off, not '%s'", key, value);
    return true;
}

static bool set_property(X86Model *m, const X86Model *host, const char *key, const char *value, GError **err)
{
    bool on;
    if (!strcmp(key, "family"))
        return parse_number(key, value, 0xff + 0xf, &m->family, err);
    if (!strcmp(key, "model"))
        return parse_number(key, value, 0xff, &m->model, err);
    if (!strcmp(key, "stepping"))
        return parse_number(key, value, 0xf, &m->stepping, err);
    if (!strcmp(key, "level") || !strcmp(key, "min-level"))
        return parse_number(key, value, 0x1f, &m->level, err);
    if (!strcmp(key, "xlevel") || !strcmp(key, "min-xlevel")) {
        if (!parse_number(key, value, 0x8000003f, &m->xlevel, err))
            return false;
        return !m->xlevel || m->xlevel >> 31 || fail(err, "CPU property '%s' is 0 or from 0x80000000, not '%s'", key, value);
    }
    if (!strcmp(key, "phys-bits"))
        return parse_phys_bits(m, value, err);
    if (!strcmp(key, "vendor"))
        return parse_text(key, value, 12, 12, &m->vendor, err);
    if (!strcmp(key, "model-id"))
        return parse_text(key, value, 0, 47, &m->brand, err);
    if (!strcmp(key, "tsc-frequency") || !strcmp(key, "tsc-freq"))
        return fail(err, "CPU property '%s' cannot be set: the TSC runs at %u Hz", key, X86_TSC_HZ);
    for (unsigned i = 0; i < G_N_ELEMENTS(settled); i++)
        if (name_is(settled[i].name, key)) {
            if (!parse_switch(key, value, &on, err))
                return false;
            return on == !strcmp(settled[i].value, "on") ||
                   fail(err, "CPU property '%s' can only be %s: %s", key, settled[i].value, settled[i].why);
        }
    if (known_absent(key) && !find_feature(key) && strcmp(value, "off"))
        return fail(err, "CPU feature '%s' is not emulated", key);
    if (!parse_switch(key, value, &on, err))
        return false;
    if (!strcmp(key, "check") || !strcmp(key, "enforce") || !strcmp(key, "migratable"))
        return true;    /* x86_model_parse_for() looks for the first two */
    return switch_feature(m, host, key, on, err);
}

static const ModelRow *find_model(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (!strcmp(models[i].m.name, name) || !g_strcmp0(models[i].alias, name))
            return &models[i];
    return NULL;
}

static void add_features(X86Model *m, const char *names)
{
    g_auto(GStrv) list = g_strsplit(names, " ", -1);
    for (char **p = list; *p; p++)
        if (**p)
            set_feature(m, find_feature(*p), true);
}

static X86Model *model_new(const ModelRow *row, const X86Model *host)
{
    X86Model *m = g_memdup2(row ? &row->m : host, sizeof *m);
    m->vendor = g_strdup(m->vendor);
    m->brand = g_strdup(m->brand);
    if (!row && !m->caches)
        m->caches = !strcmp(m->vendor, INTEL) ? &intel_caches : &amd_caches;
    if (row && row->features)
        add_features(m, row->features);
    for (unsigned f = 1; row && !row->features && f < X86F_N; f++)
        set_feature(m, f, can_have(host, f) && features[f].have != FEAT_ASKED);
    if (row) {
        m->phys_bits = has(m, X86F_LM) ? 40 : has(m, X86F_PAE) || has(m, X86F_PSE36) ? 36 : 32;
        m->virt_bits = has(m, X86F_LM) ? 48 : 32;
    }
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

static int first_name(unsigned f) { return strcspn(features[f].names, "|"); }

/* Takes out what cannot be had. */
static bool limit(X86Model *m, const X86Model *host, bool tell, bool enforce, GError **err)
{
    const char *who = host ? "this host's processor and accelerator cannot give" : "is not emulated";
    g_autoptr(GString) left_out = g_string_new(NULL);
    for (unsigned f = 1; f < X86F_N; f++) {
        if (!has(m, f) || can_have(host, f))
            continue;
        set_feature(m, f, false);
        g_string_append_printf(left_out, "%s%.*s", left_out->len ? ", " : "", first_name(f), features[f].names);
    }
    if (host)
        m->phys_bits = MIN(m->phys_bits, host->phys_bits);
    if (!left_out->len || !tell)
        return true;
    if (enforce)
        return fail(err, "CPU model '%s' has what %s: %s", m->name, who, left_out->str);
    log_warn(NULL, "CPU model '%s' goes without what %s: %s", m->name, who, left_out->str);
    return true;
}

/* Takes out what rests on a feature that is off; refuses that which was asked for. */
static bool depend(X86Model *m, GError **err)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(dependencies); i++) {
            unsigned f = dependencies[i].feature, needs = dependencies[i].needs;
            if (!has(m, f) || has(m, needs))
                continue;
            if (m->asked[f / 64] >> f % 64 & 1)
                return fail(err, "CPU feature '%.*s' needs '%.*s', which is off", first_name(f), features[f].names,
                            first_name(needs), features[needs].names);
            set_feature(m, f, false);
            again = true;
        }
    }
    return true;
}

/* The last leaves are at least those of the features, as in QEMU; level= and xlevel= hold. */
static void raise_levels(X86Model *m, bool level, bool xlevel)
{
    for (unsigned f = 1; f < X86F_N; f++) {
        if (!has(m, f))
            continue;
        if (features[f].leaf >> 31 && xlevel)
            m->xlevel = MAX(m->xlevel, features[f].leaf);
        else if (!(features[f].leaf >> 31) && level)
            m->level = MAX(m->level, features[f].leaf);
    }
    if (level && has(m, X86F_XSAVE))
        m->level = MAX(m->level, 0xdu);
    if (xlevel && has(m, X86F_LM))
        m->xlevel = MAX(m->xlevel, 0x80000008u);
}

static X86Model *unknown_model(const char *name, GError **err)
{
    g_autoptr(GString) all = g_string_new(NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(all, "%s%s", i ? ", " : "", models[i].m.name);
    fail(err, !strcmp(name, "host") ? "CPU model '%s' needs an accelerator that runs the guest on the host's processor; "
                                      "there are: %s (-cpu help)"
                                    : "CPU model '%s' is unknown; there are: %s (-cpu help)", name, all->str);
    return NULL;
}

const X86Model *x86_model_parse(const char *spec, GError **err) { return x86_model_parse_for(spec, NULL, err); }

const X86Model *x86_model_parse_for(const char *spec, const X86Model *host, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(spec ? spec : "qemu64", ",", -1);
    const char *name = parts[0] ? parts[0] : "";
    bool as_host = host && !strcmp(name, host->name), enforce = false, tell = spec, level = true, xlevel = true;
    const ModelRow *row = as_host ? NULL : find_model(name);
    if (!row && !as_host)
        return unknown_model(name, err);
    X86Model *m = model_new(row, host);
    bool ok = true;
    for (char **p = parts + 1; ok && *p; p++) {
        if (g_str_has_prefix(*p, "enforce"))
            enforce = !strcmp(*p, "enforce") || !strcmp(*p, "enforce=on");
        if (!strcmp(*p, "check=off"))
            tell = false;
        level &= !g_str_has_prefix(*p, "level=");
        xlevel &= !g_str_has_prefix(*p, "xlevel=");
        ok = apply(m, host, *p, err);
    }
    if (!ok || !limit(m, host, tell || enforce, enforce, err) || !depend(m, err)) {
        x86_model_free(m);
        return NULL;
    }
    raise_levels(m, level, xlevel);
    m->intel = !strcmp(m->vendor, INTEL);
    return m;
}

void x86_models_help(GString *out)
{
    g_string_append(out, "Available CPUs:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(out, "  %-15s %s%s%s%s\n", models[i].m.name, models[i].help, models[i].alias ? " (" : "",
                               models[i].alias ? models[i].alias : "", models[i].alias ? ")" : "");
    g_string_append(out, "  host            the host's processor, with -accel kvm\n");
    g_string_append(out, "\nRecognized CPUID flags (+flag, -flag, flag=on|off):\n ");
    unsigned col = 1;
    for (unsigned f = 1; f < X86F_N; f++) {
        if (!can_have(NULL, f))
            continue;
        unsigned len = first_name(f);
        if (col + len + 1 > 78) {
            g_string_append(out, "\n ");
            col = 1;
        }
        g_string_append_printf(out, " %.*s", len, features[f].names);
        col += len + 1;
    }
    g_string_append(out, "\n\nProperties: family= model= stepping= level= xlevel= phys-bits= vendor= model-id= check= "
                         "enforce=\n");
}
