#include <linux/compiler.h>
#include "pair.h"

int (*pair_hook)(void);
/* Its address is taken through another module of the link. */
static int state = 3;

noinline int pair_sum(void)
{
	int all = 0;

	for (int i = 0; i < PAIR_SIZE; i++)
		all += pair_table[i];
	return all;
}

int pair_fill(int *to, int count)
{
	int all = 0;

	for (int i = 0; i < count; i++) {
		to[i] = i * state++;
		all += to[i];
	}
	return all;
}
