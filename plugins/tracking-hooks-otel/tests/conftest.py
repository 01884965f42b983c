"""A receiver of OTLP over HTTP, on loopback: it decodes what it is sent, and keeps each point by its time."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as otlp


class Receiver(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.points, self.requests, self.resources = {}, [], []
        self.status, self.rejects = 200, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, request):
        for resource in request.resource_metrics:
            about = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.resources.append(about)
            for metric in [metric for scope in resource.scope_metrics for metric in scope.metrics]:
                for point in metric.gauge.data_points:
                    labels = {item.key: item.value.string_value for item in point.attributes}
                    key = metric.name, tuple(sorted(labels.items())), point.time_unix_nano, *sorted(about.items())
                    self.points[key] = point.as_double

    def latest(self, gauge, label=None):
        """The latest values of a gauge, by one of its labels."""
        found = [
            (time, dict(labels), value) for (name, labels, time, *_), value in self.points.items() if name == gauge
        ]
        return {labels.get(label): value for _, labels, value in sorted(found, key=lambda point: point[0])}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        answer = otlp.ExportMetricsServiceResponse()
        if server.rejects:
            answer.partial_success.rejected_data_points = server.rejects
            answer.partial_success.error_message = "out of order"
        elif server.status == 200:
            server.take(otlp.ExportMetricsServiceRequest.FromString(body))
        self.send_response(server.status)
        content = answer.SerializeToString()
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "/login")  # of a proxy, if the status is a redirection
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(name, raising=False)
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server
        server.shutdown()
        thread.join()
