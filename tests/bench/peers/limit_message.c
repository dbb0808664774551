/* Messages as templates: whole frames, ready but for the ids that are pasted in. */
#include "limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void put(struct bytes *to, const void *from, size_t len) {
  if (to->len + len > to->room) {
    to->room = 2 * (to->len + len);
    to->at = realloc(to->at, to->room);
    if (!to->at) die("memory", "none left");
  }
  memcpy(to->at + to->len, from, len);
  to->len += len;
}

void put_int(struct bytes *to, uint64_t value, int size) {
  char raw[8];
  for (int i = size; i-- > 0; value >>= 8) raw[i] = (char)value;
  put(to, raw, (size_t)size);
}

static void put_text(struct bytes *to, const char *text) {
  put(to, text, strlen(text));
}

void put_short(struct bytes *to, const char *text) {
  put_int(to, strlen(text), 1);
  put_text(to, text);
}

static void put_header(struct bytes *to, const char *name, const char *value) {
  put_short(to, name);
  put_text(to, "S");
  put_int(to, strlen(value), 4);
  put_text(to, value);
}

static void put_hole(struct template *t, enum source source, size_t from, size_t len) {
  t->holes[t->count++] = (struct hole){t->bytes.len, source, from, len};
  for (size_t i = 0; i < len; i++) put(&t->bytes, "0", 1);
}

/* A part of a template, with the parts of the holes that are in it. */
static void put_part(struct template *to, const struct template *of, size_t from, size_t len) {
  for (int i = 0; i < of->count; i++) {
    struct hole h = of->holes[i];
    size_t begin = h.at > from ? h.at : from;
    size_t end = h.at + h.len < from + len ? h.at + h.len : from + len;
    if (begin >= end) continue;
    to->holes[to->count++] = (struct hole){
        to->bytes.len + begin - from, h.source, h.from + begin - h.at, end - begin};
  }
  put(&to->bytes, of->bytes.at + from, len);
}

static void put_frame(struct template *to, int type, int channel, const struct template *of, size_t from,
                      size_t len) {
  put_int(&to->bytes, (uint64_t)type, 1);
  put_int(&to->bytes, (uint64_t)channel, 2);
  put_int(&to->bytes, len, 4);
  put_part(to, of, from, len);
  put_int(&to->bytes, 0xCE, 1);
}

static void clear(struct template *t) {
  t->bytes.len = 0;
  t->count = 0;
}

/* basic.publish, the header, and the body in as many frames as it takes */
static void put_message(struct template *t, const struct form *form, const struct template *properties,
                        const struct template *body) {
  static struct template part;
  size_t most = form->frame_max - 8;
  clear(t);
  clear(&part);
  put_int(&part.bytes, 60, 2);
  put_int(&part.bytes, 40, 2);
  put_int(&part.bytes, 0, 2);
  put_short(&part.bytes, form->exchange);
  put_short(&part.bytes, form->key);
  put_int(&part.bytes, form->frames, 1); /* mandatory */
  put_frame(t, 1, form->channel, &part, 0, part.bytes.len);
  clear(&part);
  put_int(&part.bytes, 60, 2);
  put_int(&part.bytes, 0, 2);
  put_int(&part.bytes, body->bytes.len, 8);
  put_part(&part, properties, 0, properties->bytes.len);
  put_frame(t, 2, form->channel, &part, 0, part.bytes.len);
  for (size_t at = 0; at < body->bytes.len; at += most) {
    size_t left = body->bytes.len - at;
    put_frame(t, 3, form->channel, body, at, left < most ? left : most);
  }
}

static void put_digits(struct template *t, const struct form *form) {
  put_hole(t, CALL, form->call_len - DIGITS, DIGITS);
}

/* A property or a JSON text that is an id. */
static void put_id(struct template *t, const struct form *form, enum source source) {
  put_hole(t, source, 0, source == CALL ? form->call_len : CALL_ID);
}

static void put_short_id(struct template *t, const struct form *form, enum source source) {
  put_int(&t->bytes, source == CALL ? form->call_len : CALL_ID, 1);
  put_id(t, form, source);
}

static void put_object(struct template *t, const struct form *form, char fill, size_t bytes) {
  put_text(&t->bytes, "{\"id\":");
  put_digits(t, form);
  put_text(&t->bytes, ",\"text\":\"");
  for (size_t n = 17 + DIGITS; n < bytes; n++) put(&t->bytes, &fill, 1);
  put_text(&t->bytes, "\"}");
}

/* Content type and encoding, headers, delivery mode: where all of Warren's properties begin. */
static void put_common(struct template *t, int flags, const struct bytes *headers, int mode) {
  put_int(&t->bytes, (uint64_t)(0xF000 | flags), 2);
  put_short(&t->bytes, "application/json");
  put_short(&t->bytes, "utf-8");
  put_int(&t->bytes, headers->len, 4);
  put(&t->bytes, headers->at, headers->len);
  put_int(&t->bytes, (uint64_t)mode, 1);
}

enum { CORRELATION_ID = 0x0400, REPLY_TO = 0x0200, EXPIRATION = 0x0100, MESSAGE_ID = 0x0080 };

static void bare_request(struct template *properties, const struct form *form, bool cast) {
  put_int(&properties->bytes, cast ? 0 : CORRELATION_ID | REPLY_TO, 2);
  if (cast) return;
  put_short_id(properties, form, CALL);
  put_short(&properties->bytes, form->reply_to);
}

static void frames_request(struct template *properties, const struct form *form, bool cast) {
  struct bytes headers = {malloc(64), 0, 64};
  if (cast) {
    put_common(properties, MESSAGE_ID, &headers, 2);
  } else {
    put_header(&headers, "warren", "1");
    put_header(&headers, "warren-timeout", "60000");
    put_common(properties, CORRELATION_ID | REPLY_TO | EXPIRATION | MESSAGE_ID, &headers, 1);
    put_short_id(properties, form, CALL);
    put_short(&properties->bytes, form->reply_to);
    put_short(&properties->bytes, "60000");
  }
  put_short_id(properties, form, CALL); /* the id of the message is that of the call */
  free(headers.at);
}

void make_request(struct template *t, const struct form *form, bool cast, size_t args_bytes) {
  static struct template properties, body;
  clear(&properties);
  clear(&body);
  if (!form->frames) {
    bare_request(&properties, form, cast);
    put_object(&body, form, 'x', args_bytes);
    return put_message(t, form, &properties, &body);
  }
  frames_request(&properties, form, cast);
  put_text(&body.bytes, cast ? "{\"method\":\"note\",\"args\":" : "{\"method\":\"lookup\",\"args\":");
  put_object(&body, form, 'x', args_bytes);
  put_text(&body.bytes, ",\"version\":\"1.0\"");
  if (!cast) {
    put_text(&body.bytes, ",\"_msg_id\":\"");
    put_id(&body, form, CALL);
    put_text(&body.bytes, "\",\"_reply_q\":\"");
    put_text(&body.bytes, form->reply_to);
    put_text(&body.bytes, "\",\"_timeout\":null");
  }
  put_text(&body.bytes, ",\"_unique_id\":\"");
  put_id(&body, form, CALL);
  put_text(&body.bytes, "\"}");
  put_message(t, form, &properties, &body);
}

static const char result[] = "{\"result\":";

void make_answer(struct template *t, const struct form *form) {
  static struct template properties, body;
  size_t bytes = 17 + DIGITS + 70;
  clear(&properties);
  clear(&body);
  if (!form->frames) {
    put_int(&properties.bytes, CORRELATION_ID, 2);
    put_short_id(&properties, form, CALL);
    put_object(&body, form, 'y', bytes);
    return put_message(t, form, &properties, &body);
  }
  struct bytes headers = {malloc(64), 0, 64};
  put_header(&headers, "warren", "1");
  put_header(&headers, "warren-parsed", "true");
  put_common(&properties, CORRELATION_ID | MESSAGE_ID, &headers, 1);
  put_short_id(&properties, form, CALL);
  put_short_id(&properties, form, OWN);
  free(headers.at);
  put_text(&body.bytes, result);
  put_object(&body, form, 'y', bytes);
  put_text(&body.bytes, ",\"failure\":null,\"ending\":true,\"_msg_id\":\"");
  put_id(&body, form, CALL);
  put_text(&body.bytes, "\",\"_unique_id\":\"");
  put_id(&body, form, OWN);
  put_text(&body.bytes, "\"}");
  put_message(t, form, &properties, &body);
}

/* Where the id is in the body of an answer. */
size_t answer_id_at(bool frames) { return 6 + (frames ? sizeof result - 1 : 0); }

void stamp(struct bytes *to, const struct template *t, const char *call, const char *own) {
  char *at;
  put(to, t->bytes.at, t->bytes.len);
  at = to->at + to->len - t->bytes.len;
  for (int i = 0; i < t->count; i++) {
    const struct hole *h = &t->holes[i];
    memcpy(at + h->at, (h->source == CALL ? call : own) + h->from, h->len);
  }
}

void first_id(char id[CALL_ID]) {
  unsigned char raw[CALL_ID];
  if (getrandom(raw, sizeof raw, 0) != sizeof raw) die("getrandom", "failed");
  for (int i = 0; i < CALL_ID; i++) id[i] = "0123456789abcdef"[raw[i] % 16];
  memcpy(id + CALL_ID - DIGITS, "1000000000", DIGITS);
}

void next_id(char id[CALL_ID]) {
  int i = CALL_ID - 1;
  while (id[i] == '9') id[i--] = '0';
  id[i]++;
}
