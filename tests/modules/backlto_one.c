#include <linux/module.h>
#include <linux/slab.h>

static char *name = "one";
module_param(name, charp, 0444);

static int __init one_init(void)
{
	char *copy = kstrdup(name, GFP_KERNEL);

	if (!copy)
		return -ENOMEM;
	pr_info("%s is loaded\n", copy);
	kfree(copy);
	return 0;
}

static void __exit one_exit(void)
{
	pr_info("%s is unloaded\n", name);
}

module_init(one_init);
module_exit(one_exit);
MODULE_DESCRIPTION("A module of a single source");
MODULE_LICENSE("GPL");
