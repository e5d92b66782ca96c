"""A device as docs/protocol.md describes it: positions, acknowledgements, heartbeat, coming back."""

import base64
import random
import select
import socket
import time

import codec
from codec import Frame

INBOX, BROADCAST = 0, 1
PROBES_MAX = 3
STAY_AWAY = {2, 3, 4, 5, 6}
RETRY_AFTER_S_MAX = 3600
CONNECT_S, WELCOME_S, PONG_S, SUBSCRIPTION_S = 10, 20, 10, 10

# Frames of the server, by state; everything else is an error. A Pong needs a Ping before it.
ALLOWED = {
    "idle": {"Pong", "ProbeReply", "GoAway"},
    "greeting": {"Welcome", "Pong", "ProbeReply", "GoAway"},
    "attached": {"Push", "Gap", "Sync", "Subscription", "Pong", "GoAway"},
}


class Closed(Exception):
    """The connection ended; `goaway` is the farewell frame, or None when there was none."""

    def __init__(self, why, goaway=None):
        super().__init__(why)
        self.why, self.goaway = why, goaway

    @property
    def reason(self):
        return codec.REASONS.get(self.goaway.reason, "unknown") if self.goaway else None


class Device:
    def __init__(self, token, target, heartbeat_s=0, trust=lambda address: True):
        self.token = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        self.known = [target]      # addresses of the app's own configuration
        self.trust = trust         # whether an address of a GoAway may be used
        self.wanted_heartbeat_s = heartbeat_s
        # What an app saves, in one step: these three and the messages.
        self.epoch, self.positions, self.topics = 0, {INBOX: 0, BROADCAST: 0}, {}
        self.delivered = []        # (stream, seq, payload) in the order the app got them
        # What the app is told of; besides messages.
        self.counts = dict.fromkeys(
            ("duplicates", "holes", "gaps", "rewound", "new_epochs", "transient", "pongs", "acks", "skipped"), 0)
        self.auto_ack = True       # off only to play a device that dies before it acknowledges
        self.stopped, self.waits = False, 0
        self.offered, self.not_before = [], 0.0  # of the last GoAway: its addresses, and the lower bound
        self.sock = None
        self._fresh()

    def _fresh(self):
        """What belongs to one connection."""
        self.state = "idle"
        self.buffer = bytearray()
        self.told = {}             # the positions our Hello named
        self.welcome, self.load, self.subscriptions = None, None, []
        self.probes = self.pings = 0
        self.last_sent, self.pinged_at = time.monotonic(), None
        self._nothing_unacknowledged()

    def _nothing_unacknowledged(self):
        self.unacked_streams, self.unacked, self.unacked_since = set(), 0, None

    def save(self):
        return {"epoch": self.epoch, "positions": dict(self.positions), "topics": dict(self.topics)}

    def restore(self, saved):
        self.epoch, self.positions, self.topics = saved["epoch"], dict(saved["positions"]), dict(saved["topics"])

    # ---- the connection

    def connect(self, address=None):
        host, _, port = (address or self.known[0]).rpartition(":")
        self.disconnect()
        try:
            self.sock = socket.create_connection((host.strip("[]"), int(port)), CONNECT_S)
        except OSError as error:
            raise Closed("cannot connect: %s" % error) from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fresh()

    def probe(self, timeout=5.0):
        """Returns (load, retry_after_ms, seconds), or None."""
        assert self.probes < PROBES_MAX
        self.probes += 1
        self.load, began = None, time.monotonic()
        self.send(Frame("Probe"))
        self.run(lambda: self.load, timeout)
        return self.load and self.load + (time.monotonic() - began,)

    def login(self, claim=None):
        """Sends Hello and waits for Welcome. `claim` replaces the positions told, for a device with a stale memory."""
        positions = self.positions if claim is None else claim
        self.told = {stream: seq for stream, seq in sorted(positions.items()) if seq}
        self.send(Frame("Hello", version=codec.VERSION, token=self.token, heartbeat_s=self.wanted_heartbeat_s,
                        epoch=self.epoch, positions=list(self.told.items())[:codec.POSITIONS_MAX]))
        self.state = "greeting"
        if not self.run(lambda: self.welcome, WELCOME_S):
            self._lost("no Welcome within %d s" % WELCOME_S)
        return self.welcome

    def come_back(self, give_up_after=60.0):
        """Connects and logs in as "Coming back" says."""
        deadline, turn, offered = time.monotonic() + give_up_after, 0, self.offered
        while not self.stopped:
            jitter = random.uniform(0, min(300.0, 1.8 ** self.waits))
            pause = max(0.0, self.not_before - time.monotonic()) + jitter
            if time.monotonic() + pause > deadline:
                raise Closed("gave up coming back")
            time.sleep(pause)
            self.waits += 1
            addresses = self.offered + self.known
            try:
                self.connect(addresses[turn % len(addresses)])
                return self.login()
            except Closed:
                turn = turn + 1 if self.offered is offered else 0  # a new list is begun at its first
                offered = self.offered
        raise Closed("stopped by the server's reason")

    def disconnect(self):
        """Drops the connection without a word."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self.state = None, "idle"

    def _lost(self, why, goaway=None):
        self.disconnect()
        raise Closed(why, goaway)

    # ---- sending

    def send(self, frame):
        self.send_raw(codec.encode(frame))

    def send_raw(self, data):
        if self.sock is None:
            raise Closed("not connected")
        try:
            self.sock.sendall(data)
        except OSError as error:
            self._last_words()
            self._lost("send: %s" % error)
        self.last_sent = time.monotonic()

    def _last_words(self):
        """Sending failed: a GoAway may have come before, and says more than the error does."""
        try:
            while select.select([self.sock], [], [], 0)[0] and (data := self.sock.recv(65536)):
                self.buffer += data
        except OSError:
            pass
        self._drain()

    def ping(self):
        self.acknowledge()
        self.send(Frame("Ping"))
        self.pings += 1
        self.pinged_at = time.monotonic()

    def acknowledge(self):
        """One Ack for every stream with unacknowledged pushes; a stream that was left since is not named."""
        if not self.auto_ack:
            return
        pairs = [(stream, self.positions[stream]) for stream in sorted(self.unacked_streams)
                 if stream in self.positions]
        self._nothing_unacknowledged()
        if pairs:  # an empty Ack would answer a Sync
            self.send(Frame("Ack", positions=pairs[:codec.POSITIONS_MAX]))
            self.counts["acks"] += 1

    def subscribe(self, topic, ask="Subscribe"):
        """Asks once, and once more if no answer comes; returns the Subscription or None."""
        for _ in range(2):
            seen = len(self.subscriptions)
            self.send(Frame(ask, topic=topic))
            answer = self.run(lambda: next((s for s in self.subscriptions[seen:] if s.topic == topic), None),
                              SUBSCRIPTION_S)
            if answer:
                return answer
        return None

    def unsubscribe(self, topic):
        return self.subscribe(topic, "Unsubscribe")

    # ---- the loop

    def run(self, until=lambda: False, timeout=5.0):
        """Receives, acknowledges and beats until `until()` is true (returns its value) or the time is over."""
        deadline = time.monotonic() + timeout
        while True:
            self._drain()
            self._duties()
            value, now = until(), time.monotonic()
            if value or now >= deadline:
                return value
            if self.sock is None:
                raise Closed("not connected")
            wait = max(0.0, min([deadline] + [at for at, _ in self._alarms()]) - now)
            if not select.select([self.sock], [], [], wait)[0]:
                continue
            try:
                data = self.sock.recv(65536)
            except OSError as error:
                self._lost("receive: %s" % error)
            if not data:
                self._lost("the server closed without a GoAway")
            self.pinged_at = None  # anything at all is a sign of life
            self.buffer += data

    def _alarms(self):
        """When something has to be done, and what."""
        if self.pinged_at is not None:
            yield self.pinged_at + PONG_S, lambda: self._lost("%d s of silence after a Ping" % PONG_S)
        if self.state == "attached":
            if self.auto_ack and self.unacked_since is not None:
                yield self.unacked_since + self.ack_delay_s, self.acknowledge
            yield self.last_sent + self.heartbeat_s, self.ping

    def _duties(self):
        for at, act in self._alarms():
            if time.monotonic() >= at:
                act()

    def _drain(self):
        """Handles every whole frame received."""
        while self.sock is not None and self.buffer:
            try:
                frame, used = codec.decode(self.buffer, "server")
            except codec.Need:
                return
            except codec.Refused as refused:
                self._lost("refused what the server sent: %s" % refused)
            del self.buffer[:used]
            if frame is None:
                self.counts["skipped"] += 1
            elif frame.name not in ALLOWED[self.state]:
                self._lost("the server sent %s to a device that is %s" % (frame.name, self.state))
            else:
                getattr(self, "_on_" + frame.name.lower())(frame)

    # ---- frames

    def _on_probereply(self, frame):
        if self.state == "idle":
            self.load = (frame.load_permille, frame.retry_after_ms)

    def _on_pong(self, frame):
        if self.pings == 0:
            self._lost("a Pong without a Ping")
        self.counts["pongs"] += 1

    def _on_goaway(self, frame):
        self.stopped = frame.reason in STAY_AWAY
        self.not_before = time.monotonic() + min(frame.retry_after_ms / 1000.0, RETRY_AFTER_S_MAX)
        self.offered = [address for address in frame.addresses if self.trust(address)]
        self._lost("GoAway %s" % codec.REASONS.get(frame.reason, "unknown"), frame)

    def _on_welcome(self, frame):
        if frame.version != codec.VERSION:
            self.stopped = True
            self._lost("the server speaks version %d" % frame.version)
        if frame.epoch == 0:
            self._lost("Welcome with epoch 0")
        self.heartbeat_s, self.ack_delay_s = max(1, frame.heartbeat_s), frame.ack_delay_ms / 1000.0
        self.ack_every = max(1, frame.ack_every)
        if frame.epoch != self.epoch:
            self._new_epoch(frame)
        else:
            for stream, seq in frame.positions:
                self._advance(stream, seq)
                if seq < self.told.get(stream, 0):  # the server lost messages we have
                    self.positions[stream] = seq
                    self.counts["rewound"] += 1
        self.state, self.welcome = "attached", frame
        self.waits, self.offered, self.not_before = 0, [], 0.0

    def _on_sync(self, frame):
        if frame.epoch == self.epoch:
            for stream, seq in frame.positions:
                self._advance(stream, seq)
        else:
            self._new_epoch(frame)
        self.send(Frame("Ack", positions=[]))

    def _new_epoch(self, frame):
        self.counts["new_epochs"] += self.epoch != 0
        self._nothing_unacknowledged()
        self.epoch, self.topics = frame.epoch, {}
        self.positions = {INBOX: 0, BROADCAST: 0, **dict(frame.positions)}

    def _advance(self, stream, seq):
        """What we lack up to `seq` is gone; of a stream new to us nothing was missed."""
        missing = seq - self.positions.setdefault(stream, seq)
        if missing > 0:
            self.counts["gaps"] += missing
            self.positions[stream] = seq

    def _on_gap(self, frame):
        self._advance(frame.stream, frame.seq)

    def _on_subscription(self, frame):
        self.subscriptions.append(frame)
        if frame.status == 0:
            self._advance(frame.stream, frame.seq)
            self.topics[frame.topic] = frame.stream
        elif frame.status == 1:
            self.positions.pop(self.topics.pop(frame.topic, None), None)

    def _on_push(self, frame):
        stream, seq = frame.stream, frame.seq
        if seq == 0:
            self.counts["transient"] += 1
            self.delivered.append((stream, seq, frame.payload))
            return
        position = self.positions.setdefault(stream, seq - 1)
        if seq <= position:
            self.counts["duplicates"] += 1
        else:
            self.counts["holes"] += seq - position - 1
            self.delivered.append((stream, seq, frame.payload))
            self.positions[stream] = seq
        if self.unacked_since is None:
            self.unacked_since = time.monotonic()
        self.unacked_streams.add(stream)
        self.unacked += 1
        if self.unacked >= self.ack_every:
            self.acknowledge()
