#include <linux/module.h>

int backlto_pair(int factor);

static int __init user_init(void)
{
	return backlto_pair(2) == 2 * backlto_pair(1) ? 0 : -EINVAL;
}

static void __exit user_exit(void)
{
}

module_init(user_init);
module_exit(user_exit);
MODULE_DESCRIPTION("A module that uses another");
MODULE_LICENSE("GPL");
