"""Holds a live Updraft against its OpenAPI documents with schemathesis. Arguments: address, file of the first password, a
folder, how many examples each operation is tried with.

Everything that a path can name is made first, and named most of the time: a name that nothing has ends at the door.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

ADDRESS, FIRST, FOLDER, EXAMPLES = sys.argv[1:]
PASSWORD = "a long enough phrase"
V1, V2 = "/api/updraft/v1", "/api/v2"
SEED = 20261128


def call(method, path, body=None, token=None, expected=(200, 201, 204)):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = "Bearer " + token
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    assert status in expected, (method, path, status, text)
    return json.loads(text) if text else None


def sign_in(name, password):
    return call("POST", "/auth/token", {"username": name, "password": password})["access_token"]


def prepare():
    """One of everything, and what to call it."""
    with open(FIRST) as file:
        first = file.read().strip()
    call("POST", V1 + "/me/password", {"old": first, "new": PASSWORD}, sign_in("admin", first))
    own = sign_in("admin", PASSWORD)
    make = lambda method, path, body=None: call(method, path, body, own)
    # The administrator who makes the requests isn't the one whom they may do something to.
    make("POST", V1 + "/users", {"name": "judge", "password": PASSWORD, "platform_admin": True})
    make("PUT", V1 + "/grants/user/judge/tenant_admin")
    make("POST", V1 + "/users", {"name": "target"})
    make("POST", V1 + "/tenants", {"name": "spare"})
    make("POST", V1 + "/service-accounts", {"name": "robot"})
    token = make("POST", V1 + "/service-accounts/robot/tokens", {"name": "one"})["id"]
    make("PUT", V1 + "/groups/crew", {"users": ["target"]})
    make("PUT", V1 + "/roles/custom", {"rules": []})
    make("PUT", V1 + "/quotas/tenant/spare", {})
    make("POST", V2 + "/pools", {"name": "pool", "slots": 3})
    make("POST", V2 + "/variables", {"key": "variable", "value": "one"})
    make("POST", V2 + "/connections", {"connection_id": "connection", "conn_type": "http"})
    make("POST", V2 + "/dags/etl/dagRuns", {"dag_run_id": "run", "logical_date": None})
    wait = urllib.request.Request(
        ADDRESS + V2 + "/dags/etl/dagRuns/run/wait?interval=0.1", headers={"Authorization": "Bearer " + own})
    with urllib.request.urlopen(wait, timeout=60) as answer:
        assert "success" in answer.read().decode()
    made = make("POST", V2 + "/backfills", {
        "dag_id": "etl", "from_date": "2026-01-02T03:00:00Z", "to_date": "2026-01-03T03:00:00Z"})
    asset = make("GET", V2 + "/assets")["assets"][0]["id"]
    event = make("GET", V2 + "/eventLogs")["event_logs"][0]["event_log_id"]
    bundle = make("GET", V1 + "/bundles")["items"][0]["bundle"]
    judge = sign_in("judge", PASSWORD)
    return judge, {
        "dag_id": "etl", "dag_run_id": "run", "task_id": ["extract", "load"], "map_index": -1, "try_number": 1,
        "task_try_number": 1, "version_number": 1, "backfill_id": made["id"], "xcom_key": "return_value",
        "pool_name": "pool", "variable_key": "variable", "connection_id": "connection", "asset_id": asset,
        "event_log_id": event, "token_id": token, "bundle": bundle, "kind": ["user", "tenant"],
        "role": ["viewer", "custom"], "user": "target", "name": ["target", "spare", "robot", "crew", "custom"],
    }


def configure(names):
    """Names that exist, most of the time."""
    lines = []
    for name, values in names.items():
        values = values if isinstance(values, list) else [values]
        lines += [f"[dictionaries.{name}]", "values = " + json.dumps(values)]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.8 }}' for name in names]
    # What the contract has and we haven't answers 501, which no document has: `matrix.rs` asks every method of every path.
    lines += ["[phases.coverage]", "unexpected-methods = []"]
    path = os.path.join(FOLDER, "schemathesis.toml")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


# What isn't asked, and why.
LEFT_OUT = {
    V1: [
        # It goes on for an hour.
        "/api/updraft/v1/events",
        # It takes an archive, which can't be made up; `deployments.rs` sends good and bad ones.
        "/api/updraft/v1/bundles/{bundle}",
        # They end the session that everything else is asked with.
        "/api/updraft/v1/session", "/api/updraft/v1/me/tokens/{token_id}",
    ],
    V2: [
        # It goes on as long as the run does, and there are runs that never begin.
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait",
    ],
}


def run(api, document, token, config):
    path = os.path.join(FOLDER, api.strip("/").replace("/", "-") + ".json")
    with open(path, "w") as file:
        json.dump(call("GET", document, token=token), file)
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    left_out = [argument for one in LEFT_OUT[api] for argument in ("--exclude-path", one)]
    command = [
        program, "--no-color", "--config-file", config, "run", path, "--url", ADDRESS,
        "--header", "Authorization: Bearer " + token, "--seed", str(SEED), "--workers", "1",
        "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--generation-database", "none",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
        "response_schema_conformance,ignored_auth,missing_required_header",
        "--continue-on-failure", "--request-timeout", "30", "--warnings", "off", *left_out,
    ]
    done = subprocess.run(command, cwd=FOLDER, stdin=subprocess.DEVNULL, timeout=3000)
    return done.returncode == 0


judge, names = prepare()
config = configure(names)
documents = [(V1, V1 + "/openapi.json"), (V2, "/openapi.json")]
with concurrent.futures.ThreadPoolExecutor() as both:
    well = list(both.map(lambda of: run(*of, judge, config), documents))
assert call("GET", V1 + "/me", token=judge)["name"] == "judge", "the session is gone: the rest was never asked"
sys.exit(0 if all(well) else 1)
