// rng.h: random numbers that are the same on every run and every machine.
#ifndef RNG_H
#define RNG_H

#include "demo.h"

u64 rng_next(void);
u64 rng_below(u64 limit);

#endif
