"""A gateway on ThingsBoard's library: ``gateway.py HOST PORT TOKEN``.

Run by a Python of its own. Says what happens as JSON lines, until its standard input ends.
"""

import json
import sys
import time
from typing import Any

from tb_gateway_mqtt import TBGatewayMqttClient

TS = 1_700_000_000_000


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    host, port, token = sys.argv[1:]
    client = TBGatewayMqttClient(host, int(port), username=token)

    def answer(_: Any, body: dict[str, Any]) -> None:
        client.gw_send_rpc_reply(
            body["device"], body["data"]["id"], {"echo": body["data"]["params"]}
        )
        tell(command=body)

    client.gw_set_server_side_rpc_request_handler(answer)
    client.connect()  # it forgets the callback given when the answer is quicker than itself
    while not client.rate_limits_received or client.get_subscriptions_in_progress():
        time.sleep(0.02)
    sent = [
        client.gw_connect_device("behind-1", "thermostat"),
        client.gw_connect_device("behind-2"),
        client.gw_send_attributes("behind-1", {"serial": "b1"}),
        client.gw_send_telemetry("behind-1", {"ts": TS, "values": {"t": 1}}),
        client.gw_send_telemetry(
            "behind-2", [{"ts": TS + n, "values": {"t": n}} for n in range(3)]
        ),
        client.send_telemetry({"ts": TS, "values": {"own": 1}}),
    ]
    client.gw_subscribe_to_all_device_attributes("behind-1", lambda body: tell(attributes=body))
    tell(published=[one.get() for one in sent])
    client.gw_claim("behind-1", "a secret", 1000).get()
    for line in sys.stdin:
        asked = json.loads(line)
        ask = (
            client.gw_request_client_attributes
            if asked["client"]
            else client.gw_request_shared_attributes
        )
        ask(asked["device"], asked["keys"], lambda body, error: tell(read=body, error=str(error)))
    client.gw_disconnect_device("behind-2").get()
    tell(connected=client.is_connected())
    client.disconnect()
    client.stop()


if __name__ == "__main__":
    main()
