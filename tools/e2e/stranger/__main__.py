"""A stranger's device client for Moorline: written from docs/protocol.md alone, with the standard library alone.

    stranger --target HOST:PORT --api URL --app A --key K [--json]     play a device against a running node
    stranger --vectors docs/protocol.md [--json]                       check the document's test vectors and rules

Both may be given at once. It exits with 0 if every check held, 1 if one failed, 2 if it could not begin.

     scenario ── backend       the run against a node, and the HTTP half of it
        │          vectors     the document's test vectors
     device ────── rules       what a healthy node seldom sends
        │
     codec                     frames to bytes and back
"""

import argparse
import sys

import rules
import vectors
from backend import BackEnd
from report import Report
from scenario import Scenario


def main():
    parser = argparse.ArgumentParser(prog="stranger", description=__doc__.split("\n")[0])
    parser.add_argument("--target", metavar="HOST:PORT", help="the node's device port")
    parser.add_argument("--api", metavar="URL", help="the node's HTTP API")
    parser.add_argument("--app", help="the app's name")
    parser.add_argument("--key", help="the app's key")
    parser.add_argument("--vectors", metavar="FILE", help="check the test vectors of this document")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = parser.parse_args()
    online = [given.target, given.api, given.app, given.key]
    if any(online) and not all(online):
        parser.error("--target, --api, --app and --key belong together")
    if not any(online) and not given.vectors:
        parser.error("give --vectors, or --target, --api, --app and --key")
    report = Report(given.json)
    try:
        if given.vectors:
            vectors.check(given.vectors, report)
            rules.check(report)
        scenario = Scenario(given.target, BackEnd(given.api, given.app, given.key), report) if given.target else None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        print("stranger: cannot begin: %s" % error, file=sys.stderr)
        return 2
    if scenario:
        scenario.play()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
