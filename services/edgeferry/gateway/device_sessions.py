"""The links to devices that this process has, and what comes down to them."""

from collections.abc import Mapping, Sequence

from edgeferry.gateway.ports import DeviceLink


class DeviceSessions:
    """Finds the links of a device. Answers to calls are addressed by session."""

    def __init__(self) -> None:
        self._links: dict[str, dict[DeviceLink, None]] = {}
        self._by_session: dict[str, DeviceLink] = {}

    def __len__(self) -> int:
        return len(self._by_session)

    def add(self, device_id: str, session_id: str, link: DeviceLink) -> None:
        self._links.setdefault(device_id, {})[link] = None
        self._by_session[session_id] = link

    def remove(self, device_id: str, session_id: str, link: DeviceLink) -> None:
        links = self._links.get(device_id, {})
        links.pop(link, None)
        if not links:
            self._links.pop(device_id, None)
        self._by_session.pop(session_id, None)

    def attributes_wanted(self, device_id: str) -> list[DeviceLink]:
        """The links of the device that asked for shared attributes."""
        return [link for link in self._links.get(device_id, ()) if link.wants_attributes()]

    def commands_wanted(self, device_id: str) -> DeviceLink | None:
        """The newest link of the device that takes commands."""
        links = reversed(self._links.get(device_id, {}))
        return next((link for link in links if link.wants_commands()), None)

    def push_attributes(
        self, device_id: str, updates: Mapping[str, object], deletes: Sequence[str]
    ) -> None:
        """Shared attributes changed: to every link that asked for them."""
        for link in self.attributes_wanted(device_id):
            link.attributes(updates, deletes)

    def push_answer(self, session_id: str, call_id: int, data: str) -> None:
        """To the session that called; nowhere when it has gone."""
        link = self._by_session.get(session_id)
        if link is not None:
            link.answer(call_id, data)
