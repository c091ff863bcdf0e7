"""The read side of the Confluent schema registry's interface, so that Kafka tools decode
our topics (contracts, section 1). Subjects are ``<topic>-value``."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from edgeferry.api.answers import json_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.routes.documented import REGISTRY_ERRORS, TOKEN_WANTED
from edgeferry.log.schemas import RegisteredSchema, registered_schemas

_SUFFIX = "-value"
_OPEN_HERE: dict[str, Any] = {"security": [{}]}
"""In the document: this machine needs no token."""
_SUBJECT_NOT_FOUND = 40401
_VERSION_NOT_FOUND = 40402
_SCHEMA_NOT_FOUND = 40403


class SchemaText(BaseModel):
    schema_: str = Field(alias="schema")


class SubjectVersion(SchemaText):
    subject: str
    version: int
    id: int


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(
        tags=["schema registry"], dependencies=TOKEN_WANTED, responses=REGISTRY_ERRORS
    )
    subjects = {f"{topic}{_SUFFIX}": record for topic, record in context.topics.items()}

    @router.get("/schemas/ids/{schema_id}", response_model=SchemaText, openapi_extra=_OPEN_HERE)
    async def by_id(schema_id: int) -> Response:
        schema = registered_schemas().get(schema_id)
        if schema is None:
            return _error(_SCHEMA_NOT_FOUND, "Schema not found")
        return json_answer({"schema": schema.text})

    @router.get("/subjects", response_model=list[str], openapi_extra=_OPEN_HERE)
    async def all_subjects() -> Response:
        return json_answer(sorted(subjects))

    @router.get("/subjects/{subject}/versions", response_model=list[int], openapi_extra=_OPEN_HERE)
    async def versions(subject: str) -> Response:
        schemas = _versions(subjects, subject)
        if not schemas:
            return _error(_SUBJECT_NOT_FOUND, f"Subject {subject!r} not found")
        return json_answer(sorted(schemas))

    @router.get(
        "/subjects/{subject}/versions/{version}",
        response_model=SubjectVersion,
        openapi_extra=_OPEN_HERE,
    )
    async def by_version(subject: str, version: str) -> Response:
        schemas = _versions(subjects, subject)
        if not schemas:
            return _error(_SUBJECT_NOT_FOUND, f"Subject {subject!r} not found")
        by_name = {str(number): schema for number, schema in schemas.items()}
        schema = schemas[max(schemas)] if version == "latest" else by_name.get(version)
        if schema is None:
            return _error(_VERSION_NOT_FOUND, f"Version {version} not found")
        return json_answer(
            {
                "subject": subject,
                "version": schema.version,
                "id": schema.id,
                "schema": schema.text,
            }
        )

    return router


def _versions(subjects: dict[str, str], subject: str) -> dict[int, RegisteredSchema]:
    record = subjects.get(subject)
    return {
        schema.version: schema
        for schema in registered_schemas().values()
        if schema.subject == record
    }


def _error(code: int, message: str) -> Response:
    """Confluent's own shape, as its clients read it."""
    return json_answer({"error_code": code, "message": message}, 404)
