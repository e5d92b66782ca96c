"""What a device does with frames that a healthy node seldom sends, played to it over a socket pair."""

import base64
import socket
import time

import codec
from codec import Frame
from device import Closed, Device

END = bytes([0x90, 0])  # a frame to be skipped: when it is, so is what came before it


class Stage:
    """A device that is logged in to us: epoch 7, inbox at 10, the topic "news" at 5 under stream 3."""

    def __init__(self, welcome=((0, 10), (1, 0), (3, 5)), epoch=7, logged_in=True):
        self.device = Device(base64.urlsafe_b64encode(bytes(32)).decode(), "127.0.0.1:0")
        self.device.restore({"epoch": 7, "positions": {0: 10, 1: 0, 3: 5}, "topics": {"news": 3}})
        self.server, self.device.sock = socket.socketpair()
        if logged_in:
            self.say(Frame("Welcome", version=1, epoch=epoch, heartbeat_s=240, ack_delay_ms=60000, ack_every=32,
                           positions=list(welcome)))
            self.device.login()
            self.heard()

    def say(self, *frames):
        self.server.sendall(b"".join(map(codec.encode, frames)))

    def play(self, *frames):
        """Says them, lets the device handle them, and returns what it answered, or how the connection ended."""
        self.say(*frames)
        self.server.sendall(END)
        seen = self.device.counts["skipped"]
        try:
            self.device.run(lambda: self.device.counts["skipped"] > seen)
        except Closed as closed:
            return closed
        return self.heard()

    def heard(self):
        self.server.setblocking(False)
        data, frames = b"", []
        try:
            data = self.server.recv(65536)
        except BlockingIOError:
            pass
        while data:
            frame, used = codec.decode(data, "device")
            frames.append(str(frame))
            data = data[used:]
        return frames


def push(stream, seq):
    return Frame("Push", stream=stream, seq=seq, payload=b"%d:%d" % (stream, seq))


def subscription(status, stream=0, seq=0):
    return Frame("Subscription", status=status, stream=stream, seq=seq, topic="news")


def check(report):
    s = Stage(welcome=((0, 8), (1, 0), (3, 5)))
    report.check("rule: a Welcome below the Hello rewinds", s.device.positions[0] == 8 and
                 s.device.counts["rewound"] == 1)
    s.play(push(0, 9))
    report.check("rule: then the numbers lost are new messages", s.device.delivered == [(0, 9, b"0:9")])

    s = Stage()
    s.play(Frame("Gap", stream=0, seq=4), subscription(0, 3, 1))
    report.check("rule: a lower Gap or Subscription changes nothing", s.device.positions == {0: 10, 1: 0, 3: 5})
    s.play(Frame("Gap", stream=0, seq=13))
    report.check("rule: a higher Gap counts what is gone", s.device.positions[0] == 13 and s.device.counts["gaps"] == 3)

    s = Stage()
    answer = s.play(push(0, 11), Frame("Sync", epoch=8, positions=[(0, 0), (1, 4)]))
    report.check("rule: a Sync is answered by an empty Ack alone", answer == ["Ack positions=[]"], answer)
    report.check("rule: and starts anew", (s.device.epoch, s.device.positions) == (8, {0: 0, 1: 4}) and
                 not s.device.topics and s.device.counts["new_epochs"] == 1)

    s = Stage()
    answer = s.play(push(0, 11), Frame("Sync", epoch=7, positions=[(0, 9), (1, 6)]))
    report.check("rule: a Sync of our own epoch moves nothing back",
                 answer == ["Ack positions=[]"] and s.device.positions[0] == 11 and s.device.positions[1] == 6,
                 s.device.positions)

    s = Stage()
    answer = s.play(push(3, 6), subscription(1))
    s.device.acknowledge()
    report.check("rule: a stream that was left is forgotten and not acknowledged", answer == [] and s.heard() == [] and
                 3 not in s.device.positions, s.device.positions)

    s = Stage()
    answer = s.play(*[push(0, seq) for seq in range(11, 43)])
    report.check("rule: ack_every pushes are acknowledged at once", answer == ["Ack positions=[0:42]"], answer)

    s = Stage()
    s.play(push(9, 0))
    report.check("rule: a transient push makes no stream known", 9 not in s.device.positions and s.device.unacked == 0)

    s = Stage()
    end = s.play(Frame("GoAway", reason=11, retry_after_ms=2**32 - 1, addresses=["a:1", "b:2"]))
    report.check("rule: draining may come back, elsewhere and within an hour", end.reason == "draining" and
                 not s.device.stopped and s.device.offered == ["a:1", "b:2"] and
                 s.device.not_before <= time.monotonic() + 3600, end)
    s = Stage()
    s.play(Frame("GoAway", reason=6, retry_after_ms=0, addresses=[]))
    report.check("rule: replaced stays away", s.device.stopped)

    end = Stage(logged_in=False).play(Frame("Pong"))
    report.check("rule: a Pong before Hello needs a Ping", isinstance(end, Closed))
    s = Stage(logged_in=False)
    s.device.ping()
    report.check("rule: and is fine after one", s.play(Frame("Pong")) == ["Ping"] and s.device.counts["pongs"] == 1)
    try:
        Stage(epoch=0)
        report.check("rule: epoch 0 is refused", False)
    except Closed as closed:
        report.check("rule: epoch 0 is refused", True, closed.why)
