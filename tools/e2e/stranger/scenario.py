"""One device's life against a real node."""

import random
import time
import urllib.parse

import codec
from codec import Frame
from device import Closed, Device


def payloads(device):
    return [payload for _, _, payload in device.delivered]


class Scenario:
    def __init__(self, target, backend, report):
        self.target, self.backend, self.report = target, backend, report
        self.tag = "%08x" % random.getrandbits(32)
        self.token = backend.issue()
        self.device = Device(self.token, target)
        self.me = {"token": self.token}

    def text(self, word):
        return "%s-%s" % (word, self.tag)

    def mine(self, begin=0):
        """Payloads of this run, in order; on a shared app other people's broadcasts may be between."""
        texts = [p.decode("utf-8", "replace") for p in payloads(self.device)[begin:]]
        return [t[:-len(self.tag) - 1] for t in texts if t.endswith("-" + self.tag)]

    def sees(self, words, begin, timeout=5.0):
        self.device.run(lambda: len(self.mine(begin)) >= len(words), timeout)
        self.device.run(timeout=0.3)  # and nothing behind them
        got = self.mine(begin)
        return got == words, "got %s" % ", ".join(got)

    def acked(self, message, timeout=5.0):
        deadline, count = time.monotonic() + timeout, 0
        while time.monotonic() < deadline:
            count = self.backend.acked(message)
            if count:
                break
            self.device.run(timeout=0.1)
        return count

    def play(self):
        for act in (self.greet, self.beat, self.deliver, self.resume, self.stale, self.farewell_ack, self.burst,
                    self.cut, self.ahead, self.topics, self.memberships, self.other_epoch, self.replaced,
                    self.refusals, self.skipped):
            try:
                act()
            except Closed as closed:
                self.report.check("%s: the connection stays" % act.__name__, False, closed.why)
            except Exception as error:  # a check that failed before may leave anything behind
                self.report.check("%s: no error" % act.__name__, False, "%s: %s" % (type(error).__name__, error))
        self.device.disconnect()
        self.report.check("no holes", self.device.counts["holes"] == 0, self.device.counts)

    def greet(self):
        self.device.connect()
        reply = self.device.probe()
        self.device.ping()
        self.device.run(lambda: self.device.counts["pongs"])
        self.report.check("pong before hello", self.device.counts["pongs"] == 1)
        self.report.check("probe answered", reply is not None, reply and "load %d, retry after %d ms, %.1f ms" % (
            reply[0], reply[1], reply[2] * 1000))
        welcome = self.device.login()
        self.report.check("welcome", welcome is not None, welcome)
        self.report.check("a first login starts the inbox at 0", self.device.positions[0] == 0, self.device.positions)

    def beat(self):
        pongs = self.device.counts["pongs"]
        self.device.ping()
        self.device.run(lambda: self.device.counts["pongs"] > pongs)
        self.report.check("pong answers ping", self.device.counts["pongs"] == pongs + 1)

    def deliver(self):
        begin = len(self.device.delivered)
        message = self.backend.push(self.me, self.text("first"))
        self.report.check("push received", *self.sees(["first"], begin))
        self.report.check("its seq is 1", self.device.positions[0] == 1, self.device.positions)
        self.report.check("acked over HTTP", self.acked(message) == 1)

    def resume(self):
        """Dies with an unacknowledged and unsaved push; both it and one pushed meanwhile come, once, in order."""
        device = self.device
        saved, begin = device.save(), len(device.delivered)
        device.auto_ack = False
        lost = self.backend.push(self.me, self.text("second"))
        self.report.check("second push received", *self.sees(["second"], begin))
        device.disconnect()
        self.report.check("unacknowledged stays unacknowledged", self.backend.acked(lost) == 0)
        device.restore(saved)  # the crash took message and position with it
        del device.delivered[begin:]
        device.auto_ack = True
        third = self.backend.push(self.me, self.text("third"))
        duplicates = device.counts["duplicates"]
        welcome = device.come_back()
        self.report.check("the epoch is the same", welcome.epoch == saved["epoch"])
        self.report.check("resumed: each once, in order", *self.sees(["second", "third"], begin))
        self.report.check("resumed: no duplicates", device.counts["duplicates"] == duplicates)
        self.report.check("resumed: acked", self.acked(lost) == 1 and self.acked(third) == 1)

    def stale(self):
        """Kept the message, but its Hello tells an older position: what comes again is dropped, yet acknowledged."""
        device = self.device
        old, begin, duplicates = dict(device.positions), len(device.delivered), device.counts["duplicates"]
        device.auto_ack = False
        message = self.backend.push(self.me, self.text("fourth"))
        self.report.check("fourth push received", *self.sees(["fourth"], begin))
        device.disconnect()
        device.auto_ack = True
        device.connect()
        device.login(claim=old)
        device.run(lambda: device.counts["duplicates"] > duplicates)
        self.report.check("duplicate dropped", device.counts["duplicates"] == duplicates + 1 and
                          self.mine(begin) == ["fourth"], device.counts)
        self.report.check("duplicate acknowledged", self.acked(message) == 1)

    def farewell_ack(self):
        """The positions of a Hello count as an acknowledgement."""
        device = self.device
        begin, duplicates = len(device.delivered), device.counts["duplicates"]
        device.auto_ack = False
        message = self.backend.push(self.me, self.text("fifth"))
        self.report.check("fifth push received", *self.sees(["fifth"], begin))
        device.disconnect()
        device.auto_ack = True
        device.come_back()
        self.report.check("hello acknowledges", self.acked(message) == 1)
        good, detail = self.sees(["fifth"], begin)
        self.report.check("and nothing comes again", good and device.counts["duplicates"] == duplicates, detail)

    def burst(self):
        """More messages than the window holds: they come only because acknowledgements go."""
        begin, acks = len(self.device.delivered), self.device.counts["acks"]
        words = ["b%03d" % n for n in range(150)]
        for word in words:
            self.backend.push(self.me, self.text(word))
        good, detail = self.sees(words, begin, 20.0)
        self.report.check("150 messages in order", good, "%d acks" % (self.device.counts["acks"] - acks)
                          if good else detail)

    def cut(self):
        """An Ack above the last number sent counts as that number: no more, and no less."""
        device, begin = self.device, len(self.device.delivered)
        device.auto_ack = False
        message = self.backend.push(self.me, self.text("sixth"))
        self.report.check("sixth push received", *self.sees(["sixth"], begin))
        device.send(Frame("Ack", positions=[(0, device.positions[0] + 1000)]))
        self.report.check("an ack too high acknowledges what was sent", self.acked(message) == 1)
        later = self.backend.push(self.me, self.text("seventh"))
        self.report.check("and what comes later still comes", *self.sees(["sixth", "seventh"], begin))
        self.report.check("unacknowledged", self.backend.acked(later) == 0)
        device.auto_ack = True
        device.acknowledge()
        self.report.check("until it is acknowledged", self.acked(later) == 1)

    def ahead(self):
        """A Hello above the last number given out: the Welcome names that one, and the device goes back to it."""
        device, position = self.device, self.device.positions[0]
        device.connect()
        device.positions[0] = position + 1000
        device.login()
        self.report.check("a device ahead of the server is rewound", device.positions[0] == position and
                          device.counts["rewound"] == 1, device.positions)
        begin = len(device.delivered)
        self.backend.push(self.me, self.text("eighth"))
        self.report.check("and receives again", *self.sees(["eighth"], begin))

    def topics(self):
        device, topic = self.device, "stranger/%s/köln" % self.tag
        answer = device.subscribe(topic)
        self.report.check("subscribed", answer and answer.status == 0 and answer.stream >= 2, answer)
        again = device.subscribe(topic)
        self.report.check("asking twice is harmless", again and again.status == 0 and again.stream == answer.stream,
                          again)
        begin = len(device.delivered)
        message = self.backend.push({"topic": topic}, self.text("topic"))
        self.report.check("topic push received", *self.sees(["topic"], begin))
        self.report.check("under the topic's stream", device.delivered[-1][:2] == (answer.stream, answer.seq + 1),
                          device.delivered[-1][:2])
        self.report.check("topic push acked", self.acked(message) == 1)
        begin = len(device.delivered)
        self.backend.push({"all": True}, self.text("broadcast"))
        self.report.check("broadcast received", *self.sees(["broadcast"], begin))
        self.report.check("under stream 1", device.delivered[-1][0] == 1, device.delivered[-1][:2])
        begin, before = len(device.delivered), device.counts["transient"]
        positions = dict(device.positions)
        self.backend.push(self.me, self.text("transient"), ttl="0s")
        self.report.check("transient received", *self.sees(["transient"], begin))
        self.report.check("transient has no number", device.counts["transient"] == before + 1 and
                          device.positions == positions, device.delivered[-1][:2])
        device.disconnect()
        self.backend.push({"topic": topic}, self.text("while-away"))
        begin = len(device.delivered)
        device.come_back()
        self.report.check("the membership survives a reconnect", *self.sees(["while-away"], begin))
        gone = device.unsubscribe(topic)
        self.report.check("unsubscribed", gone and (gone.status, gone.stream, gone.seq) == (1, 0, 0), gone)
        self.report.check("the stream is forgotten", answer.stream not in device.positions, device.positions)
        for ask, name, status in ((device.unsubscribe, topic, 1), (device.subscribe, "tab\there", 3),
                                  (device.subscribe, "", 3), (device.unsubscribe, "tab\there", 3)):
            answer = ask(name)
            self.report.check("%s %r is status %d" % (ask.__name__, name, status),
                              answer and (answer.status, answer.stream, answer.seq) == (status, 0, 0), answer)

    def memberships(self):
        """What the back end changed while the device was away is told right behind the Welcome."""
        device, old, new = self.device, "stranger/%s/old" % self.tag, "stranger/%s/new" % self.tag
        stream = device.subscribe(old).stream
        begin = len(device.delivered)
        self.backend.push({"topic": old}, self.text("last-words"))  # a position above 0 is one the Hello names
        self.report.check("old topic heard", *self.sees(["last-words"], begin))
        device.disconnect()
        self.backend.call("DELETE", "/devices/%s/topics/%s" % (self.token, urllib.parse.quote(old, "")))
        self.backend.call("PUT", "/devices/%s/topics/%s" % (self.token, urllib.parse.quote(new, "")))
        device.come_back()
        device.run(lambda: len(device.subscriptions) >= 2)
        told = {(s.topic, s.status) for s in device.subscriptions}
        self.report.check("memberships changed while away are told by name", told == {(old, 1), (new, 0)}, told)
        self.report.check("the left stream is forgotten, the new one known",
                          stream not in device.positions and old not in device.topics and new in device.topics,
                          device.topics)
        device.unsubscribe(new)

    def other_epoch(self):
        """Positions of an epoch that is not the server's are not looked at."""
        device, own, begin = self.device, dict(self.device.positions), len(self.device.delivered)
        device.disconnect()
        device.epoch ^= 1
        device.positions[0] += 1000
        device.come_back()
        device.run(timeout=0.3)
        self.report.check("another epoch: starts from what is acknowledged", device.counts["new_epochs"] == 1 and
                          device.positions[0] == own[0] and len(device.delivered) == begin, device.positions)

    def replaced(self):
        second = self.another()
        goaway = self.ending(self.device)
        self.report.check("the older connection is replaced", goaway.reason == "replaced", goaway.why)
        self.report.check("and stays away by itself", self.device.stopped and goaway.goaway.retry_after_ms == 0)
        begin = len(second.delivered)
        self.backend.push(self.me, self.text("to-the-second"))
        second.run(lambda: len(second.delivered) > begin)
        self.report.check("the newer one receives", self.text("to-the-second").encode() in payloads(second))
        second.disconnect()
        self.device.restore(second.save())

    def ending(self, device, timeout=5.0):
        """Waits for the end of the connection."""
        try:
            device.run(timeout=timeout)
        except Closed as closed:
            return closed
        device.disconnect()
        return Closed("still open after %.0f s" % timeout)

    def refusals(self):
        """Each ends a connection of its own, with this reason."""
        hello = lambda version, token: codec.encode(
            Frame("Hello", version=version, token=token, heartbeat_s=0, epoch=0, positions=[])).hex()
        for name, login, data, reason in (
                ("a frame that is cut short", True, "81 01 00", "protocol"),
                ("an unknown bare frame", True, "00", "protocol"),
                ("a varint not in its shortest form", True, "81 80 00", "protocol"),
                ("an unknown critical frame", True, "f0", "protocol"),
                ("a frame of the wrong side", True, "86 02 00 32", "protocol"),
                ("a second Hello", True, hello(1, b""), "protocol"),
                ("a topic that is not UTF-8", True, "82 01 ff", "protocol"),
                ("a topic of 129 bytes", True, "82 81 01" + "61" * 129, "protocol"),
                ("a length over the limit", True, "81 81 10", "frame_too_large"),
                ("an Ack before Hello", False, "81 02 00 01", "protocol"),
                ("a fourth Probe", False, "03 03 03 03", "protocol"),
                ("another version", False, hello(2, b""), "version"),
                ("another version in another form", False, "c0 03 02 ff 41", "version"),
                ("a token nobody issued", False, hello(1, bytes(32)), "token_invalid"),
        ):
            device = self.another(login)
            if data.startswith("c0"):
                device.state = "greeting"
            device.send_raw(bytes.fromhex(data))
            end = self.ending(device)
            good = end.reason == reason and (end.goaway.retry_after_ms == 0 or not device.stopped)
            self.report.check("%s: %s" % (name, reason), good, end.why)

    def skipped(self):
        device = self.another()
        device.send_raw(bytes.fromhex("b0 02 aa bb"))
        device.ping()
        device.run(lambda: device.counts["pongs"])
        self.report.check("an unknown frame that is not critical is skipped", device.counts["pongs"] == 1)
        device.disconnect()

    def another(self, login=True):
        """A connection of its own for the same device."""
        device = Device(self.token, self.target)
        device.restore(self.device.save())
        device.connect()
        if login:
            device.login()
        return device
