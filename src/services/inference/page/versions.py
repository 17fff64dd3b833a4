"""Champion, challenger and previous side by side, and whether a rollback is possible."""

from dataclasses import dataclass
from datetime import datetime

from src.services.inference.page.formatting import NONE, Moment, moment, score
from src.services.inference.page.links import Links
from src.serving.models.model_version import Aliases, RegisteredVersion


@dataclass(frozen=True)
class VersionColumn:
    """The version under one alias; ``version`` is None where it points nowhere.

    Attributes:
        scores: in the order of the table's rows.
        note: the gate's verdict, that it serves, or that it was rolled back.
    """

    alias: str
    version: str | None
    link: str | None = None
    trained: Moment | None = None
    scores: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class VersionsView:
    """The table, and what a rollback would do.

    Attributes:
        metrics: names of the scores, one per row.
        back_from: the champion that a rollback would replace, and ``back_to`` the version that would serve then.
        returns: whether that one was rolled back itself.
        no_way_back: why no rollback is possible.
        problem: why the registry's answer is missing or old.
        differs: whether the table has scores of several versions, which may come from different rows.
        gate: the gate's reason for the challenger, ``gate_of``; it compares two versions on the same rows.
    """

    metrics: list[str]
    columns: list[VersionColumn]
    back_from: str | None
    back_to: str | None
    no_way_back: str | None
    problem: str | None
    returns: bool = False
    differs: bool = False
    gate_of: str | None = None
    gate: str | None = None


def versions_view(aliases: Aliases | None, problem: str | None, name: str, links: Links, now: datetime) -> VersionsView:
    """The current table; ``aliases`` is None while MLflow has not answered yet."""
    if aliases is None:
        return VersionsView([], [], None, None, "A rollback needs MLflow.", problem)
    found = [("champion", aliases.champion), ("challenger", aliases.challenger), ("previous", aliases.previous)]
    metrics = list(dict.fromkeys(metric for _, version in found if version for metric in version.scores))
    champion = aliases.champion.version if aliases.champion is not None else None
    columns = [_column(alias, version, metrics, aliases, name, links, now) for alias, version in found]
    previous = _way_back(aliases)
    refusal = _refusal(champion, previous)
    back_from, back_to = (None, None) if refusal else (champion, previous)
    differs = len({version.version for _, version in found if version and version.scores}) > 1
    return VersionsView(
        metrics=metrics,
        columns=columns,
        back_from=back_from,
        back_to=back_to,
        no_way_back=refusal,
        problem=problem,
        returns=back_to in aliases.taken_back,
        differs=differs,
        gate_of=aliases.challenger.version if aliases.challenger else None,
        gate=aliases.challenger.reason if aliases.challenger else None,
    )


def _way_back(aliases: Aliases) -> str | None:
    """The version that a rollback goes to; an interrupted move of the aliases is completed first."""
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
