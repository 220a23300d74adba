"""A hub on loopback with one repository of two files. Prints its port; takes a file to log requests in."""

import hashlib
import http.server
import json
import sys
from pathlib import Path

FILES = {"config.json": b'{"rope_theta": 10000}', "model.safetensors": b"w" * 4096}
COMMIT = "c" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        with Path(sys.argv[1]).open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        name = self.path.rsplit("/", 1)[-1]
        if "/tree/" in self.path:
            made = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in FILES.items()]
            self.answer(json.dumps(made).encode())
        elif self.path.startswith("/api/"):
            told = {"id": "some/model", "sha": COMMIT, "siblings": [{"rfilename": path} for path in FILES]}
            self.answer(json.dumps(told).encode())
        else:
            etag = hashlib.sha256(FILES[name]).hexdigest()
            self.answer(FILES[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def answer(self, body, headers=()):
        self.send_response(200)
        for key, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
print(server.server_port, flush=True)
server.serve_forever()
