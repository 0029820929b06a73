/* SPDX-License-Identifier: GPL-2.0-or-later
 * What is told to people: errors, warnings, and the traces that -d selects.  One Log per process: it is where
 * stderr or the -D file is, so it is the one mutable object that does not hang off a Machine. */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One row per category: enumerator, name after -d, help. */
#define LOG_CATEGORIES(X)                                                             \
    X(LOG_IN_ASM,  "in_asm",       "guest code as it is translated")                  \
    X(LOG_OP,      "op",           "intermediate code as it is built")                \
    X(LOG_OP_OPT,  "op_opt",       "intermediate code after the passes")              \
    X(LOG_OUT_ASM, "out_asm",      "host code as it is emitted")                      \
    X(LOG_INT,     "int",          "interrupts and exceptions")                       \
    X(LOG_EXEC,    "exec",         "each entry into translated code")                 \
    X(LOG_CPU,     "cpu",          "CPU state at each entry into translated code")    \
    X(LOG_MMU,     "mmu",          "page walks and TLB flushes")                      \
    X(LOG_GUEST,   "guest_errors", "what the guest does that hardware would not like") \
    X(LOG_UNIMP,   "unimp",        "guest use of what is not emulated")               \
    X(LOG_DEV,     "dev",          "device register accesses")                        \
    X(LOG_RESET,   "cpu_reset",    "CPU state at each reset")                         \
    X(LOG_STATS,   "stats",        "counters, printed at exit")                       \
    X(LOG_CHECK,   "check",        "what check=on compares")

enum {
#define X(id, name, help) id##_BIT,
    LOG_CATEGORIES(X)
#undef X
    LOG_N_CATEGORIES
};
typedef enum LogCategory {
#define X(id, name, help) id = 1u << id##_BIT,
    LOG_CATEGORIES(X)
#undef X
} LogCategory;

extern uint32_t log_mask;       /* categories that -d selected; read it through log_on() only */

static inline bool log_on(unsigned categories)
{
    return G_UNLIKELY(__atomic_load_n(&log_mask, __ATOMIC_RELAXED) & categories);
}

/* "in_asm,op": adds to the mask; "none" clears it.  "help" is the caller's: log_help() prints the table.  False: unknown name. */
bool log_set_categories(const char *list, GError **err);
void log_help(GString *out);
const char *log_category(unsigned i, const char **help);        /* name of the i-th, or NULL */
/* Sends everything below to a file instead of stderr (%d in the name: process id). */
bool log_set_file(const char *path, GError **err);

/* From here on any thread.  The program's own messages: always on stderr, "rhea-system: ...".  obj is a device or machine id, or
 * NULL. */
void log_set_program(const char *name);
/* Before the program's name: the time (UTC), and the guest's name if there is one.  Before threads start. */
void log_set_prefix(bool time, const char *guest);
void log_error(const char *obj, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void log_warn (const char *obj, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void log_info (const char *obj, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The guest's mistake.  Shown with -d guest_errors; at most LOG_GUEST_PER_SECOND lines a second. */
void log_guest_slow(const char *obj, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
#define log_guest(obj, ...) do { if (log_on(LOG_GUEST)) log_guest_slow(obj, __VA_ARGS__); } while (0)
enum { LOG_GUEST_PER_SECOND = 100 };

/* Text of a category; the caller tests log_on() first.  Whole lines; a call is written in one piece. */
void log_text(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_write(const char *text, size_t len);
#define trace(category, ...) do { if (log_on(category)) log_text(__VA_ARGS__); } while (0)
void log_flush(void);

#endif
