"""Log in, renew, who am I (semantics of the field, section 7.4)."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from edgeferry.api.accounts import Account
from edgeferry.api.answers import json_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.pages import NULL_ID
from edgeferry.api.routes.documented import ERRORS, LOGIN_ERRORS, TOKEN_WANTED
from edgeferry.api.shapes import User
from edgeferry.api.tokens import TokenPair


class LoginRequest(BaseModel):
    username: str = Field(max_length=255)
    password: str = Field(max_length=1024)


class RefreshRequest(BaseModel):
    refreshToken: str = Field(max_length=4096)


class TokenAnswer(BaseModel):
    """``scope`` is set only while a second factor is awaited, which there is none of."""

    token: str
    refreshToken: str
    scope: str | None


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(prefix="/api/auth", tags=["auth"])

    @router.post("/login", response_model=TokenAnswer, responses=LOGIN_ERRORS)
    async def login(request: Request, body: LoginRequest) -> Response:
        address = request.client.host if request.client else ""
        return _tokens(await context.auth.login(body.username, body.password, address))

    @router.post("/token", response_model=TokenAnswer, responses=LOGIN_ERRORS)
    async def refresh(body: RefreshRequest) -> Response:
        return _tokens(context.auth.refresh(body.refreshToken))

    @router.post("/logout", dependencies=TOKEN_WANTED, responses=ERRORS, response_class=Response)
    async def logout(request: Request) -> Response:
        """All tokens of the user end, whoever holds them."""
        context.auth.logout(request.state.account)
        return Response()

    @router.get("/user", dependencies=TOKEN_WANTED, responses=ERRORS, response_model=User)
    async def user(request: Request) -> Response:
        return json_answer(_user(request.state.account))

    return router


def _tokens(pair: TokenPair) -> Response:
    return json_answer({"token": pair.access, "refreshToken": pair.refresh, "scope": None})


def _user(account: Account) -> dict[str, Any]:
    return {
        "id": {"entityType": "USER", "id": account.id},
        "createdTime": account.created_time,
        "tenantId": {"entityType": "TENANT", "id": account.tenant_id},
        "customerId": {"entityType": "CUSTOMER", "id": NULL_ID},
        "email": account.username,
        "authority": account.authority,
        "name": account.username,
        "firstName": None,
        "lastName": None,
        "phone": None,
        "additionalInfo": {},
    }
