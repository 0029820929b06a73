/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hyper-V disks (VHDX), after Microsoft's [MS-VHDX].  vhdx.c: headers, regions, blocks.  log.c: the journal. */
#ifndef BLOCK_VHDX_VHDX_INT_H
#define BLOCK_VHDX_VHDX_INT_H

#include "block/sparse.h"

enum {
    VHDX_MB = 1 << 20, VHDX_HEADER_1 = 64 << 10, VHDX_HEADER_2 = 128 << 10, VHDX_REGIONS_1 = 192 << 10, VHDX_REGIONS_2 = 256 << 10,
    VHDX_REGION_BYTES = 64 << 10, VHDX_HEADER = 4096, VHDX_LOG_SECTOR = 4096,
    /* of a header */
    H_CRC = 4, H_SEQUENCE = 8, H_FILE_GUID = 16, H_DATA_GUID = 32, H_LOG_GUID = 48, H_LOG_VERSION = 64, H_VERSION = 66, H_LOG_LENGTH = 68,
    H_LOG_AT = 72,
};

typedef struct Vhdx {
    Sparse   s;
    uint8_t  header[VHDX_HEADER];       /* the current one */
    bool     header_second;             /* it is the one at 128 KiB */
    bool     writing;                   /* header tells of this session */
    uint64_t log_at, log_sequence;
    uint32_t log_length, log_head;      /* the next entry goes to log_at + log_head */
    uint64_t bat_at, bat_entries, chunk_ratio;
    uint32_t block, sector;
    bool     differencing;
    char    *linkage[2];                /* the parent's data-write GUID as its locator has it, lower case; the second may be NULL */
} Vhdx;

uint32_t vhdx_crc(const uint8_t *p, size_t n, unsigned crc_at);         /* with those four bytes taken as zero */
/* Writes the other header with the next sequence number; log: with a log GUID. */
int  vhdx_header_update(Block *b, bool log);

/* log.c */
int  vhdx_replay(Block *b, GError **err);       /* *err set only for what replaying needs and is not allowed */
int  vhdx_log(void *block, const MetaChange *change, unsigned n);

#endif
