/* One connection: as much as there is in one read, all that follows from it in one write. */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { IN_ROOM = 1 << 20, CHANNELS = 4 };

struct bytes out;
static size_t written;
static char in[IN_ROOM];
static size_t in_len;
static int fd;
static bool consuming;
static amqp_connection_state_t amqp;
static struct handlers on;
static struct incoming coming[CHANNELS];

void die(const char *what, const char *why) {
  fprintf(stderr, "limit: %s: %s\n", what, why);
  exit(1);
}

double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void check(const char *what) {
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(amqp);
  amqp_channel_close_t *closed = reply.reply.decoded;
  char text[256] = "refused";
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) die(what, amqp_error_string2(reply.library_error));
  if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
    snprintf(text, sizeof text, "%.*s", (int)closed->reply_text.len, (char *)closed->reply_text.bytes);
  }
  die(what, text);
}

size_t wire_open(int channels, struct handlers handlers) {
  struct amqp_connection_info info;
  const char *env = getenv("AMQP_URL");
  char *url = strdup(env ? env : "amqp://127.0.0.1");
  int one = 1;
  on = handlers;
  if (amqp_parse_url(url, &info) != AMQP_STATUS_OK) die("AMQP_URL", "not a URL");
  amqp = amqp_new_connection();
  if (amqp_socket_open(amqp_tcp_socket_new(amqp), info.host, info.port)) die("connect", info.host);
  amqp_rpc_reply_t login = amqp_login(amqp, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password);
  if (login.reply_type != AMQP_RESPONSE_NORMAL) die("login", "refused");
  for (int i = 1; i <= channels; i++) {
    amqp_channel_open(amqp, (amqp_channel_t)i);
    check("channel.open");
  }
  fd = amqp_get_sockfd(amqp);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return (size_t)amqp_get_frame_max(amqp);
}

void declare_queue(struct queue queue) {
  amqp_field_value_t expires = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = queue.expires};
  amqp_table_entry_t entry = {amqp_cstring_bytes("x-expires"), expires};
  amqp_table_t args = {queue.expires ? 1 : 0, &entry};
  amqp_bytes_t name = amqp_cstring_bytes(queue.name);
  amqp_queue_declare(amqp, 1, name, 0, queue.durable, queue.exclusive, queue.auto_delete, args);
  check("queue.declare");
}

/* It goes with its queue, unlike Warren's. */
void declare_exchange(const char *name, const char *queue, const char *key) {
  amqp_bytes_t exchange = amqp_cstring_bytes(name);
  amqp_exchange_declare(amqp, 1, exchange, amqp_cstring_bytes("topic"), 0, 1, 1, 0, amqp_empty_table);
  check("exchange.declare");
  amqp_queue_bind(amqp, 1, amqp_cstring_bytes(queue), exchange, amqp_cstring_bytes(key), amqp_empty_table);
  check("queue.bind");
}

void confirm_select(int channel) {
  amqp_confirm_select(amqp, (amqp_channel_t)channel);
  check("confirm.select");
}

void prefetch(int channel, int count) {
  amqp_basic_qos(amqp, (amqp_channel_t)channel, 0, (uint16_t)count, 0);
  check("basic.qos");
}

/* Where a frame of a method begins; `end_method` says how long it is. */
static size_t begin_method(int channel, int class, int method) {
  put_int(&out, 1, 1);
  put_int(&out, (uint64_t)channel, 2);
  put_int(&out, 0, 4);
  put_int(&out, (uint64_t)class, 2);
  put_int(&out, (uint64_t)method, 2);
  return out.len - 4;
}

static void end_method(size_t begin) {
  size_t len = out.len - begin;
  out.len = begin - 4;
  put_int(&out, len, 4);
  out.len = begin + len;
  put_int(&out, 0xCE, 1);
}

void put_ack(int channel, uint64_t tag) {
  size_t begin = begin_method(channel, 60, 80);
  put_int(&out, tag, 8);
  put_int(&out, 1, 1); /* multiple */
  end_method(begin);
}

/* By hand, and last: librabbitmq reads no more, so it cannot keep a delivery for itself. */
void consume(int channel, const char *queue, bool frames) {
  size_t begin = begin_method(channel, 60, 20);
  put_int(&out, 0, 2);
  put_short(&out, queue);
  put_short(&out, frames ? "limit---as-long-as-a-tag-of-Warren-s" : "limit");
  put_int(&out, frames ? 0 : 2, 1); /* no-ack */
  put_int(&out, 0, 4); /* no arguments */
  end_method(begin);
  while (!consuming) wire_step();
}

void wire_timeout(int ms) {
  struct timeval t = {ms / 1000, ms % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

static uint64_t number(const char *from, int size) {
  uint64_t value = 0;
  while (size-- > 0) value = value << 8 | (unsigned char)*from++;
  return value;
}

static void closed(const char *what, const char *args) {
  char text[300];
  snprintf(text, sizeof text, "%d %.*s", (int)number(args, 2), (int)number(args + 2, 1), args + 3);
  die(what, text);
}

static void method(struct incoming *m, const char *p) {
  const char *args = p + 4;
  switch (number(p, 4)) {
  case 60 << 16 | 60: m->tag = number(args + 1 + number(args, 1), 8); break;
  case 60 << 16 | 50: m->tag = 0; break;
  case 60 << 16 | 80: on.settled(number(args, 8), args[8]); break;
  case 60 << 16 | 120: die("basic.nack", "the broker refused a message");
  case 60 << 16 | 21: consuming = true; break;
  case 60 << 16 | 30: die("basic.cancel", "the queue is gone");
  case 20 << 16 | 40: closed("channel.close", args); break;
  case 10 << 16 | 50: closed("connection.close", args); break;
  case 10 << 16 | 51: exit(0);
  }
}

static void complete(struct incoming *m) {
  (m->tag ? on.message : on.returned)(m);
}

static const char *take_short(const char *p, char *to, size_t *len) {
  *len = number(p, 1);
  memcpy(to, p + 1, *len);
  to[*len] = 0;
  return p + 1 + *len;
}

static void header(struct incoming *m, const char *p) {
  unsigned flags = (unsigned)number(p + 12, 2);
  size_t len;
  m->left = number(p + 4, 8);
  m->head_len = m->call_len = 0;
  m->reply_to[0] = 0;
  p += 14;
  if (flags & 0x8000) p += 1 + number(p, 1); /* content type */
  if (flags & 0x4000) p += 1 + number(p, 1); /* content encoding */
  if (flags & 0x2000) p += 4 + number(p, 4); /* headers */
  if (flags & 0x1000) p++;                   /* delivery mode */
  if (flags & 0x0800) p++;                   /* priority */
  if (flags & 0x0400) p = take_short(p, m->call, &m->call_len);
  if (flags & 0x0200) take_short(p, m->reply_to, &len);
  if (m->left == 0) complete(m);
}

static void body(struct incoming *m, const char *p, size_t len) {
  size_t room = sizeof m->head - m->head_len;
  size_t part = len < room ? len : room;
  memcpy(m->head + m->head_len, p, part);
  m->head_len += part;
  m->left -= len;
  if (m->left == 0) complete(m);
}

static void parse(void) {
  size_t at = 0, len;
  for (; in_len - at >= 7; at += len + 8) {
    const char *p = in + at;
    uint64_t channel = number(p + 1, 2);
    len = number(p + 3, 4);
    if (len + 8 > IN_ROOM || channel >= CHANNELS) die("frame", "not one of ours");
    if (in_len - at < len + 8) break;
    if ((unsigned char)p[7 + len] != 0xCE) die("frame", "does not end where it should");
    if (p[0] == 1) method(&coming[channel], p + 7);
    else if (p[0] == 2) header(&coming[channel], p + 7);
    else if (p[0] == 3) body(&coming[channel], p + 7, len);
  }
  in_len -= at;
  memmove(in, in + at, in_len);
}

/* Stops where the broker has something for us: it may have to be rid of that before it takes more. */
static void flush(void) {
  struct pollfd either = {fd, POLLIN | POLLOUT, 0};
  while (written < out.len && !(either.revents & POLLIN)) {
    ssize_t n = send(fd, out.at + written, out.len - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) written += (size_t)n;
    else if (errno == EAGAIN) poll(&either, 1, -1);
    else if (errno != EINTR) die("send", strerror(errno));
  }
  out.len -= written;
  memmove(out.at, out.at + written, out.len);
  written = 0;
}

static bool receive(void) {
  ssize_t n = recv(fd, in + in_len, IN_ROOM - in_len, 0);
  if (n == 0) die("recv", "the broker closed the connection");
  if (n < 0 && errno != EAGAIN && errno != EINTR) die("recv", strerror(errno));
  if (n < 0) return false;
  in_len += (size_t)n;
  parse();
  return true;
}

bool wire_step(void) {
  flush();
  return receive();
}

void wire_send(void) {
  for (flush(); out.len > 0; flush()) receive();
}

void wire_close(const char *queue) {
  size_t begin;
  if (queue) {
    begin = begin_method(1, 50, 40);
    put_int(&out, 0, 2);
    put_short(&out, queue);
    put_int(&out, 4, 1); /* no wait */
    end_method(begin);
  }
  begin = begin_method(0, 10, 50);
  put_int(&out, 200, 2);
  put_short(&out, "done");
  put_int(&out, 0, 4);
  end_method(begin);
  wire_send();
}
