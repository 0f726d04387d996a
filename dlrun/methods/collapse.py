"""Telling when two-view training goes wrong, and the likely cause: its loss does not."""

import math

from dlrun.methods.base import Update

# Complete collapse: all images at one point, where the spread of healthy unit vectors is 1/sqrt(D).
_LEAST_SPREAD = 0.1
_LEAST_RANK = 2.0
_STANDING_STILL = 0.9999  # the target's decay from which on it hardly follows
_NEARLY_OVER = 0.8  # at 0.9 the preset of .996 stands above it
# Learning rates at the schedule's top with which others have trained; far outside is a mistake.
_RATES = {"lars": (0.02, 10.0), "sgd": (1e-3, 1.0), "adam": (1e-5, 1e-2), "adamw": (1e-5, 1e-2)}


def is_collapsed(spread: float, rank: float, width: int) -> bool:
    """Whether projections (N, width) have gone to a point or to a line.

    Args:
        spread: mean standard deviation of the coordinates of the unit vectors.
        rank: effective rank, between 1 and width.
        width: of the projection, D.
    """
    return spread * math.sqrt(width) < _LEAST_SPREAD or rank < _LEAST_RANK


def likely_causes(
    tau: float, progress: float, optimizer: str, rate: float, has_predictor: bool
) -> list[str]:
    """What is known to bring a collapse, as far as it is the case here, likeliest first.

    Args:
        tau: the target's decay now.
        progress: share of the run that lies behind.
        optimizer: by name.
        rate: its learning rate at the schedule's top.
        has_predictor: whether the online network has one.
    """
    causes = []
    if not has_predictor:
        causes.append("there is no predictor (method.predictor=none)")
    low, high = _RATES.get(optimizer, (0.0, math.inf))
    if not low <= rate <= high:
        causes.append(
            f"the learning rate is {rate:g}; {optimizer} is used with {low:g} to {high:g}"
        )
    if stands_still(tau, progress):
        causes.append(f"tau is {tau:.5f} already, so the target does not follow")
    if tau < 0.5:
        causes.append(f"tau is {tau:.3g}, so the target is the online network itself")
    return causes


def stands_still(tau: float, progress: float) -> bool:
    """Whether the target follows no more although the run is not nearly over."""
    return tau > _STANDING_STILL and progress < _NEARLY_OVER


def collapse_warnings(
    numbers: dict[str, float], width: int, tau: float, update: Update, has_predictor: bool
) -> list[str]:
    """A collapse and its likely cause, or a target that stands still, each a line for people.

    Args:
        numbers: of val; `projection_std` and `projection_rank`, where they are there.
        width: of the projection.
        tau: the target's decay now.
        update: where the run stands, and its optimizer.
        has_predictor: whether the online network has one.
    """
    spread, rank = numbers.get("projection_std"), numbers.get("projection_rank")
    if spread is not None and rank is not None and is_collapsed(spread, rank, width):
        causes = likely_causes(
            tau, update.progress, update.optimizer, update.top_rate, has_predictor
        )
        told = "; ".join(causes) or "none of the usual ones; try a smaller learning rate"
        return [
            f"the projections have collapsed (std {spread:.2g}, healthy is about "
            f"{width**-0.5:.2g}; rank {rank:.1f} of {width}). Likely cause: {told}"
        ]
    if stands_still(tau, update.progress):
        return [f"tau is {tau:.5f} already: the target does not follow the online network"]
    return []
