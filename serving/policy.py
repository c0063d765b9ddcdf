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
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from orders.errors import UserError
from serving.circuit_breaker import CircuitBreaker
from serving.exploration import Exploration
from serving.rules import Rule, read_rules
from serving.tiers import CALL, FREEZE, PASS, TIER_OF_ACTION, Tiers, TiersFor, tiers_of_points

T = TypeVar("T")


class FastLane(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Members from this level on pass whatever their points, save for non-overridable rules."""

    member_level: int


class Weights(NamedTuple):
    """What each of R rules does when it matches."""

    # Tenths of a point are whole numbers: their sum is the same in any sequence, so in any chunk.
    tenths: np.ndarray  # (R,) float64
    verify_tenths: np.ndarray  # (R,) float64, of rules on the side of verify, else 0
    hard_tier: np.ndarray  # (R,) intp, the tier that the rule leads to by itself, else PASS
    allows: np.ndarray  # (R,) bool, the rule accepts by itself
    firm: np.ndarray  # (R,) bool, it is not overridable


def weights_of(rules: Sequence[Rule]) -> Weights:
    """The weights of rules, in their sequence."""
    tenths = np.rint(np.array([10 * rule.points for rule in rules], np.float64))
    verify = np.array([rule.side == "verify" for rule in rules], np.bool_)
    tiers = [PASS if rule.action is None else TIER_OF_ACTION[rule.action] for rule in rules]
    return Weights(
        tenths=tenths,
        verify_tenths=np.where(verify, tenths, 0.0),
        hard_tier=np.array(tiers, np.intp),
        allows=np.array([rule.action == "accept" for rule in rules], np.bool_),
        firm=np.array([not rule.overridable for rule in rules], np.bool_),
    )


class Verdicts(NamedTuple):
    """What the policy says about n orders; arrays of length n."""

    rule_points: np.ndarray  # float64
    model_points: np.ndarray  # float64, 0 without a model
    points: np.ndarray  # float64, their sum
    tier: np.ndarray  # intp, an index into TIERS
    fast_lane: np.ndarray  # bool, passed as a member although a threshold was reached
    hard: np.ndarray  # bool, a hard or a non-overridable rule takes part in what stops it


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Rules, tiers and fast lane; what is explored, and when the circuit breaker trips."""

    rules: tuple[Rule, ...]
    tiers: Tiers
    fast_lane: FastLane
    tiers_for: tuple[TiersFor, ...] = ()
    exploration: Exploration = Exploration()
    circuit_breaker: CircuitBreaker = CircuitBreaker()

    @staticmethod
    def default() -> "Policy":
        """The policy that ships with us."""
        return Policy.parse(default_text(), "rules.toml")

    @staticmethod
    def load(path: Path) -> "Policy":
        """Read a policy file.

        Raises:
            UserError: when it cannot be read; the message names the place and what is wrong.
        """
        return Policy.parse(read_text(path), str(path))

    @staticmethod
    def parse(text: str, source: str) -> "Policy":
        """Read a policy.

        Args:
            text: TOML.
            source: what to call it in errors.

        Raises:
            UserError: the message names the place and what is wrong.
        """
        return Policy.of_content(read_content(text, source), source)

    @staticmethod
    def of_content(content: dict[str, Any], source: str) -> "Policy":
        """A policy from what `read_content` read.

        Raises:
            UserError: the message names the place and what is wrong.
        """
        return _of_content(content, source)

    @cached_property
    def version(self) -> str:
        """12 hex digits of the content; comments and the order of rules do not count."""
        content = msgspec.structs.replace(
            self, rules=tuple(sorted(self.rules, key=lambda rule: rule.name))
        )
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]

    def judge(
        self,
        matched: np.ndarray,
        weights: Weights,
        model_points: np.ndarray | None,
        member_level: np.ndarray,
        starts: np.ndarray | None = None,
    ) -> Verdicts:
        """Judge n orders.

        The sides have a fixed precedence. A rule that is not overridable keeps the fast lane and rules
        that allow from lifting anything; else they lift everything. Of hard rules that block or verify
        and of points the hardest tier counts, and points of the side of verify lead to the tier call
        at most.

        Args:
            matched: (n, R) bool, which rule counts for which order.
            weights: of the R rules.
            model_points: (n,) float64, or None without a model.
            member_level: (n,) float64, NaN where unknown.
            starts: (n, 3) float64, where the tiers of each order begin; None: the default ones.
        """
        if starts is None:
            starts = np.array(self.tiers.starts)
        of_rules = matched @ weights.tenths
        if model_points is None:
            model_points = np.zeros(len(matched))
        # Rounded before they are summed, so that the numbers people read add up.
        of_model = np.rint(10 * model_points)
        tier = tiers_of_points((of_rules + of_model) / 10, starts)
        if weights.verify_tenths.any():
            firmly = (of_rules + of_model - matched @ weights.verify_tenths) / 10
            tier = np.where(tiers_of_points(firmly, starts) < FREEZE, np.minimum(tier, CALL), tier)
        by_rule = np.zeros(len(tier), np.intp)
        hard = np.flatnonzero(weights.hard_tier)
        if len(hard):
            by_rule = (matched[:, hard] * weights.hard_tier[hard]).max(axis=1)
            tier = np.maximum(tier, by_rule)
        firm = matched[:, weights.firm].any(axis=1)
        member = (tier != PASS) & (member_level >= self.fast_lane.member_level) & ~firm
        allowed = matched[:, weights.allows].any(axis=1) & ~firm
        tier = np.where(member | allowed, PASS, tier)
        return Verdicts(
            rule_points=of_rules / 10,
            model_points=of_model / 10,
            points=(of_rules + of_model) / 10,
            tier=tier,
            fast_lane=member & ~allowed,
            hard=firm | (by_rule >= FREEZE),
        )


def default_text() -> str:
    """The policy file that ships with us."""
    return files("serving").joinpath("rules.toml").read_text("utf-8")


def read_text(path: Path) -> str:
    """The text of a policy file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"cannot read the rules in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from None


PARTS = ("rules", "tiers", "tiers_for", "fast_lane", "exploration", "circuit_breaker")


def read_content(text: str, source: str) -> dict[str, Any]:
    """The parts of a policy file, each not yet checked.

    Raises:
        UserError: it is not TOML, or has an unknown part.
    """
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not valid TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{source} is not valid TOML: it is nested too deeply") from None
    unknown = sorted(content.keys() - set(PARTS))
    if unknown:
        raise UserError(f"{source}: unknown part {unknown[0]!r}; use {', '.join(PARTS)}")
    return content


def _of_content(content: dict[str, Any], source: str) -> Policy:
    tables = content.get("rules", [])
    if not isinstance(tables, list):
        raise UserError(f"{source}: rules must be written as [[rules]]")
    others = _converted(content.get("tiers_for", []), "tiers_for", tuple[TiersFor, ...], source)
    for name in ("merchants", "channels"):
        keys = [key for tiers in others for key in getattr(tiers, name)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise UserError(f"{source}: [[tiers_for]]: {twice[0]!r} is in {name} twice")
    return Policy(
        rules=read_rules(tables, source),
        tiers=_part(content, "tiers", Tiers, source),
        tiers_for=others,
        fast_lane=_part(content, "fast_lane", FastLane, source),
        exploration=_converted(content.get("exploration", {}), "exploration", Exploration, source),
        circuit_breaker=_converted(
            content.get("circuit_breaker", {}), "circuit_breaker", CircuitBreaker, source
        ),
    )


def _part(content: dict[str, Any], name: str, type_: type[T], source: str) -> T:
    if name not in content:
        raise UserError(f"{source}: the part [{name}] is missing; copy it from the default rules")
    return _converted(content[name], name, type_, source)


def _converted(table: Any, name: str, type_: type[T], source: str) -> T:
    try:
        return msgspec.convert(table, type_)
    except msgspec.ValidationError as error:
        raise UserError(f"{source}: [{name}]: {error}") from None
