"""Frames to bytes and back: sections "Encoding" and "Frames" of docs/protocol.md, and nothing of what they mean."""

VERSION = 1
BODY_MAX = {"server": 65552, "device": 2048}  # by sender
PAYLOAD_MAX = 65536
POSITIONS_MAX, TOKEN_MAX, TOPIC_MAX, ADDRESSES_MAX, ADDRESS_MAX = 100, 64, 128, 8, 100
U32_MAX, U64_MAX = 2**32 - 1, 2**64 - 1

REASONS = {
    1: "protocol", 2: "version", 3: "token_invalid", 4: "token_expired", 5: "revoked", 6: "replaced",
    7: "handshake_timeout", 8: "heartbeat_timeout", 9: "slow_consumer", 10: "server_full", 11: "draining",
    12: "overload", 13: "frame_too_large", 14: "kicked", 15: "peer_closed", 16: "socket_error",
}

BARE = {0x01: "Ping", 0x02: "Pong", 0x03: "Probe"}
# The fields of each body in their order, and how each is written.
SCHEMA = {
    0x80: ("Push", {"stream": "u32", "seq": "u64", "payload": "payload"}),
    0x81: ("Ack", {"positions": "pairs"}),
    0x82: ("Subscribe", {"topic": "topic"}),
    0x83: ("Unsubscribe", {"topic": "topic"}),
    0x84: ("Subscription", {"status": "status", "stream": "u32", "seq": "u64", "topic": "topic"}),
    0x85: ("ProbeReply", {"load_permille": "permille", "retry_after_ms": "u32"}),
    0x86: ("Gap", {"stream": "u32", "seq": "u64"}),
    0xC0: ("Hello", {"version": "u8", "token": "token", "heartbeat_s": "u32", "epoch": "epoch",
                     "positions": "counted pairs"}),
    0xC1: ("Welcome", {"version": "u8", "epoch": "epoch", "heartbeat_s": "u32", "ack_delay_ms": "u32",
                       "ack_every": "u32", "positions": "counted pairs"}),
    0xC2: ("GoAway", {"reason": "u8", "retry_after_ms": "u32", "addresses": "addresses"}),
    0xC3: ("Sync", {"epoch": "epoch", "positions": "counted pairs"}),
}
TYPES = {name: kind for kind, name in BARE.items()} | {name: kind for kind, (name, _) in SCHEMA.items()}


class Refused(Exception):
    """The peer sent what the protocol forbids: the connection ends."""


class Need(Exception):
    """Not a whole frame yet: at least `total` bytes are needed in all."""

    def __init__(self, total):
        super().__init__("need %d" % total)
        self.total = total


class Frame:
    """A frame by name, with its fields as attributes."""

    def __init__(self, name, **fields):
        self.name, self.fields = name, fields

    def __getattr__(self, field):
        try:
            return self.__dict__["fields"][field]
        except KeyError:
            raise AttributeError(field) from None

    def __str__(self):
        """As the document's column "Meaning" writes it."""
        return " ".join([self.name] + ["%s=%s" % (field, self._text(field, value))
                                       for field, value in self.fields.items()])

    @staticmethod
    def _text(field, value):
        if field == "reason":
            return REASONS.get(value, "unknown")
        if field == "positions":
            return "[%s]" % " ".join("%d:%d" % pair for pair in value)
        if field == "addresses":
            return ",".join(value)
        if field == "token":
            return value.hex()
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# ------------------------------------------------------------------------------------------------------- encoding


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(frame):
    kind = TYPES[frame.name]
    if kind < 0x80:
        return bytes([kind])
    body = b"".join(_field(how, frame.fields[field]) for field, how in SCHEMA[kind][1].items())
    return bytes([kind]) + varint(len(body)) + body


def _field(how, value):
    if how in ("u32", "u64", "permille"):
        return varint(value)
    if how in ("u8", "status"):
        return bytes([value])
    if how == "epoch":
        return value.to_bytes(8, "little")
    if how == "token":
        return varint(len(value)) + value
    if how == "payload":
        return value
    if how == "topic":
        return value.encode()
    if how == "addresses":
        return varint(len(value)) + b"".join(varint(len(a.encode())) + a.encode() for a in value)
    count = varint(len(value)) if how == "counted pairs" else b""
    return count + b"".join(varint(stream) + varint(seq) for stream, seq in value)


# ------------------------------------------------------------------------------------------------------- decoding


def read_varint(data, at, longest=10):
    """Returns (value, position behind it); raises Need when `data` ends inside it."""
    value = 0
    for i in range(longest):
        if at + i >= len(data):
            raise Need(at + i + 1)
        byte = data[at + i]
        if i == 9 and byte > 1:
            break
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 and i > 0:
                break
            return value, at + i + 1
    raise Refused("a varint is too long or not in its shortest form")


def decode(data, sender):
    """One call on the bytes at the front: (Frame or None for a skipped one, bytes used). Raises Need, Refused."""
    if not data:
        raise Need(1)
    kind = data[0]
    if kind < 0x80:
        if kind not in BARE:
            raise Refused("bare frame type 0x%02x is unknown" % kind)
        return Frame(BARE[kind]), 1
    if kind not in SCHEMA and kind & 0x40:
        raise Refused("frame type 0x%02x is critical and unknown" % kind)
    length, start = read_varint(data, 1, 3)
    if length > BODY_MAX[sender]:
        raise Refused("a body of %d bytes, the limit is %d" % (length, BODY_MAX[sender]))
    end = start + length
    if len(data) < end:
        raise Need(end)
    if kind not in SCHEMA:
        return None, end
    name, schema = SCHEMA[kind]
    body = Body(bytes(data[start:end]), name)
    fields = {}
    for field, how in schema.items():
        fields[field] = body.read(how, field)
        if name == "Hello" and fields["version"] != VERSION:  # what is behind it is not ours to judge
            fields.update(token=b"", heartbeat_s=0, epoch=0, positions=[])
            break
    return Frame(name, **fields), end


class Body:
    """Reads the fields of one body in their order."""

    def __init__(self, data, frame):
        self.data, self.at, self.frame = data, 0, frame

    def read(self, how, field):
        if how == "u8":
            return self.take(1, field)[0]
        if how == "status":
            return self.at_most(3, self.take(1, field)[0], field)
        if how in ("u32", "u64", "permille"):
            return self.varint(field, {"u32": U32_MAX, "u64": U64_MAX, "permille": 1000}[how])
        if how == "epoch":
            return int.from_bytes(self.take(8, field), "little")
        if how == "token":
            return self.take(self.varint("token length", TOKEN_MAX), field)
        if how == "payload":
            return self.rest(PAYLOAD_MAX, field)
        if how == "topic":
            return self.text(self.rest(TOPIC_MAX, field), field)
        if how == "addresses":
            return [self.address() for _ in range(self.varint("address count", ADDRESSES_MAX))]
        if how == "counted pairs":
            return [self.pair() for _ in range(self.varint("count", POSITIONS_MAX))]
        pairs = []
        while self.at < len(self.data):
            pairs.append(self.pair())
            self.at_most(POSITIONS_MAX, len(pairs), field)
        return pairs

    def at_most(self, most, value, field):
        if value > most:
            raise Refused("%s: %s has a forbidden value" % (self.frame, field))
        return value

    def varint(self, field, most=U64_MAX, longest=10):
        try:
            value, self.at = read_varint(self.data, self.at, longest)
        except Need:
            raise Refused("the body ends before the end of %s: %s" % (self.frame, field)) from None
        return self.at_most(most, value, field)

    def take(self, count, field):
        if len(self.data) - self.at < count:
            raise Refused("the body ends before the end of %s: %s" % (self.frame, field))
        self.at += count
        return self.data[self.at - count:self.at]

    def rest(self, most, field):
        return self.take(self.at_most(most, len(self.data) - self.at, field), field)

    def text(self, raw, field):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("%s: %s is not UTF-8" % (self.frame, field)) from None

    def pair(self):
        return self.varint("stream", U32_MAX, 5), self.varint("seq")

    def address(self):
        length = self.varint("address length", ADDRESS_MAX)
        if length == 0:
            raise Refused("%s: an address is empty" % self.frame)
        return self.text(self.take(length, "address"), "address")
