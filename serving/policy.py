"""The decision policy: from the rules that matched and the model's points to a tier.

It is a pure function: the same vectors under the same versions get the same decision. What it
goes by is data, read from one TOML file that people edit (`rules.toml` beside this module is the
default), and its version is a hash of that data.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from orders.errors import UserError
from serving.decisions import Action
from serving.rules import Rule, read_rules

T = TypeVar("T")

PASS, CANCEL = 0, 4


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tier begins at `from` points, that number included, and ends where the next begins."""

    starts: float = msgspec.field(name="from")
    action: Literal["verify_sms", "verify_call", "freeze"]


class Tiers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where each tier begins; below the first an order passes."""

    sms: Threshold
    call: Threshold
    freeze: Threshold

    def __post_init__(self) -> None:
        if not 0 < self.sms.starts <= self.call.starts <= self.freeze.starts:
            raise ValueError("expected 0 < sms.from <= call.from <= freeze.from")


class FastLane(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Members from this level on pass whatever their points, save for non-overridable rules."""

    member_level: int


class Verdicts(NamedTuple):
    """What the policy says about n orders; arrays of length n."""

    rule_points: np.ndarray  # float64
    model_points: np.ndarray  # float64, 0 without a model
    points: np.ndarray  # float64, their sum
    tier: np.ndarray  # intp, an index into TIERS
    fast_lane: np.ndarray  # bool, passed as a member although a threshold was reached


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Rules, tiers and fast lane."""

    rules: tuple[Rule, ...]
    tiers: Tiers
    fast_lane: FastLane

    @staticmethod
    def default() -> "Policy":
        """The policy that ships with us."""
        return _read(files("serving").joinpath("rules.toml").read_text("utf-8"), "rules.toml")

    @staticmethod
    def load(path: Path) -> "Policy":
        """Read a policy file.

        Raises:
            UserError: when it cannot be read; the message names the place and what is wrong.
        """
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise UserError(f"cannot read the rules in {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from None
        return _read(text, str(path))

    @cached_property
    def version(self) -> str:
        """12 hex digits of the content; comments and the order of rules do not count."""
        content = msgspec.structs.replace(
            self, rules=tuple(sorted(self.rules, key=lambda rule: rule.name))
        )
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]

    @property
    def actions(self) -> tuple[Action, ...]:
        """The action of each tier, in the order of TIERS."""
        tiers = self.tiers
        return "accept", tiers.sms.action, tiers.call.action, tiers.freeze.action, "cancel"

    def judge(
        self,
        matched: np.ndarray,
        rules: Sequence[Rule],
        model_points: np.ndarray | None,
        member_level: np.ndarray,
    ) -> Verdicts:
        """Judge n orders.

        Args:
            matched: (n, R) bool, which rule matches which order.
            rules: the R rules.
            model_points: (n,) float64, or None without a model.
            member_level: (n,) float64, NaN where unknown.
        """
        rule_points = matched @ np.array([rule.points for rule in rules], dtype=np.float64)
        if model_points is None:
            model_points = np.zeros(len(matched))
        # Rounded before they are summed, so that the numbers people read add up.
        model_points = np.round(model_points, 1)
        points = np.round(rule_points + model_points, 1)
        starts = [self.tiers.sms.starts, self.tiers.call.starts, self.tiers.freeze.starts]
        tier = np.searchsorted(starts, points, side="right")
        hard = np.array([rule.action == "cancel" for rule in rules], dtype=bool)
        tier[matched[:, hard].any(axis=1)] = CANCEL
        firm = np.array([not rule.overridable for rule in rules], dtype=bool)
        fast_lane = (
            (tier != PASS)
            & (member_level >= self.fast_lane.member_level)
            & ~matched[:, firm].any(axis=1)
        )
        tier[fast_lane] = PASS
        return Verdicts(rule_points, model_points, points, tier, fast_lane)


def _read(text: str, source: str) -> Policy:
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not valid TOML: {error}") from None
    unknown = sorted(content.keys() - {"rules", "tiers", "fast_lane"})
    if unknown:
        raise UserError(f"{source}: unknown part {unknown[0]!r}; use rules, tiers, fast_lane")
    tables = content.get("rules", [])
    if not isinstance(tables, list):
        raise UserError(f"{source}: rules must be written as [[rules]]")
    return Policy(
        rules=read_rules(tables, source),
        tiers=_part(content, "tiers", Tiers, source),
        fast_lane=_part(content, "fast_lane", FastLane, source),
    )


def _part(content: dict[str, Any], name: str, type_: type[T], source: str) -> T:
    if name not in content:
        raise UserError(f"{source}: the part [{name}] is missing; copy it from the default rules")
    try:
        return msgspec.convert(content[name], type_)
    except msgspec.ValidationError as error:
        raise UserError(f"{source}: [{name}]: {error}") from None
