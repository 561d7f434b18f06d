"""A mock chat endpoint on a free port, which prints its address and exits together with its parent process."""

import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def valid_answer(message):
    """Return a valid answer that depends only on the message."""
    form = message[message.rindex("in this form:") :]
    kind = re.search(r'\{"(\w+)"', form)[1]
    count = int(re.search(r"(?:exactly|all) (\d+)", form)[1])
    passage = re.search(r"Passage:\n(.*?)\n\n", message + "\n\n", re.DOTALL)[1]
    words = passage.split()
    if kind == "order":
        return {kind: list(range(count, 0, -1))}
    if kind == "paraphrases":
        return {kind: [f"Version {number}: {passage}" for number in range(count)]}
    wrong = {"wrong": ["one", "two", "three"]}
    return {
        kind: [
            {"question": f"What stands at {n} in {words[0]} {words[1]}?", "right": f"right {n}", **wrong}
            | {"quote": " ".join(words[n : n + 3])}
            for n in range(count)
        ]
    }


class Handler(BaseHTTPRequestHandler):
    """Answers every request with a chat completion."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Suppress the log output of the HTTP server."""

    def do_POST(self):
        """Answer a request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.dumps(valid_answer(body["messages"][0]["content"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """A server that ignores clients that were killed."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore clients that disconnect."""


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)  # noqa: T201 - read by the starting process
    server.serve_forever()
