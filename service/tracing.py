"""OpenTelemetry, where the settings ask for it: a span a request and a query, sent where ``OTEL_*`` variables say."""

import os

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

UNTRACED = "healthz,readyz,metrics"
"""Routes that are asked every few seconds and say nothing."""


def trace_requests(app: FastAPI) -> None:
    """Makes a span of each request, in the trace that its ``traceparent`` names.

    Raises:
        RuntimeError: The packages of the extra `telemetry` are not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise RuntimeError("TRAINCAST_TRACING needs OpenTelemetry: pip install 'traincast[telemetry]'") from error
    name = os.environ.get("OTEL_SERVICE_NAME", "traincast")
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": app.version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=UNTRACED)
    app.state.tracer_provider = provider


def trace_queries(app: FastAPI, engine: AsyncEngine) -> None:
    """Makes a span of each query, within its request's."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    # It declares itself for releases below 2.1 only, and works with it: a test sees its spans.
    SQLAlchemyInstrumentor().instrument(
        engine=engine.sync_engine, tracer_provider=app.state.tracer_provider, skip_dep_check=True
    )


def stop_tracing(app: FastAPI) -> None:
    """Sends the spans that are still held."""
    app.state.tracer_provider.shutdown()
