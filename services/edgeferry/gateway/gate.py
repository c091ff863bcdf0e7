"""What stands before every message of a device: is there room for it, does it come too fast."""

from math import ceil

from edgeferry.core.admission import Lane
from edgeferry.core.errors import Later
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.rates import Rates

RATE = "rate"
ROOM_SECONDS = 10
"""When to try again what there was no room for."""


class NotTaken(Later):
    """The device acts, later: its message was not stored. ``word`` for the metrics, seconds
    after which it may try again."""

    def __init__(self, word: str, text: str, retry_after: int) -> None:
        super().__init__(text)
        self.word = word
        self.text = text
        self.retry_after = retry_after


class Gate:
    def __init__(self, context: GatewayContext) -> None:
        self._admission = context.admission
        self._monotonic = context.clock.monotonic
        self._rates = Rates(context.rates, self._monotonic())

    @property
    def open(self) -> bool:
        """Whether there is room for anything at all."""
        return self._admission.open

    def room(self, lane: Lane) -> None:
        """Raises NotTaken, counted, when messages of this lane are refused."""
        refusal = self._admission.refusal(lane)
        if refusal is not None:
            self._admission.count(lane)
            raise NotTaken(refusal.by, refusal.text, ROOM_SECONDS)

    def pass_or_refuse(self, device_id: str, size: int) -> None:
        """Raises NotTaken for a message that comes too fast."""
        wait = self._rates.wait(device_id, self._monotonic())
        if wait:
            raise NotTaken(RATE, "messages come too fast: send fewer", max(1, ceil(wait)))
        self._rates.take(device_id, size)

    def pass_and_wait(self, device_id: str, size: int) -> float:
        """For a sender that cannot be told: its message is taken, and this many seconds
        nothing more should be read from it."""
        now = self._monotonic()
        self._rates.wait(device_id, now)
        self._rates.take(device_id, size)
        return self._rates.wait(device_id, now)

    def tidy(self) -> None:
        self._rates.tidy(self._monotonic())
