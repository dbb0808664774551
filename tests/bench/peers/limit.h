/* What AMQP 0-9-1 allows: shared by the files of `limit`. */
#ifndef LIMIT_H
#define LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  DIGITS = 10,           /* of an id: they begin at 10^9, so that all are of one length */
  CALL_ID = 32,          /* length of the ids of `frames`, as Warren's: a prefix of this process, then the digits */
  RING = 1 << 16,        /* more than is ever under way at once */
  OUT_MOST = 256 * 1024, /* bytes put together before they are written */
};

/* limit_message.c: bytes, messages with holes, and the two kinds of templates */

struct bytes {
  char *at;
  size_t len, room;
};

void put(struct bytes *to, const void *from, size_t len);
void put_int(struct bytes *to, uint64_t value, int size);
void put_short(struct bytes *to, const char *text);

/* What is pasted into a template: the id of the call, or that of the message itself. */
enum source { CALL, OWN };

struct hole {
  size_t at;
  enum source source;
  size_t from, len;
};

struct template {
  struct bytes bytes;
  struct hole holes[16];
  int count;
};

/* How a message is said, and where it goes. */
struct form {
  bool frames; /* as Warren says it; else bare */
  const char *exchange, *key, *reply_to;
  int channel;
  size_t call_len, frame_max;
};

void make_request(struct template *t, const struct form *form, bool cast, size_t args_bytes);
void make_answer(struct template *t, const struct form *form);
void stamp(struct bytes *to, const struct template *t, const char *call, const char *own);
size_t answer_id_at(bool frames);
void first_id(char id[CALL_ID]);
void next_id(char id[CALL_ID]);

/* limit_wire.c: one connection; librabbitmq opens it, then the frames are ours */

struct incoming {
  uint64_t tag; /* 0: it is a message of ours that came back */
  uint64_t left;
  char call[256], reply_to[256];
  size_t call_len;
  char head[64]; /* how its body begins */
  size_t head_len;
};

struct handlers {
  void (*message)(const struct incoming *);
  void (*returned)(const struct incoming *);
  void (*settled)(uint64_t tag, bool multiple);
};

struct queue {
  const char *name;
  bool durable, exclusive, auto_delete;
  int expires; /* ms; 0 = never */
};

extern struct bytes out; /* what the next flush writes */

_Noreturn void die(const char *what, const char *why);
double now_ms(void);
size_t wire_open(int channels, struct handlers handlers); /* returns the largest frame */
void declare_queue(struct queue queue);
void declare_exchange(const char *name, const char *queue, const char *key);
void confirm_select(int channel);
void prefetch(int channel, int count);
void consume(int channel, const char *queue, bool frames); /* `frames`: with acknowledgements */
void put_ack(int channel, uint64_t tag);
void wire_timeout(int ms);
bool wire_step(void); /* writes all there is to write, reads what there is; false if nothing came in time */
void wire_send(void); /* writes all */
void wire_close(const char *queue); /* deletes the queue, if any; close-ok ends the process */

/* limit_client.c, limit_server.c: `exchange` is the topic's in `frames`, else the default one */

void run_client(const char *topic, const char *exchange, bool frames);
void run_server(const char *topic, const char *exchange, bool frames);

#endif
