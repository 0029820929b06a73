/* SPDX-License-Identifier: GPL-2.0-or-later
 * -drive and -blockdev: option strings to nodes, and the table of drives that boards and the monitor use.
 *
 * A drive is what a controller's slot or -device X,drive=ID takes: a root node for its I/O, how errors are met, and where
 * it asked to be put.  Options are parsed as they come (drives_add_*), opened together (drives_open), since filters and
 * -snapshot depend on what else was said. */
#ifndef BLOCK_DRIVE_H
#define BLOCK_DRIVE_H

#include "block/block.h"

typedef enum DriveIf {
    DRIVE_NONE, DRIVE_IDE, DRIVE_SCSI, DRIVE_FLOPPY, DRIVE_PFLASH, DRIVE_MTD, DRIVE_SD, DRIVE_VIRTIO, DRIVE_XEN, DRIVE_N_IFS
} DriveIf;
typedef enum DriveMedia { DRIVE_DISK, DRIVE_CDROM } DriveMedia;
/* On a failed read or write: tell the guest; stop the machine; stop it if the disk is full, tell the guest otherwise;
 * do as if nothing had happened. */
typedef enum DriveOnError { DRIVE_REPORT, DRIVE_STOP, DRIVE_ENOSPC, DRIVE_IGNORE } DriveOnError;

typedef struct Drive {
    char        *id;                /* "ide0-hd0" unless given */
    DriveIf      interface;
    unsigned     bus, unit;
    DriveMedia   media;
    DriveOnError rerror, werror;
    char        *serial;            /* NULL: none */
    bool         read_only;
    Block       *root;              /* where its I/O goes; NULL: no medium */
    Block       *node;              /* the image: root, or what its filters stand upon */
    const void  *user;              /* the device that has it; NULL: none yet */
} Drive;

typedef struct Drives Drives;

/* What slots a board has: buses of units of each kind, 0 where it has none. */
typedef struct DriveSlots { unsigned buses, units; } DriveSlots;
typedef struct DriveBoard {
    const char *name;
    DriveIf     preset;             /* of a -drive without if= */
    DriveSlots  slots[DRIVE_N_IFS]; /* but DRIVE_NONE, which every board takes */
} DriveBoard;

Drives *drives_new(void);
/* False: the text is wrong.  what: the option, for messages. */
bool drives_add_drive(Drives *d, const char *text, GError **err);
bool drives_add_blockdev(Drives *d, const char *text, GError **err);
bool drives_add_object(Drives *d, const char *text, GError **err);
/* "-hda FILE" is -drive index=0,media=disk,file=FILE; defaults go behind what text says. */
bool drives_add_file(Drives *d, const char *option, const char *file, GError **err);
void drives_snapshot(Drives *d);        /* -snapshot: writes of every -drive go to a file that nobody else sees */
bool drives_empty(const Drives *d);     /* nothing was asked for: drives_open() may be left out */
/* Makes the loop, opens and locks everything, in the order: objects, -blockdev, -drive.  Anywhere; the calling thread is
 * the loop's. */
bool drives_open(Drives *d, const DriveBoard *board, GError **err);
/* Flushes and closes.  0, or the first thing that went wrong. */
int drives_free(Drives *d);

BlockGraph *drives_graph(Drives *d);    /* NULL: nothing is open */
unsigned drives_count(const Drives *d);
Drive *drives_at(Drives *d, unsigned i);
/* What -device X,drive=NAME means: a drive's id, or the name of a node, which then becomes a drive. */
Drive *drives_find(Drives *d, const char *name, GError **err);
const char *drive_if_name(DriveIf i);
const char *drive_on_error_name(DriveOnError e);

/* The monitor's words.  name: one drive or node; NULL: all. */
bool drives_info(Drives *d, const char *name, bool nodes, bool verbose, GString *out, GError **err);
void drives_stats(Drives *d, GString *out);
/* What the drive and all below it are, without names that were made up and paths' folders: for tests. */
Json *drive_describe(const Drive *d);

#endif
