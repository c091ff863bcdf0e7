"""What lets suites for brokers run against the gateway does what it says."""

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest

from tests.integration.clients.not_here import why_not
from tests.integration.clients.routing_front import front
from tests.integration.clients.sequence_run import against_a_gateway, report
from tests.integration.clients.sequences import read_cases

pytestmark = pytest.mark.asyncio

CASES = [
    {
        "group": "v3.1.1 PUBLISH",
        "tests": [
            {
                "name": "QoS 1 ok",
                "expect_disconnect": False,
                "msgs": [
                    {"type": "send", "payload": "32 r16 s5 'topic' m1234 'payload'"},
                    {"type": "recv", "payload": "40 r2 m1234"},
                ],
            },
            {"name": "QoS 3", "msgs": [{"type": "send", "payload": "36 r7 s3 'one' m1"}]},
            {
                "name": "QoS 2 ok",
                "expect_disconnect": False,
                "msgs": [
                    {"type": "send", "payload": "34 r16 s5 'topic' m1234 'payload'"},
                    {"type": "recv", "payload": "50 r2 m1234"},
                ],
            },
            {"name": "a ping is not refused", "msgs": [{"type": "send", "payload": "C0 r0"}]},
        ],
    },
    {
        "group": "v5.0 CONNECT",
        "ver": 5,
        "connect": False,
        "tests": [
            {
                "name": "10 twice",
                "msgs": [
                    {"type": "send", "payload": "10 r14 s4 'MQTT' 05 02 k10 v0 s1 'p'"},
                    {"type": "recv", "payload": "20 r3 00 00 00"},
                    {"type": "send", "payload": "10 r14 s4 'MQTT' 05 02 k10 v0 s1 'p'"},
                    {"type": "recv", "payload": "E0 r1 82"},
                ],
            }
        ],
    },
]


async def test_sequences_pass_fail_or_are_not_for_devices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CASES.json").write_text(json.dumps(CASES))
    cases = read_cases(tmp_path)
    otherwise = await against_a_gateway(cases)
    assert [(case.name, why_not(case, what) is None) for case, what in otherwise] == [
        ("QoS 2 ok", False),
        ("a ping is not refused", True),
    ]
    assert report(cases, otherwise) == 1
    assert "3 of 5 passed, 1 failed" in capsys.readouterr().out


async def test_what_is_published_through_the_front_comes_to_who_subscribed() -> None:
    async with front() as port, aiomqtt.Client("127.0.0.1", port, identifier="a") as reader:
        await reader.subscribe("some/topic", qos=1)
        will = aiomqtt.Will("some/topic", b"gone", 1)
        async with aiomqtt.Client("127.0.0.1", port, identifier="b", will=will) as writer:
            await writer.publish("another/topic", b"1", qos=1)
            await writer.publish("some/topic", b"\0not JSON", qos=1)
            await writer.publish("some/topic", b"2", qos=0)
        async with asyncio.timeout(20):
            found = [await anext(reader.messages) for _ in range(2)]
    assert [(str(m.topic), m.payload, m.qos) for m in found] == [
        ("some/topic", b"\0not JSON", 1),
        ("some/topic", b"2", 0),
    ]
