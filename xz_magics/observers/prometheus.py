"""The series of this kernel as Prometheus scrapes them: it alone knows prometheus_client, and where they are served."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import TYPE_CHECKING

from xz_magics.errors import XzMagicsError
from xz_magics.metrics import Metrics, Sample

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

ADDRESS = "127.0.0.1"

BY_DEPTH = ("depth",)
BY_END = ("depth", "status", "error_type")

COUNTERS = {
    "subagent_executions_total": (BY_DEPTH, "subagents that got a slot"),
    "subagent_completions_total": (BY_END, "subagents that ended, however they ended"),
    "subagent_errors_total": (BY_END, "subagents that ended with an error"),
}
GAUGES = {"subagent_active_count": (BY_DEPTH, "subagents that got a slot and have not ended")}
SUMS = {
    "subagent_turns_used": (BY_END, "model calls of the subagents that ended"),
    "subagent_tokens_consumed": (BY_END, "tokens of the subagents that ended, as far as they are known"),
}
"""These only grow. Prometheus would rename a counter that does not end in _total, so they carry no type."""
HISTOGRAMS = {
    "subagent_duration_seconds": (BY_END, "from the first request of a subagent to its end"),
    "subagent_spawn_seconds": (BY_DEPTH, "from the slot of a subagent until its first request was written"),
}


class Exposition:
    """Serves the series of `metrics` on this machine alone, until the process ends. Safe across threads."""

    def __init__(self, metrics: Metrics) -> None:
        self.url: str | None = None
        self._metrics = metrics
        self._lock = Lock()
        self._server: WSGIServer | None = None

    def serve(self, port: int) -> str:
        """The URL: of an earlier call, if there was one. Port 0 is any that is free.

        Raises XzMagicsError where prometheus_client is missing or the port cannot be had.
        """
        with self._lock:
            if self.url is None:
                self._server = _begun(port, registry(self._metrics))
                self.url = f"http://{ADDRESS}:{self._server.server_port}/metrics"
                os.register_at_fork(after_in_child=self._forget)
            return self.url

    def _forget(self) -> None:
        """A forked copy has the socket, but no thread that answers; held open, it would keep the port from others."""
        self._lock = Lock()
        if self._server is not None:
            self._server.socket.close()
        self._server = self.url = None


def registry(metrics: Metrics) -> "CollectorRegistry":
    """One of its own, with nothing else in it; what it tells is read from `metrics` at each scrape."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        hint = 'pip install "xz-magics[prometheus]"'
        raise XzMagicsError("serving metrics needs prometheus_client", hint) from error
    made = CollectorRegistry()
    made.register(_Collector(metrics))
    return made


def _begun(port: int, served: "CollectorRegistry") -> "WSGIServer":
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, addr=ADDRESS, registry=served)
    except OSError as error:
        told = f"the metrics cannot be served on {ADDRESS}:{port}: {error.strerror or error}"
        raise XzMagicsError(told, "give another port; 0 takes one that is free") from error
    return server


class _Collector:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            UnknownMetricFamily,
        )

        samples = defaultdict(list)
        for sample in (*self._metrics.rows(), *self._metrics.spawn_rows()):
            samples[sample.name].append(sample)
        for kind, families in (
            (CounterMetricFamily, COUNTERS),
            (GaugeMetricFamily, GAUGES),
            (UnknownMetricFamily, SUMS),
        ):
            for name, (labels, told) in families.items():
                family = kind(name, told, labels=labels)
                for sample in samples[name]:
                    family.add_metric(_values(sample, labels), sample.value)
                yield family
        for name, (labels, told) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, told, labels=labels)
            buckets = _buckets(samples[f"{name}_bucket"], labels)
            for sample in samples[f"{name}_sum"]:
                values = _values(sample, labels)
                histogram.add_metric(values, buckets[values], sample.value)
            yield histogram


def _buckets(
    samples: Iterable[Sample], labels: tuple[str, ...]
) -> defaultdict[tuple[str, ...], list[tuple[str, float]]]:
    found = defaultdict(list)
    for sample in samples:
        bound = "+Inf" if sample.le is None or math.isinf(sample.le) else str(sample.le)
        found[_values(sample, labels)].append((bound, sample.value))
    return found


def _values(sample: Sample, labels: tuple[str, ...]) -> tuple[str, ...]:
    """To Prometheus an empty label is one that is not there."""
    return tuple("" if getattr(sample, label) is None else str(getattr(sample, label)) for label in labels)
