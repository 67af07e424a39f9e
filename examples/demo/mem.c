// mem.c: library calls that only code generation may introduce, so LTO has to keep them.
#include "mem.h"

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    while (count--)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    if (t < f) {
        while (count--)
            *t++ = *f++;
    } else {
        while (count--)
            t[count] = f[count];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    unsigned char *t = to;

    while (count--)
        *t++ = (unsigned char)value;
    return to;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const unsigned char *l = left;
    const unsigned char *r = right;

    for (; count > 0; count--, l++, r++)
        if (*l != *r)
            return *l < *r ? -1 : 1;
    return 0;
}
