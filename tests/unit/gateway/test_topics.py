"""The topics of devices."""

import pytest

from edgeferry.gateway.topics import SUBSCRIBABLE, Published, What, published


@pytest.mark.parametrize(
    ("topic", "meaning"),
    [
        ("v1/devices/me/telemetry", Published(What.TELEMETRY)),
        ("v2/t", Published(What.TELEMETRY)),
        ("v2/a/j", Published(What.ATTRIBUTES)),
        (
            "v1/devices/me/attributes/request/7",
            Published(What.ATTRIBUTES_REQUEST, 7, "v1/devices/me/attributes/response/"),
        ),
        ("v2/a/req/1", Published(What.ATTRIBUTES_REQUEST, 1, "v2/a/res/")),
        ("v1/devices/me/rpc/request/5", Published(What.CALL, 5, "v1/devices/me/rpc/response/")),
        ("v2/r/res/3", Published(What.COMMAND_RESPONSE, 3)),
        ("v1/gateway/rpc", Published(What.GATEWAY_RPC)),
        ("v1/devices/me/claim", Published(What.CLAIM)),
        ("/provision/request", Published(What.PROVISION)),
        ("v2/fw/request/3/chunk/0", Published(What.FIRMWARE, 3)),
        ("v2/sw/request/3/chunk/12", Published(What.SOFTWARE, 3)),
        ("v2/fw/request/3/chunk/x", None),
        ("v2/fw/request/3/part/0", None),
        ("v2/hw/request/3/chunk/0", None),
        ("v2/t/p", None),
        ("v1/devices/me/rpc/request/", None),
        ("v1/devices/me/rpc/request/-1", None),
        ("v1/devices/me/rpc/request/2147483648", None),
        ("v1/devices/me/rpc/request/x", None),
        ("", None),
    ],
)
def test_a_topic_means_one_thing_or_nothing(topic: str, meaning: Published | None) -> None:
    assert published(topic) == meaning


def test_every_answer_can_be_subscribed() -> None:
    questions = [published(f"{t}1") for t in ("v2/r/req/j/", "v2/a/req/j/", "v2/r/req/")]
    assert all(found is not None and found.answer + "+" in SUBSCRIBABLE for found in questions)
