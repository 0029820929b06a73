/* SPDX-License-Identifier: GPL-2.0-or-later
 * gdb's remote protocol, the packet layer. */
#include "monitor/gdb_packet.h"

#include <string.h>

enum { CTRL_C = 3, ESCAPE = '}', ESCAPE_XOR = 0x20 };

void gdb_link_init(GdbLink *l, const GdbLinkUser *user, void *self)
{
    *l = (GdbLink){ .user = user, .self = self, .in = g_string_new(NULL), .sent = g_string_new(NULL) };
}

void gdb_link_free(GdbLink *l)
{
    g_string_free(l->in, TRUE);
    g_string_free(l->sent, TRUE);
}

void gdb_link_reset(GdbLink *l)
{
    l->state = LINK_IDLE;
    l->no_ack = false;
    g_string_truncate(l->in, 0);
    g_string_truncate(l->sent, 0);
}

static int hex_digit(uint8_t c) { return g_ascii_isxdigit((char)c) ? g_ascii_xdigit_value((char)c) : -1; }

static void idle(GdbLink *l, uint8_t c)
{
    switch (c) {
    case '$':
        l->state = LINK_DATA;
        l->sum = 0;
        l->too_long = false;
        g_string_truncate(l->in, 0);
        break;
    case '-':
        if (l->sent->len)
            l->user->write(l->self, l->sent->str, l->sent->len);
        break;
    case '+':
        g_string_truncate(l->sent, 0);
        break;
    case CTRL_C:
        l->user->interrupt(l->self);
        break;
    }
}

static void append(GdbLink *l, uint8_t c)
{
    if (l->in->len < GDB_PACKET_SIZE)
        g_string_append_c(l->in, (char)c);
    else
        l->too_long = true;
}

static void finish(GdbLink *l)
{
    l->state = LINK_IDLE;
    bool good = l->sum == l->sum_read && !l->too_long;
    if (!l->no_ack)
        l->user->write(l->self, good ? "+" : "-", 1);
    if (good || (l->no_ack && !l->too_long))
        l->user->packet(l->self, l->in->str, l->in->len);
    else if (l->no_ack)
        gdb_link_send(l, "E22", 3);
}

static void byte(GdbLink *l, uint8_t c)
{
    switch (l->state) {
    case LINK_IDLE:
        idle(l, c);
        return;
    case LINK_DATA:
        if (c == '#') {
            l->state = LINK_SUM1;
            return;
        }
        if (c == '$') {                 /* the rest of the one before was lost */
            idle(l, c);
            return;
        }
        l->sum += c;
        if (c == ESCAPE)
            l->state = LINK_ESCAPE;
        else
            append(l, c);
        return;
    case LINK_ESCAPE:
        l->sum += c;
        append(l, c ^ ESCAPE_XOR);
        l->state = LINK_DATA;
        return;
    case LINK_SUM1:
    case LINK_SUM2: {
        int d = hex_digit(c);
        if (d < 0) {
            l->sum_read = ~l->sum;      /* bad whatever it is */
            l->too_long |= l->no_ack;
            finish(l);
            return;
        }
        if (l->state == LINK_SUM1) {
            l->sum_read = d;
            l->state = LINK_SUM2;
            return;
        }
        l->sum_read = l->sum_read << 4 | d;
        finish(l);
    }
    }
}

void gdb_link_feed(GdbLink *l, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        byte(l, bytes[i]);
}

void gdb_link_send(GdbLink *l, const char *data, size_t len)
{
    uint8_t sum = 0;
    GString *s = l->sent;
    g_string_assign(s, "$");
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (c == '$' || c == '#' || c == '}' || c == '*') {
            g_string_append_c(s, ESCAPE);
            sum += ESCAPE;
            c ^= ESCAPE_XOR;
        }
        g_string_append_c(s, c);
        sum += (uint8_t)c;
    }
    g_string_append_printf(s, "#%02x", sum);
    l->user->write(l->self, s->str, s->len);
    if (l->no_ack)
        g_string_truncate(s, 0);
}

/* --- hexadecimal */

bool gdb_hex_number(const char **p, uint64_t *v)
{
    const char *q = *p;
    *v = 0;
    for (; g_ascii_isxdigit(*q) && q - *p < 16; q++)
        *v = *v << 4 | (unsigned)g_ascii_xdigit_value(*q);
    bool ok = q != *p && !g_ascii_isxdigit(*q);
    *p = q;
    return ok;
}

bool gdb_hex_bytes(const char *p, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit((uint8_t)p[2 * i]), lo = hi < 0 ? -1 : hex_digit((uint8_t)p[2 * i + 1]);
        if (lo < 0)
            return false;
        out[i] = hi << 4 | lo;
    }
    return true;
}

void gdb_put_hex(GString *s, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++) {
        g_string_append_c(s, digits[b[i] >> 4]);
        g_string_append_c(s, digits[b[i] & 15]);
    }
}
