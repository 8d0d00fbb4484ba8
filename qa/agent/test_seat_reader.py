"""What a gateway is told while RADOS does not answer its first question."""

from __future__ import annotations

from typing import Any, Tuple

from gw_agent.seat_reader import NOT_READ_YET, UNANSWERED_S, SeatReader


class SilentIoctx:
    """An OSD that leaves every operation unanswered, as from Ceph 18 on those of a user without OSD caps."""

    name = "rbd"

    def get_omap_vals_by_keys(self, _operation: Any, _keys: Any) -> Tuple[None, int]:
        return None, 0

    def operate_aio_read_op(self, *_arguments: Any) -> None:
        pass


def test_an_index_that_is_not_answered_is_told_with_the_caps_that_may_be_missing():
    reader = SeatReader(SilentIoctx(), "g1", lambda: None)  # type: ignore[arg-type]
    reader.start_round(100.0)
    reader.start_round(100.0 + UNANSWERED_S - 0.1)
    assert reader.trouble == NOT_READ_YET and reader.collect() == []
    reader.start_round(100.0 + UNANSWERED_S)
    assert "lacks caps; it needs mon 'profile rbd' osd 'profile rbd pool=rbd'" in reader.trouble
