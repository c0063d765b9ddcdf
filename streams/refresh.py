"""What a worker goes by and people change while it runs: looked for again and again, off the loop."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from streams.worker import ChunkedApp

logger = logging.getLogger("streams.process")

T = TypeVar("T")


def refresh(
    app: ChunkedApp,
    what: str,
    prepare: Callable[[], T | None],
    switch: Callable[[T], None],
    *,
    every_s: float,
    unavailable: type[Exception],
) -> None:
    """Let the workers of an app take up what is new.

    While it cannot be had, what was taken last stays in use; one warning begins each outage.

    Args:
        app: not running yet.
        what: its name in logs, in the plural.
        prepare: fetch and build it in another thread, one call at a time; None: nothing is new.
        switch: use it; called in the event loop, so never amid a batch.
        every_s: seconds between two calls.
        unavailable: what `prepare` raises while it cannot be had.
    """
    away = False

    @app.timer(every_s, name=f"refresh {what}")
    async def poll() -> None:
        nonlocal away
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, prepare)
        except unavailable as error:
            if not away:
                logger.warning("%s; the %s read last stay in use", error, what)
            away = True
            return
        if away:
            logger.warning("%s are read again", what)
        away = False
        if found is not None:
            switch(found)
