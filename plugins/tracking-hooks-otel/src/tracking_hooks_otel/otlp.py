"""The part for OTLP: sends each point, with its own time, by OpenTelemetry's exporter."""

from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tracking_hooks import Rejected, Unavailable, hookimpl
from tracking_hooks_otel.gauges import Gauges, Point
from tracking_hooks_otel.trainer import endpoint


class Session(requests.Session):  # type: ignore[misc]
    """Judges each answer. The exporter would only log it, and repeat what the relay repeats."""

    failure: Exception | None = None

    def request(self, *what: Any, **options: Any) -> Any:
        """Send a request, once."""
        try:
            response = super().request(*what, **options | {"allow_redirects": False})
        except requests.RequestException as error:
            cause: BaseException = error  # the words of the system: others show the address, which may be a secret
            while cause.__context__:
                cause = cause.__context__
            why = getattr(cause, "strerror", None) or type(cause).__name__
            self.failure = Unavailable(f"the OTLP receiver cannot be reached: {why}")
            raise self.failure from None
        is_told = response.status_code == 200 and response.headers.get("Content-Type") == "application/x-protobuf"
        partial = ExportMetricsServiceResponse.FromString(response.content if is_told else b"").partial_success
        if not 200 <= response.status_code < 300:
            kind = Rejected if response.status_code in {400, 413, 422} else Unavailable  # such as wrong credentials
            self.failure = kind(f"the OTLP receiver answered {response.status_code} {response.reason}")
        elif partial.rejected_data_points:
            self.failure = Rejected(f"{partial.rejected_data_points} points were refused: {partial.error_message}")
        if self.failure:
            raise self.failure
        return response


class Otlp(Gauges):
    """Delivers to the endpoint that the environment names."""

    key = "otlp"

    @hookimpl
    def flush(self) -> None:
        """Send all points. A receiver knows one that comes twice by its attributes and its time."""
        if not self.points:
            return
        if not endpoint():
            raise Unavailable("OTEL_EXPORTER_OTLP_ENDPOINT is not set")
        with Session() as session:
            exporter = OTLPMetricExporter(session=session)
            for first in range(0, len(self.points), 5000):  # of a size that receivers take
                some = data(self.points[first : first + 5000], self.labels["uid"])
                if exporter.export(some) is not sdk.MetricExportResult.SUCCESS:
                    raise session.failure or Rejected("the exporter could not encode it: see relay.log")
        self.points = []


def data(points: list[Point], uid: str) -> sdk.MetricsData:
    """Return points as the SDK has them. Its own instruments would give them the time of the delivery."""
    gauges: dict[str, list[sdk.NumberDataPoint]] = {}
    for gauge, labels, value, time in points:
        gauges.setdefault(gauge, []).append(sdk.NumberDataPoint(labels, 0, int(time * 1e9), value))
    metrics = [sdk.Metric(gauge, "", "", sdk.Gauge(numbers)) for gauge, numbers in gauges.items()]
    # The SDK's own resource is another one in each process, and with it each series would be.
    resource = Resource({"service.name": "tracking-hooks", "service.instance.id": uid})
    scope = sdk.ScopeMetrics(InstrumentationScope("tracking_hooks_otel"), metrics, "")
    return sdk.MetricsData([sdk.ResourceMetrics(resource.merge(OTELResourceDetector().detect()), [scope], "")])
