"""Which images go through the network together, and what becomes of those that wait."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

for package in ("fastapi", "httpx", "prometheus_client", "uvicorn"):
    pytest.importorskip(package)

from service_runs import (  # noqa: E402
    DETECT,
    GreyPredictor,
    grey_service,
    png,
    running,
    wait_until,
)

from tood_d2.service.answers import Limits  # noqa: E402
from tood_d2.service.app import Service  # noqa: E402
from tood_d2.service.batching import ServedModel  # noqa: E402


@pytest.fixture
def predictor():
    return GreyPredictor()


@contextlib.contextmanager
def busy(predictor, **how):
    """A service whose network is at work on an image of brightness 0 until the predictor is open.

    Gives a client, and a function that sends an image of a brightness and a size and gives the
    future of the answer once the image waits.
    """
    with ThreadPoolExecutor(16) as threads, running(grey_service(predictor, **how)) as client:
        predictor.open.clear()
        predictor.batches.clear()
        num_waiting = 0

        def send(value, size=(6, 4)):
            nonlocal num_waiting
            answer = threads.submit(client.post, DETECT, content=png(value, size))
            if value:
                num_waiting += 1
                text = f"tood_queue_length {num_waiting:.1f}"
                wait_until(lambda: text in client.get("/metrics").text)
            return answer

        first = send(0)
        wait_until(lambda: predictor.batches == [[0]])
        try:
            yield client, send
        finally:
            predictor.open.set()
            first.result()


def scores(answers):
    return [x.result().json()["detections"][0]["score"] for x in answers]


class TestBatches:
    def test_images_that_wait_are_detected_together(self, predictor):
        with busy(predictor, batch_size=3) as (_, send):
            answers = [send(x) for x in (51, 102, 153, 204)]
            predictor.open.set()
            assert scores(answers) == [0.2, 0.4, 0.6, 0.8]
        assert predictor.batches == [[0], [51, 102, 153], [204]]
        assert [x.result().json()["batch_size"] for x in answers] == [3, 3, 3, 1]

    def test_one_by_one_they_keep_their_order(self, predictor):
        with busy(predictor) as (_, send):
            answers = [send(x) for x in (51, 102, 153, 204, 255)]
            predictor.open.set()
            assert scores(answers) == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert predictor.batches == [[0], [51], [102], [153], [204], [255]]

    def test_images_of_other_sizes_are_not_padded(self, predictor):
        with busy(predictor, batch_size=4) as (_, send):
            answers = [send(51), send(102, (7, 4)), send(153), send(204, (4, 6)), send(255, (7, 4))]
            predictor.open.set()
            assert scores(answers) == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert predictor.batches == [[0], [51, 153], [102, 255], [204]]

    def test_an_image_waits_for_others(self, predictor):
        service = grey_service(predictor, batch_size=2, batch_wait=10.0)
        with running(service) as client, ThreadPoolExecutor(2) as threads:
            predictor.batches.clear()
            start = time.monotonic()
            answers = [*threads.map(lambda x: client.post(DETECT, content=png(x)), (51, 102))]
            assert time.monotonic() - start < 8  # as the batch is full
        assert [sorted(x) for x in predictor.batches] == [[51, 102]]
        assert [x.json()["detections"][0]["score"] for x in answers] == [0.2, 0.4]

    def test_an_image_does_not_wait_longer(self, predictor):
        with running(grey_service(predictor, batch_size=2, batch_wait=0.4)) as client:
            times = client.post(DETECT, content=png(51)).json()["milliseconds"]
        assert 400 <= times["queue"] < 5000 and times["network"] < 400

    def test_times(self, predictor):
        with busy(predictor) as (_, send):
            answer = send(51)
            time.sleep(0.3)
            predictor.open.set()
            times = answer.result().json()["milliseconds"]
        assert times["queue"] >= 300 and times["network"] < 300 and times["decoding"] < 300

    def test_one_failure_does_not_spoil_the_others(self, predictor, log):
        predictor.failing = 102
        with busy(predictor, batch_size=3) as (_, send):
            answers = [send(x) for x in (51, 102, 153)]
            predictor.open.set()
            assert [x.result().status_code for x in answers] == [200, 500, 200]
        assert scores([answers[0], answers[2]]) == [0.2, 0.6]
        assert predictor.batches == [[0], [51, 102, 153], [51], [102], [153]]
        assert answers[1].result().json() == {"detail": "the model failed on this image"}
        assert "The model failed on an image: RuntimeError('secret.py fails')" in log.text

    def test_broken_images_leave_their_places_to_others(self, predictor):
        with running(grey_service(predictor)) as client:
            for _ in range(5):
                assert client.post(DETECT, content=png(51)[:50]).status_code == 400
            assert client.post(DETECT, content=png(51)).status_code == 200


class TestLimits:
    def test_queue(self, predictor):
        with busy(predictor, limits=Limits(max_queue=3)) as (client, send):
            answers = [send(51), send(102)]
            refused = client.post(DETECT, content=png(153))
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json() == {"detail": "3 images are in work: try again later"}
            predictor.open.set()
            assert scores(answers) == [0.2, 0.4]
            assert client.post(DETECT, content=png(153)).status_code == 200
        assert 153 in predictor.batches[-1] and len(predictor.batches) == 4

    def test_waiting(self, predictor):
        """Nothing is detected in images that are given up."""
        with busy(predictor, limits=Limits(max_wait=0.5)) as (client, send):
            answers = [send(51), send(102)]
            assert [x.result().status_code for x in answers] == [504, 504]
            message = "not done after 0.5 seconds: try again later"
            assert answers[0].result().json() == {"detail": message}
            predictor.open.set()
            assert client.post(DETECT, content=png(153)).status_code == 200
        assert predictor.batches == [[0], [153]]


class TestStartAndEnd:
    def test_while_the_model_is_being_loaded(self, predictor):
        loaded = threading.Event()

        def load():
            assert loaded.wait(30)
            return ServedModel(predictor, "grey", "1")

        with running(Service(load), ready=False) as client:
            assert client.get("/healthz").status_code == 200
            for method, path in (("GET", "/readyz"), ("GET", "/v1/model"), ("POST", DETECT)):
                answer = client.request(method, path)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                assert answer.json() == {"detail": "the model is being loaded: try again later"}
            loaded.set()
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert client.post(DETECT, content=png(200)).status_code == 200

    @pytest.mark.parametrize("fails", ["load", "detect"])
    def test_a_model_that_does_not_work_ends_the_service(self, predictor, fails):
        predictor.failing = 0  # which the image has that is tried first

        def load():
            if fails == "load":
                raise RuntimeError("no model")
            return ServedModel(predictor, "grey", "1")

        service = Service(load)
        with running(service, ready=False) as client:
            wait_until(lambda: service.error is not None)
            del client
        assert str(service.error) == ("no model" if fails == "load" else "secret.py fails")

    def test_what_is_in_work_is_done_in_the_end(self, predictor):
        with ThreadPoolExecutor(2) as threads:
            with running(grey_service(predictor)) as client:
                predictor.open.clear()
                answers = [threads.submit(client.post, DETECT, content=png(x)) for x in (51, 102)]
                wait_until(lambda: "tood_queue_length 1.0" in client.get("/metrics").text)
                opening = threading.Timer(0.5, predictor.open.set)
                opening.start()  # once the service is told to end
            opening.join()
            assert scores(answers) == [0.2, 0.4]
