"""The settings of an Edge or a Cloud in a folder of its own."""

from pathlib import Path

from edgeferry.tools.alone import AloneOptions, AloneSite


def _site(folder: Path, host: str | None = None) -> AloneSite:
    return AloneSite(
        "cloud",
        AloneOptions(
            data=folder,
            host=host,
            http=0,
            mqtt=0,
            chain=None,
            log=None,
            store=None,
            kafka=None,
            cassandra=None,
        ),
    )


def test_listeners_with_tls_open_to_whom_the_plain_ones_do(tmp_path: Path) -> None:
    settings = _site(tmp_path, host="0.0.0.0").settings()
    assert (settings.http.tls.host, settings.mqtt.tls.host) == ("0.0.0.0", "0.0.0.0")
    own = _site(tmp_path).settings()
    assert (own.http.tls.host, own.mqtt.tls.host) == ("127.0.0.1", "127.0.0.1")


def test_what_listens_with_tls_is_told(tmp_path: Path) -> None:
    settings = _site(tmp_path).settings()
    assert AloneSite.secure(settings) == []
    tls = settings.mqtt.tls.model_copy(update={"cert": tmp_path / "cert.pem"})
    secured = settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update={"tls": tls})})
    assert AloneSite.secure(secured) == [("device MQTT with TLS", "127.0.0.1:8883")]
