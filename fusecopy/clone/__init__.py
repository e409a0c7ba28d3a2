"""Serving FICLONE, FICLONERANGE, FIDEDUPERANGE and FS_IOC_FIEMAP to programs in a mount.

The kernel refuses the four on FUSE before it asks anybody (kernels up to 7.2). Here a filter of seccomp(2)
hands them to a supervisor, which carries them out through the mount and answers in the kernel's place. What
is not for a mount of fusecopy, and every mistake that the kernel finds before it asks the filesystem, is left
to the kernel. Between two mounts of fusecopy, where the kernel says EXDEV, clones and dedupes are served as
well: one filesystem may be behind both.
"""
