/* SPDX-License-Identifier: GPL-2.0-or-later
 * Byte streams: what a serial port or a console talks to.  A back end (stdio, pty, file, null, memory) moves
 * bytes; a mux in front of it reads the Ctrl-A escapes. */
#ifndef CHARDEV_STREAM_H
#define CHARDEV_STREAM_H

#include "util/fifo.h"
#include "util/loop.h"

typedef struct Stream Stream;

/* FOCUS, UNFOCUS: of the second user of a mux, with C-a c. */
typedef enum StreamEvent { STREAM_OPENED, STREAM_CLOSED, STREAM_BREAK, STREAM_FOCUS, STREAM_UNFOCUS } StreamEvent;

/* What the escapes ask of the program; any may be NULL.  On the loop's thread, no lock held. */
typedef struct StreamControl {
    void (*quit)(void *self);           /* C-a x */
    void (*save)(void *self);           /* C-a s: write disk data back */
} StreamControl;

/* spec as after -serial: stdio, mon:stdio, null, pty, file:PATH, unix:PATH,server=on,wait=off, tcp:HOST:PORT; or as after -chardev: "stdio,id=c,mux=on",
 * "file,path=p".  "help" is the caller's.  The -chardev id is stream_id().  NULL on error. */
Stream *stream_open(Loop *loop, const char *spec, GError **err);
Stream *stream_open_chardev(Loop *loop, const char *opts, GError **err);
/* A stream whose other end is the test: what is put into it is kept, what is fed comes out. */
Stream *stream_new_memory(Loop *loop, const char *id);
void    stream_free(Stream *s);         /* flushes; restores the terminal */
const char *stream_id(const Stream *s);
void    stream_set_id(Stream *s, const char *id);
void    stream_help(GString *out);      /* names of the back ends */
const char *stream_name(const Stream *s);       /* "stdio", "unix:PATH": what it was opened as */
const char *stream_path(const Stream *s);   /* of a pty: the terminal to connect to; else NULL */
/* The Ctrl-A escapes on or off; "mon:" and mux=on turn them on. */
void    stream_set_mux(Stream *s, bool on);
/* The escape character instead of Ctrl-A, which is 1. */
void    stream_set_escape(Stream *s, uint8_t c);
/* A second user of what is connected to s, which becomes a mux: C-a c changes over.  NULL: it has one already. */
Stream *stream_mux_add(Stream *s, const char *id, GError **err);
bool    stream_is_open(const Stream *s);        /* not a socket that nobody is connected to */
const char *stream_user(const Stream *s);       /* who has claimed it, or NULL */
void    stream_set_control(Stream *s, const StreamControl *c, void *self);
/* Timestamps of C-a t. */
void    stream_set_clock(Stream *s, Clock *clock);

/* One user at a time; false (with a sentence) when it has one.  `domain` is the lock under which the
 * callbacks below run and under which the user calls; NULL: none. */
bool stream_claim(Stream *s, const char *who, LockDomain *domain, GError **err);
void stream_release(Stream *s);

/* Output: any thread.  Never fails.  Bytes go out at the latest a millisecond later, at once at a line's end.
 * When the other end is slow they wait in a buffer, then the caller waits; when it is gone they are
 * dropped. */
void stream_put(Stream *s, uint8_t byte);
void stream_write(Stream *s, const void *buf, size_t len);
void stream_flush(Stream *s);

/* Input goes into the fifo as far as it has room, then cb(self) is called.  Taking bytes out of the fifo is
 * enough to get more.  s may be NULL (nothing is connected): output is dropped, input never comes. */
bool stream_fill(Stream *s, Fifo8 *fifo, void (*cb)(void *self), void *self, GError **err);
/* Breaks, and connections coming and going. */
void stream_on_event(Stream *s, void (*cb)(void *self, StreamEvent ev), void *self);
/* The guest sends a break: passed on where the other end is a serial line. */
void stream_send_break(Stream *s);

/* Memory streams: feed input; take what was put (the caller frees). */
void  stream_feed(Stream *s, const void *buf, size_t len);
char *stream_take(Stream *s, size_t *len);

/* Puts terminals back as they were: from stream_free, at exit, and in handlers of fatal signals (it is
 * async-signal-safe). */
void stream_restore_terminal(void);

#endif
