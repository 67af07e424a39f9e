#include <linux/module.h>
#include "pair.h"

int pair_table[PAIR_SIZE];

int backlto_pair(int factor);
int backlto_pair(int factor)
{
	return pair_hook() * factor;
}
EXPORT_SYMBOL_GPL(backlto_pair);

static int __init pair_init(void)
{
	pair_hook = pair_sum;
	return pair_fill(pair_table, PAIR_SIZE) == backlto_pair(1) ? 0 : -EINVAL;
}

static void __exit pair_exit(void)
{
	pr_info("the sum is %d\n", pair_sum());
}

module_init(pair_init);
module_exit(pair_exit);
MODULE_DESCRIPTION("A module of two sources");
MODULE_LICENSE("GPL");
