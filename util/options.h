/* SPDX-License-Identifier: GPL-2.0-or-later
 * "key=value,flag,key=value" as QEMU's users write it: ",," is a comma inside a value, a bare key means on,
 * and the first item may go without its key where the option has an implied one ("-machine pc" is
 * "type=pc"). */
#ifndef UTIL_OPTIONS_H
#define UTIL_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Options Options;

/* what: the option for messages, "-machine".  implied: key of a first item without '=', or NULL.  NULL on
 * error. */
Options *options_parse(const char *what, const char *text, const char *implied, GError **err);
void options_free(Options *o);

/* The last value given for key, or NULL.  Asking marks the key as known. */
const char *options_get(Options *o, const char *key);
/* These leave *out alone when the key is absent.  on/off, yes/no, true/false. */
bool options_bool(Options *o, const char *key, bool *out, GError **err);
/* Decimal, 0x hexadecimal or 0 octal; error outside min..max. */
bool options_u64(Options *o, const char *key, uint64_t min, uint64_t max, uint64_t *out, GError **err);
/* Bytes: decimal, leading zeros or not ("1.5G"), or 0x hexadecimal, with suffix B K M G T P E; a bare number counts in units
 * of `unit` bytes ("-m 512": MiB). */
bool options_size(Options *o, const char *key, uint64_t unit, uint64_t *out, GError **err);
/* Fails on the first key that nobody asked for, naming it. */
bool options_done(Options *o, GError **err);

unsigned options_count(const Options *o);
/* i-th item as written, marked as known; for lists such as "-cpu qemu64,+avx,-sse". */
void options_item(Options *o, unsigned i, const char **key, const char **value);

/* The parsers by themselves.  what names the thing in the message. */
bool parse_bool(const char *what, const char *text, bool *out, GError **err);
bool parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out, GError **err);
bool parse_size(const char *what, const char *text, uint64_t unit, uint64_t *out, GError **err);

#endif
