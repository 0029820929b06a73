/* SPDX-License-Identifier: GPL-2.0-or-later
 * A kernel to be debugged: it counts for ever, by direct and by indirect calls, and says when it has done so a hundred thousand
 * times.  Entered by the PVH protocol, see tiny.c. */
__asm__(".pushsection .note.Xen, \"a\", @note\n"
        ".long 4, 4, 18\n"
        ".asciz \"Xen\"\n"
        ".long entry\n"
        ".popsection\n"
        ".globl entry\n"
        "entry: mov $stack_top, %esp\n"
        "push $0\n"
        "jmp run\n");

static char stack[4096] __attribute__((aligned(16), used));
__asm__(".set stack_top, stack + 4096");

unsigned counter, total, seen;
char text[16] = "before";

void __attribute__((noinline)) tick(unsigned n)
{
    counter += n;
    total++;
}

void __attribute__((noinline)) tock(unsigned n)
{
    counter -= n;
}

void __attribute__((noinline)) milestone(unsigned rounds)
{
    seen = rounds;
}

static void (*volatile const calls[2])(unsigned n) = { tick, tock };

void __attribute__((noinline)) copy(const char *from, unsigned n)
{
    char *to = text;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

void run(void)
{
    for (unsigned round = 1;; round++) {
        for (unsigned i = 0; i < 100000; i++) {
            tick(2);
            calls[i & 1](1);
        }
        milestone(round);
        copy(round & 1 ? "0123456789abcde" : "ABCDEFGHIJKLMNO", 16);
    }
}
