"""The status page in a real mgr, looked at with a real browser: a failover, odd names, a phone, darkness, the keyboard,
a change of the mgr.  The tests share the gateways and the browser, in the order in which they stand.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Callable, Dict, Iterator, NamedTuple, Tuple
from urllib.parse import urlsplit

import pytest

from browser import Look, Watching, chromium
from mgr_peer import Peer, SeatReader, connect, module_options
from nvmeof_ha.core.model import Map, Phase
from testbed import status_page
from testbed.cluster import Cluster
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

GROUP = 'page'
NAME = f'rbd/{GROUP}'
ODD = '<img src=x onerror=alert(1)>&"'
SERVED, GATEWAYS = 'ANA groups: who serves which namespaces', 'Gateways'


def holder(gateway_map: Map, number: int) -> str:
    group = gateway_map.ana_group(number)
    return group.holder.gateway if group is not None and group.phase is Phase.ACTIVE else ''


class Stage(NamedTuple):
    cluster: Cluster
    urls: Dict[str, str]
    seats: SeatReader
    one: Peer
    two: Peer

    def url(self) -> str:
        return wait_until(lambda: status_page.url(self.cluster), 60, 'the mgr to name its page')

    def wait_owned(self) -> Map:
        return self.seats.wait_for(lambda m: holder(m, 1) == 'gw1' and holder(m, 2) == 'gw2', 60, 'both to serve')

    def log_tails(self) -> str:
        return self.cluster.log_tails()


@pytest.fixture(scope='module')
def stage(cluster: Cluster) -> Iterator[Stage]:
    cluster.enable_module('nvmeof_ha')
    client = connect(cluster)
    options = {'failback_delay_s': '1', 'failback_doubling': 'false', 'web_enabled': 'false'}
    try:
        with module_options(cluster, **options):
            urls = status_page.enable(cluster)
            for gateway in ('gw1', 'gw2'):
                nvme_gw(cluster, 'create', gateway, 'rbd', GROUP)
            with Peer(cluster, GROUP, 'gw1') as one, Peer(cluster, GROUP, 'gw2') as two:
                found = Stage(cluster, urls, SeatReader(client, GROUP), one, two)
                found.wait_owned()
                yield found
    finally:
        client.shutdown()


@pytest.fixture(scope='module')
def watching() -> Iterator[Watching]:
    with chromium() as found:
        yield found


def ask(url: str, path: str) -> Tuple[int, http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request('GET', path)
        response = connection.getresponse()
        return response.status, response, response.read()
    finally:
        connection.close()


def wait_both(look: Look) -> None:
    look.wait_row(NAME, SERVED, '1', 'served', 'gw1')
    look.wait_row(NAME, SERVED, '2', 'served', 'gw2')


def test_a_failover_shows_at_once_then_its_phases_and_its_place_in_the_timeline(stage: Stage, watching: Watching,
                                                                                say: Callable[[str], None]):
    with watching.at(stage.url()) as look:
        wait_both(look)
        stage.one.crash()
        stage.seats.wait_for(lambda m: holder(m, 1) == 'gw2', 30, 'gw2 serving both')
        decided = time.monotonic()
        look.group(NAME).locator('[data-key=ana1]', has_text='gw1 is').filter(has_text='gw2').wait_for()
        say(f'the page showed a failover {1000 * (time.monotonic() - decided):.0f} ms after it was seen in the seats')
        look.group(NAME).locator('.bars li', has_text='gw1 → gw2').first.wait_for()
        assert 'fencing' in look.group(NAME).locator('.bars svg').first.get_attribute('aria-label')
        picture = look.group(NAME).get_by_role('img', name='Who served each ANA group')
        assert '1 failover' in picture.get_attribute('aria-label')
        assert picture.locator('rect.failing').count() == 1
        heard = look.page.get_by_role('status')
        assert 'ANA group' in heard.inner_text() and heard.get_attribute('aria-live') == 'polite'
        stage.one.begin_anew(stage.cluster)
        stage.wait_owned()
        wait_both(look)
        assert look.said == [] and look.hosts_asked() == {urlsplit(stage.url()).netloc}


def test_the_same_is_there_as_json_and_as_metrics(stage: Stage):
    status, response, body = ask(stage.url(), '/api/status')
    assert status == 200 and response.headers['Content-Type'] == 'application/json'
    told = json.loads(body)
    shown = stage.cluster.ceph_json('nvmeof-ha', 'status')['groups']
    assert [g['group'] for g in told['groups']] == [g['group'] for g in shown]
    assert [set(g) for g in told['groups']] == [set(g) for g in shown]
    assert told['mgr'] == stage.cluster.active_mgr()
    assert any(found['group'] == GROUP and found['records'] for found in told['history'])
    status, _, body = ask(stage.url(), '/metrics')
    assert status == 200 and f'group="{GROUP}"' in body.decode()


def test_names_are_shown_as_they_are_whatever_they_hold(stage: Stage, watching: Watching):
    """A gateway's name is plain; locations, problems and causes need not be."""
    _, _, body = ask(stage.url(), '/api/status')
    told = json.loads(body)
    told['groups'] = [found for found in told['groups'] if found['group'] == GROUP]
    told['groups'][0]['gateways'][0].update(location=ODD, problems=[ODD, ODD])
    told['groups'][0]['ana_groups'][0]['why'] = ODD
    for record in (record for found in told['history'] for record in found['records']):
        record.update(cause=ODD)
    with watching.at('about:blank') as look:
        look.page.route('**/events', lambda route: route.fulfill(status=503))
        look.page.route('**/api/status', lambda route: route.fulfill(json=told))
        look.page.goto(stage.url())
        look.wait_row(NAME, GATEWAYS, 'gw1', ODD)
        look.page.get_by_text('too many listen').wait_for()
        look.group(NAME).locator('summary', has_text='History').click()
        look.wait_row(NAME, 'What happened, newest first', ODD)
        assert look.page.locator('img, script:not([src="page.js"])').count() == 0
        assert not [text for text in look.said if '503' not in text]


def test_it_can_be_read_on_a_phone_and_in_the_dark_and_used_with_the_keyboard_alone(stage: Stage, watching: Watching):
    phone = {'width': 360, 'height': 740}
    with watching.at(stage.url(), viewport=phone, color_scheme='dark') as look:
        wait_both(look)
        for summary in look.page.locator('summary').all():
            summary.click()
        assert look.width() <= phone['width'] and look.faint_texts() == []
    with watching.at(stage.url()) as look:
        wait_both(look)
        assert look.faint_texts() == [] and look.unreached_by_tab() == []
        button = look.group(NAME).get_by_role('button', name='24 h')
        button.focus()
        look.page.keyboard.press('Enter')
        look.group(NAME).get_by_role('img', name='in the last 24 h').wait_for()
        summary = look.group(NAME).locator('summary', has_text='History')
        summary.focus()
        look.page.keyboard.press('Enter')
        look.wait_row(NAME, 'What happened, newest first', 'failover', 'gw1', 'gw2')
        look.page.wait_for_function('at => performance.now() > at', arg=look.page.evaluate('performance.now() + 1500'))
        assert look.group(NAME).locator('details[open]').count() == 1, 'what was opened stays open while it is updated'
        assert look.page.evaluate('document.activeElement.tagName') == 'SUMMARY', 'the focus stays'
        assert look.said == []


def test_a_page_says_that_its_mgr_is_gone_and_goes_on_with_the_next_one(stage: Stage, watching: Watching,
                                                                       say: Callable[[str], None]):
    first, before = stage.url(), stage.cluster.active_mgr()
    with watching.at(first) as look:
        wait_both(look)
        stage.cluster.ceph('mgr', 'fail', before)
        failed = time.monotonic()
        look.page.get_by_text(re.compile(r'Connection lost; what is shown is \d+ s old')).wait_for()
        look.page.wait_for_url(lambda url: url != first and url in stage.urls.values())
        wait_both(look)
        look.page.get_by_text('Live from mgr').wait_for()
        say(f'the page was live again {time.monotonic() - failed:.1f} s after `mgr fail`, from the other mgr')
        status, response, _ = ask(first, '/')
        assert status == 307 and response.headers['Location'] == look.page.url == stage.url()
        assert ask(first, '/metrics')[0::2] == (200, b'')
