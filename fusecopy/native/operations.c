/*
 * The operations that Python decides: each handler hands its request to an extern "Python" function (on_*), which
 * answers it, or sees to it that it is answered, exactly once; and the replies that Python makes.
 */

#include "loop.h"
#include "nodes.h"
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The reply to the 32-bit opcode holds a u32; kernels without the fix of September 2025 send larger lengths
 * and would take a copy of 4 GiB for one of 0 bytes, which ends a program's loop early. */
#define LENGTH_LIMIT_32 0xfffff000ULL

/* What changes a file's bytes or names first waits for what was answered before (afterwards.c). */

/* ---- what pyfuse3 lacks, or cannot do as we need it -------------------------------------------------- */

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fusecopy_setattr change = {
		.to_set = to_set,
		.drops_suidgid = fusecopy_drops_suidgid(),
		.has_fh = fi != NULL,
		.fh = fi ? fi->fh : 0,
		.mode = attr->st_mode,
		.uid = attr->st_uid,
		.gid = attr->st_gid,
		.size = attr->st_size,
		.atime_s = attr->st_atim.tv_sec,
		.atime_ns = attr->st_atim.tv_nsec,
		.mtime_s = attr->st_mtim.tv_sec,
		.mtime_ns = attr->st_mtim.tv_nsec,
	};

	if (to_set & FUSE_SET_ATTR_SIZE)
		fusecopy_settle();
	on_setattr(req, ino, &change);
}

/* What others finished before an OPEN is seen by it. */
static int is_refused(fuse_req_t req, fuse_ino_t ino)
{
	fusecopy_watch_drain();
	if (!fusecopy_watch_refuses(ino, fuse_req_ctx(req)->pid))
		return 0;
	fuse_reply_err(req, ESTALE);
	return 1;
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (is_refused(req, ino))
		return;
	on_open(req, ino, fi->flags);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	on_create(req, parent, (char *)name, mode, fi->flags);
}

static void do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			       fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
			       int flags)
{
	struct fusecopy_copy copy = {
		.inode_in = ino_in,
		.fh_in = fi_in->fh,
		.off_in = off_in,
		.inode_out = ino_out,
		.fh_out = fi_out->fh,
		.off_out = off_out,
		.length = len,
		.flags = flags,
	};

	fusecopy_watch_drain();
	if (!fusecopy_request_is_64() && copy.length > LENGTH_LIMIT_32)
		copy.length = LENGTH_LIMIT_32;
	if (fusecopy_clone_at_once(req, &copy))
		return;
	fusecopy_settle();
	on_copy_file_range(req, &copy);
}

static void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	on_lseek(req, ino, fi->fh, off, whence);
}

static void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	fusecopy_settle();
	on_fallocate(req, ino, fi->fh, mode, offset, length);
}

static void do_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
		     unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	(void)arg;
	if (in_size)
		fusecopy_settle();
	on_ioctl(req, ino, fi->fh, cmd, flags, (char *)in, in_size, out_size);
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	on_readdir(req, fi->fh, size, off, 0);
}

static void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	on_readdir(req, fi->fh, size, off, 1);
}

/* ---- what pyfuse3 would answer on trio's thread ------------------------------------------------------- */

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fusecopy_watch_drain();
	if (!fusecopy_answer_absent(req, parent, name))
		on_lookup(req, parent, (char *)name);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct fuse_forget_data one = { .ino = ino, .nlookup = nlookup };

	on_forget(&one, 1);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	on_forget(forgets, count);
	fuse_reply_none(req);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	if (!fusecopy_answer_getattr(req, ino))
		on_getattr(req, ino);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	on_readlink(req, ino);
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	on_mknod(req, parent, (char *)name, mode, rdev);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	on_mkdir(req, parent, (char *)name, mode);
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	on_symlink(req, parent, (char *)name, (char *)target);
}

static void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	fusecopy_settle();
	on_link(req, ino, parent, (char *)name);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fusecopy_settle();
	on_unlink(req, parent, (char *)name);
}

static void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fusecopy_settle();
	on_rmdir(req, parent, (char *)name);
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	fusecopy_settle();
	on_rename(req, parent, (char *)name, new_parent, (char *)new_name, flags);
}

static void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	on_flush(req, fi->fh);
}

/* Nobody waits for it: the kernel closes without an answer. */
static void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fusecopy_event released = {
		.kind = FUSECOPY_RELEASED,
		.source = (struct fusecopy_file *)(uintptr_t)fi->fh,
	};

	(void)ino;
	fusecopy_note(&released);
	fuse_reply_err(req, 0);
	fusecopy_see_to();
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	on_fsync(req, fi->fh, datasync);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (!fusecopy_answer_getxattr(req, ino, name, size))
		on_getxattr(req, ino, (char *)name, size);
}

static void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	if (!is_refused(req, ino))
		on_opendir(req, ino);
}

static void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	on_releasedir(req, fi->fh);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static void lay_over_all(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = do_lookup;
	ops->forget = do_forget;
	ops->forget_multi = do_forget_multi;
	ops->getattr = do_getattr;
	ops->readlink = do_readlink;
	ops->mknod = do_mknod;
	ops->mkdir = do_mkdir;
	ops->symlink = do_symlink;
	ops->link = do_link;
	ops->unlink = do_unlink;
	ops->rmdir = do_rmdir;
	ops->rename = do_rename;
	ops->flush = do_flush;
	ops->release = do_release;
	ops->fsync = do_fsync;
	ops->getxattr = do_getxattr;
	ops->opendir = do_opendir;
	ops->releasedir = do_releasedir;
}

void fusecopy_lay_over(struct fuse_lowlevel_ops *ops, int has_loop)
{
	ops->read = fusecopy_do_read;
	ops->write = fusecopy_do_write;
	ops->write_buf = NULL;
	ops->readdir = do_readdir;
	ops->readdirplus = do_readdirplus;
	ops->setattr = do_setattr;
	ops->open = do_open;
	ops->create = do_create;
	ops->copy_file_range = do_copy_file_range;
	ops->lseek = do_lseek;
	ops->fallocate = do_fallocate;
	ops->ioctl = do_ioctl;
	if (has_loop)
		lay_over_all(ops);
}

/* ---- replies ----------------------------------------------------------------------------------------- */

int fusecopy_stat(int fd, struct fusecopy_entry *entry)
{
	if (fstat(fd, &entry->stat) < 0)
		return -errno;
	if (fusecopy_watch_before(fd, &entry->stat) && fstat(fd, &entry->stat) < 0)
		return -errno;
	entry->device = entry->stat.st_dev;
	entry->ino = entry->stat.st_ino;
	return 0;
}

struct fuse_entry_param fusecopy_entry_param(const struct fusecopy_entry *entry)
{
	struct fuse_entry_param param = {
		.ino = entry->number,
		.generation = entry->generation,
		.attr = entry->stat,
		.attr_timeout = entry->attr_timeout,
		.entry_timeout = entry->entry_timeout,
	};

	param.attr.st_ino = entry->number;
	return param;
}

/* The same, and noted as what the kernel was told. */
static struct fuse_entry_param told(struct fusecopy_entry *entry)
{
	fusecopy_node_tell(entry->number, entry);
	return fusecopy_entry_param(entry);
}

int fusecopy_reply_entry(fuse_req_t req, struct fusecopy_entry *entry)
{
	struct fuse_entry_param param = told(entry);

	return fuse_reply_entry(req, &param);
}

/* An entry of the number 0 is what a kernel remembers as absent (fs/fuse/dir.c); ENOENT it asks for again. */
int fusecopy_reply_absent(fuse_req_t req, uint64_t parent)
{
	double seconds = fusecopy_get_connection()->negative_timeout;
	struct fuse_entry_param param = { .entry_timeout = fusecopy_watch_limit(parent, seconds) };

	return param.entry_timeout > 0 ? fuse_reply_entry(req, &param) : fuse_reply_err(req, ENOENT);
}

int fusecopy_reply_attr(fuse_req_t req, struct fusecopy_entry *entry)
{
	struct fuse_entry_param param = told(entry);

	return fuse_reply_attr(req, &param.attr, param.attr_timeout);
}

static struct fuse_file_info file_info(const struct fusecopy_opened *opened)
{
	struct fuse_file_info fi = {
		.fh = opened->fh,
		.keep_cache = opened->keep_cache,
		.noflush = opened->noflush,
		.cache_readdir = opened->cache_readdir,
	};

	fusecopy_set_backing(&fi, opened->backing);
	return fi;
}

int fusecopy_reply_open(fuse_req_t req, const struct fusecopy_opened *opened)
{
	struct fuse_file_info fi = file_info(opened);

	return fuse_reply_open(req, &fi);
}

int fusecopy_reply_create(fuse_req_t req, struct fusecopy_entry *entry, const struct fusecopy_opened *opened)
{
	struct fuse_entry_param param = told(entry);
	struct fuse_file_info fi = file_info(opened);

	return fuse_reply_create(req, &param, &fi);
}

/* On a little-endian machine {u64 count} and {u32 count, u32 padding} are the same eight bytes for what
 * each opcode can carry, so one reply serves both. The loader refuses big-endian machines. */
int fusecopy_reply_copy(fuse_req_t req, uint64_t count)
{
	return fuse_reply_buf(req, (const char *)&count, sizeof(count));
}
