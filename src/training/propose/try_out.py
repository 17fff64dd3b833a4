"""Tries a proposed configuration on its own data, and finds a seed under which they can be split."""

from dataclasses import replace

import yaml

from src.core.errors import DataError
from src.core.pipeline_config import PipelineConfig
from src.training.check_rows import check_rows
from src.training.propose.write_config import Proposal, render
from src.training.sources import RawData
from src.training.splitting import split_rows

# Few rows in a class, or many in a group, may all be on one side by chance: another seed parts them otherwise.
SEEDS = (42, *range(1, 20))


def try_out(proposal: Proposal, raw: RawData) -> tuple[str, list[str]]:
    """The proposal's text with the first seed that works, and what would stop a training all the same.

    Args:
        proposal: what is written.
        raw: all columns of its table.
    """
    text = render(proposal)
    try:
        rows = check_rows(raw, _parsed(text).dataset)
    except DataError as error:
        return text, [str(error)]
    trouble = ""
    for seed in SEEDS:
        text = render(replace(proposal, seed=seed))
        try:
            split_rows(rows.frame, _parsed(text), None)
        except DataError as error:
            trouble = trouble or str(error)
        else:
            return text, []
    return render(proposal), [trouble]


def _parsed(text: str) -> PipelineConfig:
    return PipelineConfig.model_validate(yaml.safe_load(text))
