// demo.h: what every module shares: the word type and the list of exhibits.
#ifndef DEMO_H
#define DEMO_H

#include <stdint.h>

// `unsigned long long` rather than uint64_t, so that %llu fits on every target.
typedef unsigned long long u64;
_Static_assert(sizeof(u64) == 8, "the checksums need 64-bit words");

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// An exhibit prints a line or more and returns the number that main checks.
u64 show_motto(void);
u64 show_primes(void);
u64 show_matrix(void);
u64 show_vm(void);
u64 show_words(void);
u64 show_deck(void);
u64 show_life(void);
u64 show_mandel(void);

// Entered from start.S; the result becomes the exit status.
int demo_main(void);

#endif
