"""Shows YOLO trainings as OpenTelemetry metrics, and as a text file for Prometheus' node_exporter."""
