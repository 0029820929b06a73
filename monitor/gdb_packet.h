/* SPDX-License-Identifier: GPL-2.0-or-later
 * gdb's remote protocol, the packet layer: bytes to packets and back, acknowledgements, escapes.  It knows neither
 * streams nor machines, so that tests and fuzzers can feed it anything.  Source: gdb's manual, appendix "Remote Protocol". */
#ifndef MONITOR_GDB_PACKET_H
#define MONITOR_GDB_PACKET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { GDB_PACKET_SIZE = 0x8000 };      /* of a packet's content, in both directions */

typedef struct GdbLinkUser {
    void (*write)(void *self, const void *bytes, size_t len);
    /* A whole, good packet, unescaped; data[len] is 0, and there may be zeros inside (X). */
    void (*packet)(void *self, const char *data, size_t len);
    void (*interrupt)(void *self);      /* Ctrl-C */
} GdbLinkUser;

typedef struct GdbLink {
    const GdbLinkUser *user;
    void    *self;
    bool     no_ack;
    enum { LINK_IDLE, LINK_DATA, LINK_ESCAPE, LINK_SUM1, LINK_SUM2 } state;
    bool     too_long;                  /* what does not fit is dropped, and the packet refused */
    uint8_t  sum, sum_read;
    GString *in;
    GString *sent;                      /* the last one, framed, until it is acknowledged */
} GdbLink;

void gdb_link_init(GdbLink *l, const GdbLinkUser *user, void *self);
void gdb_link_free(GdbLink *l);
void gdb_link_reset(GdbLink *l);        /* a new connection */
void gdb_link_feed(GdbLink *l, const uint8_t *bytes, size_t len);
/* Escapes what must be. */
void gdb_link_send(GdbLink *l, const char *data, size_t len);

/* Hexadecimal text.  hex_number: moves *p past the digits; false if there are none or too many.  hex_bytes: exactly 2 n
 * digits. */
bool gdb_hex_number(const char **p, uint64_t *v);
bool gdb_hex_bytes(const char *p, uint8_t *out, size_t n);
void gdb_put_hex(GString *s, const void *bytes, size_t n);

#endif
