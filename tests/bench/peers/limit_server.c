/* Answers, and counts what wants none. */
#include "limit.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ANSWERS = 1, REQUESTS = 2, PREFETCH = 64, IDLE = 50 };

static struct form form;
static char own[CALL_ID];
static char reply_to[256];
static struct template answer;

/* Requests by their delivery tags; those up to `done` are settled, and `acked` of them acknowledged. */
static bool settled[RING];
static uint64_t done, acked;

/* Answers by their numbers on the channel: which request each is for. */
static uint64_t request_of[RING];
static uint64_t answers, confirmed;

static uint64_t handled, goal;

static void settle(uint64_t tag) {
  settled[tag % RING] = true;
  while (settled[(done + 1) % RING]) settled[++done % RING] = false;
}

static void on_request(const struct incoming *m) {
  if (!*m->reply_to) {
    handled++;
    return settle(m->tag);
  }
  if (m->call_len < DIGITS) die("request", "without an id");
  if (m->call_len != form.call_len || strcmp(m->reply_to, reply_to)) {
    strcpy(reply_to, m->reply_to);
    form.call_len = m->call_len;
    make_answer(&answer, &form);
  }
  stamp(&out, &answer, m->call, own);
  next_id(own);
  request_of[++answers % RING] = m->tag;
}

static void on_returned(const struct incoming *m) {
  fprintf(stderr, "limit: an answer came back: %s\n", m->call);
}

static void confirm(uint64_t number) {
  uint64_t *tag = &request_of[number % RING];
  if (*tag) settle(*tag);
  *tag = 0;
}

static void on_settled(uint64_t number, bool multiple) {
  if (!multiple) return confirm(number);
  if (answers - confirmed > PREFETCH) confirmed = answers - PREFETCH; /* those before were confirmed one by one */
  while (confirmed < number) confirm(++confirmed);
}

static void commands(void) {
  char line[1024];
  struct pollfd input = {0, POLLIN, 0};
  ssize_t len;
  if (poll(&input, 1, 0) < 1) return;
  len = read(0, line, sizeof line - 1);
  if (len <= 0) return wire_close(NULL);
  line[len] = 0;
  const char *count = strstr(line, "\"count\":");
  unsigned long n;
  if (count && sscanf(count, "\"count\":%lu", &n) == 1) {
    goal = n;
    handled = 0;
    printf("{\"counting\":true}\n");
  } else {
    printf("{\"unsupported\":true}\n");
  }
}

void run_server(const char *topic, const char *exchange, bool frames) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  first_id(own);
  form = (struct form){frames, "", reply_to, "", ANSWERS, 0, 0};
  form.frame_max = wire_open(REQUESTS, (struct handlers){on_request, on_returned, on_settled});
  declare_queue((struct queue){topic, frames, false, true, 0});
  if (frames) declare_exchange(exchange, topic, topic);
  if (frames) confirm_select(ANSWERS);
  if (frames) prefetch(REQUESTS, PREFETCH);
  consume(REQUESTS, topic, frames);
  wire_timeout(IDLE);
  printf("{\"ready\":true}\n");
  for (unsigned turn = 1;; turn++) {
    if (!wire_step() || turn % 64 == 0) commands();
    if (frames && done > acked) put_ack(REQUESTS, acked = done);
    if (!goal || handled < goal) continue;
    goal = 0;
    printf("{\"handled\":%lu}\n", (unsigned long)handled);
  }
}
