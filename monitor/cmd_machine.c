/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands that act on the machine: run state, reset, power, NMI, logs, the gdb stub. */
#include <string.h>

#include "monitor/command.h"
#include "util/error.h"
#include "util/log.h"

bool cmd_quit(Session *s, const Args *a, GError **err)
{
    machine_request_shutdown(s->env->machine, CAUSE_HOST_QUIT);
    s->quit = true;
    return true;
}

bool cmd_stop(Session *s, const Args *a, GError **err)
{
    machine_pause(s->env->machine);
    return true;
}

bool cmd_cont(Session *s, const Args *a, GError **err)
{
    if (s->env->machine->state == RUN_SHUTDOWN)
        return fail(err, "the machine has ended");
    machine_start(s->env->machine);
    return true;
}

bool cmd_reset(Session *s, const Args *a, GError **err)
{
    machine_request_reset(s->env->machine, CAUSE_HOST_RESET);
    return true;
}

bool cmd_powerdown(Session *s, const Args *a, GError **err)
{
    const Machine *m = s->env->machine;
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (!device_has_input(d, "power-button", 0))
            continue;
        device_input(d, "power-button", 0, true);
        device_input(d, "power-button", 0, false);
        return true;
    }
    return fail(err, "this machine has no power button");
}

bool cmd_nmi(Session *s, const Args *a, GError **err)
{
    CpuPort *port = s->cpu ? vcpu_port(s->cpu) : NULL;
    if (!port)
        return fail(err, "this CPU takes no NMI");
    port_set(port, PORT_NMI);
    return true;
}

bool cmd_cpu(Session *s, const Args *a, GError **err)
{
    uint64_t i = arg_int(a, "index");
    Vcpu *v = i < accel_n_vcpus(s->env->accel) ? accel_vcpu(s->env->accel, i) : NULL;
    if (!v)
        return fail(err, "invalid CPU index");
    s->cpu = v;
    return true;
}

void log_words(Session *s, GPtrArray *out)
{
    const char *name, *help;
    g_ptr_array_add(out, g_strdup("none"));
    for (unsigned i = 0; (name = log_category(i, &help)); i++)
        g_ptr_array_add(out, g_strdup(name));
}

bool cmd_log(Session *s, const Args *a, GError **err)
{
    const char *items = arg_text(a, "items"), *name, *help;
    GError *e = NULL;
    if (strcmp(items, "help") != 0 && log_set_categories(items, &e))
        return true;
    g_clear_error(&e);
    g_string_append(s->out, "Log items (comma separated):\nnone            remove all logs\n");
    for (unsigned i = 0; (name = log_category(i, &help)); i++)
        g_string_append_printf(s->out, "%-15s %s\n", name, help);
    return true;
}

bool cmd_gdbserver(Session *s, const Args *a, GError **err)
{
    const char *device = arg_given(a, "device") ? arg_text(a, "device") : "tcp::1234";
    if (!monitor_gdb(s->monitor, device, err))
        return fail_prefix(err, "Could not open gdbserver on device '%s': ", device);
    if (!strcmp(device, "none"))
        g_string_append(s->out, "Disabled gdbserver\n");
    else
        g_string_append_printf(s->out, "Waiting for gdb connection on device '%s'\n", device);
    return true;
}
