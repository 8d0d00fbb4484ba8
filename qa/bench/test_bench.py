"""Claims about the benchmarks: each can be run, and its figures are of what it says.  Never about speed."""

from __future__ import annotations

import pytest

from bench import core, failovers
from bench.__main__ import main


def test_the_core_is_measured_at_each_size_and_printed_as_a_table(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(core, 'SIZES', (2, 3))
    assert main(['--only', 'core', '--json', str(tmp_path / 'figures.json')]) == 0
    output = capsys.readouterr().out
    assert 'map_bytes, 3 gateways' in output and 'median' in output
    assert (tmp_path / 'figures.json').read_text().count('beacon_us') == 2


@pytest.mark.timeout(600)
def test_a_round_of_failovers_measures_every_kind_of_them_and_the_floor(tmp_path, say):
    figures, = failovers.run(tmp_path / 'cluster', say, 1)
    for kind in ('target crash', 'host loss', 'frozen target'):
        assert 0 < figures[f'{kind}: fenced at'] < figures[f'{kind}: served']
    assert 0 < figures['orderly stop: drained at'] < figures['orderly stop: served']
    assert all(seconds > 0 for name, seconds in figures.items() if name.endswith('without a path'))
    assert 0 < figures['floor: blocklist and OSD map'] < figures['floor: with the ANA states']
