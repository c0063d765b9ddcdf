"""A proposal of thresholds: the present policy file with other ones, and the evidence above them."""

import re

import msgspec

from orders.errors import UserError
from serving.policy import Policy
from serving.thresholds_by_cost import Thresholds
from serving.tiers import Threshold

_NAMES = ("sms", "call", "freeze")
_TIERS = re.compile(r"^\[tiers\][ \t]*(?:#.*)?$", re.M)
_NEXT_TABLE = re.compile(r"^\[", re.M)


def proposal(text: str, source: str, thresholds: Thresholds, evidence: list[str]) -> str:
    """The text of a policy with other default thresholds; all else stays, comments too.

    Args:
        text: of the present policy.
        source: what to call it in errors.
        thresholds: of sms, call and freeze.
        evidence: lines of the comment on top.

    Raises:
        UserError: the thresholds are not written as `sms = { from = … }` under `[tiers]`.
    """
    wanted = _with_thresholds(Policy.parse(text, source), thresholds)
    found = _TIERS.search(text)
    if found:
        start = found.end()
        after = _NEXT_TABLE.search(text, start)
        end = after.start() if after else len(text)
        part = text[start:end]
        for name, points in zip(_NAMES, thresholds, strict=True):
            pattern = rf"^({name}\s*=\s*\{{[^}}\n]*?\bfrom\s*=\s*)[-+0-9._eE]+"
            part = re.sub(pattern, rf"\g<1>{points:g}", part, count=1, flags=re.M)
        text = text[:start] + part + text[end:]
    if Policy.parse(text, source).version != wanted.version:
        said = ", ".join(f"{n} from {p:g}" for n, p in zip(_NAMES, thresholds, strict=True))
        raise UserError(
            f"{source}: cannot change the thresholds in this text; write them as "
            f"`sms = {{ from = 80, … }}` under [tiers], or put them in by hand: {said}"
        )
    return "".join(f"# {line}".rstrip() + "\n" for line in evidence) + "\n" + text


def _with_thresholds(policy: Policy, thresholds: Thresholds) -> Policy:
    present = (policy.tiers.sms, policy.tiers.call, policy.tiers.freeze)
    sms, call, freeze = (
        Threshold(float(points), tier.action, tier.notify)  # as they are read, for the version
        for tier, points in zip(present, thresholds, strict=True)
    )
    tiers = msgspec.structs.replace(policy.tiers, sms=sms, call=call, freeze=freeze)
    return msgspec.structs.replace(policy, tiers=tiers)
