"""A TCP proxy before a server that can lose an answer."""

import socket
import threading
from contextlib import suppress


class CuttingProxy:
    """Passes bytes on; once `lose_next_answer` is set, the next answer is lost and the
    connection closed, after the server has done what it was asked.

    Use as a context manager; `port` is where it listens on loopback.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lose_next_answer = threading.Event()
        self._open: list[socket.socket] = []

    def __enter__(self) -> "CuttingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        for each in [self._listener, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                for source, target, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pass_on, args=(source, target, is_answer), daemon=True
                    ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if is_answer and self.lose_next_answer.is_set():
                    self.lose_next_answer.clear()
                    target.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(data)
