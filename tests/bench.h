/* SPDX-License-Identifier: GPL-2.0-or-later
 * A bench for device tests: a machine without a CPU, whose clock is stepped by hand.  Mistakes of the test
 * end it. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include "hw/core/bus.h"
#include "hw/core/machine.h"

typedef struct Bench {
    Machine *m;
    bool     cycles;        /* bench_cycle() comes before every access, drive and step of the clock */
} Bench;

/* A test program's cases, ended by { 0 }.  Each has a bench of its own with `device` on it (NULL: empty), and runs
 * twice: as it is, and with a save, reset and restore between any two of its steps. */
typedef struct BenchCase {
    const char *name, *device;
    void      (*fn)(Bench *b);
} BenchCase;
int bench_main(int argc, char **argv, const char *room, const BenchCase *cases);

/* "uart16550,id=u,chardev=c": the device, reset; a chardev that it names and that is not there is a memory
 * stream. NULL: an empty bench. */
Bench *bench_new(const char *device);
/* With types that are not in hw/devices.def; ends with NULL. */
Bench *bench_new_types(const DeviceType *const *types, const char *device);
Device *bench_add(Bench *b, const char *device);
void bench_free(Bench *b);

/* Guest accesses by "dev.REG", at the register's own width. */
uint64_t bench_read(Bench *b, const char *reg);
void     bench_write(Bench *b, const char *reg, uint64_t v);
/* The same by window offset of "dev" (or "dev/1": window 1). */
uint64_t bench_read_at(Bench *b, const char *dev, uint64_t off, unsigned size);
void     bench_write_at(Bench *b, const char *dev, uint64_t off, unsigned size, uint64_t v);
uint64_t bench_peek(Bench *b, const char *reg);

void bench_send(Bench *b, const char *stream, const char *text);
/* What the device put into the stream since the last call equals text. */
void bench_expect(Bench *b, const char *stream, const char *text);

/* Level of an output "dev.pin" or "dev.pin[i]"; drive an input. */
bool bench_pin(Bench *b, const char *pin);
void bench_drive(Bench *b, const char *pin, unsigned n, bool level);
void bench_wire(Bench *b, const char *from, const char *to, unsigned n);

void bench_step_ns(Bench *b, int64_t ns);
void bench_reset(Bench *b);
/* Saved bytes; restoring checks that saving again gives the same. */
GByteArray *bench_save(Bench *b);
void bench_restore(Bench *b, GByteArray *saved);
/* Saves, resets, restores: must leave no trace. */
void bench_cycle(Bench *b);

/* Guest accesses to memory or ports by address, as a CPU makes them. */
uint64_t bench_load(Bench *b, Space *s, uint64_t at, unsigned size);
void     bench_store(Bench *b, Space *s, uint64_t at, unsigned size, uint64_t v);

#endif
