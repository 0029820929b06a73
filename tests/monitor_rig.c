/* SPDX-License-Identifier: GPL-2.0-or-later
 * See monitor_rig.h. */
#include "tests/monitor_rig.h"

#include <string.h>

static void cpu_dead(void *self, unsigned cpu_index) { ((Rig *)self)->dead++; }
static void cpu_stopped(void *self, unsigned cpu_index) { machine_request_debug_pause(((Rig *)self)->m); }

static void hook_pause(void *self) { accel_pause(((Rig *)self)->accel); }
static void hook_resume(void *self) { accel_resume(((Rig *)self)->accel); }
static void hook_reset(void *self) { rig_restart(self); }
static const MachineHooks hooks = { hook_pause, hook_resume, hook_reset };

/* 1000: inc ax;  mov [2000h], ax;  nop;  jmp 1000 */
static const uint8_t code[] = { 0x40, 0xa3, 0x00, 0x20, 0x90, 0xeb, 0xf9 };

void rig_restart(Rig *r)
{
    x86_reset(r->cpu);
    r->cpu->seg[CS].sel = 0;
    *x86_seg_base(r->cpu, CS) = 0;
    r->cpu->s.hot[X_PC] = RIG_CODE;
    memcpy(region_host(&r->ram) + RIG_CODE, code, sizeof code);
    x86_mode_changed(r->cpu);
    accel_reset(r->accel);
}

Rig *rig_new(void)
{
    Rig *r = g_new0(Rig, 1);
    GError *err = NULL;
    r->m = machine_new("rig", NULL);
    g_assert_true(region_init_ram(&r->ram, "ram", r->m->ram, 1 << 20, &err));
    region_map(space_root(r->m->mem), 0, &r->ram, 0);
    AccelMachine am = { .target = &x86_target, .clock = r->m->clock, .mem = r->m->mem, .io = r->m->io, .ram = r->m->ram,
                        .self = r, .cpu_dead = cpu_dead, .cpu_stopped = cpu_stopped };
    const char *spec = "tcg,tb-size=1";
    r->accel = accel_open(&spec, 1, &am, &err);
    g_assert_no_error(err);
    r->model = x86_model_parse("max", &err);
    g_assert_no_error(err);
    r->cpu = x86_cpu_new(r->model, accel_hooks(r->accel));
    g_assert_nonnull(accel_add_vcpu(r->accel, &x86_target, &r->cpu->s, &r->cpu->port, &err));
    r->m->hooks = &hooks;
    r->m->hooks_self = r;
    rig_restart(r);
    MonitorEnv env = { r->m, r->accel, "test", "rig", NULL, NULL };
    r->monitor = monitor_new(&env);
    return r;
}

void rig_free(Rig *r)
{
    monitor_free(r->monitor);
    accel_close(r->accel);
    region_destroy(&r->ram);
    machine_free(r->m);
    x86_cpu_free(r->cpu);
    x86_model_free(r->model);
    g_free(r);
}
