"""A peer that speaks through the real oslo.messaging: `oslo_peer.py <url> <exchange> [key=value of its rabbit options]`.

Commands come as JSON lines on stdin: `{"id", "do", ...}`. Each is answered by a JSON line `{"id", "result"}` or
`{"id", "error": {"type", "module", "message", "kwargs"}}`. What happens by itself is a line `{"event", ...}`. It ends with
its stdin.
"""

import json
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg
from oslo_messaging.rpc import dispatcher

import lab_exceptions

URL, EXCHANGE = sys.argv[1:3]
LOCK = threading.Lock()

CONF = cfg.CONF
CONF([], default_config_files=[], default_config_dirs=[])
ALLOWED = ["lab_exceptions"]
oslo_messaging.set_transport_defaults(EXCHANGE)
TRANSPORT = oslo_messaging.get_rpc_transport(CONF, url=URL, allowed_remote_exmods=ALLOWED)
NOTIFIER_TRANSPORT = oslo_messaging.get_notification_transport(CONF, url=URL)
CONF.set_override("control_exchange", EXCHANGE)
for option in sys.argv[3:]:
    name, value = option.split("=")
    if name == "rpc_ping_enabled":
        CONF.register_opts(dispatcher._dispatcher_opts)
        CONF.set_override(name, value == "true")
    else:
        CONF.set_override(name, value == "true", group="oslo_messaging_rabbit")


def say(**words):
    with LOCK:
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()


class Endpoint(object):
    target = oslo_messaging.Target(version="1.2")

    def __init__(self, host):
        self.host = host

    def echo(self, ctxt, value):
        return value

    def add(self, ctxt, a, b):
        return a + b

    def relay(self, ctxt, topic, method):
        return client({"topic": topic}).call(ctxt, method)

    def nothing(self, ctxt):
        return None

    def who(self, ctxt):
        return self.host

    def context(self, ctxt):
        return ctxt

    def big(self, ctxt, n):
        return "x" * n

    def slow(self, ctxt, seconds):
        time.sleep(seconds)
        return "done"

    def note(self, ctxt, tag):
        say(event="note", host=self.host, tag=tag)

    def fail(self, ctxt, kind, message):
        if kind == "InstanceNotFound":
            raise lab_exceptions.InstanceNotFound(message, instance_id="i-1", code=404)
        raise {"ValueError": ValueError, "KeyError": KeyError}[kind](message)

    @oslo_messaging.expected_exceptions(ValueError)
    def fail_expected(self, ctxt, message):
        raise ValueError(message)


class Named(object):
    target = oslo_messaging.Target(namespace="names", version="2.0")

    def whose(self, ctxt):
        return "of the namespace"


class Listener(object):
    def __init__(self, requeue):
        self.requeue = requeue

    def take(self, priority, ctxt, publisher_id, event_type, payload, metadata):
        say(event="event", priority=priority, context=ctxt, publisher=publisher_id, type=event_type,
            payload=payload, message_id=metadata["message_id"], timestamp=metadata["timestamp"])
        if self.requeue > 0:
            self.requeue -= 1
            return oslo_messaging.NotificationResult.REQUEUE

    def info(self, *args):
        return self.take("info", *args)

    def warn(self, *args):
        return self.take("warn", *args)

    def error(self, *args):
        return self.take("error", *args)


def serve(topic, host):
    target = oslo_messaging.Target(topic=topic, server=host)
    server = oslo_messaging.get_rpc_server(TRANSPORT, target, [Endpoint(host), Named()], executor="threading")
    server.start()


def client(command):
    target = oslo_messaging.Target(topic=command["topic"], version="1.0")
    made = oslo_messaging.RPCClient(TRANSPORT, target, timeout=10)
    keys = ("server", "fanout", "namespace", "version", "timeout", "call_monitor_timeout")
    return made.prepare(**{key: command[key] for key in keys if key in command})


def listen(topic, pool=None, requeue=0):
    targets = [oslo_messaging.Target(topic=topic)]
    listener = oslo_messaging.get_notification_listener(
        NOTIFIER_TRANSPORT, targets, [Listener(requeue)], executor="threading", pool=pool, allow_requeue=True)
    listener.start()


def notify(command):
    notifier = oslo_messaging.Notifier(
        NOTIFIER_TRANSPORT, driver=command["driver"], publisher_id=command["publisher"], topics=[command["topic"]])
    getattr(notifier, command["priority"])(command.get("context", {}), command["type"], command["payload"])


def perform(command):
    do = command["do"]
    if do == "serve":
        return serve(command["topic"], command["host"])
    if do == "listen":
        return listen(command["topic"], command.get("pool"), command.get("requeue", 0))
    if do == "notify":
        return notify(command)
    context, method, args = command.get("context", {}), command["method"], command.get("args", {})
    return getattr(client(command), do)(context, method, **args)


def answer(command):
    try:
        say(id=command["id"], result=perform(command))
    except Exception as error:
        say(id=command["id"], error={
            "type": type(error).__name__,
            "module": type(error).__module__,
            "message": str(error),
            "exc_type": getattr(error, "exc_type", None),
            "kwargs": getattr(error, "kwargs", {}),
        })


def repeat(command):
    """Many calls, some at once; the answers in their order."""
    answers = [None] * command["count"]
    numbers = iter(range(command["count"]))

    def work():
        for n in numbers:
            answers[n] = client(command).call({}, command["method"], value=n)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(id=command["id"], result=answers)


def main():
    say(event="ready")
    for line in sys.stdin:
        command = json.loads(line)
        work = repeat if command["do"] == "repeat" else answer
        threading.Thread(target=work, args=(command,), daemon=True).start()


main()
