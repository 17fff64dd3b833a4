"""The stable split: whether a row is held out depends on that row alone, never on which other rows exist."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from src.core.column_rules import SECONDS_PER_DAY
from src.core.counting import counted
from src.core.dataset_config import FEEDBACK_TIME, DateFeature
from src.core.errors import DataError
from src.core.pipeline_config import PipelineConfig
from src.training.live_rows import are_live, source_rows
from src.training.row_keys import days, row_hashes

# The relative deviation from the configured share that the holdout may have.
SHARE_SLACK = 1 / 3
MIN_ROWS = 2  # a score on a single row is meaningless
HASHES = 2.0**64
HEAVIEST = 3
MAX_VALUE = 40
SKETCH_SIZE = 256

logger = logging.getLogger(__name__)


class SplitRule(BaseModel):
    """The rule that holds out rows; registered with the model, so that later runs know its training rows.

    ``hash`` and ``group`` hold out ``share`` of all keys by a hash of ``columns`` keyed with ``seed``; ``time`` holds
    out the rows whose column is later than ``cutoff``, in days since 1970-01-01 UTC. With ``is_date``, the column is a
    feature with dates, which clients send: a labelled live row is then never later than its prediction.

    ``sketch`` is a sample of the keys' hashes, with which later runs detect whether rows still have the same keys.
    """

    # Keys that other versions of the code have written are ignored.
    model_config = ConfigDict(frozen=True)

    by: Literal["hash", "group", "time"]
    columns: list[str]
    seed: int
    share: float
    cutoff: float | None = None
    is_date: bool = False
    sketch: list[int] = []

    def fits(self, frame: pd.DataFrame) -> bool:
        """Whether the frame has the columns that the rule reads."""
        return set(self.columns) <= set(frame.columns)

    def __str__(self) -> str:
        if self.by == "time":
            return f"time {self.columns[0]}, share {self.share:g}"
        return f"{self.by} of {', '.join(self.columns)}, seed {self.seed}, share {self.share:g}"


@dataclass(frozen=True)
class Split:
    """A data set and which of its rows are held out.

    ``mask`` is (n,), true for the rows of the holdout; ``note`` explains where the rule differs from the
    configuration, and is empty otherwise.
    """

    frame: pd.DataFrame
    mask: NDArray[np.bool_]
    rule: SplitRule
    note: str = ""

    @cached_property
    def train(self) -> pd.DataFrame:
        """The training rows, numbered from 0."""
        return self.frame[~self.mask].reset_index(drop=True)

    @cached_property
    def holdout(self) -> pd.DataFrame:
        """The rows that are held out, numbered from 0."""
        return self.frame[self.mask].reset_index(drop=True)


def split_rows(frame: pd.DataFrame, config: PipelineConfig, inherited: SplitRule | None) -> Split:
    """Split the data set by the configured rule, or by the champion's where that is inherited.

    Args:
        frame: the validated data set.
        config: sections ``dataset`` and ``split``.
        inherited: the champion's rule, if it has one.

    Raises:
        DataError: the holdout's share deviates too much, or a part lacks a class or has too few rows.
    """
    rule, note = _rule_for(frame, config, inherited)
    split = split_by(rule, frame, note)
    live = int(are_live(frame).sum())
    if live and not are_live(split.train).any():
        held = f"{counted(live, 'labelled live row')}, all in the holdout: none is learned from yet"
        split = replace(split, note="; ".join(filter(None, (note, held))))
    if split.note:
        logger.info("split: %s", split.note)
    problems = _problems(split, config)
    if problems:
        remedy = f"{_remedy(rule)}; " + _heaviest(rule, frame)
        raise DataError(f"the data set cannot be split by {rule}: {'; '.join(problems)}; {remedy}".rstrip("; "))
    return split


def split_by(rule: SplitRule, frame: pd.DataFrame, note: str = "") -> Split:
    """Split a data set by a given rule."""
    return Split(frame, held_out(rule, frame), rule, note)


def with_sketch(rule: SplitRule, frame: pd.DataFrame) -> SplitRule:
    """The rule with a sketch of the source's keys: their smallest hashes, a uniform sample; only for rules by hash.

    Labelled live rows are left out: they are never rewritten, and those of a former training may have expired.

    A bottom-k sketch (Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007).
    """
    if rule.by != "hash":
        return rule
    hashes = np.unique(row_hashes(source_rows(frame), rule.columns, rule.seed))[:SKETCH_SIZE]
    return rule.model_copy(update={"sketch": hashes.tolist()})


def share_changed(rule: SplitRule, frame: pd.DataFrame) -> float:
    """The largest share of a version's rows whose keys can have changed, estimated from its sketch; 0 without one.

    A changed key removes one key and adds another, so that there are at most as many as keys that are gone, and as
    keys that are new: rows that were only deleted, or only added, are not counted.
    """
    if not rule.sketch:
        return 0.0
    sketch = np.array(rule.sketch, dtype=np.uint64)
    hashes = np.unique(row_hashes(source_rows(frame), rule.columns, rule.seed))
    if len(sketch) == SKETCH_SIZE:  # otherwise it has all keys
        hashes = hashes[hashes <= sketch.max()]
    known = int(np.isin(sketch, hashes).sum())
    return (min(len(sketch), len(hashes)) - known) / len(sketch)


def held_out(rule: SplitRule, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows the rule holds out, shape (n,); the result for a row depends on that row alone."""
    if rule.by == "time":
        return np.asarray(_moments(rule, frame) > (np.inf if rule.cutoff is None else rule.cutoff))
    return np.asarray(row_hashes(frame, rule.columns, rule.seed) < rule.share * HASHES)


def clusters(rule: SplitRule, holdout: pd.DataFrame) -> NDArray[np.intp]:
    """The cluster of each row for resampling the holdout, as a number; shape (n,).

    Clusters are rows with equal keys or of one group; by time, blocks of n^(1/3) consecutive rows, with equal times in
    one block (the rate of Hall, Horowitz and Jing, "On blocking rules for the bootstrap with dependent data",
    Biometrika 1995).
    """
    if rule.by != "time":
        return np.unique(row_hashes(holdout, rule.columns, rule.seed), return_inverse=True)[1].astype(np.intp)
    moments = _moments(rule, holdout)
    length = max(1, round(len(moments) ** (1 / 3)))
    # A row's rank is that of the first row with the same time.
    places = np.searchsorted(np.sort(moments), moments, side="left")
    return np.unique(places // length, return_inverse=True)[1].astype(np.intp)


def _rule_for(frame: pd.DataFrame, config: PipelineConfig, inherited: SplitRule | None) -> tuple[SplitRule, str]:
    """The rule, and a note where it differs from the configuration."""
    split, dataset = config.split, config.dataset
    named = {"group": dataset.group, "time": dataset.time}.get(split.by)
    columns = [named] if named else dataset.id or list(dataset.features)
    wanted = rule = SplitRule(by=split.by, columns=columns, seed=split.seed, share=split.holdout_fraction)
    note = ""
    if inherited is not None and split.inherit and inherited.by == split.by:
        if inherited.fits(frame):
            # The sketch is of the champion's rows.
            rule = inherited.model_copy(update={"sketch": []})
            if rule.model_copy(update={"cutoff": None, "is_date": False}) != wanted:
                note = (
                    f"the champion's rule is kept ({rule}), not the configured one ({wanted}); set split.inherit: "
                    "false to use the configured one"
                )
        else:
            gone = ", ".join(name for name in inherited.columns if name not in frame.columns)
            note = f"the champion's rule ({inherited}) cannot be kept without its columns {gone}; split by {wanted}"
    if split.by == "time":
        is_date = isinstance(dataset.features.get(rule.columns[0]), DateFeature)
        rule = rule.model_copy(update={"is_date": is_date})
        rule = rule.model_copy(update={"cutoff": _cutoff(rule, frame)})
    return rule, note


def _moments(rule: SplitRule, frame: pd.DataFrame) -> NDArray[np.float64]:
    """The time of each row in days since 1970-01-01 UTC, shape (n,); NaN where it is missing."""
    found = days(frame[rule.columns[0]])
    if rule.is_date and FEEDBACK_TIME in frame.columns:
        # Otherwise a client that sends times in the future could move the cutoff there, for good.
        found = np.fmin(found, frame[FEEDBACK_TIME].to_numpy(dtype=np.float64))
    return found


def _cutoff(rule: SplitRule, frame: pd.DataFrame) -> float:
    """The time after which the newest share of the rows begins; never before the rule's own cutoff."""
    moments, counts = np.unique(_moments(rule, frame), return_counts=True)
    if np.isnan(moments).any():
        raise DataError(f"{rule.columns[0]}: rows without a time cannot be split by time; fill or drop them")
    newer = 1 - np.cumsum(counts) / len(frame)
    return max(float(moments[np.argmin(np.abs(newer - rule.share))]), -np.inf if rule.cutoff is None else rule.cutoff)


def _problems(split: Split, config: PipelineConfig) -> list[str]:
    frame, mask, share = split.frame, split.mask, split.rule.share
    rows, held, whose = len(frame), int(mask.sum()), ""
    problems = []
    if min(held, rows - held) < MIN_ROWS:
        problems.append(f"{counted(rows - held, 'training row')} and {counted(held, 'holdout row')} are too few")
    live = are_live(frame)
    if split.rule.by != "time" and live.any():
        # A client that repeats one key in many requests must not stop the trainings.
        rows, held, whose = int((~live).sum()), int((mask & ~live).sum()), " of the source"
    if not problems and not 1 - SHARE_SLACK <= held / rows / share <= 1 + SHARE_SLACK:
        problems.append(
            f"the holdout has {held} of {rows} rows{whose} ({held / rows:.1%}), not {share:.1%} ± a third of it"
        )
    for name in config.dataset.classes or []:
        there = (frame[config.dataset.target] == name).to_numpy()
        for part, rows_of_it in (("training rows", there & ~mask), ("holdout", there & mask)):
            if not rows_of_it.any():
                problems.append(f"the {part} lack the class {name} ({counted(int(there.sum()), 'row')} in all)")
    return problems


def _remedy(rule: SplitRule) -> str:
    if rule.by == "time":
        return "add rows, or set another split.holdout_fraction with split.inherit: false"
    return "add rows, set another split.seed with split.inherit: false, or name an id with fewer rows per key"


def _heaviest(rule: SplitRule, frame: pd.DataFrame) -> str:
    """The keys with the most rows; empty where each has one."""
    hashes = _moments(rule, frame) if rule.by == "time" else row_hashes(frame, rule.columns, rule.seed)
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    keys = [
        f"{_shown(rule, frame.iloc[first[place]], float(hashes[first[place]]))}: {counts[place]} rows"
        for place in np.argsort(-counts, kind="stable")[:HEAVIEST]
        if counts[place] > 1
    ]
    return f"the keys with the most rows are {'; '.join(keys)}" if keys else ""


def _shown(rule: SplitRule, row: pd.Series, moment: float) -> str:
    if rule.by == "time":
        return f"{rule.columns[0]} {pd.Timestamp(moment * SECONDS_PER_DAY, unit='s').isoformat(timespec='seconds')}"
    text = ", ".join(f"{name} {row[name]}" for name in rule.columns)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"
