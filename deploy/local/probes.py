"""How each kind of process is asked whether it is ready; every probe is one short question that never raises."""

from __future__ import annotations

import http.client
import socket
import struct

from deploy.local.process import Probe

_TIMEOUT_S = 1.0
_MAX_ANSWER_BYTES = 65_536


def http_ready(host: str, port: int, path: str = "/readyz") -> Probe:
    """Ready when `GET path` answers 200."""

    def probe() -> str | None:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(400).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return f"{path} does not answer ({error})"
        finally:
            connection.close()
        return None if response.status == 200 else f"{path} answers {response.status}: {' '.join(body.split())}"

    return probe


def valkey_ready(host: str, port: int) -> Probe:
    """Ready when PING is answered, which it is not while the append-only file is read."""

    def probe() -> str | None:
        try:
            with socket.create_connection((host, port), _TIMEOUT_S) as link:
                link.sendall(b"PING\r\n")
                answer = link.recv(200)
        except OSError as error:
            return f"no answer ({error})"
        return None if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()

    return probe


def kafka_ready(host: str, port: int) -> Probe:
    """Ready when the broker counts itself in the metadata, which it does once it is registered and unfenced."""

    def probe() -> str | None:
        try:
            with socket.create_connection((host, port), _TIMEOUT_S) as link:
                return None if _brokers(link) else "the broker is not registered yet"
        except (OSError, struct.error) as error:
            return f"no answer ({error})"

    return probe


def _brokers(link: socket.socket) -> int:
    """Ask for the metadata of no topic (Kafka protocol, Metadata version 1) and count the brokers in the answer."""
    client = b"rollcall-probe"
    request = struct.pack(">hhih", 3, 1, 0, len(client)) + client + struct.pack(">i", 0)
    link.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _exactly(link, 4))
    if not 8 <= size <= _MAX_ANSWER_BYTES:
        raise OSError(f"an answer of {size} bytes is not Kafka's")
    _, brokers = struct.unpack_from(">ii", _exactly(link, size))
    return int(brokers)


def _exactly(link: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            raise OSError("the connection was closed")
        parts += part
    return parts
