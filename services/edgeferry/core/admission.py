"""Whether a site takes new messages: told by what watches its room, asked by what receives."""

from typing import Final, Literal, NamedTuple

Lane = Literal["general", "telemetry"]
"""Where a message will go from here: telemetry apart from all else (attributes, alarms...)."""

LANES: Final[tuple[Lane, ...]] = ("general", "telemetry")


class Refusal(NamedTuple):
    """``by``: one word for what refuses; ``text``: why, for the sender."""

    by: str
    text: str


class Admission:
    """One per process. What was acknowledged before a refusal still goes its way."""

    def __init__(self) -> None:
        self._refusals: dict[Lane, dict[str, str]] = {lane: {} for lane in LANES}
        self._first: dict[Lane, Refusal | None] = dict.fromkeys(LANES)
        self.refused: dict[Lane, int] = dict.fromkeys(LANES, 0)
        """Messages refused since the start of the process."""

    def refuse(self, by: str, lane: Lane, text: str) -> None:
        """Take no new messages of a lane until ``admit`` of the same ``by``."""
        self._refusals[lane][by] = text
        self._changed(lane)

    def admit(self, by: str, lane: Lane) -> None:
        if self._refusals[lane].pop(by, None) is not None:
            self._changed(lane)

    def _changed(self, lane: Lane) -> None:
        self._first[lane] = next((Refusal(*item) for item in self._refusals[lane].items()), None)

    def refusal(self, lane: Lane) -> Refusal | None:
        """None: new messages of this lane are taken."""
        return self._first[lane]

    @property
    def open(self) -> bool:
        """Whether messages of any lane are taken."""
        return None in self._first.values()

    def count(self, lane: Lane) -> None:
        """A message was refused."""
        self.refused[lane] += 1
