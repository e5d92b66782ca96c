"""The three calls of the HTTP API (docs/api.md) that a device's other half needs."""

import json
import re
import urllib.error
import urllib.request


class BackEnd:
    def __init__(self, api, app, key):
        self.base, self.key = "%s/v1/apps/%s" % (api.rstrip("/"), app), key

    def call(self, method, path, body=None):
        headers = {"Authorization": "Bearer " + self.key}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError("%s %s: %d %s" % (method, path, error.code, error.read().decode("utf-8", "replace")))

    def issue(self):
        status, answer = self.call("POST", "/devices", {})
        if status != 201 or not re.fullmatch(r"[A-Za-z0-9_-]{43}", answer["token"]):
            raise RuntimeError("devices: unexpected answer %d %r" % (status, answer))
        return answer["token"]

    def push(self, target, payload, **options):
        status, answer = self.call("POST", "/messages", dict(options, target=target, payload=payload))
        if status != 202:
            raise RuntimeError("messages: unexpected status %d" % status)
        return answer["id"]

    def acked(self, message):
        return self.call("GET", "/messages/%s" % message)[1]["counts"]["acked"]
