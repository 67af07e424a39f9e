// out.h: buffered printing that remembers a digest of all it printed.
#ifndef OUT_H
#define OUT_H

#include "demo.h"

void out_char(char c);
void out_text(const char *text);

// Knows %s, %u and %x, each with an optional `-` or `0`, a width, and `ll`.
__attribute__((format(printf, 1, 2))) void out_format(const char *format, ...);

void out_flush(void);
u64 out_digest(void);

#endif
