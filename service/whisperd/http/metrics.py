"""What Prometheus reads: counters and histograms of the daemon's requests, native ones included. Pure.

The text is the exposition format 0.0.4. Every label has a bounded set of values: codes, methods, paths that exist.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .. import __version__
from ..actions import Report
from ..scheduler import Progress
from ..speech.types import ModelInfo, Transcription

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
RTF: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts of values, by upper bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; one that is not a number is none."""
        if not math.isfinite(value):
            return
        self._sum += value
        for index, bound in enumerate(self._bounds):
            if value <= bound:
                self._counts[index] += 1

    def lines(self, name: str) -> Iterator[str]:
        """The samples."""
        for bound, count in zip(self._bounds, self._counts, strict=True):
            yield _sample(f"{name}_bucket", count, (("le", _written(bound)),))
        yield _sample(f"{name}_sum", self._sum)
        yield _sample(f"{name}_count", self._counts[-1])


class Metrics:
    """What is counted while the daemon runs."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._responses: Counter[tuple[str, str, int]] = Counter()
        self._audio_s = 0.0
        self._latency = Histogram(SECONDS)
        self._queue = Histogram(SECONDS)
        self._rtf = Histogram(RTF)

    def note(self, report: Report) -> None:
        """A request has ended, on whichever socket it came."""
        self._requests[report.outcome] += 1
        if report.job is None:
            return
        self._queue.observe(report.job.queue_s)
        result = report.job.result
        if isinstance(result, Transcription):
            self._latency.observe(report.job.queue_s + report.job.run_s)
            self._audio_s += result.audio_s
            if result.audio_s > 0:
                self._rtf.observe(report.job.run_s / result.audio_s)

    def responded(self, method: str, path: str, status: int) -> None:
        """An HTTP request was answered; `path` is that of the route, and "" where there is none."""
        self._responses[method, path, status] += 1

    def text(
        self, status: Mapping[str, Any], progress: Progress, model: ModelInfo, *, now: float, resident_bytes: int
    ) -> str:
        """All of it. `status` is the daemon's, `now` of the scheduler's clock."""
        working = progress.busy_since is not None or progress.waiting > 0
        age = max(0.0, now - progress.last_sign) if working else 0.0
        single: list[tuple[str, str, str, float]] = [
            ("queue_depth", "gauge", "Requests that wait.", status["queue"]),
            ("running", "gauge", "Requests that are worked on.", status["running"]),
            ("connections", "gauge", "Connections, native and HTTP.", status["connections"]),
            ("buffered_audio_seconds", "gauge", "Audio held in memory.", status["buffered_seconds"]),
            ("resident_bytes", "gauge", "Resident memory of the process.", resident_bytes),
            ("watchdog_age_seconds", "gauge", "Since the worker's last sign of life; 0 while it is idle.", age),
            ("stuck", "gauge", "1 where the worker makes no progress.", float(status["state"] == "stuck")),
            ("uptime_seconds", "gauge", "Since the start.", status["uptime_seconds"]),
            ("audio_seconds_total", "counter", "Audio that was transcribed.", self._audio_s),
        ]
        lines = [
            *_head("build_info", "gauge", "The version and the model."),
            _sample("whisperd_build_info", 1, (("version", __version__), ("model", model.name))),
            *_head(
                "requests_total", "counter", "Requests by outcome: transcribed, no-speech, or an error's code."
            ),
            *(
                _sample("whisperd_requests_total", count, (("outcome", outcome),))
                for outcome, count in sorted(self._requests.items())
            ),
            *_head("http_responses_total", "counter", "Answers of the HTTP server."),
            *(
                _sample(
                    "whisperd_http_responses_total",
                    count,
                    (("method", method), ("path", path), ("status", str(code))),
                )
                for (method, path, code), count in sorted(self._responses.items())
            ),
        ]
        for name, kind, doc, value in single:
            lines += [*_head(name, kind, doc), _sample(f"whisperd_{name}", value)]
        for name, doc, histogram in (
            ("request_seconds", "From the queue to the text.", self._latency),
            ("queue_seconds", "In the queue.", self._queue),
            ("rtf", "Seconds of work for one second of audio.", self._rtf),
        ):
            lines += [*_head(name, "histogram", doc), *histogram.lines(f"whisperd_{name}")]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, doc: str) -> tuple[str, str]:
    return f"# HELP whisperd_{name} {doc}", f"# TYPE whisperd_{name} {kind}"


def _sample(name: str, value: float, labels: Labels = ()) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {_written(value)}" if inside else f"{name} {_written(value)}"


def _written(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return repr(value) if isinstance(value, int) else f"{value:.12g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
