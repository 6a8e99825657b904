"""Drives a live Updraft with Airflow's own, unmodified clients. Arguments: address, file of the first password, a folder.

Prints a line per step, so that a failure says how far it came.
"""

import json
import os
import subprocess
import sys
import urllib.request

import airflow_client.client as airflow
from airflow_client.client.api import (
    asset_api, backfill_api, connection_api, dag_api, dag_run_api, dag_stats_api, event_log_api, import_error_api, monitor_api,
    pool_api, provider_api, task_api, task_instance_api, variable_api, version_api, x_com_api,
)
from airflow_client.client import models

ADDRESS, FIRST, FOLDER = sys.argv[1:]
PASSWORD = "a long enough phrase"


def step(text):
    print(text, flush=True)


def post(path, body, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    request = urllib.request.Request(ADDRESS + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def sign_in(password):
    status, body = post("/auth/token", {"username": "admin", "password": password})
    assert status == 201, status
    return body["access_token"]


with open(FIRST) as file:
    first = file.read().strip()
post("/api/updraft/v1/me/password", {"old": first, "new": PASSWORD}, sign_in(first))
token = sign_in(PASSWORD)
step("signed in")

configuration = airflow.Configuration(host=ADDRESS, access_token=token)
with airflow.ApiClient(configuration) as client:
    assert version_api.VersionApi(client).get_version().version
    assert monitor_api.MonitorApi(client).get_health().scheduler.status == "healthy"
    dags = dag_api.DAGApi(client)
    names = {dag.dag_id for dag in dags.get_dags().dags}
    assert {"etl", "reader"} <= names, names
    assert dags.get_dag("etl").dag_id == "etl"
    assert dags.get_dag_details("etl").timezone == "UTC"
    assert dags.patch_dag("etl", models.DAGPatchBody(is_paused=False)).is_paused is False
    assert {task.task_id for task in task_api.TaskApi(client).get_tasks("etl").tasks} == {"extract", "load"}
    step("DAGs")

    runs = dag_run_api.DagRunApi(client)
    body = models.TriggerDAGRunPostBody(dag_run_id="by_client", logical_date=None, conf={"x": 1})
    assert runs.trigger_dag_run("etl", body).state in ("queued", "running", "success")
    runs.wait_dag_run_until_finished_without_preload_content("etl", "by_client", interval=0.1).read()
    run = runs.get_dag_run("etl", "by_client")
    assert run.state == "success" and run.conf == {"x": 1}, run
    assert "by_client" in {run.dag_run_id for run in runs.get_dag_runs("~").dag_runs}
    batch = runs.get_list_dag_runs_batch("~", models.DAGRunsBatchBody(dag_ids=["etl"], states=["success"]))
    assert "by_client" in {run.dag_run_id for run in batch.dag_runs}, batch
    stats = dag_stats_api.DagStatsApi(client).get_dag_stats(dag_ids=["etl"]).dags[0]
    assert {one.state: one.count for one in stats.stats}["success"] >= 1, stats
    assert dags.get_dag_tags().tags == ["nightly"]
    step("runs")

    tasks = task_instance_api.TaskInstanceApi(client)
    found = tasks.get_task_instances("etl", "by_client").task_instances
    assert {task.task_id: task.state for task in found} == {"extract": "success", "load": "success"}, found
    assert tasks.get_task_instance("etl", "by_client", "extract").try_number == 1
    log = tasks.get_log("etl", "by_client", "extract", 1, accept="application/json")
    assert "hello from the task" in str(log), log
    assert tasks.get_task_instance_tries("etl", "by_client", "extract").total_entries == 1
    value = x_com_api.XComApi(client).get_xcom_entry("etl", "extract", "by_client", "return_value")
    assert "rows" in str(value.actual_instance.value), value
    cleared = tasks.post_clear_task_instances("etl", models.ClearTaskInstancesBody(
        dry_run=False, dag_run_id="by_client", only_failed=False, task_ids=[models.ClearTaskInstancesBodyTaskIdsInner("load")]))
    assert cleared.total_entries == 1, cleared
    runs.wait_dag_run_until_finished_without_preload_content("etl", "by_client", interval=0.1).read()
    assert tasks.get_task_instance("etl", "by_client", "load").try_number == 2
    step("task instances")

    pools = pool_api.PoolApi(client)
    pools.post_pool(models.PoolBody(name="client_pool", slots=3))
    assert pools.patch_pool("client_pool", models.PoolPatchBody(slots=4)).slots == 4
    assert "client_pool" in {pool.name for pool in pools.get_pools().pools}
    pools.delete_pool("client_pool")
    variables = variable_api.VariableApi(client)
    variables.post_variable(models.VariableBody(key="client_variable", value="one"))
    assert variables.get_variable("client_variable").value == "one"
    variables.patch_variable("client_variable", models.VariableBody(key="client_variable", value="two"))
    assert "client_variable" in {variable.key for variable in variables.get_variables().variables}
    variables.delete_variable("client_variable")
    connections = connection_api.ConnectionApi(client)
    connections.post_connection(models.ConnectionBody(
        connection_id="client_connection", conn_type="http", host="example.com", password="hidden-word"))
    shown = connections.get_connection("client_connection")
    assert shown.host == "example.com" and "hidden-word" not in str(shown), shown
    assert "client_connection" in {c.connection_id for c in connections.get_connections().connections}
    connections.delete_connection("client_connection")
    step("pools, variables, connections")

    backfills = backfill_api.BackfillApi(client)
    made = backfills.create_backfill(models.BackfillPostBody(
        dag_id="etl", from_date="2026-01-02T03:00:00Z", to_date="2026-01-04T03:00:00Z"))
    backfills.pause_backfill(made.id)
    assert backfills.get_backfill(made.id).is_paused
    backfills.unpause_backfill(made.id)
    assert made.id in {backfill.id for backfill in backfills.list_backfills(dag_id="etl").backfills}
    step("backfills")

    assets = asset_api.AssetApi(client)
    asset = next(asset for asset in assets.get_assets().assets if asset.name == "report")
    assert [dag.dag_id for dag in assets.get_asset(asset.id).scheduled_dags] == ["reader"]
    assets.create_asset_event(models.CreateAssetEventsBody(asset_id=asset.id, extra={}))
    assert assets.get_asset_events(asset_id=asset.id).total_entries >= 1
    assert event_log_api.EventLogApi(client).get_event_logs().total_entries > 3
    assert import_error_api.ImportErrorApi(client).get_import_errors().total_entries == 0
    assert provider_api.ProviderApi(client).get_providers().total_entries == 0
    step("assets and logs")

    for wrong in ("updraft_session_x", "ey.y.y"):
        refused = airflow.ApiClient(airflow.Configuration(host=ADDRESS, access_token=wrong))
        try:
            dag_api.DAGApi(refused).get_dags()
        except airflow.exceptions.UnauthorizedException:
            continue
        raise AssertionError("a forged token was taken")
    step("the generated client is done")


def ctl(*arguments):
    environment = {
        "PATH": os.environ["PATH"], "HOME": FOLDER, "AIRFLOW_HOME": FOLDER, "COLUMNS": "200",
        # It keeps its token in a file then: a machine for tests has no keyring.
        "AIRFLOW_CLI_DEBUG_MODE": "true",
    }
    program = os.path.join(os.path.dirname(sys.executable), "airflowctl")
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


ctl("auth", "login", "--api-url", ADDRESS, "--username", "admin", "--password", PASSWORD)
step("airflowctl signed in")
for words, expected in [
    (("version", "--remote"), ""),
    (("dags", "list", "-o", "json"), "etl"),
    (("dags", "get", "etl", "-o", "json"), "etl"),
    (("dagrun", "list", "--dag-id", "etl", "--state", "success", "--limit", "5", "-o", "json"), "by_client"),
    (("dagrun", "get", "etl", "by_client", "-o", "json"), "success"),
    (("dags", "pause", "reader"), ""),
    (("dags", "unpause", "reader"), ""),
    (("pools", "create", "--name", "ctl", "--slots", "2"), ""),
    (("pools", "list", "-o", "json"), "default_pool"),
    (("variables", "create", "--key", "ctl", "--value", "one"), ""),
    (("variables", "list", "-o", "json"), "ctl"),
    (("variables", "delete", "ctl"), ""),
    (("connections", "list", "-o", "json"), ""),
    (("assets", "list", "-o", "json"), "report"),
    (("backfill", "list", "etl", "-o", "json"), "etl"),
    (("jobs", "list", "-o", "json"), ""),
    (("providers", "list", "-o", "json"), ""),
]:
    shown = ctl(*words)
    assert expected in shown, (words, shown)
    step("airflowctl " + " ".join(words))
