/* What libfuse has no words for (compat.c). */

#ifndef FUSECOPY_COMPAT_H
#define FUSECOPY_COMPAT_H

struct iovec;
struct fuse_buf;
struct fuse_session;
struct fuse_conn_info;
struct fuse_in_header;
struct fusecopy_connection;

/* fuse_session_process_buf */
typedef void fusecopy_process(struct fuse_session *, const struct fuse_buf *);

void fusecopy_set_device(int fd);

/* The kernel's INIT, before libfuse answers it; what its answer is to ask for; have it answered, and amend that. */
void fusecopy_see_init(const struct fuse_in_header *in);
void fusecopy_want(struct fuse_conn_info *conn, struct fusecopy_connection *connection);
void fusecopy_answer_init(struct fuse_session *se, const struct fuse_buf *buf, fusecopy_process *process);

/* Have the kernel know a file of the backing, or forget it; a number, or a negative errno. */
int fusecopy_backing_open(int fd);
void fusecopy_backing_close(int id);

/* Tell the kernel what it did not ask for; 0 or a negative errno. */
int fusecopy_send_notice(const struct iovec *iov, int count);

#endif
