/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between stream.c (buffers, the device's side), host.c (back ends) and mux.c (escapes). */
#ifndef CHARDEV_STREAM_INT_H
#define CHARDEV_STREAM_INT_H

#include <pthread.h>

#include "chardev/stream.h"
#include "util/options.h"

enum { OUT_CAP = 64 * 1024, OUT_BATCH = 512, IN_CAP = 4096 };

typedef struct Mux {
    bool    on, escaped;            /* the escape character came last */
    uint8_t escape;
    /* timestamps; the line on the terminal is not at its start (under out_lock) */
    bool    stamps, mid_line;
    int64_t stamps_from;
} Mux;

struct Stream {
    Loop           *loop;
    char           *id, *path, *name;
    const StreamControl *control;
    void           *control_self;
    Clock          *clock;
    Mux             mux;

    /* The back end: descriptors, or -1.  sink: output is kept (memory) or, without it and out_fd, dropped. */
    int             in_fd, out_fd, keep_fd;
    int             listen_fd;      /* of a server, whose connection in_fd and out_fd are */
    bool            socket;
    Watch          *listen_watch;
    char           *unlink_path;
    /* Two users of one mux: the one made by stream_mux_add() has the first as its parent.  Output of both goes out, input
     * goes to one of them. */
    Stream         *parent, *child;
    bool            child_focus;
    bool            may_block;      /* out_fd could not be made non-blocking */
    bool            terminal;       /* in_fd's terminal was put into raw mode */
    GByteArray     *sink;

    /* Output; any thread. */
    pthread_mutex_t out_lock;
    uint8_t        *out;            /* ring of OUT_CAP */
    size_t          out_head, out_used;
    bool            stalled;        /* nobody reads: drop until the descriptor takes bytes again */
    bool            flush_armed;
    int             flush_fd;       /* timerfd */
    Watch          *flush_watch, *out_watch;

    /* Input; the loop's thread, except for the fifo, which is the user's domain's. */
    Watch          *in_watch;
    bool            in_open;
    uint8_t         in[IN_CAP];     /* read and not yet taken */
    size_t          in_used;
    Bh              room_bh;

    char           *user;
    LockDomain     *domain;
    Fifo8          *fifo;
    void          (*filled)(void *self);
    void           *filled_self;
    void          (*event)(void *self, StreamEvent ev);
    void           *event_self;
};

/* A back end opens its descriptors.  path: what stands after the colon in "file:PATH", or NULL. */
typedef struct BackEnd {
    const char *name, *help;
    bool (*open)(Stream *s, Options *o, GError **err);
} BackEnd;

/* socket.c */
bool socket_open(Stream *s, Options *o, GError **err);
void socket_hangup(Stream *s);                  /* the connection is gone */
char *socket_from_colon(const char *spec, GError **err);

Stream *stream_alloc(Loop *loop, const char *id);
void stream_attach(Stream *s);                  /* descriptors are there: watch them */
void stream_event(Stream *s, StreamEvent ev);
/* Bytes from the back end, already cleared of escapes; what does not fit is lost. */
void stream_input(Stream *s, const uint8_t *bytes, size_t len);
void stream_append(Stream *s, const uint8_t *bytes, size_t len);    /* out_lock held */

/* Takes escapes out of input, in place; returns what is left.  What comes before a change of focus is passed on. */
size_t mux_filter(Stream *s, uint8_t *bytes, size_t len);
/* Output with timestamps; out_lock held. */
void mux_output(Stream *s, const uint8_t *bytes, size_t len);

void terminal_restore(void);

#endif
