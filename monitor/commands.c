/* SPDX-License-Identifier: GPL-2.0-or-later
 * The commands, and what is derived from their table: finding, running, help, completion.  Names, arguments and output
 * are as QEMU's users know them. */
#include <string.h>

#include "monitor/command.h"
#include "util/error.h"

const Command monitor_commands[] = {
    { "help|?", "name:C?", "show the help", cmd_help },
    { "quit|q", NULL, "quit the emulator", cmd_quit },
    { "stop|s", NULL, "stop emulation", cmd_stop },
    { "cont|c", NULL, "resume emulation", cmd_cont },
    { "system_reset", NULL, "reset the system", cmd_reset },
    { "system_powerdown", NULL, "send system power down event", cmd_powerdown },
    { "nmi", NULL, "inject an NMI into the current CPU", cmd_nmi },
    { "cpu", "index:i", "set the default CPU", cmd_cpu },
    { "x", "fmt:/ addr:i", "virtual memory dump starting at 'addr'", cmd_x, .stands = true },
    { "xp", "fmt:/ addr:i", "physical memory dump starting at 'addr'", cmd_xp, .stands = true },
    { "print|p", "fmt:/ expr:i", "print expression value (use $reg for CPU register access)", cmd_print, .stands = true },
    { "gva2gpa", "addr:i", "print the guest physical address corresponding to a guest virtual address", cmd_gva2gpa,
      .stands = true },
    { "gpa2hva", "addr:i", "print the host virtual address corresponding to a guest physical address", cmd_gpa2hva },
    { "i", "fmt:/ addr:i index:i?", "I/O port read", cmd_in },
    { "o", "fmt:/ addr:i value:i", "I/O port write", cmd_out },
    { "sum", "addr:i size:i", "compute the checksum of a memory region", cmd_sum, .stands = true },
    { "memsave", "addr:i size:i filename:F", "save to disk virtual memory dump starting at 'addr' of size 'size'",
      cmd_memsave, .stands = true },
    { "pmemsave", "addr:i size:i filename:F", "save to disk physical memory dump starting at 'addr' of size 'size'",
      cmd_pmemsave, .stands = true },
    { "log", "items:w", "activate logging of the specified items ('none' to stop)", cmd_log, .complete = log_words },
    { "gdbserver", "device:s?", "start gdbserver on given device (default 'tcp::1234'), stop with 'none'", cmd_gdbserver },
    { "info status", NULL, "show the current VM status (running|paused)", info_status },
    { "info registers", "all:-a", "show the cpu registers (-a: all - show register info for all cpus)", info_registers,
      .stands = true },
    { "info cpus", NULL, "show infos for each CPU", info_cpus, .stands = true },
    { "info tlb", NULL, "show virtual to physical memory mappings", info_tlb, .stands = true },
    { "info mem", NULL, "show the active virtual memory mappings", info_mem, .stands = true },
    { "info mtree", "flat:-f", "show memory tree (-f: dump flat view for address spaces)", info_mtree },
    { "info qtree", NULL, "show the devices and their registers", info_qtree },
    { "info irq", NULL, "show interrupt statistics and what waits at each CPU", info_irq },
    { "info pic", NULL, "show PIC state", info_pic },
    { "info lapic", NULL, "show local APIC state of the current CPU", info_lapic },
    { "info jit", NULL, "show dynamic compiler info", info_jit, .stands = true },
    { "info memory", NULL, "show what guest RAM and translated code take", info_memory },
    { "info chardev", NULL, "show the character devices", info_chardev },
    { "info block", "nodes:-n verbose:-v device:w?", "show info of one block device or all block devices (-n: show named nodes; "
      "-v: show details)", info_block, .complete = drive_words },
    { "info blockstats", NULL, "show block device statistics", info_blockstats },
    { "info name", NULL, "show the current VM name", info_name },
    { "info uuid", NULL, "show the current VM UUID", info_uuid },
    { "info version", NULL, "show the version of this program", info_version },
    { NULL }
};

/* --- finding */

/* Whether one of "a|b" is the first n characters of word. */
static bool has_name(const char *names, const char *word, size_t n)
{
    for (const char *p = names;; p++) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, word, n))
            return true;
        p += len;
        if (!*p)
            return false;
    }
}

static const char *skip(const char *p)
{
    while (g_ascii_isspace(*p))
        p++;
    return p;
}

static size_t word_len(const char *p)
{
    size_t n = 0;
    while (p[n] && !g_ascii_isspace(p[n]))
        n++;
    return n;
}

/* A command's letters end where its format begins: "x/4x". */
static size_t name_len(const char *p)
{
    size_t n = word_len(p), slash = strcspn(p, "/");
    return slash && slash < n ? slash : n;
}

const Command *command_find(const char **line)
{
    const char *p = skip(*line);
    size_t n = name_len(p);
    if (n == 4 && !memcmp(p, "info", 4)) {
        const char *second = skip(p + n);
        size_t m = word_len(second);
        for (const Command *c = monitor_commands; c->names; c++)
            if (g_str_has_prefix(c->names, "info ") && has_name(c->names + 5, second, m) && m) {
                *line = second + m;
                return c;
            }
        return NULL;
    }
    for (const Command *c = monitor_commands; c->names; c++)
        if (has_name(c->names, p, n)) {
            *line = p + n;
            return c;
        }
    return NULL;
}

/* --- running */

bool command_run(Session *s, const char *line, GError **err)
{
    const char *p = skip(line);
    Args a = { .n = 0 };
    if (!*p || *p == '#')
        return true;
    const Command *c = command_find(&p);
    if (!c) {
        const char *q = skip(line);
        size_t n = word_len(q);
        if (n == 4 && !memcmp(q, "info", 4)) {
            const char *second = skip(q + 4);
            if (!*second) {
                command_help("info", s->out);
                return true;
            }
            return fail(err, "unknown command: 'info %.*s'", (int)word_len(second), second);
        }
        return fail(err, "unknown command: '%.*s'", (int)n, q);
    }
    bool ran = c->stands && accel_freeze(s->env->accel);
    bool ok = args_parse(c, p, s, &a, err);
    if (!ok) {
        size_t n = strcspn(c->names, "|");
        if (err && *err) {
            char *text = g_strdup_printf("%s\nTry \"help %.*s\" for more information", (*err)->message, (int)n, c->names);
            g_free((*err)->message);
            (*err)->message = text;
        }
    }
    ok = ok && c->fn(s, &a, err);
    args_clear(&a);
    if (c->stands)
        accel_thaw(s->env->accel, ran);
    return ok;
}

void monitor_run(Monitor *m, const char *line, Vcpu *cpu, GString *out)
{
    const MonitorEnv *env = monitor_env(m);
    Session s = { .monitor = m, .env = env, .cpu = cpu ? cpu : accel_vcpu(env->accel, 0), .out = out };
    GError *err = NULL;
    if (command_run(&s, line, &err))
        return;
    g_string_append_printf(out, "%s\n", err->message);
    g_error_free(err);
}

/* --- help */

static void help_line(const Command *c, GString *out)
{
    g_string_append(out, c->names);
    args_describe(c, out);
    g_string_append_printf(out, "%s -- %s\n", c->args ? "" : " ", c->help);
}

void command_help(const char *name, GString *out)
{
    bool info = name && (!strcmp(name, "info") || g_str_has_prefix(name, "info "));
    const char *second = info ? skip(name + 4) : NULL;
    size_t n = name ? strlen(name) : 0;
    for (const Command *c = monitor_commands; c->names; c++) {
        bool is_info = g_str_has_prefix(c->names, "info ");
        if (!name || (info ? is_info && (!*second || has_name(c->names + 5, second, strlen(second)))
                           : has_name(c->names, name, n)))
            help_line(c, out);
    }
}

bool cmd_help(Session *s, const Args *a, GError **err)
{
    size_t before = s->out->len;
    const char *name = arg_text(a, "name");
    command_help(name, s->out);
    return s->out->len != before || fail(err, "unknown command: '%s'", name);
}

/* --- completion */

static void add_if(GPtrArray *out, const char *word, size_t len, const char *typed)
{
    if (strlen(typed) <= len && !memcmp(word, typed, strlen(typed)))
        g_ptr_array_add(out, g_strndup(word, len));
}

static void complete_name(GPtrArray *out, const char *typed, bool info)
{
    if (!info)
        add_if(out, "info", 4, typed);
    for (const Command *c = monitor_commands; c->names; c++) {
        bool is_info = g_str_has_prefix(c->names, "info ");
        if (is_info != info)
            continue;
        const char *p = c->names + (info ? 5 : 0);
        add_if(out, p, strcspn(p, "|"), typed);
    }
}

static gint by_name(gconstpointer a, gconstpointer b) { return strcmp(*(char *const *)a, *(char *const *)b); }

GPtrArray *command_complete(Session *s, const char *line)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    const char *p = skip(line);
    const char *last = p + strlen(p);
    while (last > p && !g_ascii_isspace(last[-1]))
        last--;
    if ((!strncmp(p, "help ", 5) || !strncmp(p, "? ", 2)) && last > p)
        p = skip(p + word_len(p));
    if (last == p) {
        complete_name(out, last, false);
    } else if (!strncmp(p, "info", 4) && word_len(p) == 4 && skip(p + 4) == last) {
        complete_name(out, last, true);
    } else {
        const char *rest = p;
        const Command *c = command_find(&rest);
        if (c && c->complete && rest <= last) {
            GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
            c->complete(s, words);
            for (guint i = 0; i < words->len; i++)
                add_if(out, words->pdata[i], strlen(words->pdata[i]), last);
            g_ptr_array_free(words, TRUE);
        }
    }
    g_ptr_array_sort(out, by_name);
    return out;
}
