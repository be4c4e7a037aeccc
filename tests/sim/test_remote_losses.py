"""Workers that are lost one after the other with the same activity: it comes again, more slowly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actorflow.workflow.workitem import ActivityItem
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand
from tests.sim.test_remote_items import Hand

if TYPE_CHECKING:
    import pytest


def test_what_ends_its_workers_waits_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1)
        await stand.world.start_host()
        hand = Hand(stand)
        await stand.start("chain", 1, "c")
        await hand.do(await hand.turn(), "chain")
        pauses = []
        item = await hand.activity()
        for _ in range(5):
            hand.stream.close()
            began_s = loop.time()
            hand.connect()
            async with asyncio.timeout(60):
                again = await hand.stream.next()
            assert isinstance(again, ActivityItem)
            item = again
            pauses.append(round(loop.time() - began_s))
        assert pauses == [2, 3, 7, 32, 32], "a grace of two seconds, and 0, 1, 5, 30, 30"
        said = [r for r in caplog.records if "same work" in r.message]
        assert [record.__dict__["lost_workers"] for record in said] == [2, 3, 4, 5]
        assert {record.__dict__["activity"] for record in said} == {item.request.name}
        hand.stream.close()
        await asyncio.sleep(3)
        assert await hand.finish(item, 2), "answers are welcome meanwhile"
        hand.connect()
        await hand.finish_chain(8, "c")
        await stand.close()

    simulate(1, main)


def test_others_need_not_wait_for_it() -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1)
        await stand.world.start_host()
        hand = Hand(stand)
        await stand.start("chain", 1, "bad")
        await hand.do(await hand.turn(), "chain")
        for _ in range(3):
            bad = await hand.activity()
            hand.connect()
        await stand.start("chain", 1, "good")
        began_s = loop.time()
        await hand.do(await hand.turn(), "chain")
        good = await hand.activity()
        assert good.request.instance_id == "good"
        assert loop.time() - began_s < 1
        assert await hand.finish(good, 2)
        await hand.finish_chain(8, "good")
        assert (await hand.activity()).token == bad.token
        assert await hand.finish(bad, 2)
        await hand.finish_chain(8, "bad")
        await stand.close()

    simulate(1, main)
