/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI fixed hardware: PM1 event and control blocks, PM timer, the reset register, and the PC's port 92h.
 * Source: ACPI 6.4, section 4.8 "ACPI Register Model"; port CF9h after the ICH data sheet. */
#include "hw/core/device.h"
#include "hw/core/machine.h"

enum { PM_TIMER_HZ = 3579545 };
enum { PM1_TMR = 1 << 0, PM1_PWRBTN = 1 << 8, PM1_RTC = 1 << 10, PM1_WAK = 1 << 15, PM1_EN_BITS = 0x0521, PM1_STS_BITS = 0x8731 };
enum { CNT_SCI_EN = 1, CNT_SLP_TYP = 7 << 10, CNT_SLP_EN = 1 << 13, SLP_TYP_S5 = 5 };
enum { RST_SYSTEM = 2, RST_CPU = 4 };

typedef struct AcpiPm {
    Device   dev;
    Line     sci;
    uint16_t sts, en, cnt;
    uint8_t  rst_cnt, port92;
} AcpiPm;

/* ACPI is on from the start (FADT has no SMI command port), so SCI_EN reads as one. */
static void settle(void *self) { AcpiPm *p = self; line_set(&p->sci, p->sts & p->en & (PM1_PWRBTN | PM1_RTC | PM1_TMR)); }

static void power_button(void *self, unsigned n, bool level)
{
    AcpiPm *p = self;
    if (level)
        p->sts |= PM1_PWRBTN;
}

static uint64_t timer_value(const void *self)
{
    const AcpiPm *p = self;
    return muldiv64(clock_now_ns(p->dev.machine->clock), PM_TIMER_HZ, NS_PER_S) & 0xffffff;
}

static uint64_t cnt_value(const void *self) { const AcpiPm *p = self; return p->cnt | CNT_SCI_EN; }

static void cnt_write(void *self, uint64_t v)
{
    AcpiPm *p = self;
    p->cnt = v & CNT_SLP_TYP;
    if (!(v & CNT_SLP_EN))
        return;
    if ((v & CNT_SLP_TYP) >> 10 == SLP_TYP_S5)
        machine_request_shutdown(p->dev.machine, CAUSE_GUEST_SHUTDOWN);
    else
        log_guest_dev(p, "sleep type %u is not one of _S5's", (unsigned)(v & CNT_SLP_TYP) >> 10);
}

static void rst_write(void *self, uint64_t v)
{
    AcpiPm *p = self;
    if (v & RST_CPU)
        machine_request_reset(p->dev.machine, CAUSE_GUEST_RESET);
}

static void port92_write(void *self, uint64_t v)
{
    AcpiPm *p = self;
    if (v & 1)
        machine_request_reset(p->dev.machine, CAUSE_GUEST_RESET);
}

static const Reg evt_regs[] = {
    { 0, "PM1_STS", REG(AcpiPm, sts), .w1c = PM1_STS_BITS },
    { 2, "PM1_EN",  REG(AcpiPm, en), .mask = PM1_EN_BITS },
    { 4, "PM1_CNT", .value = cnt_value, .on_write = cnt_write, .width = 2 },
    { 8, "PM_TMR",  .value = timer_value, .width = 4 },
    { 0 }
};
static const Reg rst_regs[] = {
    { 0, "RST_CNT", REG(AcpiPm, rst_cnt), .mask = RST_SYSTEM | RST_CPU, .on_write = rst_write }, { 0 }
};
static const Reg p92_regs[] = {
    { 0, "PORT92", REG(AcpiPm, port92), .mask = 3, .reset = 2, .on_write = port92_write }, { 0 }
};

static void reset(void *self) { AcpiPm *p = self; p->cnt = 0; }

static const Field pins[] = { PIN(AcpiPm, sci, "sci"), PIN_IN("power-button", 1, power_button), { 0 } };
static const Field state[] = { FIELD(AcpiPm, cnt), { 0 } };

const DeviceType acpi_pm_type = {
    .name = "acpi-pm", .help = "ACPI power management, reset register", .size = sizeof(AcpiPm),
    .windows = { { .span = 16, .regs = evt_regs, .width = 2 }, { .name = "reset", .span = 1, .regs = rst_regs },
                 { .name = "port92", .span = 1, .regs = p92_regs } },
    .pins = pins, .state = state, .reset = reset, .settle = settle,
};
