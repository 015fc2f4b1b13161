"""The series as Prometheus reads them: scraped over HTTP, and parsed by its own parser."""

import asyncio
import json
import math
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.api import run, run_sync
from xz_magics.errors import XzMagicsError
from xz_magics.magics.verbs import metrics as metrics_verb
from xz_magics.metrics import Metrics
from xz_magics.observers.prometheus import Exposition, registry
from xz_magics.records import ERROR_TYPES, STATUSES, Outcome, Turn

prometheus_client = pytest.importorskip("prometheus_client", reason='pip install "xz-magics[prometheus]"')
openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")
parser = pytest.importorskip("prometheus_client.parser")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SCRIPTS = """
scripts:
  mixed: {steps: [{answer: hi, input_tokens: 6, output_tokens: 4}, {answer: hi, input_tokens: 6, output_tokens: 4}, {status: 400}]}
  slow: {steps: [{answer: hi, latency_s: 60}]}
"""
SECONDS = st.none() | st.floats(0, 100)
TURN = Turn(number=1, attempts=1, max_tokens=9, started_at=0.0, duration_s=1.0, input_tokens=10)
OUTCOME = st.builds(
    Outcome,
    index=st.just(0),
    label=st.just("a"),
    status=st.sampled_from(STATUSES),
    model=st.just("scripted:"),
    max_tokens=st.just(9),
    depth=st.integers(0, 2),
    error_type=st.none() | st.sampled_from(ERROR_TYPES),
    turns=st.sampled_from([(), (TURN,), (TURN, TURN)]),
    spawn_s=SECONDS,
    duration_s=SECONDS,
)
SERVES = """
import sys
from xz_magics.metrics import Metrics
from xz_magics.observers.prometheus import Exposition
exposition = Exposition(Metrics())
print(exposition.serve(0), flush=True)
"""


@pytest.fixture(autouse=True)
def scripts(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)


def fetched(url, accept="text/plain"):
    with urlopen(Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return answer.read().decode()


def samples_of(families):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()) if value)): sample.value
        for family in families
        for sample in family.samples
    }


def scraped(url):
    return samples_of(parser.text_string_to_metric_families(fetched(url)))


def port_of(url):
    return int(url.split(":")[2].split("/")[0])


def is_served(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port_of(url))) == 0


def test_a_run_is_scraped_over_http_with_all_its_series(session):
    url = session.exposition.serve(0)
    run_sync(["a", "b", "c"], model="scripted:mixed")

    found = scraped(url)

    assert found["subagent_executions_total", "0"] == 3
    assert found["subagent_active_count", "0"] == 0
    assert found["subagent_completions_total", "0", "done"] == 2
    assert found["subagent_completions_total", "0", "bad_request", "failed"] == 1
    assert found["subagent_errors_total", "0", "bad_request", "failed"] == 1
    assert ("subagent_errors_total", "0", "done") not in found
    assert found["subagent_turns_used", "0", "done"] == 2
    assert found["subagent_tokens_consumed", "0", "done"] == 20
    assert found["subagent_duration_seconds_count", "0", "done"] == 2
    assert found["subagent_duration_seconds_bucket", "0", "+Inf", "done"] == 2
    assert found["subagent_spawn_seconds_bucket", "0", "+Inf"] == found["subagent_spawn_seconds_count", "0"] == 3


async def test_a_scrape_in_mid_run_tells_of_those_at_work(session):
    url = session.exposition.serve(0)
    running = asyncio.create_task(run(["a", "b", "c"], model="scripted:slow", max_concurrent=2))

    active = 0
    async with asyncio.timeout(20):
        while active != 2:
            active = (await asyncio.to_thread(scraped, url)).get(("subagent_active_count", "0"), 0)
    running.cancel()
    await asyncio.wait({running})

    assert scraped(url)["subagent_active_count", "0"] == 0


@settings(deadline=None)
@given(st.lists(OUTCOME))
def test_what_is_scraped_is_what_was_counted_whatever_that_is(ended):
    metrics = Metrics()
    for outcome in ended:
        metrics.started(outcome.depth)
        metrics.ended(outcome, started=True)

    text = prometheus_client.generate_latest(registry(metrics)).decode()

    counted = {
        (
            sample.name,
            *(
                "+Inf" if value == math.inf else str(value)
                for value in (sample.depth, sample.error_type, sample.le, sample.status)
                if value is not None
            ),
        ): sample.value
        for sample in (*metrics.rows(), *metrics.spawn_rows())
    }
    assert samples_of(parser.text_string_to_metric_families(text)) == pytest.approx(counted)


def test_prometheus_own_newer_format_holds_the_same(session):
    url = session.exposition.serve(0)
    run_sync(["a", "b", "c"], model="scripted:mixed")

    text = fetched(url, OPENMETRICS)

    assert text.endswith("# EOF\n")
    assert samples_of(openmetrics.text_string_to_metric_families(text)) == scraped(url)


def test_nothing_but_subagents_is_told(session):
    families = parser.text_string_to_metric_families(fetched(session.exposition.serve(0)))

    assert {family.name: family.type for family in families} == {
        "subagent_executions": "counter",
        "subagent_completions": "counter",
        "subagent_errors": "counter",
        "subagent_active_count": "gauge",
        "subagent_turns_used": "unknown",
        "subagent_tokens_consumed": "unknown",
        "subagent_duration_seconds": "histogram",
        "subagent_spawn_seconds": "histogram",
    }


def test_it_is_served_on_this_machine_alone(session):
    port = port_of(session.exposition.serve(0))

    sockets = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]

    listening = [fields[1] for fields in sockets if fields[3] == "0A"]
    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_the_verb_tells_the_url_and_a_second_call_where_it_is_served_already(session):
    first = metrics_verb(print, 0).iloc[0]
    second = metrics_verb(print, 9_464).iloc[0]

    assert first["url"] == f"http://127.0.0.1:{port_of(first['url'])}/metrics"
    assert first["state"] == "begins, and ends with this kernel"
    assert (second["url"], second["state"]) == (first["url"], "was served already, so not at port 9464 too")
    assert is_served(first["url"])


def test_a_port_that_is_taken_is_an_error_and_another_one_can_be_had_then(session):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(XzMagicsError) as caught:
        session.exposition.serve(port := other.getsockname()[1])
    url = session.exposition.serve(0)

    assert caught.value.message == f"the metrics cannot be served on 127.0.0.1:{port}: Address already in use"
    assert caught.value.hint == "give another port; 0 takes one that is free"
    assert is_served(url)


def test_serving_ends_with_the_process_and_does_not_hold_it_up():
    serving = subprocess.Popen([sys.executable, "-c", SERVES + "sys.stdin.read()"], stdin=-1, stdout=-1, text=True)
    url = serving.stdout.readline().strip()
    before = is_served(url)

    serving.communicate(timeout=20)

    assert before
    assert serving.returncode == 0
    assert not is_served(url)


def test_a_forked_copy_does_not_keep_the_port_and_may_serve_by_itself():
    code = SERVES + (
        "import os, time\n"
        "if os.fork() == 0:\n    print(exposition.url, exposition.serve(0), flush=True)\n    sys.stdin.read()\n"
        "os._exit(0)"
    )
    serving = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    url = serving.stdout.readline().strip()
    forgotten, own = serving.stdout.readline().split()
    serving.wait(20)  # the copy goes on

    served = is_served(url), is_served(own)
    serving.communicate()

    assert forgotten == "None"
    assert served == (False, True)


def test_without_the_extra_the_error_says_how_to_install_it():
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import json\nfrom xz_magics.errors import XzMagicsError\n"
        "from xz_magics.session import session\n"
        "try:\n    session.exposition.serve(0)\n"
        "except XzMagicsError as error:\n    print(json.dumps([error.message, error.hint]))"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert json.loads(ran.stdout) == [
        "serving metrics needs prometheus_client",
        'pip install "xz-magics[prometheus]"',
    ]


def test_threads_that_ask_at_once_are_told_of_one_server():
    exposition = Exposition(Metrics())

    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(exposition.serve, 0) for _ in range(8)))

    assert len(set(asyncio.run(ask()))) == 1


def test_what_is_scraped_is_what_the_verb_shows(session):
    shown = []
    run_sync(["a", "b", "c"], model="scripted:mixed")

    metrics_verb(shown.append)
    url = session.exposition.serve(0)

    assert {name for name, *_ in scraped(url)} == set(shown[0]["name"])
