"""Champion, challenger and previous side by side, and whether there is a way back."""

from dataclasses import dataclass
from datetime import datetime

from src.services.inference.model.alias_client import Aliases, RegisteredVersion
from src.services.inference.page.links import Links
from src.services.inference.page.words import NONE, Moment, moment, score


@dataclass(frozen=True)
class VersionColumn:
    """The version under one alias; ``version`` is None where it points nowhere.

    Attributes:
        scores: in the order of the table's rows.
        note: what else there is to know: the gate's verdict, or that it was taken back.
    """

    alias: str
    version: str | None
    link: str | None = None
    trained: Moment | None = None
    scores: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class VersionsView:
    """The table, and what a roll back would do.

    Attributes:
        metrics: names of the scores, one per row.
        back_from: the champion that a roll back would take back, and ``back_to`` the version it goes to.
        returns: whether that one was rolled back itself.
        no_way_back: why there is no roll back.
        problem: why the registry's answer is missing or old.
    """

    metrics: list[str]
    columns: list[VersionColumn]
    back_from: str | None
    back_to: str | None
    no_way_back: str | None
    problem: str | None
    returns: bool = False


def versions_view(aliases: Aliases | None, problem: str | None, name: str, links: Links, now: datetime) -> VersionsView:
    """The table of this moment; ``aliases`` is None where nothing is known of them."""
    if aliases is None:
        return VersionsView([], [], None, None, "Without MLflow there is no rolling back.", problem)
    found = [("champion", aliases.champion), ("challenger", aliases.challenger), ("previous", aliases.previous)]
    metrics = list(dict.fromkeys(metric for _, version in found if version for metric in version.scores))
    champion = aliases.champion.version if aliases.champion is not None else None
    columns = [_column(alias, version, metrics, aliases, name, links, now) for alias, version in found]
    previous = _way_back(aliases)
    refusal = _refusal(champion, previous)
    back_from, back_to = (None, None) if refusal else (champion, previous)
    return VersionsView(metrics, columns, back_from, back_to, refusal, problem, back_to in aliases.taken_back)


def _way_back(aliases: Aliases) -> str | None:
    """The version that a roll back goes to; an interrupted move of the aliases is completed before one."""
    if aliases.champion is not None and aliases.champion.pending_previous is not None:
        return aliases.champion.pending_previous
    return aliases.previous.version if aliases.previous is not None else None


def _refusal(champion: str | None, previous: str | None) -> str | None:
    if champion is None:
        return "Nothing to go back to: no version is champion yet."
    if previous is None:
        return "Nothing to go back to: this is the first champion."
    if previous == champion:
        return (
            "Nothing to go back to: the alias “previous” points to the champion itself. In MLflow, point it to the "
            "version to go back to."
        )
    return None


def _column(  # noqa: PLR0913, PLR0917 - a column needs the table's metrics and the whole page's context
    alias: str,
    found: RegisteredVersion | None,
    metrics: list[str],
    aliases: Aliases,
    name: str,
    links: Links,
    now: datetime,
) -> VersionColumn:
    if found is None:
        return VersionColumn(alias, None, scores=tuple(NONE for _ in metrics))
    return VersionColumn(
        alias=alias,
        version=found.version,
        link=links.version(name, found.version),
        trained=moment(found.registered_at, now),
        scores=tuple(score(found.scores.get(metric)) for metric in metrics),
        note=_note(alias, found, aliases),
    )


def _note(alias: str, found: RegisteredVersion, aliases: Aliases) -> str | None:
    if aliases.champion is not None and found.version == aliases.champion.version:
        return "serves" if alias == "champion" else "is the champion"
    if found.version in aliases.taken_back:
        return "was rolled back"
    return found.verdict
