/* SPDX-License-Identifier: GPL-2.0-or-later
 * The gdb stub: its packet layer alone, then the whole of it on a running CPU, and both under what no gdb would send. */
#include "monitor/gdb_packet.h"

#include <string.h>

#include "tests/monitor_rig.h"

/* --- the packet layer */

typedef struct Peer { GString *out, *got; unsigned packets, interrupts; } Peer;

static void peer_write(void *self, const void *bytes, size_t len)
{
    g_string_append_len(((Peer *)self)->out, bytes, (gssize)len);
}
static void peer_packet(void *self, const char *data, size_t len)
{
    Peer *p = self;
    g_assert_cmpint(data[len], ==, 0);
    p->packets++;
    g_string_truncate(p->got, 0);
    g_string_append_len(p->got, data, (gssize)len);
}
static void peer_interrupt(void *self) { ((Peer *)self)->interrupts++; }
static const GdbLinkUser peer_user = { peer_write, peer_packet, peer_interrupt };

static void peer_init(Peer *p, GdbLink *l)
{
    *p = (Peer){ g_string_new(NULL), g_string_new(NULL), 0, 0 };
    gdb_link_init(l, &peer_user, p);
}
static void peer_free(Peer *p, GdbLink *l)
{
    gdb_link_free(l);
    g_string_free(p->out, TRUE);
    g_string_free(p->got, TRUE);
}
static void feed(GdbLink *l, const char *text) { gdb_link_feed(l, (const uint8_t *)text, strlen(text)); }

static void packets(void)
{
    Peer p;
    GdbLink l;
    peer_init(&p, &l);
    feed(&l, "+$qC#b4");
    g_assert_cmpstr(p.got->str, ==, "qC");
    g_assert_cmpstr(p.out->str, ==, "+");
    feed(&l, "$qC#b5");                 /* a wrong sum is asked for again */
    g_assert_cmpuint(p.packets, ==, 1);
    g_assert_cmpstr(p.out->str, ==, "+-");
    feed(&l, "$lost$qC#b4");            /* the first one's end never came */
    g_assert_cmpuint(p.packets, ==, 2);
    feed(&l, "$}\x03}]a#bb");           /* escapes: 23h, 7dh */
    g_assert_cmpmem(p.got->str, p.got->len, "#}a", 3);
    feed(&l, "\x03\x03");
    g_assert_cmpuint(p.interrupts, ==, 2);
    g_string_truncate(p.out, 0);
    gdb_link_send(&l, "a#b$c}d*", 8);
    g_assert_cmpstr(p.out->str, ==, "$a}\003b}\004c}]d}\n#ec");
    feed(&l, "-");                      /* it did not arrive */
    g_assert_cmpuint(p.out->len, ==, 2 * strlen("$a}\003b}\004c}]d}\n#ec"));
    feed(&l, "+-");                     /* it has: nothing to send again */
    g_assert_cmpuint(p.out->len, ==, 2 * strlen("$a}\003b}\004c}]d}\n#ec"));
    peer_free(&p, &l);
}

static void too_long(void)
{
    Peer p;
    GdbLink l;
    peer_init(&p, &l);
    g_autofree char *big = g_strnfill(GDB_PACKET_SIZE + 1, 'a');
    uint8_t sum = (uint8_t)('a' * (GDB_PACKET_SIZE + 1));
    g_autofree char *end = g_strdup_printf("#%02x", sum);
    feed(&l, "$");
    feed(&l, big);
    feed(&l, end);
    g_assert_cmpuint(p.packets, ==, 0);
    g_assert_cmpstr(p.out->str, ==, "-");
    g_assert_cmpuint(l.in->len, <=, GDB_PACKET_SIZE);
    peer_free(&p, &l);
}

static void noise(void)
{
    Peer p;
    GdbLink l;
    peer_init(&p, &l);
    for (unsigned i = 0; i < 300000; i++) {
        static const char often[] = "$#}+-\x03" "0123456789abcdef";
        uint8_t b = g_test_rand_bit() ? (uint8_t)g_test_rand_int() : (uint8_t)often[g_test_rand_int_range(0, 22)];
        gdb_link_feed(&l, &b, 1);
        if (p.out->len > 1 << 16)
            g_string_truncate(p.out, 0);
        if (i % 1000 == 0)
            l.no_ack = !l.no_ack;
    }
    gdb_link_reset(&l);
    unsigned before = p.packets;
    feed(&l, "$qC#b4");
    g_assert_cmpuint(p.packets, ==, before + 1);
    peer_free(&p, &l);
}

static void hexadecimal(void)
{
    static const struct { const char *text; bool ok; uint64_t v; } row[] = {
        { "0", true, 0 }, { "ffffffffffffffff", true, UINT64_MAX }, { "1ffffffffffffffff", false, 0 }, { "", false, 0 },
        { "x", false, 0 }, { "12,", true, 0x12 }, { "DeadBeef", true, 0xdeadbeef },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(row); i++) {
        const char *p = row[i].text;
        uint64_t v;
        g_assert_true(gdb_hex_number(&p, &v) == row[i].ok);
        if (row[i].ok)
            g_assert_cmphex(v, ==, row[i].v);
    }
    uint8_t b[2];
    g_assert_true(gdb_hex_bytes("0aF1", b, 2));
    g_assert_cmpmem(b, 2, "\x0a\xf1", 2);
    g_assert_false(gdb_hex_bytes("0a1", b, 2));
    g_assert_false(gdb_hex_bytes("0g", b, 1));
}

/* --- the stub */

typedef struct Client { Rig *r; Stream *s; GString *in; char asked[64]; } Client;

static void client_init(Client *c)
{
    GError *err = NULL;
    c->r = rig_new();
    c->s = stream_new_memory(c->r->m->loop, "gdb");
    machine_add_stream(c->r->m, c->s);
    c->in = g_string_new(NULL);
    g_assert_true(monitor_gdb(c->r->monitor, "chardev:gdb", &err));
    g_assert_no_error(err);
}
static void client_free(Client *c)
{
    g_string_free(c->in, TRUE);
    rig_free(c->r);
}

static void spin(Client *c)
{
    machine_poll(c->r->m);
    while (loop_run_once(c->r->m->loop, false))
        machine_poll(c->r->m);
    size_t n;
    char *text = stream_take(c->s, &n);
    g_string_append_len(c->in, text, (gssize)n);
    g_free(text);
}

static void send_packet(Client *c, const char *data, size_t len)
{
    GString *s = g_string_new("$");
    uint8_t sum = 0;
    g_strlcpy(c->asked, data, sizeof c->asked);
    for (size_t i = 0; i < len; i++)
        sum += (uint8_t)data[i];
    g_string_append_len(s, data, (gssize)len);
    g_string_append_printf(s, "#%02x", sum);
    for (size_t at = 0; at < s->len; at += 1000) {
        stream_feed(c->s, s->str + at, MIN(1000, s->len - at));
        spin(c);
    }
    g_string_free(s, TRUE);
}

/* The next reply, without its frame; waits for it, for minutes on a crowded host. */
static char *receive(Client *c)
{
    for (unsigned i = 0; i < 400000; i++) {
        char *start = memchr(c->in->str, '$', c->in->len), *end = start ? strchr(start, '#') : NULL;
        if (end && end + 3 <= c->in->str + c->in->len) {
            char *text = g_strndup(start + 1, (gsize)(end - start - 1));
            g_string_erase(c->in, 0, end + 3 - c->in->str);
            return text;
        }
        spin(c);
        if (i > 100)
            g_usleep(500);
    }
    g_error("the stub does not answer to %s", c->asked);
}

static void expect(Client *c, const char *packet, const char *reply)
{
    send_packet(c, packet, strlen(packet));
    g_autofree char *got = receive(c);
    if (!g_pattern_match_simple(reply, got))
        g_error("%s: %s, and not %s", packet, got, reply);
}

static void talk(void)
{
    Client c;
    client_init(&c);
    static const char *const lines[][2] = {
        { "qSupported:swbreak+;hwbreak+;xmlRegisters=i386", "PacketSize=8000;*qXfer:features:read+*" },
        { "?", "T05thread:01;" },
        { "qXfer:features:read:target.xml:0,40", "m<?xml version=\"1.0\"?><!DOCTYPE *" },
        { "qXfer:features:read:target.xml:100000,40", "l" },
        { "qXfer:features:read:other.xml:0,40", "E00" },
        { "qfThreadInfo", "m01" }, { "qsThreadInfo", "l" }, { "qC", "QC01" }, { "qAttached", "1" },
        { "Hg1", "OK" }, { "Hg0", "OK" }, { "Hc-1", "OK" }, { "Hg2", "E22" }, { "Hx1", "E22" }, { "H", "E22" },
        { "T1", "OK" }, { "T2", "E22" }, { "T", "E22" },
        { "qThreadExtraInfo,1", "4350552330205b72756e6e696e675d" },
        { "p10", "0010000000000000" },                          /* rip */
        { "P0=efcdab8967452301", "OK" }, { "p0", "efcdab8967452301" }, { "P0=12", "E14" }, { "P999=00", "E14" },
        { "m1000,7", "40a3002090ebf9" }, { "m1000,0", "" }, { "mfffffffffffff000,10", "E14" }, { "m1000", "E22" },
        { "mffffe,10", "*" }, { "M2000,2:abcd", "OK" }, { "m2000,2", "abcd" }, { "M2000,2:abc", "E22" },
        { "M2000,ffffffffffffffff:00", "E22" }, { "X2000,2:xy", "OK" }, { "m2000,2", "7879" }, { "X2000,3:xy", "E22" },
        { "vCont?", "vCont;c;C;s;S;t;r" }, { "vMustReplyEmpty", "" }, { "vCont;x", "E22" }, { "vCont;t", "E22" },
        { "vCont;r5", "E22" }, { "Z9,1000,1", "" }, { "Z0", "E22" }, { "z0,1000,1", "E22" }, { "Z2,2000,0", "E22" },
        { "Z2,ffffffffffffffff,8", "E22" },
        { "s", "T05thread:01;" }, { "p10", "0110000000000000" },
        { "vCont;s:1", "T05thread:01;" }, { "p10", "0410000000000000" },
        { "vCont;r1000,1005:1;x", "E22" }, { "P10=0110000000000000", "OK" }, { "s", "T05thread:01;" }, { "p10", "0410000000000000" },
        { "vCont;r1000,1005:1", "T05thread:01;" }, { "p10", "0510000000000000" },
        { "Z0,1001,1", "OK" }, { "c", "T05thread:01;swbreak:;" }, { "p10", "0110000000000000" },
        { "vCont;c", "T05thread:01;swbreak:;" }, { "z0,1001,1", "OK" },
        { "Z1,1004,1", "OK" }, { "vCont;c:1;s", "T05thread:01;hwbreak:;" }, { "z1,1004,1", "OK" },
        { "Z2,2001,1", "OK" }, { "c", "T05thread:01;watch:2001;" }, { "p10", "0410000000000000" }, { "z2,2001,1", "OK" },
        { "Z3,2000,2", "OK" }, { "Z4,2000,2", "OK" }, { "c", "T05thread:01;awatch:2000;" }, { "z4,2000,2", "OK" },
        { "qRcmd,7072696e74202f782031302b30783130", "O307831610a" },            /* print /x 10+0x10 */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        expect(&c, lines[i][0], lines[i][1]);
    g_autofree char *ok = receive(&c);
    g_assert_cmpstr(ok, ==, "OK");
    /* Ctrl-C */
    send_packet(&c, "c", 1);
    g_assert_true(c.r->m->state == RUN_RUNNING);
    stream_feed(c.s, "\x03", 1);
    g_autofree char *stopped = receive(&c);
    g_assert_cmpstr(stopped, ==, "T02thread:01;");
    /* a write to code that is translated */
    expect(&c, "M1000,1:48", "OK");     /* dec ax */
    expect(&c, "P0=0500000000000000", "OK");
    expect(&c, "P10=0010000000000000", "OK");
    expect(&c, "s", "T05*");
    expect(&c, "p0", "0400000000000000");
    /* a locked read-modify-write is a read as well: lock inc word [2000h] */
    expect(&c, "M1000,7:f0ff060020ebf9", "OK");
    expect(&c, "P10=0010000000000000", "OK");
    expect(&c, "Z3,2000,2", "OK");
    expect(&c, "s", "T05thread:01;rwatch:2000;");
    expect(&c, "c", "T05thread:01;rwatch:2000;");
    expect(&c, "p10", "0510000000000000");
    expect(&c, "z3,2000,2", "OK");
    expect(&c, "QStartNoAckMode", "OK");
    expect(&c, "D", "OK");
    g_assert_true(c.r->m->state == RUN_RUNNING);
    client_free(&c);
}

static void all_registers(void)
{
    Client c;
    client_init(&c);
    send_packet(&c, "g", 1);
    g_autofree char *g = receive(&c);
    GString *back = g_string_new("G");
    g_string_append(back, g);
    expect(&c, back->str, "OK");
    send_packet(&c, "g", 1);
    g_autofree char *again = receive(&c);
    g_assert_cmpstr(g, ==, again);
    memset(back->str + 1, 'f', back->len - 1);          /* what no register takes */
    expect(&c, back->str, "E22");
    g_string_free(back, TRUE);
    client_free(&c);
}

/* A machine that runs code nobody wrote, for a client that makes no sense. */
static void hostile(void)
{
    static const char *const words[] = {
        "qSupported", "qXfer:features:read:target.xml:", "qThreadExtraInfo,", "qRcmd,", "vCont", ";c", ";s", ";r", ";t", ":1",
        ":-1", ":99", "Z0,", "Z1,", "Z2,", "z0,", "z2,", "m", "M", "X", "G", "g", "p", "P", "H", "Hg", "Hc", "T", "?", "s", "c",
        "1000", "1001", "2000", ",", ":", "=", "ffffffffffffffff", "0", "-", "\x03", "vAttach", "D", "C05", "S05;", "7374",
        "QStartNoAckMode", "qfThreadInfo", "qsThreadInfo", ",1", ",8", ",7fffffff",
    };
    Client c;
    client_init(&c);
    unsigned rounds = g_test_slow() ? 20000 : 1500;
    for (unsigned i = 0; i < rounds; i++) {
        GString *s = g_string_new(NULL);
        for (int n = g_test_rand_int_range(1, 6); n; n--) {
            if (g_test_rand_int_range(0, 8))
                g_string_append(s, words[g_test_rand_int_range(0, G_N_ELEMENTS(words))]);
            else
                g_string_append_c(s, (char)g_test_rand_int_range(1, 256));
        }
        if (s->str[0] == 'k')           /* would end it */
            s->str[0] = 'm';
        send_packet(&c, s->str, s->len);
        if (!(i % 4))
            stream_feed(c.s, "\x03", 1);
        spin(&c);
        g_string_truncate(c.in, 0);
        g_string_free(s, TRUE);
    }
    stream_feed(c.s, "\x03", 1);
    spin(&c);
    g_string_truncate(c.in, 0);
    machine_pause(c.r->m);
    rig_restart(c.r);
    spin(&c);
    g_string_truncate(c.in, 0);
    expect(&c, "?", "T05thread:01;");
    expect(&c, "m1000,2", "40a3");
    client_free(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gdb/packets", packets);
    g_test_add_func("/gdb/too-long", too_long);
    g_test_add_func("/gdb/noise", noise);
    g_test_add_func("/gdb/hexadecimal", hexadecimal);
    g_test_add_func("/gdb/talk", talk);
    g_test_add_func("/gdb/all-registers", all_registers);
    g_test_add_func("/gdb/hostile", hostile);
    return g_test_run();
}
