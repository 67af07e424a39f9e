// sort.h: a sort that learns the order from its caller.
#ifndef SORT_H
#define SORT_H

#include <stddef.h>

typedef int (*sort_before)(unsigned char left, unsigned char right);

void sort(unsigned char *items, size_t count, sort_before before);

#endif
