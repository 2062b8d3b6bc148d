"""The queue of runs. Visitors take turns, and a run that nobody waits for any more is dropped."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

from gradio.queueing import Event, EventQueue, Queue
from visitors import Listeners, visitor_of


class FairQueue(Queue):
    """Gradio's queue with fair turns. A visitor may have only a few waiting requests. The next turn goes to the visitor
    whose last turn was longest ago. If there are several places, one visitor never takes all of them."""

    max_waiting = 4  # requests of one visitor
    turns: dict[str, float]  # start of each visitor's last run; the oldest first

    @classmethod
    def replace(cls, queue: Queue, max_waiting: int) -> "FairQueue":
        """Return a queue with the settings of `queue`, which must still be empty."""
        fair = cls(
            live_updates=queue.live_updates,
            concurrency_count=queue.max_thread_count,
            update_intervals=queue.update_intervals,
            max_size=queue.max_size,
            blocks=queue.blocks,
            default_concurrency_limit=queue.default_concurrency_limit,
        )
        fair.max_waiting, fair.turns = max_waiting, {}
        return fair

    async def push(self, body, request, username):
        if (refused := self.live_refusal(body, request)) is not None:
            return False, refused, "error"  # for a full queue Gradio has its own sentence
        for event in self.live():
            if event.session_hash == body.session_hash and event.fn._id == body.fn_index:
                self.close(event)  # a page has one session at a time
        visitor = visitor_of(request.client)
        if sum(visitor_of(event.request.client) == visitor for event in self.waiting()) >= self.max_waiting:
            return False, f"{self.max_waiting} requests of yours wait already; let one of them end first.", "queue_full"
        return await super().push(body, request, username)

    def live_refusal(self, body, request) -> str | None:
        """Return why a live session cannot begin now, or `None` if it can. A live session does not wait in the queue,
        because nobody speaks into a microphone while waiting for a place."""
        function = self.blocks.fns.get(body.fn_index)
        if function is None or function.connection != "stream":
            return None
        busy = [event for event in self.live() if event.session_hash != body.session_hash]  # this page's own will end
        visitor, places = visitor_of(request.client), cast(int, function.concurrency_limit)
        if sum(visitor_of(event.request.client) == visitor for event in busy) >= max(1, places - 1):
            return "You have a live session already; stop it first, in another tab of the browser perhaps."
        if len(busy) >= places:
            return "All places for live sound are taken at the moment. Try again in a few minutes."
        return None

    def live(self) -> list[Event]:
        """Return the live sessions that are running or about to begin."""
        return [event for event in self.running() + self.waiting() if event.streaming and not event.closed]

    def waiting(self) -> list[Event]:
        return [event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue]

    def running(self) -> list[Event]:
        return [event for job in self.active_jobs if job for event in job]

    def get_events(self):
        for concurrency_id, queue in self.event_queue_per_concurrency_id.items():
            event = self.next_event(queue)
            if event is not None:
                queue.queue.remove(event)
                visitor = visitor_of(event.request.client)
                self.turns.pop(visitor, None)
                self.turns[visitor] = time.monotonic()
                if len(self.turns) > 1000:
                    del self.turns[next(iter(self.turns))]
                return [event], False, concurrency_id
        return None

    def next_event(self, queue: EventQueue) -> Event | None:
        """Return the event of `queue` that is to run next, or `None` if there is no place for it."""
        places = queue.concurrency_limit
        assert places is not None  # the page sets a limit for all its events
        if not queue.queue or queue.current_concurrency >= places:
            return None
        busy = Counter(
            visitor_of(event.request.client) for event in self.running() if event.concurrency_id == queue.concurrency_id
        )

        def turn(event: Event) -> tuple[int, float]:
            visitor = visitor_of(event.request.client)
            return busy[visitor], self.turns.get(visitor, 0.0)

        event = min(queue.queue, key=turn)
        return event if turn(event)[0] < max(1, places - 1) else None

    async def keep_dropping(self, listeners: Listeners, stop: Callable[[str], None]) -> None:
        """Every second, remove waiting events to which nobody listens, and call `stop` with the session of each run to
        which nobody listens."""
        while True:
            await asyncio.sleep(1)
            for event in self.waiting():
                if listeners.gone(event.session_hash, event.enqueue_time):
                    await self.clean_events(event_id=event._id)
            for event in self.running():
                if listeners.gone(event.session_hash, event.enqueue_time):
                    stop(event.session_hash)
                    if event.streaming:
                        self.close(event)
            self.forget(listeners)

    @staticmethod
    def close(event: Event) -> None:
        """End a streaming event in the same way as a page that closes it."""
        event.run_time, event.closed = math.inf, True
        event.signal.set()

    def forget(self, listeners: Listeners) -> None:
        """Delete data that Gradio would keep for ever: messages of calls that have ended, and names of calls without
        messages."""
        messages, events = self.pending_messages_per_session, self.pending_event_ids_session
        for session in [name for name in messages if not events.get(name) and listeners.gone(name, 0.0)]:
            del messages[session]
        for session in [name for name in events if name not in messages]:
            del events[session]
