/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor: expressions, arguments, commands, completion, the line editor. */
#include "monitor/command.h"

#include <string.h>

#include "hw/intc/lapic.h"
#include "monitor/line_edit.h"
#include "tests/monitor_rig.h"

static void expressions(void)
{
    static const struct { const char *text, *rest; uint64_t v; } good[] = {
        { "1", "", 1 }, { "0x10 ", "", 16 }, { "010", "", 8 }, { "1+2*3", "", 7 }, { "(1+2)*3", "", 9 }, { "-1", "", UINT64_MAX },
        { "~0 & 0xff", "", 255 }, { "1<<4|1", "", 17 }, { "256>>4", "", 16 }, { "1<<64", "", 0 }, { "7%4^1", "", 2 },
        { "10 / 3", "", 3 }, { "'a'", "", 97 }, { "1 2", "2", 1 }, { "- - 3", "", 3 }, { "18446744073709551615", "", UINT64_MAX },
        { "$pc", "", RIG_CODE }, { "$rax+1", "", 1 }, { "$EIP", "", RIG_CODE }, { "$cs.base", "", 0 }, { "$dr7", "", 0x400 },
    };
    static const struct { const char *text, *why; } bad[] = {
        { "", "unexpected end of expression" }, { "1+", "unexpected end of expression" }, { "zz", "invalid char 'z' in expression" },
        { "(1", "')' expected" }, { "1/0", "division by zero" }, { "1%(2-2)", "division by zero" }, { "$nosuch", "unknown register" },
        { "$", "unknown register" }, { "99999999999999999999", "number too large" }, { "1x", "invalid char 'x' in expression" },
        { "1<2", "invalid char '<' in expression" },
    };
    Rig *r = rig_new();
    Vcpu *cpu = accel_vcpu(r->accel, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        const char *p = good[i].text;
        uint64_t v;
        GError *err = NULL;
        g_assert_true(expr_parse(&p, cpu, &v, &err));
        g_assert_cmphex(v, ==, good[i].v);
        g_assert_cmpstr(p, ==, good[i].rest);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        const char *p = bad[i].text;
        uint64_t v;
        GError *err = NULL;
        g_assert_false(expr_parse(&p, cpu, &v, &err));
        g_assert_cmpstr(err->message, ==, bad[i].why);
        g_error_free(err);
    }
    GString *deep = g_string_new(NULL);
    for (unsigned i = 0; i < 100000; i++)
        g_string_append_c(deep, '(');
    const char *p = deep->str;
    uint64_t v;
    GError *err = NULL;
    g_assert_false(expr_parse(&p, cpu, &v, &err));
    g_error_free(err);
    g_string_free(deep, TRUE);
    rig_free(r);
}

static void run(Rig *r, const char *line, const char *pattern)
{
    GString *out = g_string_new(NULL);
    monitor_run(r->monitor, line, NULL, out);
    if (!g_pattern_match_simple(pattern, out->str))
        g_error("%s: '%s', and not '%s'", line, out->str, pattern);
    g_string_free(out, TRUE);
}

static void commands(void)
{
    static const char *const lines[][2] = {
        { "info status", "VM status: paused (prelaunch)\n" }, { "  info   status  ", "VM status: paused (prelaunch)\n" },
        { "", "" }, { "   ", "" }, { "# a comment", "" },
        { "foo", "unknown command: 'foo'\n" }, { "info foo", "unknown command: 'info foo'\n" }, { "info", "info status *" },
        { "stop now", "stop|s: extraneous characters at the end of line\nTry \"help stop\" for more information\n" },
        { "xp", "unexpected end of expression\nTry \"help xp\" for more information\n" },
        { "xp /2hx 0x1000", "0000000000001000: 0xa340 0x2000\n" }, { "xp/2bx 0x1000", "0000000000001000: 0x40 0xa3\n" },
        { "x/20bx 0x1000", "0000000000001000: * 0x00\n0000000000001010: 0x00 0x00 0x00 0x00\n" },
        { "xp/1gx 0x1000", "0000000000001000: 0x00f9eb902000a340\n" }, { "xp/3c 0x1000", "0000000000001000: '@' '\\xa3' '\\x00'\n" },
        { "xp/zx 0x1000", "invalid char in format: 'z'\n*" }, { "x/2i 0x1000", "0x00001000:*inc*0x00001001:*mov*" },
        { "print /x 10+0x10", "0x1a\n" }, { "p/d -1", "-1\n" }, { "p/c 65", "'A'\n" }, { "print $pc", "0x1000\n" },
        { "print 1 2", "print|p: extraneous characters*" }, { "cpu 7", "invalid CPU index\n" }, { "cpu 0", "" },
        { "info registers", "\nCPU#0\n*" }, { "info registers -a", "\nCPU#0\n*" }, { "info registers -b", "*extraneous*" },
        { "info cpus", "* CPU #0: thread_id=* pc=0x0000000000001000 (running)\n" }, { "info version", "test\n" },
        { "info name", "rig\n" }, { "info uuid", "00000000-0000-0000-0000-000000000000\n" }, { "info mem", "PG disabled\n" },
        { "info tlb", "PG disabled\n" }, { "gva2gpa 0x1234", "gpa: 0x1234\n" }, { "sum 0x1000 1", "00064\n" },
        { "gpa2hva 0xffffffff0", "No memory is mapped at address 0xffffffff0\n" }, { "system_powerdown", "this machine has no power button\n" },
        { "memsave 0 10 \"/proc/nonexistent/x\"", "Could not open '/proc/nonexistent/x'*" }, { "memsave 0 10 \"x", "unterminated string*" },
        { "help stop", "stop|s  -- *" }, { "help x", "x /fmt addr -- *" }, { "help info status", "info status  -- *" },
        { "help foo", "unknown command: 'foo'\n" }, { "log nonsense", "Log items*" }, { "log none", "" },
        { "gdbserver nosuch:x", "Could not open gdbserver on device 'nosuch:x'*" }, { "gdbserver none", "Disabled gdbserver\n" },
        { "i/b 0x10", "portb[0x0010] = 0xff\n" }, { "o/b 0x10 1", "" }, { "info mtree", "address-space: memory\n*ram*" },
        { "info mtree -f", "memory:\n*ram*" }, { "info jit", "Accelerator: tcg\n*" }, { "info memory", "ram *KiB\n*" },
    };
    Rig *r = rig_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        run(r, lines[i][0], lines[i][1]);
    run(r, "cont", "");
    run(r, "info status", "VM status: running\n");
    run(r, "info registers", "\nCPU#0\n*");
    g_assert_true(r->m->state == RUN_RUNNING);
    run(r, "stop", "");
    run(r, "info status", "VM status: paused\n");
    run(r, "system_reset", "");
    machine_poll(r->m);
    run(r, "print $pc", "0x1000\n");
    run(r, "quit", "");
    g_assert_false(machine_poll(r->m));
    rig_free(r);
}

/* Interrupts by line and by vector, as QEMU shows them, and what an accelerator keeps to itself. */
static void irq_statistics(void)
{
    static const char *const devices[] = {
        "i8259,id=pic1", "i8259,id=pic0,slave=pic1", "lapic,id=lapic0,id-number=0,pic=pic0", "ioapic,id=ioapic", "i8254,id=pit",
    };
    static const struct { const char *id, *pin; unsigned n, times; } pulses[] = {
        { "pic0", "ir", 0, 104 }, { "pic0", "ir", 4, 1 }, { "pic1", "ir", 0, 12 }, { "ioapic", "in", 4, 3 }, { "ioapic", "in", 20, 7 },
    };
    static const char nothing[] = "IRQ statistics for ioapic:\nIRQ statistics for pic1:\nIRQ statistics for pic0:\n"
        "IRQ statistics for lapic0, by vector:\nCPU#0: nothing waits\n";
    static const char some[] = "IRQ statistics for ioapic:\n 4: 3\n20: 7\nIRQ statistics for pic1:\n 8: 12\n"
        "IRQ statistics for pic0:\n 0: 104\n 4: 1\nIRQ statistics for lapic0, by vector:\n34: 2\nec: 1\nCPU#0: nothing waits\n";
    static const char lent[] = "IRQ statistics for ioapic:\n 4: 3\n20: 7\nIRQ statistics for pic1:\n 8: 12\n"
        "IRQ statistics for pic0:\n 0: 104\n 4: 1\nIRQ statistics not available for lapic0: the accelerator works it\n"
        "IRQ statistics leave out those of pit: the accelerator works it\nCPU#0: nothing waits\n";
    static const ChipHost host = { 0 };
    Rig *r = rig_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++)
        g_assert_nonnull(device_new(r->m, devices[i], NULL, NULL));
    Device *lapic = machine_find(r->m, "lapic0");
    CpuPort *port = vcpu_port(accel_vcpu(r->accel, 0));
    lapic_attach(lapic, port);
    machine_reset(r->m);
    run(r, "info irq", nothing);

    for (unsigned i = 0; i < G_N_ELEMENTS(pulses); i++)
        for (unsigned k = 0; k < 2 * pulses[i].times; k++)
            device_input(machine_find(r->m, pulses[i].id), pulses[i].pin, pulses[i].n, !(k & 1));
    lapic_virtual_wire(lapic);
    for (unsigned i = 0; i < 3; i++) {
        domain_enter(lapic->domain);
        lapic_deliver(r->m, &(ApicMessage){ .vector = i < 2 ? 0x34 : 0xec, .assert = true });
        domain_leave(lapic->domain);
        g_assert_cmpint(port->intc->acknowledge(port->intc_self), ==, i < 2 ? 0x34 : 0xec);
        domain_enter(lapic->domain);
        lapic->type->ops->write(lapic, 0xb0, 0, 4);         /* EOI */
        domain_leave(lapic->domain);
    }
    run(r, "info irq", some);

    for (unsigned i = 0; i < r->m->devices->len; i++) {
        Device *d = r->m->devices->pdata[i];
        ((Chip *)((char *)d + d->type->chip))->host = &host;
    }
    run(r, "info irq", lent);
    rig_free(r);
}

/* Every row: its help, its name found, and any garbage as its arguments. */
static void every_command(void)
{
    Rig *r = rig_new();
    for (const Command *c = monitor_commands; c->names; c++) {
        g_autofree char *name = g_strndup(c->names, strcspn(c->names, "|"));
        const char *p = name;
        g_assert_true(command_find(&p) == c);
        g_assert_cmpstr(p, ==, "");
        GString *help = g_string_new(NULL);
        command_help(name, help);
        g_assert_true(g_str_has_prefix(help->str, c->names));
        g_string_free(help, TRUE);
        for (unsigned i = 0; i < 50 && !strstr(name, "save"); i++) {
            GString *line = g_string_new(name);
            g_string_append_c(line, ' ');
            for (int n = g_test_rand_int_range(0, 12); n; n--)
                g_string_append_c(line, "0x1f $-+/()\"ab~%"[g_test_rand_int_range(0, 17)]);
            GString *out = g_string_new(NULL);
            monitor_run(r->monitor, line->str, NULL, out);
            g_string_free(out, TRUE);
            g_string_free(line, TRUE);
        }
    }
    rig_free(r);
}

static void completion(void)
{
    static const struct { const char *typed, *words; } row[] = {
        { "sto", "stop" }, { "system_", "system_powerdown system_reset" }, { "info s", "status" }, { "inf", "info" },
        { "info m", "mem memory mtree" }, { "help sto", "stop" }, { "help info c", "chardev cpus" }, { "log gu", "guest_errors" },
        { "nothing ", "" }, { "zz", "" }, { "stop ", "" },
    };
    Rig *r = rig_new();
    Session s = { .monitor = r->monitor, .env = monitor_env(r->monitor) };
    for (unsigned i = 0; i < G_N_ELEMENTS(row); i++) {
        GPtrArray *words = command_complete(&s, row[i].typed);
        g_ptr_array_add(words, NULL);
        g_autofree char *all = g_strjoinv(" ", (char **)words->pdata);
        g_assert_cmpstr(all, ==, row[i].words);
        g_ptr_array_free(words, TRUE);
    }
    rig_free(r);
}

/* --- the line editor */

typedef struct Screen { GString *out, *lines; } Screen;

static void screen_write(void *self, const char *text, size_t len) { g_string_append_len(((Screen *)self)->out, text, (gssize)len); }
static void screen_line(void *self, const char *line) { g_string_append_printf(((Screen *)self)->lines, "%s|", line); }
static GPtrArray *screen_complete(void *self, const char *line)
{
    static const char *const all[] = { "status", "stop", "system_reset" };
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    const char *last = strrchr(line, ' ');
    last = last ? last + 1 : line;
    for (unsigned i = 0; i < 3; i++)
        if (g_str_has_prefix(all[i], last))
            g_ptr_array_add(out, g_strdup(all[i]));
    return out;
}

static void editing(void)
{
    static const LineEditUser user = { screen_write, screen_line, screen_complete };
    static const struct { const char *keys, *lines; } row[] = {
        { "abc\r", "abc|" }, { "abc\r\nd\n", "abc|d|" }, { "abc\x7f\x08" "d\r", "ad|" }, { "bc\x01" "a\r", "abc|" },
        { "ac\x02" "b\x05" "d\r", "abcd|" }, { "abc\x15" "d\r", "d|" }, { "one two\x17" "three\r", "one three|" },
        { "ab\x1b[D\x1b[Dx\r", "xab|" }, { "ab\x1b[D\x1b[3~c\r", "ac|" }, { "abc\x01\x0b\r", "|" }, { "abc\x01\x04\r", "bc|" },
        { "one\rtwo\r\x1b[A\x1b[A\r", "one|two|one|" }, { "one\rtwo\x10\x0e!\r", "one|two!|" }, { "abc\x03" "d\r", "d|" },
        { "sto\t\r", "stop |" }, { "sy\tx\r", "system_reset x|" }, { "s\tt\t\r", "st|" }, { "\x1b[1~\x1b[F\x1bOHx\r", "x|" },
        { "\x1b[999999999999C\x1b[Zq\r", "q|" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(row); i++) {
        Screen s = { g_string_new(NULL), g_string_new(NULL) };
        LineEdit *e = line_edit_new("> ", &user, &s);
        for (const char *p = row[i].keys; *p; p++)
            line_edit_key(e, (uint8_t)*p);
        g_assert_cmpstr(s.lines->str, ==, row[i].lines);
        line_edit_free(e);
        g_string_free(s.out, TRUE);
        g_string_free(s.lines, TRUE);
    }
}

static void editing_noise(void)
{
    static const LineEditUser user = { screen_write, screen_line, screen_complete };
    Screen s = { g_string_new(NULL), g_string_new(NULL) };
    LineEdit *e = line_edit_new("> ", &user, &s);
    for (unsigned i = 0; i < 100000; i++) {
        line_edit_key(e, g_test_rand_int_range(0, 3) ? (uint8_t)g_test_rand_int_range(32, 127) : (uint8_t)g_test_rand_int());
        g_string_truncate(s.out, 0);
        g_string_truncate(s.lines, 0);
    }
    for (unsigned i = 0; i < 3 * LINE_MAX_LEN; i++)
        line_edit_key(e, 'a');
    line_edit_key(e, '\r');
    g_assert_cmpuint(s.lines->len, <=, LINE_MAX_LEN + 1);
    line_edit_free(e);
    g_string_free(s.out, TRUE);
    g_string_free(s.lines, TRUE);
}

/* A session on a stream: greeting, prompt, echo, CR LF. */
static void session(void)
{
    Rig *r = rig_new();
    GError *err = NULL;
    Stream *s = stream_new_memory(r->m->loop, "mon");
    machine_add_stream(r->m, s);
    g_assert_true(monitor_open(r->monitor, s, &err));
    g_autofree char *hello = stream_take(s, NULL);
    g_assert_cmpstr(hello, ==, "Rhea test monitor - type 'help' for more information\r\n(qemu) ");
    stream_feed(s, "info status\n", 12);
    while (loop_run_once(r->m->loop, false))
        continue;
    g_autofree char *answer = stream_take(s, NULL);
    g_assert_cmpstr(answer, ==, "info status\r\nVM status: paused (prelaunch)\r\n(qemu) ");
    g_assert_false(monitor_open(r->monitor, s, &err));
    g_assert_cmpstr(err->message, ==, "character device 'mon' is in use by 'monitor'");
    g_error_free(err);
    rig_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/monitor/expressions", expressions);
    g_test_add_func("/monitor/commands", commands);
    g_test_add_func("/monitor/irq-statistics", irq_statistics);
    g_test_add_func("/monitor/every-command", every_command);
    g_test_add_func("/monitor/completion", completion);
    g_test_add_func("/monitor/editing", editing);
    g_test_add_func("/monitor/editing-noise", editing_noise);
    g_test_add_func("/monitor/session", session);
    return g_test_run();
}
