"""Answers GET / with a greeting."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "hello from python"


class Greet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (GREETING + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Greet).serve_forever()
