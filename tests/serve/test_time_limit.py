"""One time limit for many tasks."""

import asyncio

import pytest

from mnistkit.serve.time_limit import TimeLimit


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


def test_who_takes_too_long_is_cut_off_and_who_does_not_goes_on():
    async def work():
        limit = TimeLimit(0.05)
        ended = []

        async def block(event, name):
            try:
                with limit:
                    await event.wait()
            except TimeoutError:
                name = f"{name} cut off"
            ended.append(name)
            await asyncio.sleep(0)  # what comes behind the block is not cut off

        never, soon = asyncio.Event(), asyncio.Event()
        soon.set()
        slow = [asyncio.create_task(block(never, "slow")) for _ in range(3)]
        await asyncio.gather(*slow, asyncio.create_task(block(soon, "quick")))
        await asyncio.gather(asyncio.create_task(block(never, "later")))  # the timer starts again
        assert ended == ["quick", "slow cut off", "slow cut off", "slow cut off", "later cut off"]
        assert not any(task.cancelling() for task in slow)

    run(work())


def test_nobody_is_cut_off_by_the_time_of_another():
    async def work():
        limit = TimeLimit(0.2)

        async def block(seconds):
            with limit:
                await asyncio.sleep(seconds)

        early = asyncio.create_task(block(60))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(block(0.15))  # still in its block when the first one's time is over
        with pytest.raises(TimeoutError):
            await early
        await late

    run(work())


def test_a_task_that_somebody_cancels_is_cancelled_and_an_error_stays_that_error():
    async def work():
        limit = TimeLimit(60)

        async def block(inside):
            with limit:
                await inside

        task = asyncio.create_task(block(asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async def wrong():
            raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            await asyncio.create_task(block(wrong()))
        assert not limit._due
        assert not limit._cut_off

    run(work())


def test_cut_off_and_cancelled_at_once_is_cancelled():
    async def work():
        limit = TimeLimit(0.01)

        async def block():
            with limit:
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        limit._timed = True
        limit._due[task] = 0.0
        limit._look()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())


def test_outside_of_a_task_there_is_no_limit():
    with pytest.raises(RuntimeError), TimeLimit(1):
        pass
