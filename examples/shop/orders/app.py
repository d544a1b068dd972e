"""orders answers GET /orders/ID with an order and what the stock service has of it.

It knows nothing of tracing and forwards no header.
"""

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "thank you for your order"
STOCK_URL = os.environ.get("STOCK_URL", "http://stock:8080")
PORT = int(os.environ.get("PORT", "8080"))


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, {"ok": True})
            return
        if not self.path.startswith("/orders/"):
            self.answer(404, {"error": f"no page {self.path}: try /orders/42"})
            return
        order = self.path.removeprefix("/orders/")
        try:
            with urllib.request.urlopen(f"{STOCK_URL}/stock/{order}", timeout=5) as response:
                stock = json.load(response)
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            self.answer(502, {"error": f"asking stock: {error}"})
            return
        self.answer(200, {"id": order, "message": GREETING, "stock": stock})

    def answer(self, status, body):
        text = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        pass


def main():
    ThreadingHTTPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("", PORT), Orders)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"orders listens on {PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
