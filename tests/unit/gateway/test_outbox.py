"""Publishes to one client: identifiers, windows, repeats."""

from edgeferry.gateway.mqtt.outbox import MOST_WAITING, Outbox
from edgeferry.gateway.mqtt.packets import V5, V311
from tests.unit.gateway.client_packets import FromServer, decode


def online(maximum: int = 65_535, largest: int = 0, version: int = V311) -> Outbox:
    outbox = Outbox()
    outbox.connect(version, maximum, largest)
    return outbox


def packets(data: bytes | None, version: int = V311) -> list[FromServer]:
    assert data is not None
    found = []
    while data:
        assert data[1] < 128
        end = 2 + data[1]
        found.append(decode(data[0], data[2:end], version))
        data = data[end:]
    return found


def test_a_publish_of_qos_1_is_repeated_until_it_is_acknowledged() -> None:
    outbox, done = online(), list[str]()
    (first,) = packets(outbox.send("t", b"1", 1, lambda: done.append("1")))
    assert (first.topic, first.payload, first.qos, first.dup) == ("t", b"1", 1, False)
    outbox.disconnect()
    outbox.connect(V5, 10, 0)
    (again,) = packets(outbox.resume(), V5)
    assert again == first._replace(dup=True)
    assert outbox.acknowledge(first.packet_id) == b""
    assert outbox.acknowledge(first.packet_id) == b""
    assert (done, outbox.resume(), len(outbox)) == (["1"], b"", 0)


def test_no_more_are_under_way_than_the_client_takes() -> None:
    outbox = online(2)
    sent = [outbox.send("t", b"%d" % n, 1) for n in range(4)]
    assert [len(packets(data)) for data in sent] == [1, 1, 0, 0]
    (third,) = packets(outbox.acknowledge(1))
    assert (third.packet_id, third.payload) == (3, b"2")
    outbox.disconnect()
    outbox.connect(V311, 65_535, 0)
    assert [(p.payload, p.dup) for p in packets(outbox.resume())] == [
        (b"1", True), (b"2", True), (b"3", False),
    ]  # fmt: skip


def test_a_refusal_by_the_client_frees_the_identifier_and_confirms_nothing() -> None:
    outbox, done = online(), list[str]()
    outbox.send("t", b"1", 1, lambda: done.append("1"))
    outbox.acknowledge(1, success=False)
    assert (done, len(outbox)) == ([], 0)


def test_what_nobody_can_take_is_not_sent() -> None:
    assert online(largest=40).send("t", b"x" * 40, 1) is None
    outbox = online(1)
    for _ in range(MOST_WAITING):
        assert outbox.send("t", b"", 1) is not None
    assert outbox.send("t", b"", 1) is None
    outbox.disconnect()
    assert outbox.send("t", b"", 0) is None


def test_identifiers_in_use_are_not_given_again() -> None:
    outbox = online()
    outbox.send("t", b"first", 1)
    for expected in range(2, 65_536):
        outbox.send("t", b"", 1)
        outbox.acknowledge(expected)
    (next_one,) = packets(outbox.send("t", b"", 1))
    assert next_one.packet_id == 2
