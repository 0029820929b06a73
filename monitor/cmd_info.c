/* SPDX-License-Identifier: GPL-2.0-or-later
 * info: what there is and how it is. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "monitor/command.h"
#include "target/debug.h"
#include "util/error.h"

bool info_status(Session *s, const Args *a, GError **err)
{
    g_string_append_printf(s->out, "VM status: %s\n", machine_state_name(s->env->machine));
    return true;
}

bool info_version(Session *s, const Args *a, GError **err)
{
    g_string_append_printf(s->out, "%s\n", s->env->version);
    return true;
}

bool info_name(Session *s, const Args *a, GError **err)
{
    if (s->env->name)
        g_string_append_printf(s->out, "%s\n", s->env->name);
    return true;
}

bool info_uuid(Session *s, const Args *a, GError **err)
{
    g_string_append_printf(s->out, "%s\n", s->env->uuid ? s->env->uuid : "00000000-0000-0000-0000-000000000000");
    return true;
}

/* --- CPUs */

bool info_registers(Session *s, const Args *a, GError **err)
{
    bool all = arg_int(a, "all");
    if (!s->cpu)
        return fail(err, "No CPU available");
    for (unsigned i = all ? 0 : vcpu_index(s->cpu); i < accel_n_vcpus(s->env->accel); i++) {
        Vcpu *v = accel_vcpu(s->env->accel, i);
        g_string_append_printf(s->out, "\nCPU#%u\n", i);
        vcpu_target(v)->dump(vcpu_cpu(v), s->out);
        if (!all)
            break;
    }
    return true;
}

bool info_cpus(Session *s, const Args *a, GError **err)
{
    for (unsigned i = 0; i < accel_n_vcpus(s->env->accel); i++) {
        Vcpu *v = accel_vcpu(s->env->accel, i);
        const TargetDebug *d = vcpu_target(v)->debug;
        uint64_t pc;
        g_string_append_printf(s->out, "%c CPU #%u: thread_id=%d", v == s->cpu ? '*' : ' ', i, vcpu_tid(v));
        if (d && d->lookup(vcpu_cpu(v), "pc", &pc))
            g_string_append_printf(s->out, " pc=0x%016" PRIx64 " (%s)", pc, d->state(vcpu_cpu(v)));
        g_string_append_c(s->out, '\n');
    }
    return true;
}

enum { MAX_LINES = 1 << 18 };           /* a guest's tables may map anything any number of times */
typedef struct Lines { GString *out; unsigned n; uint64_t start, end; unsigned rights; bool open; } Lines;

static void mem_flush(Lines *l)
{
    if (l->open)
        g_string_append_printf(l->out, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n", l->start, l->end,
                               l->end - l->start, l->rights & 2 ? 'u' : '-', l->rights & 1 ? 'w' : '-');
    l->open = false;
}

static bool list_maps(Session *s, DebugMapFn *line, GError **err)
{
    const TargetDebug *d = s->cpu ? vcpu_target(s->cpu)->debug : NULL;
    Lines l = { .out = s->out };
    if (!d || !d->maps)
        return fail(err, "No CPU available");
    bool all = d->maps(vcpu_cpu(s->cpu), s->env->machine->mem, line, &l);
    mem_flush(&l);
    if (!l.n && all)
        g_string_append(s->out, "PG disabled\n");
    if (!all)
        g_string_append(s->out, "... (more than is shown)\n");
    return true;
}

/* x86's bits of the entry: NX G PS D A PCD PWT U W. */
static bool tlb_line(void *self, const DebugMap *m)
{
    Lines *l = self;
    static const struct { uint8_t bit; char letter; } bits[] = {
        { 63, 'X' }, { 8, 'G' }, { 7, 'P' }, { 6, 'D' }, { 5, 'A' }, { 4, 'C' }, { 3, 'T' }, { 2, 'U' }, { 1, 'W' },
    };
    g_string_append_printf(l->out, "%016" PRIx64 ": %016" PRIx64 " ", m->va, m->pa);
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        bool on = m->raw >> bits[i].bit & 1 && !(bits[i].letter == 'P' && m->page_len == 4096);
        g_string_append_c(l->out, on ? bits[i].letter : '-');
    }
    g_string_append_c(l->out, '\n');
    return ++l->n < MAX_LINES;
}

bool info_tlb(Session *s, const Args *a, GError **err) { return list_maps(s, tlb_line, err); }

static bool mem_line(void *self, const DebugMap *m)
{
    Lines *l = self;
    unsigned rights = m->writable | m->user << 1;
    if (l->open && l->end == m->va && l->rights == rights) {
        l->end += m->len;
        return true;
    }
    mem_flush(l);
    l->start = m->va;
    l->end = m->va + m->len;
    l->rights = rights;
    l->open = true;
    return ++l->n < MAX_LINES;
}

bool info_mem(Session *s, const Args *a, GError **err) { return list_maps(s, mem_line, err); }

/* --- the machine */

bool info_mtree(Session *s, const Args *a, GError **err)
{
    const Machine *m = s->env->machine;
    Space *spaces[] = { m->mem, m->io };
    for (unsigned i = 0; i < G_N_ELEMENTS(spaces); i++) {
        if (arg_int(a, "flat"))
            space_show(spaces[i], s->out);
        else
            space_show_tree(spaces[i], s->out);
        g_string_append_c(s->out, '\n');
    }
    return true;
}

static void show_device(Session *s, Device *d)
{
    g_string_append_printf(s->out, "%s (%s): ", d->id, d->type->name);
    domain_enter(d->domain);
    describe_show(d->type->state, d, s->out);
    g_string_append_c(s->out, '\n');
    device_regs_show(d, s->out);
    domain_leave(d->domain);
}

static unsigned show_type(Session *s, const char *type, const char *id)
{
    const Machine *m = s->env->machine;
    unsigned n = 0;
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if ((type && strcmp(d->type->name, type)) || (id && strcmp(d->id, id)))
            continue;
        show_device(s, d);
        n++;
    }
    return n;
}

bool info_qtree(Session *s, const Args *a, GError **err)
{
    show_type(s, NULL, NULL);
    return true;
}

bool info_pic(Session *s, const Args *a, GError **err)
{
    unsigned n = show_type(s, "ioapic", NULL);
    n += show_type(s, "i8259", NULL);
    return n || fail(err, "this machine has no interrupt controller outside its CPUs");
}

bool info_lapic(Session *s, const Args *a, GError **err)
{
    g_autofree char *id = g_strdup_printf("lapic%u", s->cpu ? vcpu_index(s->cpu) : 0);
    return show_type(s, "lapic", id) || fail(err, "this CPU has no local APIC");
}

static const Chip *chip_of(const Device *d)
{
    return d->type->chip ? (const Chip *)((const char *)d + d->type->chip) : NULL;
}

/* As QEMU prints them: what has never come is left out.  Vectors are in hexadecimal, the lines of the second 8259 are
 * IRQ 8 to 15. */
static void show_irqs(Session *s, Device *d, const Chip *c)
{
    const uint64_t *count = (const uint64_t *)((const char *)d + d->type->irqs);
    bool vectors = c->kind == CHIP_LAPIC;
    if (vectors && c->host) {
        g_string_append_printf(s->out, "IRQ statistics not available for %s: the accelerator works it\n", d->id);
        return;
    }
    g_string_append_printf(s->out, "IRQ statistics for %s%s:\n", d->id, vectors ? ", by vector" : "");
    domain_enter(d->domain);
    for (unsigned i = 0; i < d->type->n_irqs; i++)
        if (count[i])
            g_string_append_printf(s->out, vectors ? "%02x: %" PRIu64 "\n" : "%2u: %" PRIu64 "\n",
                                   c->kind == CHIP_PIC ? c->index * 8 + i : i, count[i]);
    domain_leave(d->domain);
}

/* Controllers that an accelerator works still see their pins here; what starts and ends inside it does not. */
static void irq_statistics(Session *s)
{
    static const ChipKind kinds[] = { CHIP_IOAPIC, CHIP_PIC, CHIP_LAPIC };
    const GPtrArray *devices = s->env->machine->devices;
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++)
        for (guint i = 0; i < devices->len; i++) {
            Device *d = devices->pdata[i];
            const Chip *c = chip_of(d);
            if (c && d->type->n_irqs && c->kind == kinds[k])
                show_irqs(s, d, c);
        }
    for (guint i = 0; i < devices->len; i++) {
        const Chip *c = chip_of(devices->pdata[i]);
        if (c && c->kind == CHIP_PIT && c->host)
            g_string_append_printf(s->out, "IRQ statistics leave out those of %s: the accelerator works it\n",
                                   ((Device *)devices->pdata[i])->id);
    }
}

bool info_irq(Session *s, const Args *a, GError **err)
{
    irq_statistics(s);
    static const struct { uint32_t bit; const char *name; } bits[] = {
        { PORT_INTR, "INTR" }, { PORT_NMI, "NMI" }, { PORT_SMI, "SMI" }, { PORT_INIT, "INIT" }, { PORT_SIPI, "SIPI" },
    };
    for (unsigned i = 0; i < accel_n_vcpus(s->env->accel); i++) {
        const CpuPort *port = vcpu_port(accel_vcpu(s->env->accel, i));
        uint32_t pending = port ? atomic_load(&port->pending) : 0;
        g_string_append_printf(s->out, "CPU#%u:", i);
        for (unsigned k = 0; k < G_N_ELEMENTS(bits); k++)
            if (pending & bits[k].bit)
                g_string_append_printf(s->out, " %s", bits[k].name);
        g_string_append(s->out, pending ? "\n" : " nothing waits\n");
    }
    return true;
}

bool info_jit(Session *s, const Args *a, GError **err)
{
    g_string_append_printf(s->out, "Accelerator: %s\n", accel_name(s->env->accel));
    accel_stats(s->env->accel, s->out);
    return true;
}

static uint64_t resident(void)
{
    unsigned long long pages = 0;
    char *text = NULL;
    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL)) {
        const char *second = strchr(text, ' ');
        pages = second ? g_ascii_strtoull(second, NULL, 10) : 0;
    }
    g_free(text);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool info_memory(Session *s, const Args *a, GError **err)
{
    const RamMap *ram = s->env->machine->ram;
    uint64_t sum = 0;
    for (guint i = 0; i < ram->blocks->len; i++) {
        const RamBlock *b = ram->blocks->pdata[i];
        g_string_append_printf(s->out, "%-24s %10" PRIu64 " KiB\n", b->name, b->len >> 10);
        sum += b->len;
    }
    g_string_append_printf(s->out, "%-24s %10" PRIu64 " KiB\n", "guest RAM and ROM", sum >> 10);
    g_string_append_printf(s->out, "%-24s %10" PRIu64 " KiB\n", "resident, all together", resident() >> 10);
    return true;
}

bool info_chardev(Session *s, const Args *a, GError **err)
{
    const GPtrArray *streams = s->env->machine->streams;
    for (guint i = 0; i < streams->len; i++) {
        const Stream *st = streams->pdata[i];
        g_string_append_printf(s->out, "%s: filename=%s%s%s%s\n", stream_id(st), stream_name(st),
                               stream_is_open(st) ? "" : " (disconnected)", stream_user(st) ? " used by " : "",
                               stream_user(st) ? stream_user(st) : "");
    }
    return true;
}

/* --- block */

bool info_block(Session *s, const Args *a, GError **err)
{
    Drives *d = s->env->drives;
    const char *name = arg_text(a, "device");
    if (!d)
        return !name || fail(err, "there is no drive and no node '%s'", name);
    return drives_info(d, name, arg_int(a, "nodes"), arg_int(a, "verbose"), s->out, err);
}

bool info_blockstats(Session *s, const Args *a, GError **err)
{
    if (s->env->drives)
        drives_stats(s->env->drives, s->out);
    return true;
}

void drive_words(Session *s, GPtrArray *out)
{
    for (unsigned i = 0; s->env->drives && i < drives_count(s->env->drives); i++)
        g_ptr_array_add(out, g_strdup(drives_at(s->env->drives, i)->id));
}
