/* The request loop (loop.c). */

#ifndef FUSECOPY_LOOP_H
#define FUSECOPY_LOOP_H

struct fusecopy_put_off;
struct fusecopy_request;

/* What serves requests: which kind of request it is (backlog.h), and its answer. */
struct fusecopy_server {
	int (*kind)(const struct fusecopy_request *request);
	void (*serve)(struct fusecopy_request *request);
};

/* Before anything else here, once the session is mounted. */
void fusecopy_begin_loop(void);

/* Run by the loop's threads, without Python's lock, until there are no more requests. */
void fusecopy_receive_and_serve(const struct fusecopy_server *server);
void fusecopy_watchdog(void);

/* End the loop, whatever its threads wait for. */
void fusecopy_stop(void);

/* Before this thread does what may wait: whether it may. If so, fusecopy_end_waiting follows; else the item is to be
 * put off, and is run at once where that is possible by now. */
int fusecopy_begin_waiting(int kind);
void fusecopy_end_waiting(int kind);
void fusecopy_put_off(struct fusecopy_put_off *item);

/* Let another thread receive, because this request is going to wait. */
void fusecopy_make_way(void);

/* Keep the turn until the request is done, unless it takes all too long (20 ms): nothing that comes after it is
 * served before. False where other threads serve requests already. */
int fusecopy_keep_turn(void);

#endif
