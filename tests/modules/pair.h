/* Data and code that cross the border between the two sources of backlto_pair. */
#define PAIR_SIZE 8

extern int pair_table[PAIR_SIZE];
extern int (*pair_hook)(void);
int pair_sum(void);
int pair_fill(int *to, int count);
