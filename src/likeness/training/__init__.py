"""A small training loop that stops and resumes exactly.

`train` runs phases over batches; a `Phase` is one optimizer's share of a step; everything that
is needed to go on is kept in a run folder outside the package.
"""

from likeness.training.ema import Ema
from likeness.training.loop import Budget, Moment, TrainResult, train
from likeness.training.options import TrainingOptions
from likeness.training.phase import Phase, Schedule, constant, cosine
from likeness.training.world import World, join_world

__all__ = [
    "Budget",
    "Ema",
    "Moment",
    "Phase",
    "Schedule",
    "TrainResult",
    "TrainingOptions",
    "World",
    "constant",
    "cosine",
    "join_world",
    "train",
]
