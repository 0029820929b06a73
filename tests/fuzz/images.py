#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""images.py bochs|cloop|dmg FILE: a small image of a format that Rhea only reads."""
import base64
import struct
import sys
import zlib

DATA = bytes(i * 7 & 255 for i in range(4096)) * 8


def bochs():
    head = bytearray(512)
    head[0:22] = b"Bochs Virtual HD Image"
    head[32:39] = b"Redolog"
    head[48:55] = b"Growing"
    extent, bitmap, catalog = 65536, 512, 4
    struct.pack_into("<IIIIII", head, 64, 0x20000, 512, catalog, bitmap, extent, 0)
    struct.pack_into("<Q", head, 88, catalog * extent)
    table = struct.pack("<4I", 1, 0xffffffff, 0, 0xffffffff).ljust(512, b"\xff")
    used = (b"\xff" * 8).ljust(512, b"\0")
    return bytes(head) + table + (used + DATA.ljust(extent, b"\0")) * 2


def cloop():
    head = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n".ljust(128, b"\0")
    blocks = [zlib.compress(DATA[:16384]), zlib.compress(bytes(16384)), zlib.compress(DATA[:16384])]
    at, offsets = 136 + 8 * (len(blocks) + 1), []
    for b in blocks:
        offsets.append(at)
        at += len(b)
    offsets.append(at)
    return head + struct.pack(">II", 16384, len(blocks)) + struct.pack(f">{len(offsets)}Q", *offsets) + b"".join(blocks)


def dmg():
    chunk = zlib.compress(DATA)
    fork = chunk + DATA
    rows = [(0x80000005, 0, 64, 0, len(chunk)), (1, 64, 64, len(chunk), len(DATA)), (2, 128, 64, 0, 0), (0xffffffff, 192, 0, 0, 0)]
    mish = struct.pack(">4sIQQQII", b"mish", 1, 0, 192, 0, 0x208, 0) + bytes(24 + 136) + struct.pack(">I", len(rows))
    mish += b"".join(struct.pack(">IIQQQQ", kind, 0, sector, count, at, size) for kind, sector, count, at, size in rows)
    xml = (b"<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>"
           + base64.b64encode(mish) + b"</data></dict></array></dict></dict></plist>")
    koly = bytearray(512)
    struct.pack_into(">4sIII", koly, 0, b"koly", 4, 512, 1)
    struct.pack_into(">QQ", koly, 24, 0, len(fork))
    struct.pack_into(">QQ", koly, 216, len(fork), len(xml))
    struct.pack_into(">Q", koly, 492, 192)
    return fork + xml + bytes(koly)


if len(sys.argv) != 3 or sys.argv[1] not in ("bochs", "cloop", "dmg"):
    sys.exit(__doc__)
with open(sys.argv[2], "wb") as out:
    out.write(globals()[sys.argv[1]]())
