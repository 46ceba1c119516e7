"""What comes back: the detections of the predictor itself, and words about everything else."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

for package in ("fastapi", "httpx", "prometheus_client", "uvicorn"):
    pytest.importorskip(package)

import torch  # noqa: E402
from service_runs import DETECT, GreyPredictor, grey_service, png, running  # noqa: E402

from tood_d2 import __version__  # noqa: E402
from tood_d2.config import load_run  # noqa: E402
from tood_d2.data.images import UPLOAD_FORMATS, read_image  # noqa: E402
from tood_d2.inference import Predictor  # noqa: E402
from tood_d2.service.app import Service  # noqa: E402
from tood_d2.service.batching import ServedModel  # noqa: E402


@pytest.fixture(scope="module")
def client():
    with running(grey_service(GreyPredictor())) as client:
        yield client


def found(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["detections"]


def refused(answer, status):
    """The message of an answer, in which nothing of the server may be told."""
    assert answer.status_code == status, answer.text
    assert [*answer.json()] == ["detail"]
    detail = answer.json()["detail"]
    assert not any(x in detail for x in ("Traceback", "/", "0x", "secret")) or "v1/model" in detail
    return detail


class TestDetections:
    def test_an_answer(self, client):
        answer = client.post(DETECT, content=png(204)).json()
        times = answer.pop("milliseconds")
        assert answer == {
            "image": {"width": 6, "height": 4},
            # 204 / 255 = 0.8
            "detections": [
                {"class_name": "bright", "class_index": 1, "score": 0.8, "box": [0, 0, 6, 4]}
            ],
            "model": {"name": "grey", "version": "1"},
            "batch_size": 1,
        }
        assert [*times] == ["decoding", "queue", "network"] and min(times.values()) >= 0

    @pytest.mark.parametrize(
        "kind", ["", "image/jpeg", "IMAGE/png; a=b", "application/octet-stream"]
    )
    def test_types_of_a_body(self, client, kind):
        answer = client.post(DETECT, content=png(51), headers={"Content-Type": kind})
        assert found(answer)[0]["score"] == 0.2

    def test_scores_have_five_digits(self, client):
        # 77 / 255 = 0.301960784...
        assert found(client.post(DETECT, content=png(77)))[0]["score"] == 0.30196

    def test_a_form(self, client):
        files, data = {"any": ("a.png", png(51))}, {"text": "x"}
        assert found(client.post(DETECT, files=files, data=data))[0]["score"] == 0.2

    def test_a_body_in_chunks(self, client):
        content = (png(51)[i : i + 1] for i in range(len(png(51))))
        assert found(client.post(DETECT, content=content))[0]["score"] == 0.2

    @pytest.mark.parametrize("kind", UPLOAD_FORMATS)
    def test_all_kinds_of_images(self, client, kind):
        file = io.BytesIO()
        Image.new("RGB", (32, 16), (204, 204, 204)).save(file, kind)
        answer = client.post(DETECT, content=file.getvalue())
        assert found(answer)[0]["box"] == [0, 0, 32, 16]

    def test_images_are_turned(self, client):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        answer = client.post(DETECT, content=png(51, exif=exif)).json()
        assert answer["image"] == {"width": 4, "height": 6}

    @pytest.mark.parametrize(
        ("query", "number"),
        [
            ("confidence_threshold=0.2", 1),
            ("confidence_threshold=0.21", 0),
            ("classes=dark", 1),
            ("classes=bright", 0),
            ("classes=bright&classes=dark&confidence_threshold=0", 1),
        ],
    )
    def test_queries(self, client, query, number):
        answer = client.post(f"{DETECT}?{query}", content=png(52))
        assert len(found(answer)) == number

    def test_threshold_of_the_server(self):
        service = grey_service(GreyPredictor())
        service.confidence_threshold = 0.5
        with running(service) as client:
            assert found(client.post(DETECT, content=png(100))) == []
            assert len(found(client.post(DETECT, content=png(200)))) == 1
            answer = client.post(f"{DETECT}?confidence_threshold=0.1", content=png(100))
            assert len(found(answer)) == 1
            assert client.get("/v1/model").json()["confidence_threshold"] == 0.5


def test_detections_are_those_of_the_predictor(detecting_model, shapes):
    """One after the other, and together in batches of images of the same size."""
    run = load_run(
        str(detecting_model / "config.yaml"), weights=str(detecting_model / "model_final.pth")
    )
    predictor = Predictor(run)
    model = ServedModel(predictor, "tiny", "1")
    names = sorted((shapes / "train").iterdir())[:4]
    with running(Service(lambda: model, batch_size=4, batch_wait=0.3)) as client:
        alone = [client.post(DETECT, content=x.read_bytes()).json() for x in names]
        with ThreadPoolExecutor(4) as threads:
            together = [
                x.json()
                for x in threads.map(lambda x: client.post(DETECT, content=x.read_bytes()), names)
            ]
    assert max(x["batch_size"] for x in together) > 1
    for name, *answers in zip(names, alone, together, strict=True):
        (expected,) = predictor.detect([read_image(name, "RGB")])
        expected = expected[expected.scores >= 0.3]
        assert len(expected) > 5
        for answer in answers:
            rows = answer["detections"]
            boxes = torch.tensor([x["box"] for x in rows])
            assert torch.allclose(boxes, expected.pred_boxes.tensor, atol=0.01)
            scores = torch.tensor([x["score"] for x in rows])
            assert torch.allclose(scores, expected.scores, atol=1e-5)
            assert [x["class_index"] for x in rows] == expected.pred_classes.tolist()
            names_found = [predictor.class_names[x] for x in expected.pred_classes]
            assert [x["class_name"] for x in rows] == names_found


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("confidence_threshold=1.1", "confidence_threshold: Input should be less than or"),
            ("confidence_threshold=-1", "confidence_threshold: Input should be greater than or"),
            ("confidence_threshold=nan", "confidence_threshold: Input should be a finite number"),
            ("confidence_threshold=much", "confidence_threshold: Input should be a valid number"),
            ("confidence=0.5", "confidence: Extra inputs are not permitted"),
            ("classes=cat", "classes: 'cat' is not known, see /v1/model"),
        ],
    )
    def test_queries(self, client, query, message):
        assert message in refused(client.post(f"{DETECT}?{query}", content=png(1)), 422)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_methods(self, client, method):
        answer = client.request(method, DETECT, content=png(1))
        assert refused(answer, 405) and answer.headers["Allow"] == "POST"

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/mixed", "/x"])
    def test_types(self, client, kind):
        answer = client.post(DETECT, content=png(1), headers={"Content-Type": kind})
        assert answer.status_code == 415
        assert "send an image as the body, or as the only file of a form" in answer.text

    @pytest.mark.parametrize("path", ["/", "/v1", "/v1/detect/x", "/../setup.py", "/metrics/x"])
    def test_paths(self, client, path):
        refused(client.get(path), 404)

    def test_nothing_is_sent(self, client):
        assert client.post(DETECT).json()["detail"].startswith("there is no image: send an image")
        assert client.post(DETECT, files={"a": ("", b"")}).status_code == 400
        answer = client.post(DETECT, files={"a": (None, b"text")})
        assert answer.json()["detail"].startswith("there is no image: send an image as the body")

    def test_what_is_no_image(self, client):
        answer = client.post(DETECT, content=b"<svg/>")
        message = "the image is no image, or none of the kinds AVIF, BMP, GIF, JPEG"
        assert answer.status_code == 400 and message in answer.json()["detail"]

    def test_half_an_image(self, client):
        content = png(1, (300, 300), compress_level=0)
        answer = client.post(DETECT, content=content[: len(content) // 2])
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("the image is broken: ")

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("multipart/form-data", b"x"),  # without a boundary
            ("multipart/form-data; boundary=a", b"--b\r\n"),
            ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\nx"),
            ("multipart/form-data; boundary=" + "a" * 5000, b"x"),
        ],
    )
    def test_broken_forms(self, client, kind, content):
        answer = client.post(DETECT, content=content, headers={"Content-Type": kind})
        assert answer.status_code == 400 and "send an image" in answer.json()["detail"]

    def test_two_files(self, client):
        files = [("a", ("a.png", png(1))), ("b", ("b.png", png(1)))]
        answer = client.post(DETECT, files=files)
        assert answer.status_code == 400 and "Too many files" in answer.json()["detail"]


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "image/jpeg", "multipart/form-data; boundary=a"]),
    st.sampled_from(
        [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"--a\r\n", png(3)]
    ),
)
def test_no_body_is_a_fault_of_the_service(client, content, kind, start):
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post(DETECT, content=start + content, headers=headers)
    assert answer.status_code in (200, 400, 413)
    assert answer.status_code == 200 or [*answer.json()] == ["detail"]


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=40))
def test_no_query_and_no_header_is_a_fault_of_the_service(client, query, kind):
    kind = bytes(x for x in kind if 32 < x < 127)
    text = "".join(f"%{x:02x}" for x in query)
    answer = client.post(f"{DETECT}?{text}", content=png(1), headers={b"Content-Type": kind})
    assert answer.status_code in (200, 400, 415, 422)


class TestAbout:
    def test_the_model(self, client):
        assert client.get("/v1/model").json() == {
            "name": "grey",
            "version": "1",
            "class_names": ["dark", "bright"],
            "input_format": "RGB",
            "image_kinds": [*UPLOAD_FORMATS],
            "confidence_threshold": 0,
            "batch_size": 1,
            "limits": {
                "max_megabytes": 20,
                "max_megapixels": 40,
                "max_queue": 32,
                "max_wait": 30,
                "upload_timeout": 30,
            },
            "tood_d2": __version__,
        }

    def test_schema(self, client):
        schema = client.get("/openapi.json").json()
        post = schema["paths"][DETECT]["post"]
        assert {*post["responses"]} == {"200", *map(str, (400, 408, 413, 415, 422, 500, 503, 504))}
        fields = schema["components"]["schemas"]["Detection"]["properties"]
        assert [*fields] == ["class_name", "class_index", "score", "box"]
        assert "swagger" in client.get("/docs").text

    def test_metrics(self):
        predictor = GreyPredictor()
        with running(grey_service(predictor)) as client:
            for content in (png(1), png(2), b"x"):
                client.post(DETECT, content=content)
            client.get("/secret/path")
            text = client.get("/metrics").text.splitlines()
        assert 'tood_requests_total{path="/v1/detect",status="200"} 2.0' in text
        assert 'tood_requests_total{path="/v1/detect",status="400"} 1.0' in text
        assert 'tood_requests_total{path="other",status="404"} 1.0' in text
        assert 'tood_request_seconds_bucket{le="+Inf",path="/v1/detect"} 3.0' in text
        assert 'tood_batch_size_bucket{le="1.0"} 2.0' in text and "tood_batch_size_sum 2.0" in text
        assert "tood_network_seconds_count 2.0" in text and "tood_queue_length 0.0" in text
        assert not any("secret" in x for x in text)

    def test_other_pages_may_not_read_answers(self, client):
        headers = {"Origin": "http://example.com"}
        answer = client.post(DETECT, content=png(1), headers=headers)
        assert not any(x.startswith("access-control") for x in answer.headers)
        headers["Access-Control-Request-Method"] = "POST"
        assert client.options(DETECT, headers=headers).status_code == 405

    def test_the_server_does_not_tell_its_name(self, client):
        assert "server" not in client.get("/healthz").headers


class TestToken:
    @pytest.fixture
    def client(self):
        with running(grey_service(GreyPredictor(), token=b"se-cret")) as client:
            yield client

    @pytest.mark.parametrize("path", ["/v1/model", "/metrics"])
    @pytest.mark.parametrize(
        "value",
        [None, "", "Bearer", "Bearer se-cre", "Bearer se-crett", "Basic se-cret", b"Bearer \xff"],
    )
    def test_wrong_ones(self, client, path, value):
        headers = {} if value is None else {"Authorization": value}
        answer = client.get(path, headers=headers)
        assert "a token is needed" in refused(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_it_is_asked_for_before_anything_else(self, client):
        answer = client.post(f"{DETECT}?x=1", content=b"", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 401

    def test_the_right_one(self, client):
        headers = {"Authorization": "Bearer se-cret"}
        assert len(found(client.post(DETECT, content=png(1), headers=headers))) == 1
        assert client.get("/metrics", headers=headers).status_code == 200

    def test_probes_need_none(self, client):
        assert client.get("/healthz").json() == {"alive": True}
        assert client.get("/readyz").json() == {"ready": True}
