"""oslo.messaging on RabbitMQ: `oslo.py ROLE TOPIC [threading|eventlet]`; TOPIC is exchange and topic.

`threading` is the faster by far; `eventlet` (monkey-patched) is how Nova ran it. Both: every message is sent with the
broker's confirm, which the sender waits for: a call's request, its answer, a cast, a fanout. A message is acknowledged
before the handler runs. Queues are classic and not durable, so messages, although marked persistent, are not kept; the
broker deletes a queue with its last consumer or a minute later.
"""

import sys

ROLE, TOPIC = sys.argv[1:3]
EXECUTOR = sys.argv[3] if len(sys.argv) > 3 else "threading"
if EXECUTOR == "eventlet":
    import eventlet
    import eventlet.tpool

    eventlet.monkey_patch()

import itertools
import json
import logging
import os
import threading
import time

import oslo_messaging
from oslo_config import cfg

LOCK = threading.Lock()
logging.disable()


def say(**words):
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def commands():
    read = sys.stdin.readline
    if EXECUTOR == "eventlet":
        # A native thread reads, so that waiting for a command does not stop the green ones.
        read = lambda: eventlet.tpool.execute(sys.stdin.readline)
    return map(json.loads, iter(read, ""))


def connect():
    conf = cfg.CONF
    conf([], default_config_files=[], default_config_dirs=[])
    url = os.environ["AMQP_URL"].replace("amqp://", "rabbit://")
    transport = oslo_messaging.get_rpc_transport(conf, url=url)
    conf.set_override("control_exchange", TOPIC)
    for name, value in {"amqp_auto_delete": True, "rabbit_transient_queues_ttl": 60}.items():
        conf.set_override(name, value, group="oslo_messaging_rabbit")
    return transport


class Server(object):
    def __init__(self):
        self.handled, self.wanted = 0, None
        target = oslo_messaging.Target(topic=TOPIC, server="host-%d" % os.getpid())
        self.server = oslo_messaging.get_rpc_server(connect(), target, [self], executor=EXECUTOR)
        self.server.start()

    def lookup(self, ctxt, id, text):
        return {"id": id, "text": "y" * 70}

    def note(self, ctxt, id, text):
        with LOCK:
            self.handled += 1
            if self.handled == self.wanted:
                say(handled=self.handled)

    def close(self):
        self.server.stop()
        self.server.wait()

    def perform(self, do, count=0, **_):
        if do != "count":
            return say(unsupported=True)
        with LOCK:
            self.handled, self.wanted = 0, count
            say(counting=True)


class Client(object):
    def __init__(self):
        self.ids = itertools.count(1)
        self.transport = connect()
        target = oslo_messaging.Target(topic=TOPIC)
        self.one = oslo_messaging.get_rpc_client(self.transport, target)
        self.all = self.one.prepare(fanout=True)

    def close(self):
        self.transport.cleanup()

    def perform(self, do, **command):
        if do == "call":
            say(**self.call(**command))
        elif do == "cast":
            say(**self.send(self.one, **command))
        elif do == "fanout":
            say(**self.send(self.all, **command))
        else:
            say(unsupported=True)

    def args(self, size):
        id = next(self.ids)
        return {"id": id, "text": "x" * (size - len('{"id":%d,"text":""}' % id))}

    def call(self, inFlight, ms, bytes):
        times, errors = [], []
        begun = time.monotonic()

        def work():
            while time.monotonic() - begun < ms / 1000:
                args = self.args(bytes)
                sent = time.monotonic()
                try:
                    answer = self.one.call({}, "lookup", **args)
                    if answer["id"] != args["id"]:
                        raise ValueError("answer %s to call %s" % (answer["id"], args["id"]))
                    times.append(time.monotonic() - sent)
                except Exception as error:
                    errors.append("%s: %s" % (type(error).__name__, error))

        together(inFlight, work)
        elapsed = time.monotonic() - begun
        times.sort()
        told = {"calls": len(times), "failed": len(errors), "ms": elapsed * 1000}
        if times:
            told.update(p50=times[len(times) // 2] * 1000, p99=times[len(times) * 99 // 100] * 1000)
        if errors:
            told["error"] = errors[0]
        return told

    def send(self, client, count, inFlight, bytes):
        numbers = iter(range(count))
        failed = []
        begun = time.monotonic()

        def work():
            for _ in numbers:
                try:
                    client.cast({}, "note", **self.args(bytes))
                except Exception as error:
                    failed.append(error)

        together(inFlight, work)
        return {"sent": count - len(failed), "failed": len(failed), "ms": (time.monotonic() - begun) * 1000}


def together(many, work):
    threads = [threading.Thread(target=work) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    side = Server() if ROLE == "server" else Client()
    say(ready=True)
    for command in commands():
        side.perform(**command)
    side.close()
    os._exit(0)  # without waiting for threads and connections that the library keeps


main()
