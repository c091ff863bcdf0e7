"""A device on ThingsBoard's library, as its examples are: ``device.py HOST PORT TOKEN``.

Run by a Python of its own. Says what happens as JSON lines, until its standard input ends.
"""

import json
import sys
import time
from typing import Any

from tb_device_mqtt import TBDeviceMqttClient

TS = 1_700_000_000_000


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    host, port, token = sys.argv[1:]
    client = TBDeviceMqttClient(host, int(port), username=token)

    def answer(request_id: str, body: dict[str, Any]) -> None:
        client.send_rpc_reply(request_id, {"echo": body["params"]})
        tell(command=body)

    client.set_server_side_rpc_request_handler(answer)
    client.connect()  # it forgets the callback given when the answer is quicker than itself
    while not client.rate_limits_received:
        time.sleep(0.02)
    tell(
        limits={
            "payload": client.max_payload_size,
            "messages": client._messages_rate_limit.has_limit(),
        }
    )
    client.subscribe_to_attribute("limit", lambda body, _: tell(attributes=body))
    client.subscribe_to_attribute("deleted", lambda body, _: tell(attributes=body))
    sent = [
        client.send_attributes({"serial": "x1", "model": {"name": "P-7"}}),
        client.send_telemetry({"now": 1.5}),
        client.send_telemetry({"ts": TS, "values": {"t": 20, "on": True}}),
        client.send_telemetry([{"ts": TS + n, "values": {"n": n}} for n in range(1, 500)]),
    ]
    tell(published=[one.get() for one in sent])
    client.claim("a secret").get()
    client.get_firmware_update()  # there is none
    client.send_rpc_call("nobodyKnows", {}, lambda *_: None)
    for line in sys.stdin:
        asked = json.loads(line)
        client.request_attributes(
            asked["client"], asked["shared"], lambda body, error: tell(read=body, error=str(error))
        )
    tell(connected=client.is_connected())
    client.disconnect()
    client.stop()


if __name__ == "__main__":
    main()
