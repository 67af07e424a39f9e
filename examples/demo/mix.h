// mix.h: folds a number into a checksum, once in C and once in assembly.
#ifndef MIX_H
#define MIX_H

#include "demo.h"

// A plain C11 `inline`: main.c holds the one external copy, every other module
// gets an available_externally body.
inline u64 mix(u64 hash, u64 value)
{
    hash = (hash << 7 | hash >> 57) ^ value;
    return hash * 9 + 1;
}

// The same function in mix.S: a native object that ThinLTO must leave alone.
u64 mix_native(u64 hash, u64 value);

#endif
