"""An S3 server for tests: moto, in memory, on a port of its own, with one bucket.

moto compares If-None-Match and stores the object in two steps, and its own server runs requests in
threads, so that two writers who race for one new key can both win. Here a request is handled from
start to end before the next one, which makes conditional writes atomic, as they are on S3. Bodies
are read before a request takes its turn, so that a slow client holds up nobody.

On a second port the same bucket has faults, drawn from a seed: requests that are refused or told
to come again, requests that are done and whose answer is an error, answers that break off, and slow
ones. `GET /faults` says there how many there have been.

Prints both ports when the server takes requests, and ends when standard input does. Arguments: the bucket, the seed, and where
it listens if not on free ports of 127.0.0.1: an address and two ports. With one port there are no faults, and it goes on until
it is stopped.
"""

import io
import logging
import os
import random
import signal
import sys
import threading
import time

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

FAULTS_IN_A_HUNDRED = 8
TURN = threading.Lock()
MOTO = DomainDispatcherApplication(create_backend_app)


def handle(environ, start_response):
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        body = environ["wsgi.input"].read()
        del environ["HTTP_TRANSFER_ENCODING"]
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    environ.pop("wsgi.input_terminated", None)
    with TURN:
        answer = MOTO(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            if hasattr(answer, "close"):
                answer.close()


class Faulty:
    """The same server for those who come by the other port."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.faults = 0

    def draw(self, environ):
        with TURN:
            if self.random.randrange(100) >= FAULTS_IN_A_HUNDRED:
                return None
            self.faults += 1
            kinds = ["refused", "unanswered", "slow"]
            if environ["REQUEST_METHOD"] == "GET":
                kinds.append("cut")
            if environ.get("HTTP_IF_NONE_MATCH") or environ.get("HTTP_IF_MATCH"):
                # S3's answer to a conditional write while another one is under way.
                kinds.append("conflict")
            return self.random.choice(kinds)

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/faults":
            count = str(self.faults).encode()
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(count)))])
            return [count]
        fault = self.draw(environ)
        if fault == "slow":
            time.sleep(0.3)
        if fault in (None, "slow"):
            return handle(environ, start_response)
        status, headers = [], []

        def keep(line, fields, exc_info=None):
            status.append(line)
            headers.extend(fields)

        if fault in ("refused", "conflict"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault == "refused":
            return error(start_response, "503 Slow Down", "SlowDown")
        if fault == "conflict":
            return error(start_response, "409 Conflict", "ConditionalRequestConflict")
        [body] = handle(environ, keep)
        if fault == "unanswered":
            return error(start_response, "500 Internal Server Error", "InternalError")
        start_response(status[0], headers)
        return [body[: len(body) // 2]]


def error(start_response, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>An injected fault.</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def serve(app, host, port):
    server = make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.port


def main():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request
    host, port, *faulty = sys.argv[3:6] if len(sys.argv) > 3 else ("127.0.0.1", 0, 0)
    port = serve(handle, host, int(port))
    faulty = serve(Faulty(int(sys.argv[2])), host, int(faulty[0])) if faulty else None
    os.environ["MOTO_PORT"] = str(port)
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=sys.argv[1])
    print(port, faulty, flush=True)
    if faulty is None:
        signal.pause()
    sys.stdin.read()


main()
