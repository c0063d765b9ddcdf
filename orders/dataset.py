"""What a data set says about itself: `dataset.json`, beside its tables."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import msgspec

from orders.errors import UserError
from orders.targets import TARGETS, Target


class TargetSettings(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the declaration of a target; what is left out stays as declared."""

    maturity_days: float | msgspec.UnsetType | None = msgspec.UNSET  # None: absence is never a 0


class DatasetSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The contents of `dataset.json`."""

    targets: dict[str, TargetSettings] = {}


def dataset_targets(folder: Path) -> dict[str, Target]:
    """The targets by name, as the data set in `folder` wants them.

    Raises:
        UserError: `dataset.json` is there and says something that it may not say.
    """
    file = folder / "dataset.json"
    if not file.is_file():
        return dict(TARGETS)
    try:
        settings = msgspec.json.decode(file.read_bytes(), type=DatasetSettings)
    except msgspec.MsgspecError as error:
        raise UserError(f"{file}: {error}") from None
    return apply_settings(settings.targets, str(file))


def apply_settings(settings: dict[str, TargetSettings], source: str) -> dict[str, Target]:
    """The declared targets with `settings` laid over them; `source` is named in errors.

    Raises:
        UserError: A target is not declared, or a maturity is negative.
    """
    targets = dict(TARGETS)
    for name, own in settings.items():
        if name not in targets:
            raise UserError(f"{source}: no target {name!r}, there are: {', '.join(targets)}")
        days = own.maturity_days
        if days is msgspec.UNSET:
            continue
        if days is not None and days < 0:
            raise UserError(f"{source}: maturity_days of {name!r} is {days}, expected 0 or more")
        maturity = None if days is None else timedelta(days=days)
        targets[name] = dataclasses.replace(targets[name], maturity=maturity)
    return targets
