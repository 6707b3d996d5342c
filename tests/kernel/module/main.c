// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * An exported policy in the kernel, for tests. Writing an array of samples, one for each of as many machines, to decide
 * in debugfs decides for them; what is read then are their settings. Machines last as long as the file is open and as
 * many samples are written.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "tierenv_policy.h"

struct machines {
	struct mutex lock;
	size_t count;
	struct tierenv_state *states;
	struct tierenv_setting *settings;
};

static struct dentry *folder;

static int open_machines(struct inode *inode, struct file *file)
{
	struct machines *machines = kzalloc(sizeof(*machines), GFP_KERNEL);

	if (!machines)
		return -ENOMEM;
	mutex_init(&machines->lock);
	file->private_data = machines;
	return 0;
}

static int forget_machines(struct inode *inode, struct file *file)
{
	struct machines *machines = file->private_data;

	kvfree(machines->states);
	kvfree(machines->settings);
	kfree(machines);
	return 0;
}

static int have(struct machines *machines, size_t count)
{
	if (machines->count == count)
		return 0;
	kvfree(machines->states);
	kvfree(machines->settings);
	machines->states = kvcalloc(count, sizeof(*machines->states), GFP_KERNEL);
	machines->settings = kvcalloc(count, sizeof(*machines->settings), GFP_KERNEL);
	machines->count = machines->states && machines->settings ? count : 0;
	return machines->count ? 0 : -ENOMEM;
}

static ssize_t decide(struct file *file, const char __user *from, size_t size, loff_t *position)
{
	struct machines *machines = file->private_data;
	size_t count = size / sizeof(struct tierenv_sample);
	struct tierenv_sample *samples;
	int error;

	if (!count || size % sizeof(*samples))
		return -EINVAL;
	samples = vmemdup_user(from, size);
	if (IS_ERR(samples))
		return PTR_ERR(samples);
	mutex_lock(&machines->lock);
	error = have(machines, count);
	for (size_t i = 0; !error && i < count; i++)
		tierenv_policy_decide(&machines->states[i], &samples[i], &machines->settings[i]);
	mutex_unlock(&machines->lock);
	kvfree(samples);
	return error ? error : size;
}

static ssize_t settings(struct file *file, char __user *to, size_t size, loff_t *position)
{
	struct machines *machines = file->private_data;
	ssize_t result;

	mutex_lock(&machines->lock);
	result = simple_read_from_buffer(to, size, position, machines->settings,
					 machines->count * sizeof(*machines->settings));
	mutex_unlock(&machines->lock);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = open_machines,
	.release = forget_machines,
	.write = decide,
	.read = settings,
	.llseek = default_llseek,
};

static int __init start(void)
{
	folder = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("decide", 0600, folder, NULL, &operations);
	return 0;
}

static void __exit stop(void)
{
	debugfs_remove(folder);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("An exported tierenv policy, for tests");
