"""``GET /audit``: the newest entries of the audit log."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from src.core.audit_log import Entry
from src.services.inference.routes.endpoints import Service, errors

router = APIRouter(tags=["registry"])


class AuditQuery(BaseModel, extra="forbid"):
    """The query parameters; unknown ones are refused."""

    limit: int = Field(20, ge=1, le=100, description="How many entries to list")
    before: int | None = Field(None, ge=0, description="The `before` of the page before; without it, the newest")


class AuditEntries(BaseModel):
    """Entries, newest first; fields that do not apply are null."""

    entries: list[Entry]
    before: int | None = Field(description="Where the next page begins; null if there are no older entries")


@router.get("/audit", summary="Promotions, rollbacks, approvals and retrain requests", responses=errors(503))
async def recent(service: Service, asked: Annotated[AuditQuery, Query()]) -> AuditEntries:
    """The audit log of the shared volume, newest first, of all models and processes.

    To read further back, pass `before` of the answer. The file itself is `DATA_DIR/audit/audit.ndjson`.
    """
    page = await asyncio.to_thread(service.audit.recent, asked.limit, asked.before)
    return AuditEntries(entries=page.entries, before=page.before)
