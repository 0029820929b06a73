/* SPDX-License-Identifier: GPL-2.0-or-later
 * 16550A serial port: FIFOs, interrupt priorities, modem loopback.  Source: PC16550D data sheet (section numbers below).
 * The line has no speed: bytes leave at once, so the transmitter is always empty. */
#include "hw/core/device.h"

enum {
    IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8,
    IIR_NONE = 1, IIR_MODEM = 0, IIR_TX = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc, IIR_FIFOS = 0xc0,
    FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_TRIGGER = 0xc0,
    LCR_BREAK = 0x40, LCR_DLAB = 0x80,
    MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10,
    LSR_RX = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_THRE = 0x20, LSR_TEMT = 0x40, LSR_IN_FIFO = 0x80,
    MSR_DELTAS = 0xf, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80,
};

typedef struct Uart {
    Device   dev;
    Line     irq;
    Stream  *chr;
    Fifo8    rx;
    uint8_t  ier, fcr, lcr, mcr, scr, dll, dlm, lsr_errors, msr_delta, msr_old;
    bool     tx_done;                   /* transmitter ran empty and IIR has not been read since (8.5.2) */
    bool     timeout;                   /* bytes below the trigger level have waited (8.6) */
    Timer    wait;
} Uart;

static bool dlab(const void *self) { const Uart *u = self; return u->lcr & LCR_DLAB; }
static bool loop(const Uart *u) { return u->mcr & MCR_LOOP; }

static unsigned trigger(const Uart *u)
{
    static const uint8_t level[4] = { 1, 4, 8, 14 };
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The modem lines: with loopback the outputs come back in (8.4), else a ready peer. */
static uint8_t modem(const Uart *u)
{
    if (!loop(u))
        return MSR_DCD | MSR_DSR | MSR_CTS;
    return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) | (u->mcr & MCR_OUT1 ? MSR_RI : 0) |
           (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t iir(const Uart *u)
{
    if (u->ier & IER_LINE && u->lsr_errors)
        return IIR_LINE;
    if (u->ier & IER_RX && fifo8_used(&u->rx) >= trigger(u))
        return IIR_RX;
    if (u->ier & IER_RX && u->timeout)
        return IIR_TIMEOUT;
    if (u->ier & IER_TX && u->tx_done)
        return IIR_TX;
    if (u->ier & IER_MODEM && u->msr_delta)
        return IIR_MODEM;
    return IIR_NONE;
}

/* The pin is a function of the state; OUT2 gates it on a PC. */
static void uart_settle(void *self)
{
    Uart *u = self;
    uint8_t m = modem(u), changed = (m ^ u->msr_old) >> 4;
    if (changed & 4 && m & MSR_RI)
        changed &= ~4;                  /* TERI: trailing edge only */
    u->msr_delta |= changed;
    u->msr_old = m;
    if (fifo8_empty(&u->rx)) {
        u->timeout = false;
        timer_cancel(&u->wait);
    } else if (!u->timeout && u->fcr & FCR_ENABLE && !timer_armed(&u->wait)) {
        /* Four character times; without a line speed, those of 115200 baud. */
        timer_set_ns(&u->wait, clock_now_ns(u->wait.clock) + 4 * 86806);
    }
    line_set(&u->irq, iir(u) != IIR_NONE && u->mcr & MCR_OUT2 && !loop(u));
}

static void waited(void *self) { Uart *u = self; u->timeout = true; }

static uint64_t data_value(const void *self) { const Uart *u = self; return fifo8_head(&u->rx); }
static void data_read(void *self)
{
    Uart *u = self;
    fifo8_drop(&u->rx);
    u->timeout = false;
    timer_cancel(&u->wait);
}

static void data_write(void *self, uint64_t v)
{
    Uart *u = self;
    u->tx_done = true;
    if (!loop(u))
        stream_put(u->chr, v);
    else if (!fifo8_push(&u->rx, v))
        u->lsr_errors |= LSR_OVERRUN;
}

static uint64_t ier_value(const void *self) { const Uart *u = self; return u->ier; }
static void ier_write(void *self, uint64_t v)
{
    Uart *u = self;
    if (v & ~u->ier & IER_TX)
        u->tx_done = true;              /* enabling THRE while empty interrupts at once */
    u->ier = v;
}

static uint64_t iir_value(const void *self)
{
    const Uart *u = self;
    return iir(u) | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}
static void iir_read(void *self) { Uart *u = self; u->tx_done &= iir(u) != IIR_TX; }

static void fcr_write(void *self, uint64_t v)
{
    Uart *u = self;
    bool on = v & FCR_ENABLE, flip = (v ^ u->fcr) & FCR_ENABLE;
    if (flip || (on && v & FCR_CLEAR_RX))
        fifo8_clear(&u->rx);
    if (flip)
        fifo8_set_cap(&u->rx, on ? 16 : 1);
    u->fcr = on ? v & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

static uint64_t lcr_value(const void *self) { const Uart *u = self; return u->lcr; }
static void lcr_write(void *self, uint64_t v)
{
    Uart *u = self;
    if (v & ~u->lcr & LCR_BREAK && !loop(u))
        stream_send_break(u->chr);
    u->lcr = v;
}

static uint64_t lsr_value(const void *self)
{
    const Uart *u = self;
    bool in_fifo = u->fcr & FCR_ENABLE && u->lsr_errors & LSR_BREAK;
    return LSR_THRE | LSR_TEMT | u->lsr_errors | (fifo8_empty(&u->rx) ? 0 : LSR_RX) | (in_fifo ? LSR_IN_FIFO : 0);
}
static void lsr_read(void *self) { Uart *u = self; u->lsr_errors = 0; }
static uint64_t msr_value(const void *self) { const Uart *u = self; return modem(u) | u->msr_delta; }
static void msr_read(void *self) { Uart *u = self; u->msr_delta = 0; }

static const Reg uart_regs[] = {
    { 0, "DLL",  REG(Uart, dll), .mask = 0xff, .reset = 12, .when = dlab },
    { 1, "DLM",  REG(Uart, dlm), .mask = 0xff, .when = dlab },
    { 0, "DATA", .value = data_value, .on_read = data_read, .on_write = data_write },
    { 1, "IER",  .value = ier_value, .mask = 0x0f, .on_write = ier_write },
    { 2, "IIR",  .value = iir_value, .on_read = iir_read, .on_write = fcr_write },
    { 3, "LCR",  .value = lcr_value, .mask = 0xff, .on_write = lcr_write },
    { 4, "MCR",  REG(Uart, mcr), .mask = 0x1f },
    { 5, "LSR",  .value = lsr_value, .on_read = lsr_read },
    { 6, "MSR",  .value = msr_value, .on_read = msr_read },
    { 7, "SCR",  REG(Uart, scr), .mask = 0xff },
    { 0 }
};
static const Field uart_props[] = { PROP(Uart, chr, "chardev", "where the bytes go"), { 0 } };
static const Field uart_pins[] = { PIN(Uart, irq, "irq"), { 0 } };
static const Field uart_state[] = {
    FIELD(Uart, rx), FIELD(Uart, ier), FIELD(Uart, lcr), FIELD(Uart, fcr), FIELD(Uart, lsr_errors), FIELD(Uart, msr_delta), FIELD(Uart, msr_old),
    FIELD(Uart, tx_done), FIELD(Uart, timeout), FIELD(Uart, wait), { 0 }
};

static void event(void *self, StreamEvent ev)
{
    Uart *u = self;
    if (ev == STREAM_BREAK && !loop(u)) {
        u->lsr_errors |= fifo8_push(&u->rx, 0) ? LSR_BREAK : LSR_BREAK | LSR_OVERRUN;
        uart_settle(u);
    }
}

static bool uart_init(void *self, GError **err)
{
    Uart *u = self;
    device_timer_init(u, &u->wait, waited);
    if (u->chr)
        stream_on_event(u->chr, event, u);
    return stream_fill(u->chr, &u->rx, uart_settle, u, err);
}

static void uart_reset(void *self)
{
    Uart *u = self;
    fifo8_set_cap(&u->rx, 1);
    u->msr_old = modem(u);
}

static bool uart_restored(void *self, GError **err)
{
    Uart *u = self;
    unsigned cap = u->fcr & FCR_ENABLE ? 16 : 1;
    if (fifo8_cap(&u->rx) != cap)
        return fail(err, "a receive FIFO of %u bytes; FCR says %u", fifo8_cap(&u->rx), cap);
    return true;
}

const DeviceType uart16550_type = {
    .name = "uart16550", .help = "16550A serial port", .compatible = "ns16550a", .size = sizeof(Uart), .span = 8,
    .props = uart_props, .pins = uart_pins, .regs = uart_regs, .state = uart_state,
    .init = uart_init, .reset = uart_reset, .settle = uart_settle, .restored = uart_restored,
};
