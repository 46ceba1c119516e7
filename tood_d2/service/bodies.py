"""The image in a request: its body as it is, or the only file of a form."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

CLIENT_LEFT = 499  # no standard; nobody reads it, only metrics show it
_FORM = "multipart/form-data"
# curl --data-binary says the last one of anything.
_RAW = ("", "application/octet-stream", "application/x-www-form-urlencoded")
HOW = "send an image as the body, or as the only file of a form (multipart/form-data)"


async def read_image_file(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Reads the image that a request brings; nothing of it is written to the disk.

    Args:
        request: of which no body has been read.
        max_bytes: of the body.
        timeout: seconds for all of it.

    Raises:
        HTTPException: 415 for another type, 413 as soon as there are too many bytes, 408 after the
            time, 400 if there is no image, 499 if the client has left.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != _FORM and kind not in _RAW and not kind.startswith("image/"):
        raise HTTPException(415, f"{kind[:80]!r} is not read: {HOW}")
    if int(request.headers.get("Content-Length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    read = _read_form if kind == _FORM else _read_raw
    try:
        content = await asyncio.wait_for(read(request, max_bytes), timeout)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the body took longer than {timeout:g} seconds") from None
    except ClientDisconnect:
        raise HTTPException(CLIENT_LEFT, "the client has left") from None
    if not content:
        raise HTTPException(400, f"there is no image: {HOW}")
    return content


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body is too large: at most {max_bytes / 1e6:g} megabytes")


async def _chunks(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


async def _read_raw(request: Request, max_bytes: int) -> bytes:
    return b"".join([x async for x in _chunks(request, max_bytes)])


async def _read_form(request: Request, max_bytes: int) -> bytes:
    parser = MultiPartParser(request.headers, _chunks(request, max_bytes), max_files=1)
    parser.spool_max_size = max_bytes + 1  # beyond which it would use the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read ({error.message}): {HOW}") from error
    files = [x for x in form.values() if not isinstance(x, str)]
    content = await files[0].read() if files else b""
    await form.close()
    return content
