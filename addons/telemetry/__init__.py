"""What is told of calls to those who watch many of them: counts for Prometheus, spans for OpenTelemetry, lines for a log."""
