"""A device over HTTP on ThingsBoard's library: ``http_device.py URL TOKEN HOST PORT``, where HOST
and PORT are those of MQTT. Before that it asks for credentials both ways.

Run by a Python of its own. Says what happens as JSON lines, until its standard input ends.
"""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from requests import HTTPError
from tb_device_http import TBHTTPDevice, TBProvisionFailure
from tb_device_mqtt import TBDeviceMqttClient

WHEN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def refused(what: Any) -> str:
    """Why, in the library's words."""
    try:
        what()
    except (HTTPError, TBProvisionFailure) as error:
        return str(error)
    return ""


def main() -> None:
    url, token, host, port = sys.argv[1:]
    over_mqtt = TBDeviceMqttClient.provision(
        host, "k-pump", "s-pump-1", device_name="asked-mqtt", port=int(port)
    )
    over_http = TBHTTPDevice.provision(url, "asked-http", "k-pump", "s-pump-1")
    over_http.connect()
    over_http.send_telemetry({"t": 7}, timestamp=WHEN, queued=False)
    tell(mqtt=over_mqtt)
    device = TBHTTPDevice(url, token)

    def answer(body: dict[str, Any]) -> None:
        device.send_rpc("", {"echo": body["params"]}, body["id"])
        tell(command=body)

    tell(connected=device.connect())
    device.send_telemetry({"t": 20}, timestamp=WHEN, queued=False)
    device.send_telemetry({"queued": 1}, timestamp=WHEN)
    device.send_attributes({"serial": "h1"})
    tell(limits=device.send_rpc("getSessionLimits"))
    tell(
        provision=refused(lambda: TBHTTPDevice.provision(url, "new", "key", "secret")),
        firmware=refused(device.get_firmware_update),
    )
    device.subscribe("attributes", lambda body: tell(attributes=body))
    device.subscribe("rpc", answer)
    for _ in sys.stdin:
        tell(read=device.request_attributes(["serial"], ["limit"]))


if __name__ == "__main__":
    main()
