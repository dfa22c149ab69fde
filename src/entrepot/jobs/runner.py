"""Runs jobs when they are due. The catalog's lease lets one process of many run each; a dead one's lease ends."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from entrepot.catalog import leases
from entrepot.catalog.database import Catalog
from entrepot.failpoints import failpoint
from entrepot.model import Clock

_log = logging.getLogger("entrepot.jobs")


def patient_clock() -> Clock:
    """The wall clock, or what it said now plus the time since if that is less: a jump ahead frees nothing early."""
    ahead = time.time() - time.monotonic()
    return lambda: min(time.time(), ahead + time.monotonic())


@dataclass(frozen=True, slots=True)
class Job:
    """Work that comes again every `every_seconds`; the work gives counts for the log."""

    name: str
    every_seconds: float
    work: Callable[[], Awaitable[dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Runner:
    """All jobs of this process."""

    catalog: Catalog
    now: Clock
    jobs: Sequence[Job]

    async def run(self) -> None:
        """Until it is cancelled: each job in a task of its own."""
        async with asyncio.TaskGroup() as group:
            for job in self.jobs:
                group.create_task(self._repeat(job))

    async def _repeat(self, job: Job) -> None:
        while True:
            try:
                await self.run_once(job)
            except asyncio.CancelledError:
                raise
            except Exception:
                _log.exception("job failed", extra={"job": job.name})
            await asyncio.sleep(max(0.05, min(job.every_seconds, 60.0)))

    async def run_once(self, job: Job) -> dict[str, int] | None:
        """What the job counted; None if it is not due, or another process has it."""
        me, now = secrets.token_hex(8), self.now()
        until = now + max(600.0, 2 * job.every_seconds)
        if not await self.catalog.write(lambda tx: leases.claim_job(tx, job.name, me, now, until)):
            return None
        failpoint("job.claimed")
        try:
            counts = await job.work()
        finally:
            again = self.now() + job.every_seconds
            await self.catalog.write(lambda tx: leases.finish_job(tx, job.name, me, again))
        failpoint("job.finished")
        if any(counts.values()):
            _log.info("job", extra={"job": job.name, **counts})
        return counts
