/* SPDX-License-Identifier: GPL-2.0-or-later
 * Runs the cases of the .ir files in tests/ir: text in, expected text out.
 *
 *     case add of zero
 *         %9 = i64 add %1, 0i64
 *         r2 := %9
 *     gives
 *         r2 := %1
 *
 * A body is parsed with folding, goes through the backward pass and is compared as text; numbers from %9 on count by
 * order only.  %1 to %8 stand in front of every body (see prologue), an exit behind it.  In addition plain and
 * folded body run on the interpreter and must agree.  In files named plain_* nothing is folded.  With the
 * environment variable IR_SHOW set the result is printed in place of the comparison. */
#include <stdlib.h>
#include <string.h>
#include "tcg/build_int.h"
#include "tests/ir_slots.h"

static const char *const prologue =
    "region 4\n"
    "block 0\n"
    "    %1 = i64 slot_get r0\n"
    "    %2 = i64 slot_get r1\n"
    "    %3 = i32 slot_get w0\n"
    "    %4 = i32 slot_get w1\n"
    "    %5 = i8 slot_get b0\n"
    "    %6 = i16 slot_get h0\n"
    "    %7 = v128 slot_get v0\n"
    "    %8 = p cmp.ltu %1, %2\n";
static const char *const epilogue = "    exit direct +4 @+4 #1\n";
enum { FIRST = 9 };

typedef struct Case { char *file, *name, *in, *out; } Case;

typedef struct Fixture {
    Ir       *ir, *plain;
    Interp   *interp;
    TestCpu  *a, *b;
    uint32_t *hits;             /* of fold rows, over all cases */
} Fixture;

/* Lines without prologue, header and exit; values from FIRST on renumbered in order of appearance; blanks trimmed. */
static char *normal(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *out = g_string_new(NULL);
    g_autofree char *last = g_strdup(epilogue);
    g_strchomp(g_strchug(last));
    GArray *seen = g_array_new(FALSE, FALSE, sizeof(guint64));

    for (unsigned i = 0; lines[i]; i++) {
        const char *s = g_strstrip(lines[i]);
        if (!*s || g_str_has_prefix(s, "region ") || !strcmp(s, "block 0") || !strcmp(s, last))
            continue;
        if (s[0] == '%' && s[1] >= '1' && s[1] < '0' + FIRST && s[2] == ' ')
            continue;
        while (*s) {
            if (*s != '%') {
                g_string_append_c(out, *s++);
                continue;
            }
            char *end;
            guint64 n = g_ascii_strtoull(s + 1, &end, 10);
            s = end;
            unsigned k = 0;
            for (; n >= FIRST && k < seen->len && g_array_index(seen, guint64, k) != n; k++)
                ;
            if (n >= FIRST && k == seen->len)
                g_array_append_val(seen, n);
            g_string_append_printf(out, "%%%" G_GUINT64_FORMAT, n >= FIRST ? k + FIRST : n);
        }
        g_string_append_c(out, '\n');
    }
    g_array_free(seen, TRUE);
    return g_string_free(out, FALSE);
}

static void parse(Ir *ir, const Case *c, bool fold)
{
    g_autofree char *text = g_strconcat(prologue, c->in, strstr(c->in, "block 1") ? "" : epilogue, NULL);
    g_autoptr(GError) err = NULL;

    if (!ir_parse_folding(ir, text, fold, test_helpers, n_test_helpers, &err))
        g_error("%s, %s: %s", c->file, c->name, err->message);
    g_autofree char *bad = ir_verify(ir);
    if (bad)
        g_error("%s, %s: %s", c->file, c->name, bad);
}

static void same_effect(Fixture *f, const Case *c)
{
    for (uint32_t seed = 0; seed < 40; seed++) {
        test_cpu_seed(f->a, seed);
        if (seed & 1)
            f->a->s.hot[1] = f->a->s.hot[0] & 0xff;     /* small and related operands as well */
        if (seed & 4)
            f->a->s.hot[0] &= 0x1ff;
        memcpy(f->b, f->a, sizeof *f->b);
        CpuExit x = interp_run(f->interp, &f->a->s, f->plain), y = interp_run(f->interp, &f->b->s, f->ir);
        g_autofree char *diff = test_cpu_diff(f->a, f->b);
        if (diff || x.reason != y.reason || x.arg != y.arg)
            g_error("%s, %s: seed %u: %s", c->file, c->name, seed, diff ? diff : "exit");
    }
}

static void run_case(Fixture *f, const Case *c)
{
    bool fold = !g_str_has_prefix(c->file, "plain_");

    parse(f->plain, c, false);
    parse(f->ir, c, fold);
    ir_pass_dead(f->ir);
    g_autofree char *bad = ir_verify(f->ir);
    if (bad)
        g_error("%s, %s: %s", c->file, c->name, bad);
    GString *s = g_string_new(NULL);
    ir_print(f->ir, s);
    g_autofree char *got = normal(s->str), *want = normal(c->out);
    g_string_free(s, TRUE);
    if (g_getenv("IR_SHOW")) {
        g_print("case %s\n%sgives\n%s\n", c->name, c->in, got);
        return;
    }
    if (strcmp(got, want))
        g_error("%s, %s:\n%sgave\n%swanted\n%s", c->file, c->name, c->in, got, want);
    same_effect(f, c);
}

static unsigned run_file(Fixture *f, const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL), *text = NULL;
    g_autoptr(GError) err = NULL;
    GString *part[2] = { g_string_new(NULL), g_string_new(NULL) };
    Case c = { .file = (char *)name };
    unsigned n = 0, which = 0;

    if (!g_file_get_contents(path, &text, NULL, &err))
        g_error("%s", err->message);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; ; i++) {
        const char *s = lines[i];
        if ((!s || g_str_has_prefix(s, "case ")) && c.name) {
            c.in = part[0]->str;
            c.out = part[1]->str;
            run_case(f, &c);
            n++;
        }
        if (!s)
            break;
        if (g_str_has_prefix(s, "case ")) {
            c.name = (char *)s + 5;
            g_string_truncate(part[0], 0);
            g_string_truncate(part[1], 0);
            which = 0;
        } else if (!strcmp(s, "gives")) {
            which = 1;
        } else if (*s && *s != ';') {
            g_string_append_printf(part[which], "%s\n", s);
        }
    }
    g_string_free(part[0], TRUE);
    g_string_free(part[1], TRUE);
    return n;
}

static void files(void)
{
    const char *dir = g_getenv("RHEA_TEST_IR") ? g_getenv("RHEA_TEST_IR") : "tests/ir";
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    uint8_t first[IR_N_OPS + 1];
    unsigned rows = ir_fold_index(first), n = 0;
    Fixture f = { ir_new(&test_slots), ir_new(&test_slots), interp_new(&test_slow_ops), test_cpu_new(), test_cpu_new(),
                  g_new0(uint32_t, rows) };
    const char *name;

    if (!d)
        g_error("no folder %s: run from the top of the source tree", dir);
    f.ir->builder->fold_hits = f.hits;
    while ((name = g_dir_read_name(d))) {
        if (g_str_has_suffix(name, ".ir"))
            n += run_file(&f, dir, name);
    }
    g_test_message("%u cases", n);
    for (unsigned i = 0; i < rows; i++) {
        if (!f.hits[i]) {
            g_test_message("no case for fold row %u, %s", i, ir_fold_name(i));
            g_test_fail();
        }
    }
    ir_free(f.ir);
    ir_free(f.plain);
    interp_free(f.interp);
    free(f.a);
    free(f.b);
    g_free(f.hits);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/ir-text", files);
    return g_test_run();
}
