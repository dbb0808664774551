/*
 * The limit of what AMQP 0-9-1 on RabbitMQ allows: a client and a server that do nothing but read, find the id, paste it
 * into frames made before, and write.
 *
 *   limit client|server TOPIC [bare|frames]
 *
 * `bare`: transient, no acknowledgements, no confirms, two properties. `frames`: each frame that Warren sends for a call
 * or a cast; but acknowledgements are `multiple`, one for all that came in one read.
 *
 * cc -O2 -Wall -Wextra -o limit limit.c limit_client.c limit_server.c limit_wire.c limit_message.c -lrabbitmq
 * (Debian: librabbitmq-dev)
 */
#include "limit.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  const char *role = argc > 1 ? argv[1] : "", *topic = argc > 2 ? argv[2] : "", *variant = argc > 3 ? argv[3] : "bare";
  bool frames = !strcmp(variant, "frames");
  char exchange[256] = "";
  if (!*topic || strlen(topic) > 200 || (!frames && strcmp(variant, "bare"))) {
    die("usage", "limit client|server TOPIC [bare|frames]");
  }
  if (frames) snprintf(exchange, sizeof exchange, "%s-x", topic);
  if (!strcmp(role, "client")) run_client(topic, exchange, frames);
  else if (!strcmp(role, "server")) run_server(topic, exchange, frames);
  else die("role", "neither client nor server");
}
