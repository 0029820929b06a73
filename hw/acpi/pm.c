/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI fixed hardware: PM1 event and control blocks, PM timer, the reset register, and the PC's port 92h.
 * Source: ACPI 6.4, section 4.8 "ACPI Register Model"; port CF9h after the ICH data sheet. */
#include <inttypes.h>

#include "hw/core/device.h"
#include "hw/core/machine.h"

enum { PM_TIMER_HZ = 3579545 };
enum { PM1_TMR = 1 << 0, PM1_GBL = 1 << 5, PM1_PWRBTN = 1 << 8, PM1_RTC = 1 << 10 };
#define PM1_EVENTS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)
enum { CNT_SCI_EN = 1, CNT_SLP_TYP = 7 << 10, CNT_SLP_EN = 1 << 13, SLP_TYP_S5 = 5 };
enum { RST_SYSTEM = 2, RST_CPU = 4, P92_RESET = 1, P92_A20 = 2 };

typedef struct AcpiPm {
    Device   dev;
    Line     sci, a20;
    uint16_t sts, en, cnt;
    uint8_t  rst_cnt, port92;
    bool     button, alarm;             /* levels of the inputs */
    uint64_t carries;                   /* of the timer, up to the last time that TMR_STS was cleared */
    Timer    carry;
} AcpiPm;

static int64_t now(const AcpiPm *p) { return clock_now_ns(p->dev.machine->clock); }
static uint64_t ticks(const AcpiPm *p) { return muldiv64(now(p), PM_TIMER_HZ, NS_PER_S); }

/* 4.8.3.1.1: TMR_STS is set when the timer's highest bit, 23, changes. */
static uint64_t carries(const AcpiPm *p) { return ticks(p) >> 23; }
static uint64_t sts_value(const void *self)
{
    const AcpiPm *p = self;
    return p->sts | (carries(p) != p->carries ? PM1_TMR : 0);
}

static void sts_write(void *self, uint64_t v)
{
    AcpiPm *p = self;
    p->sts &= ~v;
    if (v & PM1_TMR)
        p->carries = carries(p);
}

static void settle(void *self)
{
    AcpiPm *p = self;
    line_set(&p->sci, sts_value(p) & p->en);
    line_set(&p->a20, p->port92 & P92_A20);
    if (p->en & PM1_TMR && carries(p) == p->carries)
        timer_set_ns(&p->carry, (int64_t)muldiv64_up((p->carries + 1) << 23, NS_PER_S, PM_TIMER_HZ));
    else
        timer_cancel(&p->carry);
}

static void carried(void *self) { }     /* settle does it */

static void power_button(void *self, unsigned n, bool level)
{
    AcpiPm *p = self;
    p->sts |= level && !p->button ? PM1_PWRBTN : 0;
    p->button = level;
}

static void rtc_alarm(void *self, unsigned n, bool level)
{
    AcpiPm *p = self;
    p->sts |= level && !p->alarm ? PM1_RTC : 0;
    p->alarm = level;
}

static uint64_t timer_value(const void *self) { const AcpiPm *p = self; return ticks(p) & 0xffffff; }

/* ACPI is on from the start (the FADT has no SMI command port), so SCI_EN reads as one. */
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
    p->rst_cnt &= ~RST_CPU;             /* the rising edge resets; it reads as zero afterwards */
    if (v & RST_CPU)
        machine_request_reset(p->dev.machine, CAUSE_GUEST_RESET);
}

static void port92_write(void *self, uint64_t v)
{
    AcpiPm *p = self;
    p->port92 &= ~P92_RESET;
    if (v & P92_RESET)
        machine_request_reset(p->dev.machine, CAUSE_GUEST_RESET);
}

static const Reg evt_regs[] = {
    { 0, "PM1_STS", .value = sts_value, .on_write = sts_write, .w1c = PM1_EVENTS, .width = 2 },
    { 2, "PM1_EN",  REG(AcpiPm, en), .mask = PM1_EVENTS },
    { 4, "PM1_CNT", .value = cnt_value, .on_write = cnt_write, .width = 2 },
    { 8, "PM_TMR",  .value = timer_value, .width = 4 },
    { 0 }
};
static const Reg rst_regs[] = {
    { 0, "RST_CNT", REG(AcpiPm, rst_cnt), .mask = RST_SYSTEM | RST_CPU, .on_write = rst_write }, { 0 }
};
static const Reg p92_regs[] = {
    { 0, "PORT92", REG(AcpiPm, port92), .mask = P92_A20 | P92_RESET, .reset = P92_A20, .on_write = port92_write }, { 0 }
};

static bool init(void *self, GError **err)
{
    AcpiPm *p = self;
    device_timer_init(p, &p->carry, carried);
    return true;
}

static void reset(void *self) { AcpiPm *p = self; p->carries = carries(p); }

static bool restored(void *self, GError **err)
{
    AcpiPm *p = self;
    return p->carries <= carries(p) || fail(err, "the timer has not carried %" PRIu64 " times", p->carries);
}

static const Field pins[] = { PIN(AcpiPm, sci, "sci"), PIN(AcpiPm, a20, "a20"), PIN_IN("power-button", 1, power_button),
                              PIN_IN("rtc", 1, rtc_alarm), { 0 } };
static const Field state[] = {
    FIELD(AcpiPm, sts), FIELD(AcpiPm, cnt), FIELD(AcpiPm, carries), FIELD(AcpiPm, carry),
    FIELD(AcpiPm, button), FIELD(AcpiPm, alarm), { 0 }
};

const DeviceType acpi_pm_type = {
    .name = "acpi-pm", .help = "ACPI power management, reset register", .size = sizeof(AcpiPm),
    .windows = { { .span = 16, .regs = evt_regs, .width = 2 }, { .name = "reset", .span = 1, .regs = rst_regs },
                 { .name = "port92", .span = 1, .regs = p92_regs } },
    .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle, .restored = restored,
};
