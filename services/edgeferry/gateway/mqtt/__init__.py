"""MQTT 3.1.1 and 5: a pure codec, a pure session, and a thin asyncio protocol over both."""
