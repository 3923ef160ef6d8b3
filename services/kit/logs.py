"""Logs: one line each, with the time in UTC and the process, to standard error."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import NoReturn


def configure(process: str, level: str) -> None:
    """Set up logging for a process."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=level, format=f"%(asctime)s.%(msecs)03dZ {process} %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S", force=True
    )
    for chatty in ("aiokafka", "faust", "mode", "httpx", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.getLevelName(level), logging.WARNING))


def die(logger: logging.Logger, reason: str) -> NoReturn:
    """End the process at once: a fault must not go on to corrupt what others rely on. A supervisor restarts it."""
    logger.critical("ends: %s", reason, exc_info=sys.exc_info()[0] is not None)
    logging.shutdown()
    os._exit(70)  # EX_SOFTWARE
