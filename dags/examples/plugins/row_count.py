#!/usr/bin/env python3
"""The operator `row_count`: reads a request, writes log lines and an outcome, all of it JSON."""

import csv
import json
import sys


def say(**line):
    print(json.dumps(line), flush=True)


def main():
    request = json.load(sys.stdin)
    args = request["args"]
    try:
        with open(args["path"], newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        say(log="%s isn't there yet" % args["path"])
        # `waited` says how long ago the first attempt of this try was: `0s`, `5m`, `1h30m`.
        if "h" in request["waited"]:
            say(outcome={"failed": {"reason": "the file didn't come within an hour"}})
        else:
            say(outcome={"reschedule": {"after": "5m"}})
        return
    count = max(len(rows) - 1, 0)
    say(log="%d rows on %s" % (count, request["context"]["ds"]))
    if count < args["at_least"]:
        say(outcome={"failed": {"reason": "%d rows, expected at least %d" % (count, args["at_least"])}})
    else:
        say(outcome="success", result={"rows": count, "columns": rows[0] if rows else []})


main()
