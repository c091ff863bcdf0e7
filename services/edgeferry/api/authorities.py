"""What each kind of user may ask for. Whatever is not named here is refused."""

import re
from enum import StrEnum
from typing import Final


class Authority(StrEnum):
    """The names are an interface (semantics of the field, section 7.4)."""

    SYS_ADMIN = "SYS_ADMIN"
    """Looks after the installation: has nothing of a tenant."""
    TENANT_ADMIN = "TENANT_ADMIN"
    """Reads and changes all of its tenant."""
    CUSTOMER_USER = "CUSTOMER_USER"
    """Reads its tenant's devices, edges and values; neither secrets nor events. Changes nothing."""


_ALL: Final = frozenset(one.value for one in Authority)
_OWN: Final = frozenset({("GET", "/api/auth/user"), ("POST", "/api/auth/logout")})
_DOCUMENTS: Final = re.compile(r"/openapi\.json|/subjects(/.*)?|/schemas/.*")
_NOT_FOR_CUSTOMERS: Final = re.compile(r"/api/device/[^/]*/credentials|/api/edge/(.*/)?events")


def may(authority: str, method: str, path: str) -> bool:
    """Whether a user of this authority may ask for it."""
    if (method, path) in _OWN or (method == "GET" and _DOCUMENTS.fullmatch(path)):
        return authority in _ALL
    match authority:
        case Authority.TENANT_ADMIN:
            return True
        case Authority.CUSTOMER_USER:
            return method == "GET" and not _NOT_FOR_CUSTOMERS.fullmatch(path)
    return False
