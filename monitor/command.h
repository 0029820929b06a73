/* SPDX-License-Identifier: GPL-2.0-or-later
 * The command table.  A row is the only description of a command: parsing, help, completion come from it; QMP will take
 * arguments by the same names. */
#ifndef MONITOR_COMMAND_H
#define MONITOR_COMMAND_H

#include "monitor/monitor.h"

enum { MAX_ARGS = 8 };

/* "/fmt": count, letter of the format, bytes; 0 where not given. */
typedef struct Format { unsigned count; char letter; unsigned size; } Format;

typedef struct Arg {
    char     name[16], type;
    bool     optional, given;
    uint64_t i;                         /* 'i'; 'b', '-': 0 or 1 */
    char    *s;                         /* 'w', 's', 'F', 'C' */
    Format   fmt;                       /* '/' */
} Arg;

typedef struct Args { Arg arg[MAX_ARGS]; unsigned n; } Args;

/* Where a command is run, and what it prints to. */
typedef struct Session {
    Monitor          *monitor;
    const MonitorEnv *env;
    Vcpu             *cpu;              /* the current one */
    Format            last;             /* of x and xp */
    GString          *out;
    bool              quit;             /* close the session */
} Session;

typedef bool CommandFn(Session *s, const Args *a, GError **err);

/* args: "name:type" for each, in order, with a ? behind it if it may be left out.
 *   /  a format as gdb's x takes it     i  an integer expression        w  a word       s  the rest of the line
 *   F  a file name                      b  on or off                    -X  the flag -X  C  a command's name */
typedef struct Command {
    const char *names;                  /* "quit|q"; "info status" */
    const char *args;
    const char *help;
    CommandFn  *fn;
    bool        stands;                 /* vCPUs are paused meanwhile */
    void      (*complete)(Session *s, GPtrArray *out);          /* words for the argument that is being typed */
} Command;

extern const Command monitor_commands[];        /* ends with a NULL name */

/* commands.c */
const Command *command_find(const char **line); /* moves past its name; NULL: none */
bool command_run(Session *s, const char *line, GError **err);
/* Full words for the last one of line, g_free() each. */
GPtrArray *command_complete(Session *s, const char *line);
void command_help(const char *name, GString *out);      /* NULL: all */

/* args.c */
bool args_parse(const Command *c, const char *text, Session *s, Args *out, GError **err);
void args_clear(Args *a);
void args_describe(const Command *c, GString *out);     /* " /fmt addr [n]" */
const Arg *args_find(const Args *a, const char *name);
static inline bool arg_given(const Args *a, const char *name) { return args_find(a, name)->given; }
static inline uint64_t arg_int(const Args *a, const char *name) { return args_find(a, name)->i; }
static inline const char *arg_text(const Args *a, const char *name) { return args_find(a, name)->s; }

/* expr.c: integers, $registers of cpu (may be NULL), + - * / % & | ^ ~ << >> and parentheses, 64 bits wide.  *text moves
 * to what follows. */
bool expr_parse(const char **text, Vcpu *cpu, uint64_t *v, GError **err);

/* cmd_*.c */
CommandFn cmd_quit, cmd_stop, cmd_cont, cmd_reset, cmd_powerdown, cmd_nmi, cmd_log, cmd_gdbserver, cmd_cpu, cmd_help, cmd_x,
    cmd_xp, cmd_print, cmd_in, cmd_out, cmd_sum, cmd_memsave, cmd_pmemsave, cmd_gva2gpa, cmd_gpa2hva, info_status,
    info_registers, info_cpus, info_tlb, info_mem, info_mtree, info_irq, info_pic, info_lapic, info_jit, info_memory,
    info_version, info_name, info_uuid, info_chardev, info_qtree, info_block, info_blockstats;
void log_words(Session *s, GPtrArray *out);
void drive_words(Session *s, GPtrArray *out);

#endif
