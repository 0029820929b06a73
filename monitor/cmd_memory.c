/* SPDX-License-Identifier: GPL-2.0-or-later
 * Commands that look at memory, ports and values. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "monitor/command.h"
#include "target/debug.h"
#include "util/disas.h"
#include "util/endian.h"
#include "util/error.h"

enum { CHUNK = 4096, MAX_INSN = 16, MAX_DUMP = 16 << 20 };

static bool need_cpu(const Session *s, GError **err) { return s->cpu || fail(err, "this machine has no CPU"); }

static bool read_mem(Session *s, bool phys, uint64_t at, void *buf, size_t len)
{
    if (!phys)
        return vcpu_debug_read(s->cpu, at, buf, len);
    space_read(s->env->machine->mem, at, buf, len);
    return true;
}

/* --- x, xp, print */

static void character(GString *out, uint64_t v)
{
    switch (v) {
    case '\'': g_string_append(out, "'\\''"); return;
    case '\\': g_string_append(out, "'\\\\'"); return;
    case '\n': g_string_append(out, "'\\n'"); return;
    case '\r': g_string_append(out, "'\\r'"); return;
    }
    if (v >= 32 && v <= 126)
        g_string_append_printf(out, "'%c'", (char)v);
    else
        g_string_append_printf(out, "'\\x%02x'", (unsigned)v);
}

static void value(GString *out, char letter, unsigned size, uint64_t v)
{
    static const uint8_t octal[9] = { [1] = 3, [2] = 6, [4] = 11, [8] = 22 };
    static const uint8_t decimal[9] = { [1] = 4, [2] = 6, [4] = 11, [8] = 20 };
    if (size < 8)
        v &= (UINT64_C(1) << 8 * size) - 1;
    int64_t n = size == 1 ? (int8_t)v : size == 2 ? (int16_t)v : size == 4 ? (int32_t)v : (int64_t)v;
    switch (letter) {
    case 'o': g_string_append_printf(out, "0%0*" PRIo64, octal[size], v); break;
    case 'u': g_string_append_printf(out, "%*" PRIu64, decimal[size] - (size < 8), v); break;
    case 'd': g_string_append_printf(out, "%*" PRId64, decimal[size], n); break;
    case 'c': character(out, v & 0xff); break;
    default:  g_string_append_printf(out, "0x%0*" PRIx64, (int)(2 * size), v);
    }
}

static void instructions(Session *s, bool phys, uint64_t at, unsigned count)
{
    const Target *t = vcpu_target(s->cpu);
    CpuState *cpu = vcpu_cpu(s->cpu);
    int mode = t->cs_mode ? t->cs_mode(cpu, t->mode_key(cpu)) : 0;
    while (count--) {
        uint8_t code[MAX_INSN];
        size_t n = MAX_INSN;
        while (n && !read_mem(s, phys, at, code, n))
            n--;
        if (!n) {
            g_string_append(s->out, "Cannot access memory\n");
            return;
        }
        GString *text = g_string_new(NULL);
        disas(text, t->cs_arch, mode, code, n, at);
        char *eol = strchr(text->str, '\n'), *p = strchr(text->str, ':');
        if (eol)
            g_string_append_len(s->out, text->str, eol + 1 - text->str);
        unsigned len = 0;               /* of the first one: its bytes stand between the colon and two blanks */
        for (p = p ? p + 1 : NULL; p && p[0] == ' '; p++)
            ;
        while (p && g_ascii_isxdigit(p[0]) && g_ascii_isxdigit(p[1]) && (p[2] == ' ' || p[2] == '\n')) {
            len++;
            p += 3;
        }
        g_string_free(text, TRUE);
        at += MAX(len, 1u);
    }
}

static bool dump(Session *s, bool phys, const Args *a, GError **err)
{
    Format f = args_find(a, "fmt")->fmt;
    uint64_t at = arg_int(a, "addr");
    if (!need_cpu(s, err))
        return false;
    if (!f.letter)
        f.letter = s->last.letter ? s->last.letter : 'x';
    if (f.letter == 'c' && !f.size)
        f.size = 1;
    if (!f.size)
        f.size = s->last.size ? s->last.size : 4;
    if (!f.count)
        f.count = 1;
    s->last = f;
    if (f.letter == 'i') {
        instructions(s, phys, at, MIN(f.count, MAX_DUMP / MAX_INSN / 8));
        return true;
    }
    uint64_t len = MIN((uint64_t)f.count * f.size, MAX_DUMP);
    while (len) {
        uint8_t bytes[16];
        unsigned n = MIN(len, sizeof bytes);
        if (!read_mem(s, phys, at, bytes, n)) {
            g_string_append(s->out, "Cannot access memory\n");
            return true;
        }
        g_string_append_printf(s->out, "%016" PRIx64 ":", at);
        for (unsigned i = 0; i + f.size <= n; i += f.size) {
            g_string_append_c(s->out, ' ');
            value(s->out, f.letter, f.size, load_le(bytes + i, f.size));
        }
        g_string_append_c(s->out, '\n');
        at += n;
        len -= n;
    }
    return true;
}

bool cmd_x(Session *s, const Args *a, GError **err) { return dump(s, false, a, err); }
bool cmd_xp(Session *s, const Args *a, GError **err) { return dump(s, true, a, err); }

bool cmd_print(Session *s, const Args *a, GError **err)
{
    uint64_t v = arg_int(a, "expr");
    switch (args_find(a, "fmt")->fmt.letter) {
    case 'o': g_string_append_printf(s->out, "%#" PRIo64 "\n", v); break;
    case 'u': g_string_append_printf(s->out, "%" PRIu64 "\n", v); break;
    case 'd': g_string_append_printf(s->out, "%" PRId64 "\n", (int64_t)v); break;
    case 'c':
        character(s->out, v & 0xff);
        g_string_append_c(s->out, '\n');
        break;
    default: g_string_append_printf(s->out, "%#" PRIx64 "\n", v);
    }
    return true;
}

/* --- addresses */

bool cmd_gva2gpa(Session *s, const Args *a, GError **err)
{
    uint64_t pa;
    if (!need_cpu(s, err))
        return false;
    if (vcpu_debug_translate(s->cpu, arg_int(a, "addr"), &pa, NULL))
        g_string_append_printf(s->out, "gpa: %#" PRIx64 "\n", pa);
    else
        g_string_append(s->out, "Unmapped\n");
    return true;
}

bool cmd_gpa2hva(Session *s, const Args *a, GError **err)
{
    MemSection sec;
    uint64_t pa = arg_int(a, "addr");
    if (!space_lookup(s->env->machine->mem, pa, &sec))
        return fail(err, "No memory is mapped at address 0x%" PRIx64, pa);
    if (!sec.host)
        return fail(err, "Memory at address 0x%" PRIx64 " is not RAM", pa);
    g_string_append_printf(s->out, "Host virtual address for 0x%" PRIx64 " (%s) is %p\n", pa, sec.region->name,
                           (void *)sec.host);
    return true;
}

/* --- ports */

bool cmd_in(Session *s, const Args *a, GError **err)
{
    static const char letters[] = { [1] = 'b', [2] = 'w', [4] = 'l' };
    unsigned size = args_find(a, "fmt")->fmt.size;
    uint16_t port = arg_int(a, "addr");
    Space *io = s->env->machine->io;
    if (size != 2 && size != 4)
        size = 1;
    if (arg_given(a, "index"))          /* an index register at port, its data register behind it */
        space_store(io, port++, 1, arg_int(a, "index") & 0xff);
    g_string_append_printf(s->out, "port%c[0x%04x] = 0x%0*" PRIx64 "\n", letters[size], port, (int)(2 * size),
                           space_load(io, port, size, NULL));
    return true;
}

bool cmd_out(Session *s, const Args *a, GError **err)
{
    unsigned size = args_find(a, "fmt")->fmt.size;
    space_store(s->env->machine->io, arg_int(a, "addr") & 0xffff, size == 2 || size == 4 ? size : 1, arg_int(a, "value"));
    return true;
}

/* --- ranges */

bool cmd_sum(Session *s, const Args *a, GError **err)
{
    uint64_t at = arg_int(a, "addr"), size = arg_int(a, "size");
    uint8_t buf[CHUNK];
    uint16_t sum = 0;
    if (size > UINT32_MAX)
        return fail(err, "sum: a size of 4 GiB at most");
    while (size) {
        unsigned n = MIN(size, sizeof buf);
        space_read(s->env->machine->mem, at, buf, n);
        for (unsigned i = 0; i < n; i++) {
            sum = sum >> 1 | sum << 15; /* as BSD's sum(1) */
            sum += buf[i];
        }
        at += n;
        size -= n;
    }
    g_string_append_printf(s->out, "%05d\n", sum);
    return true;
}

static bool save(Session *s, bool phys, const Args *a, GError **err)
{
    uint64_t at = arg_int(a, "addr"), size = arg_int(a, "size");
    const char *path = arg_text(a, "filename");
    uint8_t buf[CHUNK];
    if (!need_cpu(s, err))
        return false;
    FILE *f = fopen(path, "wb");
    if (!f)
        return fail_errno(err, errno, "Could not open '%s'", path);
    bool ok = true;
    while (size && ok) {
        unsigned n = MIN(size, CHUNK - at % CHUNK);
        ok = read_mem(s, phys, at, buf, n) ||
             fail(err, "Invalid addr 0x%016" PRIx64 "/size %" PRIu64 " specified", at, arg_int(a, "size"));
        ok = ok && (fwrite(buf, 1, n, f) == n || fail_errno(err, errno, "writing '%s'", path));
        at += n;
        size -= n;
    }
    if (fclose(f) && ok)
        ok = fail_errno(err, errno, "writing '%s'", path);
    return ok;
}

bool cmd_memsave(Session *s, const Args *a, GError **err) { return save(s, false, a, err); }
bool cmd_pmemsave(Session *s, const Args *a, GError **err) { return save(s, true, a, err); }
