"""Fifty viewers on one run over real sockets, some of which lose their connection; the run is killed and resumed."""

import asyncio
import random

import pytest

from eigenflow.report.live.board import Board
from eigenflow.report.live.sources import ChosenSource
from eigenflow.report.live.watcher import Watcher
from eigenflow.store import RunWriter
from report.live.test_watching import begin, expected, log, logged, points
from report.live.viewers import AsyncViewer
from report.live.watched import Refusing, see, served

pytestmark = pytest.mark.long

VIEWERS = 50


async def all_have(viewers, number):
    async with asyncio.timeout(20):
        while any(one.number < number for one in viewers):
            await asyncio.sleep(0.01)


async def watched_by_many(path, watcher, board, port):
    viewers, rng = [AsyncViewer(port) for _ in range(VIEWERS)], random.Random(0)
    tasks = [asyncio.create_task(one.watch()) for one in viewers]
    writer = begin(path)
    for turn in range(30):
        if turn == 12:
            writer.close()  # no status: as after a kill
        elif turn == 15:
            writer = RunWriter.resume(path, start=100)
        if not 12 <= turn < 15:
            first = 100 + 10 * (turn - 15) if turn >= 15 else 10 * turn
            log(writer, first, first + 10, seed=turn)
        await asyncio.to_thread(see, watcher)
        if turn % 3 == 0:
            await all_have(viewers, board.number)
        for one in rng.sample(viewers, 3):
            one.drop()
    writer.set_status("complete")
    writer.close()
    await asyncio.to_thread(see, watcher)
    await all_have(viewers, board.number)
    for one in viewers:
        one.leave()
    await asyncio.gather(*tasks)
    return viewers


def test_fifty_viewers_see_every_update_of_a_run_that_is_killed_and_resumed(tmp_path):
    board = Board()
    watcher = Watcher(ChosenSource(tmp_path / "run"), board.publish, make_engine=Refusing)
    board.publish(watcher.state())
    with served(board) as port:
        viewers = asyncio.run(watched_by_many(tmp_path / "run", watcher, board, port))
    watcher.close()
    assert board.number > 25
    for one in viewers:
        assert one.wrong == []
        # One whole state at the beginning, then every change, over all that was lost on the way.
        first = one.seen[0][1]
        assert one.seen[0][0] == "state" and {kind for kind, *_ in one.seen[1:]} == {"change"}
        assert [number for _, number, _ in one.seen] == list(range(first, board.number + 1))
        assert one.state == board.state
    assert sum(one.connections for one in viewers) > VIEWERS
    assert points(board.state) == expected(*logged(tmp_path / "run")) and board.state["status"] == "complete"
