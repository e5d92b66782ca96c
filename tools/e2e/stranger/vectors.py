"""The document's own test vectors, judged by the codec."""

import re

import codec

ROW = re.compile(r"^\| ([VD]\d+) \| (device|server) \| `([0-9a-f ]*)` \| `(.*)` \|$")


def check(path, report):
    with open(path, encoding="utf-8") as document:
        rows = [row.groups() for row in map(ROW.match, document.read().splitlines()) if row]
    report.check("vectors: the tables are there", len(rows) > 0, "%d rows" % len(rows))
    for name, sender, text, meaning in rows:
        faults = judge(bytes.fromhex(text), sender, meaning, both_ways=name.startswith("V"))
        report.check("vector %s" % name, not faults, "; ".join(faults) or meaning[:60])


def judge(data, sender, meaning, both_ways):
    """What is wrong with one row, as a list of texts."""
    try:
        frame, used = codec.decode(data, sender)
        got = str(frame) if frame else "skip %d" % used
    except codec.Need as need:
        frame, got = None, "need %d" % need.total
    except codec.Refused as refused:
        # The words of a refusal are each client's own.
        return [] if meaning.startswith("refuse: ") else ["refused: %s" % refused]
    faults = [] if got == meaning else ["got %s" % got]
    if frame:
        if used != len(data):
            faults.append("used %d of %d bytes" % (used, len(data)))
        if both_ways and codec.encode(parse(meaning) or frame) != data:
            faults.append("does not encode to these bytes again")
        faults += split(data, sender)
    return faults


def split(data, sender):
    """Every beginning of a good frame must ask for more, never for more than there is."""
    for cut in range(len(data)):
        try:
            codec.decode(data[:cut], sender)
        except codec.Need as need:
            if cut < need.total <= len(data):
                continue
        except codec.Refused:
            pass
        return ["its first %d bytes are not told as unfinished" % cut]
    return []


def parse(meaning):
    """The frame of a "Meaning", built from its text; None if that does not hold all of it."""
    name, _, text = meaning.partition(" ")
    kind, fields = codec.TYPES[name], {}
    for field, how in codec.SCHEMA[kind][1].items() if kind >= 0x80 else ():
        assert text.startswith(field + "="), (field, text)
        text = text[len(field) + 1:]
        if how in ("payload", "topic", "addresses"):  # always the last one, so blanks belong to it
            value, text = text, ""
        elif text.startswith("["):
            value, _, text = text[1:].partition("]")
            text = text[1:]
        else:
            value, _, text = text.partition(" ")
        if field == "reason" and value not in codec.REASONS.values():
            return None
        fields[field] = value_of(field, how, value)
    return codec.Frame(name, **fields)


def value_of(field, how, text):
    if field == "reason":
        return next(code for code, word in codec.REASONS.items() if word == text)
    if how == "token":
        return bytes.fromhex(text)
    if how == "payload":
        return text.encode()
    if how == "topic":
        return text
    if how == "addresses":
        return text.split(",") if text else []
    if how.endswith("pairs"):
        return [tuple(map(int, pair.split(":"))) for pair in text.split()]
    return int(text)
