"""Clients that are slow, send too much, leave or send nonsense."""

import time

import pytest

for package in ("fastapi", "httpx", "prometheus_client", "uvicorn"):
    pytest.importorskip(package)

from service_runs import (  # noqa: E402
    DETECT,
    GreyPredictor,
    connect,
    grey_service,
    png,
    rest,
    running,
    wait_until,
)

from tood_d2.service.answers import Limits  # noqa: E402
from tood_d2.service.connections import HastyConnection  # noqa: E402

HEAD = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def short_time(monkeypatch):
    monkeypatch.setattr(HastyConnection, "SECONDS", 0.6)


@pytest.fixture
def client():
    limits = Limits(max_megabytes=0.1, max_megapixels=0.01, upload_timeout=1.5)
    with running(grey_service(GreyPredictor(), limits=limits)) as client:
        yield client


def request_of(content):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content


def drip(connection, content, seconds):
    """Sends a byte at a time until the server hangs up. Returns the seconds until then."""
    start = time.monotonic()
    for i in range(len(content)):
        try:
            connection.sendall(content[i : i + 1])
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(seconds)
    return time.monotonic() - start


class TestSlowClients:
    def test_headers(self, client):
        with connect(client) as connection:
            assert 0.5 < drip(connection, HEAD + b"x" * 1000, 0.05) < 3
            assert rest(connection) == b""

    def test_no_headers(self, client):
        with connect(client) as connection:
            start = time.monotonic()
            assert rest(connection) == b"" and time.monotonic() - start < 3

    def test_headers_of_a_second_request(self, client):
        with connect(client) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
            assert drip(connection, HEAD + b"x" * 1000, 0.05) < 3

    def test_bodies(self, client):
        with connect(client) as connection:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
            # Answered after 1.5 seconds, hung up on 0.6 seconds later.
            assert 1.5 < drip(connection, png(1) + bytes(900), 0.05) < 5
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b"longer than 1.5 seconds" in answer

    def test_bodies_that_nobody_wants(self, client):
        with connect(client) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            assert drip(connection, bytes(1000), 0.05) < 3
            assert rest(connection).startswith(b"HTTP/1.1 200")

    def test_others_are_answered_meanwhile(self, client):
        with connect(client) as connection:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nx")
            assert client.post(DETECT, content=png(1)).status_code == 200

    def test_who_is_fast_may_come_again_and_again(self, client):
        start = time.monotonic()
        while time.monotonic() - start < 1.5:
            assert client.post(DETECT, content=png(1)).status_code == 200
            time.sleep(0.2)


class TestLargeBodies:
    @pytest.mark.parametrize("how", ["a", "form", "chunks"])
    def test_bytes(self, client, how):
        # 0.1 megabytes are allowed.
        content = bytes(150_000)
        body = {
            "a": {"content": content},
            "form": {"files": {"a": ("a.png", content)}},
            "chunks": {"content": (content[i : i + 1000] for i in range(0, len(content), 1000))},
        }
        answer = client.post(DETECT, **body[how])
        assert answer.status_code == 413
        assert answer.json() == {"detail": "the body is too large: at most 0.1 megabytes"}

    def test_just_as_many_bytes(self, client):
        # Pillow does not mind zeros after the image.
        content = png(1) + bytes(100_000 - len(png(1)))
        assert client.post(DETECT, content=content).status_code == 200
        assert client.post(DETECT, content=content + b"\0").status_code == 413

    def test_the_answer_does_not_wait_for_the_body(self, client):
        with connect(client) as connection:
            connection.sendall(HEAD + b"Content-Length: 999999999\r\n\r\n")
            assert connection.recv(10_000).startswith(b"HTTP/1.1 413")

    def test_the_answer_does_not_wait_for_endless_chunks(self, client):
        with connect(client) as connection:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            chunk = b"ffff\r\n" + bytes(0xFFFF) + b"\r\n"
            connection.sendall(chunk)
            time.sleep(0.1)
            connection.sendall(chunk)
            assert connection.recv(10_000).startswith(b"HTTP/1.1 413")

    def test_who_asks_before_sending_is_told(self, client):
        expect = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        with connect(client) as connection:
            connection.sendall(HEAD + expect % 999_999)
            assert connection.recv(10_000).startswith(b"HTTP/1.1 413")
        with connect(client) as connection:
            connection.sendall(HEAD + expect % len(png(1)))
            assert connection.recv(10_000).startswith(b"HTTP/1.1 100")
            connection.sendall(png(1))
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200")

    def test_pixels(self, client):
        # 10000 pixels are allowed.
        assert client.post(DETECT, content=png(1, (100, 100))).status_code == 200
        answer = client.post(DETECT, content=png(1, (100, 101)))
        assert answer.status_code == 413
        message = "the image is too large: at most 0.01 megapixels, not 100 x 101 pixels"
        assert answer.json() == {"detail": message}

    def test_pixels_that_would_fill_the_memory(self, client, huge_png, limited_memory):
        answer = client.post(DETECT, content=huge_png)
        assert answer.status_code == 413 and "megapixels" in answer.json()["detail"]


def test_the_server_ends_while_bodies_are_sent():
    """Those that are answered already are not waited for."""
    with running(grey_service(GreyPredictor(), token=b"x")) as client:
        connection = connect(client)
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nx")
        assert connection.recv(10).startswith(b"HTTP/1.1 4")
        start = time.monotonic()
    assert time.monotonic() - start < 5
    assert b"token" in rest(connection)
    connection.close()


class TestNonsense:
    @pytest.mark.parametrize(
        "content",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"\r\n\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            HEAD + b"Content-Length: -1\r\n\r\n",
            HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
            HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        ],
    )
    def test_what_is_not_http(self, client, content):
        with connect(client) as connection:
            connection.sendall(content)
            answer = rest(connection)
        assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 499"))
        assert b"Traceback" not in answer and client.get("/healthz").status_code == 200

    def test_websockets(self, client):
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert client.get("/healthz", headers=headers).status_code == 200


class TestLeaving:
    def test_before_the_body_is_sent(self, client):
        with connect(client) as connection:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
            time.sleep(0.1)
        text = 'tood_requests_total{path="/v1/detect",status="499"} 1.0'
        wait_until(lambda: text in client.get("/metrics").text)

    def test_while_waiting(self):
        """Nothing is detected in the image of a client that has left."""
        predictor = GreyPredictor()
        with running(grey_service(predictor)) as client:
            predictor.open.clear()
            predictor.batches.clear()
            with connect(client) as first, connect(client) as second:
                first.sendall(request_of(png(1)))
                wait_until(lambda: predictor.batches == [[1]])
                second.sendall(request_of(png(2)))
                wait_until(lambda: "tood_queue_length 1.0" in client.get("/metrics").text)
                second.close()
                wait_until(lambda: "tood_queue_length 0.0" in client.get("/metrics").text)
                predictor.open.set()
                assert first.recv(10_000).startswith(b"HTTP/1.1 200")
            assert client.post(DETECT, content=png(3)).status_code == 200
        assert predictor.batches == [[1], [3]]
