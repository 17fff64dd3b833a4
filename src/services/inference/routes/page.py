"""``GET /``: what there is."""

from fastapi import APIRouter

router = APIRouter(tags=["service"])


@router.get("/", summary="What there is")
async def page() -> dict[str, str]:
    """The service's pages by what they are for."""
    return {
        "documentation": "/docs",
        "reference": "/redoc",
        "openapi": "/openapi.json",
        "health": "/health",
        "predict": "/predict",
        "retrain": "/retrain",
        "metrics": "/metrics",
    }
