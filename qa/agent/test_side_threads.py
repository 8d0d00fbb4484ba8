"""What the warden reads out of the mons' answers."""

from gw_agent.side_threads import blocklisted


def test_each_line_of_the_blocklist_begins_with_an_address():
    assert blocklisted("198.18.77.1:0/749661951 2026-11-25T08:39:52.790017+0000\n"
                       "[2001:db8::1]:0/17 2026-11-25T08:39:31.664123+0000\n") == {
        "198.18.77.1:0/749661951", "[2001:db8::1]:0/17"}


def test_no_answer_blocklists_nobody():
    assert blocklisted("") == frozenset()
