"""Claims about the alert rules and the dashboard: they ask for what is exposed, and the rules do as their cases say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

from nvmeof_ha import metrics
from nvmeof_ha.metrics_text import Family

from .test_mgr_metrics import every_sample

REPOSITORY = Path(__file__).resolve().parents[2]
MONITORING = REPOSITORY / 'mgr_module' / 'monitoring'
RULES, CASES = MONITORING / 'nvmeof_ha_alerts.yml', MONITORING / 'nvmeof_ha_alerts_test.yml'
DASHBOARD = MONITORING / 'nvmeof_ha_dashboard.json'
SELECTOR = re.compile(r'(nvmeof_ha_\w+)(?:\{([^}]*)\})?')
ADDED_BY_PROMETHEUS = {'le'}


def expressions() -> Iterator[str]:
    text = re.sub(r'\n {10,}', ' ', RULES.read_text())
    yield from re.findall(r'expr: (?:>- )?(.*)', text)
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard['panels']:
        yield from (target['expr'] for target in panel['targets'])
    yield from (variable['definition'] for variable in dashboard['templating']['list'] if 'definition' in variable)


def exposed() -> Dict[str, Set[str]]:
    """The names of all series, and the labels that each has."""
    labels: Dict[str, Set[str]] = {}
    for sample in every_sample():
        labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_every_family_has_a_sample_in_the_tests():
    families = {value for value in vars(metrics).values() if isinstance(value, Family)}
    told = exposed()
    assert not [f.name for f in families if not {f.name, f.name + '_count'} & set(told)]


def test_rules_and_dashboard_ask_for_series_and_labels_that_are_exposed():
    told, asked = exposed(), set()
    for expression in expressions():
        for name, selector in SELECTOR.findall(expression):
            assert name in told, f'{name} in {expression}'
            labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)', selector))
            assert labels <= told[name] | ADDED_BY_PROMETHEUS, expression
            asked.add(name)
    assert len(asked) > 20, 'the expressions were found'


def test_every_alert_has_a_case_that_raises_it_and_one_that_does_not():
    alerts = re.findall(r'alert: (\w+)', RULES.read_text())
    assert len(set(alerts)) == len(alerts) >= 10
    cases = CASES.read_text()
    quiet, raised = (set(re.findall(pattern, cases)) for pattern in (
        r'alertname: (\w+)\}', r'alertname: (\w+)\n +exp_alerts'))
    assert quiet == raised == set(alerts)


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = json.loads(DASHBOARD.read_text())['panels']
    assert len({panel['id'] for panel in panels}) == len(panels)
    cells: List[tuple] = [(x, y) for at in (panel['gridPos'] for panel in panels)
                          for x in range(at['x'], at['x'] + at['w']) for y in range(at['y'], at['y'] + at['h'])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


@pytest.fixture(scope='module')
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Prometheus' own checker.  Only this program out of its package (until Debian 12 that of the server)."""
    kept = REPOSITORY / '.venv' / 'bin' / 'promtool'
    found = shutil.which('promtool') or (str(kept) if kept.exists() else '')
    if found:
        return found
    directory = tmp_path_factory.mktemp('promtool')
    of_itself, of_server = (['apt-get', '-q', 'download', name] for name in ('promtool', 'prometheus'))
    for command in (of_itself, of_server, ['apt-get', '-q', 'update'], of_itself, of_server):
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120)
        packages = list(directory.glob('prom*.deb'))
        if packages:
            break
    else:
        pytest.fail(f'there is no promtool, and its package cannot be fetched: {done.stdout[-300:]}')
    subprocess.run(['dpkg-deb', '-x', str(packages[0]), str(directory)], check=True, timeout=120)
    new = kept.with_name(f'promtool.{os.getpid()}')
    shutil.move(str(directory / 'usr/bin/promtool'), new)
    new.rename(kept)
    return str(kept)


@pytest.mark.parametrize('arguments', [('check', 'rules', RULES.name), ('test', 'rules', CASES.name)])
def test_prometheus_takes_the_rules_and_they_pass_their_cases(promtool, arguments):
    done = subprocess.run([promtool, *arguments], cwd=MONITORING, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    assert done.returncode == 0 and 'SUCCESS' in done.stdout, done.stdout
