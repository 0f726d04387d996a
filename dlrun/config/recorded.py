"""The config of a run that was recorded before some of the keys were there."""

from typing import Any

from dlrun.config.compose import compose_plain

_LATER = ("groups", "bias", "quality")
_LATER_HARDWARE = ("devices", "sync_batchnorm")


def completed(plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` with the keys that came later as the packaged config has them: what was done then."""
    packaged = compose_plain([], None)
    later = {key: packaged[key] for key in _LATER if key not in plain}
    hardware, dataset = plain.get("hardware"), plain.get("dataset")
    if isinstance(hardware, dict):
        later["hardware"] = {key: packaged["hardware"][key] for key in _LATER_HARDWARE} | hardware
    if isinstance(dataset, dict):
        later["dataset"] = _with_positive(dataset)
    return plain | later


def _with_positive(dataset: dict[str, Any]) -> dict[str, Any]:
    """Data sets inside of it, the two domains of one, lack the key as it does."""
    inner = {
        key: _with_positive(item)
        for key, item in dataset.items()
        if isinstance(item, dict) and "val_fraction" in item
    }
    return {"positive": None} | dataset | inner
