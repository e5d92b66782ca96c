"""What was checked, for people and for machines."""

import json


class Report:
    def __init__(self, as_json):
        self.as_json, self.checks = as_json, []

    def check(self, name, good, detail=""):
        self.checks.append({"check": name, "ok": bool(good), "detail": str(detail)})
        quiet = good and name.startswith("vector ")
        if not self.as_json and not quiet:
            print("%-4s %s%s" % ("ok" if good else "FAIL", name, "  (%s)" % (detail,) if str(detail) else ""))

    def finish(self):
        failed = [c["check"] for c in self.checks if not c["ok"]]
        if self.as_json:
            print(json.dumps({"ok": not failed, "checks": self.checks, "failed": failed}, ensure_ascii=False))
        else:
            print("%d checks, %d failed" % (len(self.checks), len(failed)))
        return 1 if failed else 0
