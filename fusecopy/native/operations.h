/* The table of operations (operations.c). */

#ifndef FUSECOPY_OPERATIONS_H
#define FUSECOPY_OPERATIONS_H

#include <stddef.h>
#include <stdint.h>

struct fusecopy_request;

/* What others did to the backing (watch.h) that a request is to see: anything, as it looks at the backing itself; all
 * of it, and the names that the kernel came by. */
#define FUSECOPY_SEES_CHANGES 1
#define FUSECOPY_SEES_NAMES 2

/* One operation. */
struct fusecopy_operation {
	const char *name;   /* NULL: there is none of that opcode */
	const char *python; /* the method of Answers that serves it (serving/answers.py); NULL: it is never left */
	int kind;	    /* what it may wait for (backlog.h) */
	size_t arguments;   /* bytes of its own header */
	int (*answer)(struct fusecopy_request *request); /* natively: FUSECOPY_ANSWERED or FUSECOPY_LEFT */
	int before;					 /* what it waits for first (barrier.h) */
	int before_python;				 /* and more, before Python does */
	int sees;					 /* what others did before is applied first */
	int is_open; /* it is about a file that is open, or about none: whoever has it may ask */
};

/* That of an opcode; NULL where there is none. */
const struct fusecopy_operation *fusecopy_operation(uint32_t opcode);

/* Run by the loop's threads: serve requests as long as there are any. */
void fusecopy_serve(void);

/* The same by io_uring, each for one entry of a queue (uring.c). */
void fusecopy_serve_ring(unsigned int queue);

#endif
