// primes.c: the sieve of Eratosthenes, one bit for each odd number.
#include "out.h"

enum { LIMIT = 100000 };

static unsigned char crossed_out[LIMIT / 16 + 1];

static int is_prime(unsigned odd)
{
    return !(crossed_out[odd / 16] >> (odd / 2 % 8) & 1);
}

u64 show_primes(void)
{
    u64 count = 1; // 2, the odd one out for being even
    unsigned last = 2;
    unsigned twins = 0;

    for (unsigned n = 3; n < LIMIT; n += 2) {
        if (!is_prime(n))
            continue;
        count++;
        if (n - last == 2)
            twins = n;
        last = n;
        for (u64 m = (u64)n * n; m < LIMIT; m += 2 * n)
            crossed_out[m / 16] |= (unsigned char)(1 << (m / 2 % 8));
    }
    out_format("primes     %llu below %u; the last twins are %u and %u\n", count,
               (unsigned)LIMIT, twins - 2, twins);
    return count;
}
