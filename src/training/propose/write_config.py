"""Writes a proposed configuration as YAML with a comment for each guess."""

from dataclasses import dataclass

import yaml

from src.core.counting import counted
from src.training.propose.guess_columns import ColumnGuess
from src.training.propose.guess_target import TargetGuess
from src.training.propose.seal import sealed
from src.training.propose.sniff import Dialect
from src.training.propose.wording import shown

# Numbers of rows at which another holdout or smaller trees are proposed.
SMALL = 2_000
LARGE = 20_000
HUGE = 100_000


@dataclass(frozen=True)
class Proposal:
    """What the configuration is written from.

    Attributes:
        dialect: None for a file that is not CSV.
        by_time: whether the newest rows are held out.
        seed: of the split.
    """

    source: str
    rows: int
    repeated: int
    dialect: Dialect | None
    target: str
    target_guess: TargetGuess
    columns: list[ColumnGuess]
    by_time: bool
    seed: int = 42

    @property
    def split_by(self) -> str:
        """The proposed ``split.by``."""
        if self.by_time:
            return "time"
        return "group" if self.name_of("group") else "hash"

    def name_of(self, role: str) -> list[str]:
        """The columns with a role, in their order."""
        return [column.name for column in self.columns if column.role == role]


def render(proposal: Proposal) -> str:
    """The file's text, sealed."""
    lines = [
        f"# Written by `make config` for {comment_text(proposal.source)}. Check it, then run `make check-data`.",
        "# docs/configuration.md explains every key.",
        "",
        *_dataset(proposal),
        "",
        *_split(proposal),
        "",
        *_model(proposal),
        "",
        *_gate(proposal),
    ]
    return sealed("\n".join(lines) + "\n")


def scalar(value: object) -> str:
    """A text, number or list as YAML on one line, in quotes where YAML would read it as something else."""
    plain = _dump(value, style=None)
    return plain if plain.isprintable() else _dump(value, style='"')


def _dump(value: object, style: str | None) -> str:
    text = yaml.safe_dump(
        value, default_style=style, default_flow_style=True, allow_unicode=True, width=1_000_000, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...").removesuffix("\n")


def comment_text(text: str) -> str:
    """The text without characters that would end a comment."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _line(indent: int, key: str, value: str, comment: str | None = None) -> str:
    end = f" # {comment_text(comment)}" if comment else ""
    return f"{' ' * indent}{scalar(key)}:{' ' if value else ''}{value}{end}"


def _dataset(proposal: Proposal) -> list[str]:
    target, guess = proposal.target, proposal.target_guess
    lines = ["dataset:", _line(2, "source", scalar(proposal.source), f"{proposal.rows:,} rows")]
    lines += _csv(proposal)
    lines.append(_line(2, "target", scalar(target), guess.why))
    for role, key in (("id", "id"), ("time", "time"), ("group", "group")):
        columns = [column for column in proposal.columns if column.role == role]
        if columns:
            names = [column.name for column in columns]
            value = scalar(names) if role == "id" else scalar(names[0])
            lines.append(_line(2, key, value, "; ".join(column.why for column in columns)))
    lines.append("  features: # ranges and category values are learned from the training rows")
    lines += [_feature(column) for column in proposal.columns if column.role == "feature"]
    lines += _target(guess)
    lines.append(_duplicates(proposal))
    return lines + _invalid_rows(proposal)


def _csv(proposal: Proposal) -> list[str]:
    if proposal.dialect is None:
        return []
    lines = ["  csv:"]
    for key in ("delimiter", "decimal", "encoding"):
        value = getattr(proposal.dialect, key)
        lines.append(_line(4, key, _dump(value, style='"') if key != "encoding" else value, proposal.dialect.why[key]))
    return lines


def _feature(column: ColumnGuess) -> str:
    missing = ", missing: true" if (column.missing or column.strays) and column.type != "ignore" else ""
    return _line(4, column.name, f"{{ type: {column.type}{missing} }}", column.why)


def _target(guess: TargetGuess) -> list[str]:
    if guess.classes is None:
        return [_line(2, "target_range", "{}", "a regression; give minimum and maximum to refuse other values")]
    lines = [_line(2, "classes", scalar(guess.classes))]
    if guess.positive is not None:
        lines.append(_line(2, "positive_class", scalar(guess.positive), "the less frequent one"))
    return [*lines, _line(2, "min_rows_per_class", str(guess.least_rows), "fewer stop the run")]


def _duplicates(proposal: Proposal) -> str:
    seen = (
        f"{counted(proposal.repeated, 'row')}, each the same as another one in every column"
        if proposal.repeated
        else "no row repeats another one"
    )
    if proposal.repeated and not proposal.name_of("id"):
        return _line(2, "duplicates", "keep", f"{seen}, which can be chance: no column identifies a row")
    return _line(2, "duplicates", "drop", seen)


def _invalid_rows(proposal: Proposal) -> list[str]:
    strays = [column.strays for column in proposal.columns if column.role == "feature" and column.type != "ignore"]
    wrong = sum(strays) + proposal.target_guess.unusable
    if not wrong:
        return []
    share = min(1.0, round(2 * wrong / proposal.rows + 0.005, 2))
    value = f"{{ policy: missing, max_share: {share} }}"
    return [_line(2, "invalid_rows", value, f"{counted(wrong, 'invalid cell or target')}, twice as many are accepted")]


def _split(proposal: Proposal) -> list[str]:
    group, time = proposal.name_of("group"), proposal.name_of("time")
    by, why = proposal.split_by, "a hash of the id columns" if proposal.name_of("id") else "a hash of all features"
    if by == "time":
        why = "the newest rows, as the model will predict later ones"
    elif by == "group":
        why = f"all rows of one {shown(group[0])} are on the same side"
    elif time:
        why += f"; by: time holds out the newest rows by {shown(time[0])}"
    fraction = 0.3 if proposal.rows < SMALL else 0.2 if proposal.rows < HUGE else 0.1
    return [
        "split:",
        _line(2, "by", by, why),
        _line(2, "holdout_fraction", str(fraction), f"about {fraction * proposal.rows:,.0f} rows"),
        f"  seed: {proposal.seed}",
    ]


def _model(proposal: Proposal) -> list[str]:
    depth, why = "null", f"{proposal.rows:,} rows: trees may grow fully"
    if proposal.rows > LARGE:
        depth, why = "12", f"{proposal.rows:,} rows: deeper trees would take long and make a large model"
    return [
        "model:",
        "  estimator: random_forest # others are named in src/pipeline/train_model.py",
        "  params:",
        "    n_estimators: 100",
        _line(4, "max_depth", depth, why),
        _line(4, "min_samples_leaf", "1" if proposal.rows < SMALL else "2"),
        "    random_state: 42",
    ]


def _gate(proposal: Proposal) -> list[str]:
    guess = proposal.target_guess
    return [
        "gate:",
        _line(2, "metric", guess.metric, guess.why_metric),
        "  floor: null # a model must beat every constant answer in any case; set a least score where you know one",
        _line(2, "tolerance", f"{guess.tolerance:g}", "how far the score may lie below the champion's"),
    ]
