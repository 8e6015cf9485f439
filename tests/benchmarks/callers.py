"""Callers that cost little themselves: plain HTTP/1.1 over kept connections, so that the service is what is timed."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What callers met."""

    seconds: list[float]  # of each request
    per_second: float  # of all callers together


def load(url: str, bodies: list[bytes], callers: int) -> Load:
    """Posts each body to a URL, so many at once.

    Raises:
        RuntimeError: an answer is not a 200.
    """
    return asyncio.run(_load(url, bodies, callers))


async def _load(url: str, bodies: list[bytes], callers: int) -> Load:
    waiting = iter(bodies)
    seconds: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(_caller(url, waiting, seconds) for _ in range(callers)))
    return Load(seconds, len(seconds) / (time.perf_counter() - started))


async def _caller(url: str, waiting: Iterator[bytes], seconds: list[float]) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        for body in waiting:
            started = time.perf_counter()
            head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answer.partition(b"\r\n")[0]:
                raise RuntimeError(answer.decode())
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            seconds.append(time.perf_counter() - started)
    finally:
        writer.close()
        await writer.wait_closed()
