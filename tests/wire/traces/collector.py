"""An OTLP collector on a free port: argument `grpc` or `http`. It reads what comes with OpenTelemetry's own classes and writes
each span as a line of JSON, after a line with its port."""

import json
import sys
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def plain(attributes):
    """Attributes as an object of plain values."""
    values = {}
    for pair in attributes:
        kind = pair.value.WhichOneof("value")
        assert kind, f"{pair.key} has no value"
        assert pair.key not in values, f"{pair.key} is there twice"
        values[pair.key] = getattr(pair.value, kind)
    return values


def tell(request, headers):
    # A field that these classes do not know would be a mistake of the sender's.
    again = ExportTraceServiceRequest.FromString(request.SerializeToString())
    assert again == request
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                line = {
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": MessageToDict(span)["kind"],
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "is_error": span.status.code == 2,
                    "attributes": plain(span.attributes),
                    "resource": plain(of_resource.resource.attributes),
                    "scope": of_scope.scope.name,
                    "headers": headers,
                    "whole": str(request),
                }
                print(json.dumps(line), flush=True)


def serve_http():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces", self.path
            assert self.headers["content-type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["content-length"]))
            tell(ExportTraceServiceRequest.FromString(body), dict(self.headers.items()))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_grpc():
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            tell(request, dict(context.invocation_metadata()))
            return ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


{"http": serve_http, "grpc": serve_grpc}[sys.argv[1]]()
