"""What the service takes as a query, and what it answers."""

from pydantic import BaseModel, ConfigDict, Field

from detectron2.structures import Instances


class Query(BaseModel):
    """What is wanted of the detections of an image."""

    model_config = ConfigDict(extra="forbid")

    confidence_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="least score, instead of the server's; the model has a least one of its own",
    )
    classes: list[str] = Field([], description="names of those to keep, by default all")


class ImageSize(BaseModel):
    """In pixels, of the image turned as its EXIF data say."""

    width: int
    height: int


class Detection(BaseModel):
    class_name: str
    class_index: int = Field(description="position among the class names of the model, from 0")
    score: float = Field(description="from 0 to 1")
    box: tuple[float, float, float, float] = Field(
        description="left, top, right and bottom edge in pixels of the image"
    )


class Model(BaseModel):
    name: str
    version: str = Field(description="start of the SHA-256 of its files")


class Milliseconds(BaseModel):
    """Time that the image took."""

    decoding: float
    queue: float = Field(description="wait for other images, and for the rest of the batch")
    network: float = Field(description="for the whole batch, from the images to the boxes")


class Detections(BaseModel):
    image: ImageSize
    detections: list[Detection] = Field(description="the best first")
    model: Model
    milliseconds: Milliseconds
    batch_size: int = Field(description="number of images that were detected in together")


class Limits(BaseModel):
    """What a request may take."""

    max_megabytes: float = Field(20, description="of a body, in millions of bytes")
    max_megapixels: float = Field(40, description="of an image")
    max_queue: int = Field(32, description="requests in work at once")
    max_wait: float = Field(30, description="seconds from the end of the body to the detections")
    upload_timeout: float = Field(30, description="seconds for the whole body")


class Description(Model):
    class_names: list[str]
    input_format: str = Field(description="order of the network's channels: RGB, BGR or L")
    image_kinds: list[str] = Field(description="that can be sent")
    confidence_threshold: float = Field(description="used if a request has none")
    batch_size: int = Field(description="number of images that are detected in together at most")
    limits: Limits
    tood_d2: str = Field(description="version of the program")


class Problem(BaseModel):
    detail: str = Field(description="what is wrong, in words")


def detections_of(instances: Instances, class_names: list[str]) -> list[Detection]:
    """Detections, the best first, with scores of 5 digits and boxes in hundredths of a pixel."""
    rows = zip(
        instances.pred_boxes.tensor.tolist(),
        instances.scores.tolist(),
        instances.pred_classes.tolist(),
        strict=True,
    )
    return [
        Detection(
            class_name=class_names[index],
            class_index=index,
            score=round(score, 5),
            box=[round(x, 2) for x in box],
        )
        for box, score, index in sorted(rows, key=lambda row: -row[1])
    ]
