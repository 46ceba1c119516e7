"""Serves the page, and says what browsers may load for it."""

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_FILE_SIZE = "100mb"
# Gradio's own scripts and styles stand in the page.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)

CSS = """
.picture img, .picture video {max-height: 70vh; object-fit: contain}
#examples .grid-wrap {height: auto; min-height: 0}
#examples .grid-container {grid-template-columns: repeat(3, minmax(0, 1fr))}
#theme {align-self: center; flex-grow: 0; width: auto}
"""


class ContentSecurityPolicy:
    """Has browsers load nothing from other servers, whatever would find its way into the page.

    Gradio's own messages, as of a file that is too large, take its name for HTML.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["Referrer-Policy"] = "same-origin"
            await send(message)

        await self.app(scope, receive, send_with_policy)


def serve(page: gr.Blocks, host: str, port: int) -> None:
    """Starts to serve the page, in a thread of its own."""
    page.queue(api_open=False).launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        ssr_mode=False,
        quiet=True,
        css=CSS,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size=MAX_FILE_SIZE,
        app_kwargs={"middleware": [Middleware(ContentSecurityPolicy)]},
    )
