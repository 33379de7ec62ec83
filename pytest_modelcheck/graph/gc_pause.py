"""Python's garbage collector, held back while graphs are built.

A graph is hundreds of thousands of objects that refer to each other, and all of them live: the collector looks through
them again and again and finds nothing. It takes half of the time of a pipeline over 100,000 nodes.
"""

from __future__ import annotations

import gc
from types import TracebackType

_MAX_NODES = 150_000
"""So many nodes of thrown away graphs may wait for collection: about 300 MB."""


class GarbagePaused:
    """A ``with`` block in which nothing is collected, but for `threw_away`; nests, and restores what it found.

    Args:
        thrown_away: So many nodes the block may throw away. If they are enough for a collection, it does not look at
            what was there before the block: libraries, and the model that is worked on.
    """

    def __init__(self, *, thrown_away: int = 0) -> None:
        self._set_aside = thrown_away > _MAX_NODES
        self._was_enabled = False
        self._nodes = 0

    def __enter__(self) -> GarbagePaused:
        self._was_enabled = gc.isenabled()
        gc.disable()
        # Objects that somebody else has frozen could not be told from these afterwards; counting them takes a while.
        self._set_aside = self._set_aside and self._was_enabled and gc.get_freeze_count() == 0
        if self._set_aside:
            # The young ones first become old, as they would in time: unfrozen, all are old, and what is old and dead is
            # looked for only when enough has become old by way of a collection.
            gc.collect(1)
            gc.freeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._set_aside:
            gc.unfreeze()
        if self._was_enabled:
            gc.enable()

    def threw_away(self, nodes: int) -> None:
        """Collect, if the models thrown away since the last time, now one of so many nodes, are worth it.

        The caller holds none of them any more: what he holds is looked through in vain, and stays.
        """
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            gc.collect()
            self._nodes = 0
