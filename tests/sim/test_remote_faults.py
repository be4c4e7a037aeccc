"""Remote workers that get lost, answer late, twice or never; hosts that restart: P08, S12, S13."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.faulty_store import Faults
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from tests.sim.conftest import OverSeeds


async def worker_trouble(stand: RemoteStand) -> None:
    """Kill workers, cut their streams, start others."""
    while True:
        await asyncio.sleep(stand.random.random())
        worker = stand.random.choice(stand.workers)
        if stand.random.random() < 0.5:
            worker.disconnect()
        else:
            await stand.kill_worker(worker)
            await asyncio.sleep(stand.random.choice((0, 0.5, 3)))
            stand.worker(answer=stand.moody())


async def host_trouble(stand: RemoteStand) -> None:
    """Kill the host and start it again."""
    while True:
        await asyncio.sleep(0.5 + 2 * stand.random.random())
        await stand.world.kill_host()
        await asyncio.sleep(stand.random.choice((0, 0.3, 3)))
        await stand.world.start_host()


def test_two_healthy_workers(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = RemoteStand(loop, seed)
            await stand.world.start_host()
            workers = [stand.worker(), stand.worker()]
            await stand.play(12)
            assert all(worker.items for worker in workers)
            assert all(all(worker.answered) for worker in workers)
            await stand.close()
            stand.check_runs(faults=0)
            return Counter(turns=stand.log.turns)

        return simulate(seed, main)

    over_seeds(run, 4, must_see=["turns"])


def test_p08_workers_come_and_go(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = RemoteStand(loop, seed, faults=Faults(delay=0.3))
            await stand.world.start_host()
            stand.worker(answer=stand.moody())
            stand.worker(answer=stand.moody())
            await stand.play(12, worker_trouble(stand))
            late = stand.world.engine.workers.late_count
            await stand.close()
            stand.check_runs(faults=stand.log.disconnects)
            return Counter(disconnects=stand.log.disconnects, late=late)

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["disconnects", "late"])


def test_p08_hosts_restart_while_workers_work(over_seeds: OverSeeds) -> None:
    """Answers to the host before count at the host after, once."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            faults = Faults(lose_request=0.05, lose_reply=0.05, delay=0.3)
            stand = RemoteStand(loop, seed, faults=faults)
            await stand.world.start_host()
            stand.worker()
            stand.worker()
            await stand.play(12, host_trouble(stand))
            await stand.close()
            stand.check_runs(faults=stand.world.crashes + stand.world.counters["commits_fenced"])
            return Counter(crashes=stand.world.crashes)

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["crashes"])


def test_workers_that_send_no_tokens(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = RemoteStand(loop, seed)
            await stand.world.start_host()
            first = stand.worker(sends_tokens=False)
            stand.worker(sends_tokens=False)

            async def trouble() -> None:
                while True:
                    await asyncio.sleep(stand.random.random() * 3)
                    first.disconnect()

            await stand.play(12, trouble())
            await stand.close()
            return Counter(disconnects=stand.log.disconnects)

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["disconnects"])
