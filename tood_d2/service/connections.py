"""Connections whose clients are given a limited time."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HastyConnection(H11Protocol):
    """Ends when headers take too long, or the rest of a body that is answered already.

    uvicorn itself limits only the time of a connection on which nothing is sent. The time that a
    body takes before its answer is up to the application.
    """

    SECONDS = 10.0
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._look_at_clock()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look_at_clock()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_at_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_clock()

    def _look_at_clock(self) -> None:
        state, is_answered = self.conn.their_state, self.conn.our_state is h11.DONE
        if state is h11.IDLE or (state is h11.SEND_BODY and is_answered):
            if self._end is None:
                self._end = self.loop.call_later(self.SECONDS, self.transport.close)
        else:
            self._stop_clock()

    def _stop_clock(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
