"""Who counts as one when addresses are counted."""

import ipaddress


def network_of(address: str) -> str:
    """One customer has a whole /64 of IPv6 addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
