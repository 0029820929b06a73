# SPDX-License-Identifier: GPL-2.0-or-later
core-y += block/aio.o block/iov.o block/block.o block/graph.o block/file.o block/raw.o block/null.o block/fault.o
core-y += block/bitmap.o block/qcow2/bitmap.o block/replace.o block/copy_before_write.o
core-y += block/job.o block/backup.o block/commit.o block/mirror.o block/stream.o block/rebase.o
core-y += block/qcow2/header.o block/qcow2/table.o block/qcow2/refcount.o block/qcow2/cluster.o \
          block/qcow2/compress.o block/qcow2/snapshot.o block/qcow2/check.o block/qcow2/make.o block/qcow2/crypt.o block/qcow2/recount.o
core-y += block/deflate.o block/meta.o block/sparse.o block/parent.o block/vdi.o block/vpc.o block/parallels.o block/qed.o block/qcow.o block/bochs.o block/cloop.o
core-y += block/vmdk/disk.o block/vmdk/extent.o block/vmdk/descriptor.o
core-y += block/vhdx/vhdx.o block/vhdx/log.o
core-y += block/nbd/client.o block/nbd/negotiate.o block/nbd/stream.o block/nbd/tls.o block/nbd/server.o
core-y += block/info.o block/drive.o block/drive_info.o
core-y += block/throttle.o block/copy_on_read.o block/curl.o block/dmg.o
core-y += block/vvfat/layout.o block/vvfat/vvfat.o block/vvfat/mirror.o
core-y += block/object.o block/crypto/secret.o block/crypto/crypt.o block/crypto/luks.o block/crypto/driver.o
