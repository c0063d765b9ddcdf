"""What decisions cost, as data: one TOML file that a shop fills in (`examples/costs.toml`)."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from orders.errors import UserError
from serving.tiers import CALL, CANCEL, FREEZE, SMS

Share = Annotated[float, Meta(ge=0, le=1)]
Cost = Annotated[float, Meta(ge=0)]  # minor units
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]


class OfTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tier does, an assumption of the shop's.

    Attributes:
        fraud_passes: the share of fraud that gets through in spite of it.
        honest_lost: the share of honest buyers who give up, or are turned away.
        per_day: most orders a day that can be handled; None: any number.
    """

    fraud_passes: Share
    honest_lost: Share
    per_day: Annotated[int, Meta(ge=0)] | None = None


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Costs of orders in one currency, in minor units, and what each tier does."""

    currency: Currency
    lost_goods: Annotated[float, Meta(ge=0, le=2)]  # of the amount of a fraud that gets through
    lost_margin: Share  # of the amount of an honest order that is lost
    goodwill: Cost  # of each honest order that is not passed at once
    sms: Cost
    call: Cost
    human_minute: Cost
    minutes_per_freeze: Annotated[float, Meta(ge=0)]
    tier_sms: OfTier
    tier_call: OfTier
    tier_freeze: OfTier

    @staticmethod
    def load(path: Path) -> "Costs":
        """Read a costs file.

        Raises:
            UserError: when it cannot be read; the message names the place and what is wrong.
        """
        try:
            return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Costs)
        except OSError as error:
            raise UserError(f"cannot read the costs in {path}: {error.strerror}") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{path} is not valid TOML: {error}") from None
        except msgspec.ValidationError as error:
            raise UserError(f"{path}: {error}") from None

    @property
    def capacity(self) -> dict[int, int]:
        """The most orders a day of each tier that has a limit."""
        limits = {SMS: self.tier_sms, CALL: self.tier_call, FREEZE: self.tier_freeze}
        return {tier: each.per_day for tier, each in limits.items() if each.per_day is not None}

    def of_orders(self, amount: np.ndarray, fraud: np.ndarray) -> np.ndarray:
        """(n, 5) float64: the expected cost of each order in each tier.

        Args:
            amount: (n,) minor units.
            fraud: (n,) bool.
        """
        costs = np.zeros((len(amount), CANCEL + 1))
        handling = (
            (SMS, self.tier_sms, self.sms),
            (CALL, self.tier_call, self.call),
            (FREEZE, self.tier_freeze, self.human_minute * self.minutes_per_freeze),
        )
        loss, margin = self.lost_goods * amount, self.lost_margin * amount
        costs[:, 0] = np.where(fraud, loss, 0)
        for tier, does, spent in handling:
            of_honest = does.honest_lost * margin + self.goodwill
            costs[:, tier] = spent + np.where(fraud, does.fraud_passes * loss, of_honest)
        costs[:, CANCEL] = np.where(fraud, 0, margin + self.goodwill)
        return costs
