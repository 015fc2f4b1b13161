"""Metrics that a real kernel serves while its cells run, and no longer."""

import socket
from urllib.request import urlopen

import pytest

parser = pytest.importorskip("prometheus_client.parser", reason='pip install "xz-magics[prometheus]"')


def is_served(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_kernel_serves_its_runs_to_prometheus_until_it_ends(kernel):
    url = kernel.value("get_ipython().run_line_magic('subagents', 'metrics --serve 0')['url'][0]").strip("'")
    kernel.run("%%subagents --model openai:m\na: one\nb: two")

    text = urlopen(url, timeout=20).read().decode()
    port = int(url.split(":")[2].split("/")[0])
    served = is_served(port)
    kernel.close()

    found = {
        sample.name: sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if "status" not in sample.labels or sample.labels["status"] == "done"
    }
    assert found["subagent_executions_total"] == 2
    assert found["subagent_completions_total"] == 2
    assert served
    assert not is_served(port)


def test_another_address_is_refused_with_its_mend_and_nothing_is_served(kernel):
    (cell,) = kernel.run("%subagents metrics --serve 0.0.0.0:9464")

    assert "metrics are served at 127.0.0.1 alone" in cell.error
    assert "give a port, such as --serve 9464" in cell.error
    assert kernel.value("__import__('xz_magics.session').session.session.exposition.url") == "None"
