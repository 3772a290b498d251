"""An S3 server for tests: moto, in memory, on a port of its own, with one bucket.

moto compares If-None-Match and stores the object in two steps, and its own server runs requests in
threads, so that two writers who race for one new key can both win. Here a request is handled from
start to end before the next one, which makes conditional writes atomic, as they are on S3. Bodies
are read before a request takes its turn, so that a slow client holds up nobody.

Prints the port when the server takes requests, and ends when standard input does.
"""

import io
import logging
import os
import sys
import threading

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

TURN = threading.Lock()
MOTO = DomainDispatcherApplication(create_backend_app)


def app(environ, start_response):
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


def main():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    os.environ["MOTO_PORT"] = str(server.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=sys.argv[1])
    print(server.port, flush=True)
    sys.stdin.read()


main()
