"""``/docs`` and ``/openapi.json``, and the files of all pages: none comes from another origin."""

import asyncio
import functools
from pathlib import Path

import msgspec
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parents[1] / "static"
# Contains the distribution files of Swagger UI.
PACKAGE = "fastapi_offline"
DOCS_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
PAGE_FILES = ("vendor/htmx.min.js", "vendor/pico.min.css", "page.css", "page.js")
ASSETS = {f"/docs/assets/{file}": file for file in DOCS_FILES} | {
    f"/page/assets/{file.removeprefix('vendor/')}": file for file in PAGE_FILES
}
# What every page may load, by its Content-Security-Policy.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Browsers revalidate each time: files change with the service, the document with the model.
HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document of the served model."""
    # The first one after a start or a swap takes tens of milliseconds.
    document = await asyncio.to_thread(request.app.openapi)
    return Response(msgspec.json.encode(document), headers=HEADERS, media_type="application/json")


@router.get("/docs")
async def swagger_ui() -> Response:
    """Swagger UI: the document with forms to try requests."""
    html = await asyncio.to_thread((STATIC / "docs.html").read_text, encoding="utf-8")
    policy = f"{POLICY}; img-src 'self' data: blob:; font-src 'self'; style-src 'self'; worker-src 'self'"
    return HTMLResponse(html, headers={**HEADERS, "Content-Security-Policy": policy})


@router.get("/page/assets/{name}", responses={304: {}, 404: {}})
@router.get("/docs/assets/{name}", responses={304: {}, 404: {}})
async def asset(request: Request) -> Response:
    """A script or a style sheet of a page."""
    path = request.scope["path"]
    if path not in ASSETS:
        raise HTTPException(404)
    response = await _files().get_response(ASSETS[path], request.scope)
    response.headers.update(HEADERS)
    return response


@functools.cache
def _files() -> StaticFiles:
    return StaticFiles(directory=STATIC, packages=[(PACKAGE, "static")])
