/* A request, the connection that it came by, and the way its reply goes. */

#ifndef FUSECOPY_REQUEST_H
#define FUSECOPY_REQUEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FUSECOPY_OPCODES 64

struct iovec;
struct fuse_in_header;
struct fusecopy_request;

/* What brings requests and takes their replies: /dev/fuse (loop.c), or another. */
struct fusecopy_transport {
	/* Send what the parts hold, of which the first is the struct fuse_out_header: 0 or a negative errno. */
	int (*reply)(struct fusecopy_request *request, struct iovec *parts, int count);
};

/* One request. It lives on the stack of the thread that serves it, until it is answered. */
struct fusecopy_request {
	const struct fuse_in_header *header;
	const void *arguments; /* the operation's own header: struct fuse_write_in and its like */
	const char *payload;   /* names or data; NULL: they follow the arguments */
	size_t payload_size;
	char *room; /* where the transport would have the data of the reply; NULL: anywhere */
	size_t room_size;
	const struct fusecopy_transport *transport;
	void *origin;		       /* the transport's own */
	struct fusecopy_request *next; /* of those that Python serves */
	int interrupted;	       /* its program got a signal */
};

#define FUSECOPY_LATENCIES 9
#define FUSECOPY_LEAST_LATENCY_NS 16000

/* How long requests took to be served: how many up to 16 us, how many more up to 64 us, and so on; the last took
 * longer than all these. */
struct fusecopy_latencies {
	uint64_t counts[FUSECOPY_LATENCIES];
	uint64_t total_ns;
};

/* What was asked of the kernel, and what was agreed at INIT. */
struct fusecopy_connection {
	int is_native;	   /* requests may be answered natively; off in tests that Python is to answer */
	int denies_others; /* (allow_root) all but the owner and root */
	unsigned int owner;
	double negative_timeout; /* seconds for which the kernel may believe that a name is not there */
	unsigned int want;	 /* FUSE_CAP_ flags to ask for, set before the session starts */
	unsigned int refuse;	 /* FUSE_CAP_ flags to leave out although libfuse or pyfuse3 wants them */
	unsigned int major;	 /* the kernel's FUSE protocol, known after INIT */
	unsigned int minor;
	unsigned int max_write;
	unsigned int max_read; /* bytes of the largest READ as the mount was asked for; 0 for no limit */
	const char *source;    /* what the mount table says is mounted */
	uint64_t device;       /* st_dev of what is in the mount; 0 where it is not known */
	int passthrough;       /* asked for, then agreed: the kernel reads and writes the backing by itself */
	uint64_t requests[FUSECOPY_OPCODES];			  /* received so far, by opcode */
	uint64_t native[FUSECOPY_OPCODES];			  /* answered natively */
	struct fusecopy_latencies latencies[FUSECOPY_OPCODES][2]; /* left to Python, answered natively */
};

struct fusecopy_connection *fusecopy_get_connection(void);

/* Count a request. */
void fusecopy_count(uint32_t opcode);

/* Count how long one took. */
void fusecopy_count_latency(uint32_t opcode, int is_native, int64_t ns);

/* CLOCK_MONOTONIC. */
int64_t fusecopy_now_ns(void);

/* Replies: the errno of a failure, or 0; bytes; parts, of which the first is left for the header. A request that
 * was aborted meanwhile takes none, which is no error to anybody: 0 or a negative errno. */
int fusecopy_reply_error(struct fusecopy_request *request, int error);
int fusecopy_reply_data(struct fusecopy_request *request, const void *data, size_t size);
int fusecopy_reply_parts(struct fusecopy_request *request, struct iovec *parts, int count);

/* Between these FUSE_INTERRUPT finds it. */
void fusecopy_begin_interruptible(struct fusecopy_request *request);
void fusecopy_end_interruptible(struct fusecopy_request *request);

/* FUSE_INTERRUPT came for the request of that number. */
void fusecopy_interrupt(uint64_t unique);

#endif
