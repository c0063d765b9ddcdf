"""The part of the composition root for the operational database.

It is apart since `preempt.bootstrap` imports the model and the stream, which takes seconds, and
commands about rules need neither.
"""

from preempt.settings import Settings
from serving.database import open_database
from serving.policy import default_text
from serving.rule_store import RuleStore


def build_rule_store(settings: Settings) -> RuleStore:
    """The rule sets of the operational database.

    Raises:
        UserError: the database does not answer, or its URL is none.
    """
    return RuleStore(open_database(settings.operational_url), default_text())
