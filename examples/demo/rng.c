// rng.c: keeps its state in a local static, which must be promoted once a caller imports it.
#include "rng.h"

u64 rng_next(void)
{
    static u64 state = 20;

    // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

u64 rng_below(u64 limit)
{
    // The high bits are the good ones.
    return (rng_next() >> 32) % limit;
}
