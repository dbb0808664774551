/* Calls and casts. */
#include "limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* POSTS has no confirms: what is lost there is found by the time it takes. */
enum { POSTS = 1, INBOX = 2, CASTS = 3, PATIENCE = 10000 };

static struct form form;
static char id[CALL_ID];
static char *digits = id + CALL_ID - DIGITS, *call; /* `call`: as much of the id as travels */

/* When each call that is under way was sent, by its number; else 0. */
static double since[RING];
static uint64_t next = 1000000000, oldest = 1000000000;
static size_t under_way;

static float *latencies;
static size_t answered, failed, room;
static double last;
static char error[80];
static uint64_t to_ack;

static void fail(const char *why) {
  failed++;
  if (!*error) snprintf(error, sizeof error, "%s", why);
}

/* When the call was sent that a message is about, which waits no longer; 0 if none waited; -1 if it was given up. */
static double take(const struct incoming *m) {
  char text[DIGITS + 1] = "";
  uint64_t n;
  double began;
  if (m->call_len != form.call_len || memcmp(m->call, call, form.call_len - DIGITS)) return 0;
  memcpy(text, m->call + form.call_len - DIGITS, DIGITS);
  n = strtoull(text, NULL, 10);
  if (n < oldest) return -1;
  if (n >= next) return 0;
  began = since[n % RING];
  since[n % RING] = 0;
  if (began > 0) under_way--;
  last = now_ms();
  return began;
}

static void on_answer(const struct incoming *m) {
  const char *said = m->head + answer_id_at(form.frames);
  double began = take(m);
  to_ack = m->tag;
  if (began < 0) return;
  if (began == 0) return fail("an answer that nobody waits for");
  if (memcmp(said, m->call + form.call_len - DIGITS, DIGITS)) return fail("an answer with a wrong id");
  if (answered == room) latencies = realloc(latencies, (room = room ? 2 * room : 1 << 16) * sizeof *latencies);
  if (!latencies) die("memory", "none left");
  latencies[answered++] = (float)(last - began);
}

/* The broker confirms a cast that it returns: it is taken then. */
static void on_returned(const struct incoming *m) {
  if (m->call_len && take(m) <= 0) return;
  fail("returned: no queue takes it");
}

/* Casts are numbered by their channel: all up to `confirmed` are settled, and some after it. */
static uint64_t confirmed, sent;
static bool settled_alone[RING];

static void on_settled(uint64_t tag, bool multiple) {
  if (multiple && tag > confirmed) {
    while (confirmed < tag) settled_alone[++confirmed % RING] = false;
  } else if (!multiple) {
    settled_alone[tag % RING] = true;
  }
  while (settled_alone[(confirmed + 1) % RING]) settled_alone[++confirmed % RING] = false;
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double percentile(double part) {
  return answered ? latencies[(size_t)(part * (double)(answered - 1))] : 0;
}

static void begin(void) {
  answered = failed = 0;
  *error = 0;
}

static void calls(size_t in_flight, double ms, size_t bytes) {
  static struct template request;
  double began, end, now;
  begin();
  make_request(&request, &form, false, bytes);
  last = began = now_ms();
  end = began + ms;
  oldest = next;
  for (;;) {
    now = now_ms();
    if (to_ack && form.frames) put_ack(INBOX, to_ack);
    to_ack = 0;
    while (now < end && under_way < in_flight && since[next % RING] == 0) {
      stamp(&out, &request, call, call);
      since[next++ % RING] = now;
      next_id(id);
      under_way++;
      if (out.len < OUT_MOST) continue;
      wire_send();
      now = now_ms();
    }
    if (!under_way && now >= end) break;
    if (wire_step()) continue;
    for (; under_way > 0; under_way--) fail("no answer within 10 s");
    memset(since, 0, sizeof since);
    break;
  }
  wire_send(); /* the last acknowledgement */
  if (answered) qsort(latencies, answered, sizeof *latencies, by_size);
  printf("{\"calls\":%zu,\"failed\":%zu,\"ms\":%.1f", answered, failed, last - began);
  printf(",\"p50\":%.3f,\"p99\":%.3f", percentile(0.5), percentile(0.99));
  if (*error) printf(",\"error\":\"%s\"", error);
  printf("}\n");
}

/* `bare`: as fast as the socket takes them. */
static void casts(size_t count, size_t in_flight, size_t bytes) {
  static struct template note;
  struct form cast = form;
  double began;
  bool late = false;
  uint64_t end = sent + count;
  begin();
  cast.channel = form.frames ? CASTS : POSTS;
  make_request(&note, &cast, true, bytes);
  if (in_flight > RING / 2) in_flight = RING / 2;
  began = now_ms();
  while (!late && (form.frames ? confirmed : sent) < end) {
    while (sent < end && (!form.frames || sent - confirmed < in_flight)) {
      stamp(&out, &note, call, call);
      next_id(id);
      next++;
      sent++;
      if (out.len >= OUT_MOST) wire_send();
    }
    if (form.frames && confirmed < end) late = !wire_step();
    else wire_send();
  }
  if (late) failed += end - confirmed;
  if (late) confirmed = sent;
  printf("{\"sent\":%zu,\"failed\":%zu,\"ms\":%.1f}\n", count - failed, failed, now_ms() - began);
}

static double option(const char *line, const char *name, double otherwise) {
  char key[32];
  const char *at;
  snprintf(key, sizeof key, "\"%s\":", name);
  at = strstr(line, key);
  return at ? strtod(at + strlen(key), NULL) : otherwise;
}

static void command(const char *line) {
  size_t in_flight = (size_t)option(line, "inFlight", 1), bytes = (size_t)option(line, "bytes", 300);
  if (strstr(line, "\"call\"")) calls(in_flight, option(line, "ms", 1000), bytes);
  else if (strstr(line, "\"cast\"")) casts((size_t)option(line, "count", 1), in_flight, bytes);
  else printf("{\"unsupported\":true}\n");
}

void run_client(const char *topic, const char *exchange, bool frames) {
  char name[256], line[1024];
  setvbuf(stdout, NULL, _IOLBF, 0);
  first_id(id);
  snprintf(name, sizeof name, "reply_%.32s", id);
  form = (struct form){frames, exchange, topic, name, POSTS, frames ? CALL_ID : DIGITS, 0};
  call = frames ? id : digits;
  form.frame_max = wire_open(CASTS, (struct handlers){on_answer, on_returned, on_settled});
  declare_queue(frames ? (struct queue){name, true, false, false, 60000} : (struct queue){name, false, true, true, 0});
  if (frames) confirm_select(CASTS);
  if (frames) prefetch(INBOX, 1000);
  consume(INBOX, name, form.frames);
  wire_timeout(PATIENCE);
  printf("{\"ready\":true}\n");
  while (fgets(line, sizeof line, stdin)) command(line);
  wire_close(name);
  while (wire_step()) continue;
}
