"""The status page's server and what it says: what is served, to how many, and that nobody can hold it up."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvmeof_ha import options
from nvmeof_ha.health import NOT_RUNNING_S, Health
from nvmeof_ha.options import WebOptions
from nvmeof_ha.pauses import Pause, Pauses
from nvmeof_ha.web import STOP_S, WebServer
from nvmeof_ha.web_app import PAGE, Signpost, StatusSite
from nvmeof_ha.web_feed import FRESH_S, MOST_STREAMS, REST, Feed, as_json, frame
from testbed.waiting import wait_until

LOG = logging.getLogger('nvmeof_ha.test')
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                      lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
ODD = 'gw"><script>alert(1)</script>\u2028&'


class Told:
    """A source whose values are set by the test."""

    def __init__(self) -> None:
        self.now, self.takes_s, self.pauses_s = 100.0, 0.0, 0.0
        self.mark, self.history_number = 0, 0
        self.made: List[str] = []

    def clock(self) -> float:
        return self.now

    def status_mark(self) -> Any:
        return self.mark

    def status(self, pause: Pause) -> Dict[str, Any]:
        self.now += self.takes_s + self.pauses_s
        if isinstance(pause, Pauses):
            pause.paused_s += self.pauses_s
        self.made.append('status')
        return {'groups': [ODD], 'mark': self.mark}

    def history_mark(self) -> Any:
        return self.history_number

    def history(self, pause: Pause) -> Dict[str, Any]:
        self.made.append('history')
        return {'groups': [self.history_number]}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def feed(told: Told) -> Feed:
    return Feed(told, told.clock)


@pytest.fixture
def opened() -> Iterator[Callable[[StatusSite], StatusSite]]:
    sites: List[StatusSite] = []

    def make(site: StatusSite) -> StatusSite:
        site.open()
        sites.append(site)
        return site
    yield make
    for site in sites:
        site.close()


def events(text: bytes) -> Dict[str, Any]:
    return {name.decode(): json.loads(data) for name, data in re.findall(rb'event: (.*)\ndata: (.*)\n\n', text)}


def get(application: Any, path: str, method: str = 'GET', **environ: str) -> Tuple[str, Dict[str, str], Any]:
    found: Dict[str, Any] = {}
    environment: Dict[str, Any] = dict(environ)
    setup_testing_defaults(environment)
    environment.update(PATH_INFO=path, REQUEST_METHOD=method)
    body = application(environment, lambda status, headers: found.update(status=status, headers=dict(headers)))
    return found['status'][:3], found['headers'], body


# ---- the feed -----------------------------------------------------------------------------------------------------

def test_an_event_is_one_line_of_json_whatever_the_names_hold():
    text = frame('status', as_json({'name': f'{ODD}\n\r'}, lambda: None))
    assert text.isascii() and text.count(b'\n') == 3 and text.endswith(b'\n\n') and b'\r' not in text
    assert events(text)['status']['name'] == f'{ODD}\n\r'


def test_a_new_reader_is_told_everything_and_then_only_what_is_new(told, feed):
    stream = feed.stream()
    assert next(stream).startswith(b'retry: ')
    feed.look()
    assert events(next(stream)) == {'status': {'groups': [ODD], 'mark': 0}, 'history': {'groups': [0]}}
    feed.look()
    assert told.made == ['status', 'history'], 'nothing is new'
    told.mark += 1
    feed.look()
    assert set(events(next(stream))) == {'status'}
    told.history_number += 1
    feed.look()
    assert set(events(next(stream))) == {'history'}
    told.now += FRESH_S
    feed.look()
    assert set(events(next(stream))) == {'status'}, 'ages go on'


def test_nothing_is_made_while_nobody_listens_and_nothing_old_is_told_to_who_comes_next(told, feed):
    feed.look()
    assert told.made == []
    stream = feed.stream()
    feed.look()
    stream.close()
    feed.look()
    told.mark = told.history_number = 7
    late = feed.stream()
    next(late)
    feed.look()
    assert events(next(late)) == {'status': {'groups': [ODD], 'mark': 7}, 'history': {'groups': [7]}}


def test_what_takes_long_to_make_is_made_seldom(told, feed):
    feed.stream()
    told.takes_s = 0.2
    feed.look()
    for _ in range(10):
        told.now += 0.3
        told.mark += 1
        feed.look()
    assert told.made.count('status') == 1
    told.now += REST * told.takes_s
    feed.look()
    assert told.made.count('status') == 2


def test_what_only_pauses_while_it_is_made_is_made_as_often(told, feed):
    feed.stream()
    told.takes_s, told.pauses_s = 0.01, 1.0
    for number in range(1, 4):
        feed.look()
        assert told.made.count('status') == number
        told.now += REST * told.takes_s
        told.mark += 1


@given(st.dictionaries(st.text(), VALUES | st.lists(VALUES)))
def test_what_is_encoded_piece_by_piece_reads_as_one(value):
    pauses: List[None] = []
    text = as_json(value, lambda: pauses.append(None))
    assert json.loads(text) == value and text.isascii()
    assert len(pauses) == sum(len(member) for member in value.values() if isinstance(member, list))


def test_the_number_of_readers_is_bounded_and_a_place_that_was_left_is_free(feed):
    streams = [feed.stream() for _ in range(MOST_STREAMS)]
    assert all(streams) and feed.stream() is None
    status, headers, _ = get(StatusSite(feed), '/events')
    assert status == '503' and headers['Retry-After']
    streams[3].close()
    assert feed.stream() is not None


def test_closing_ends_every_stream_also_one_that_waits(feed):
    stream = feed.stream()
    rest: List[bytes] = []
    reader = threading.Thread(target=lambda: rest.extend(stream), daemon=True)
    reader.start()
    wait_until(lambda: rest, 10, 'the reader to have begun')
    feed.close()
    reader.join(10)
    assert not reader.is_alive() and feed.stream() is None
    stream.close()
    feed.open()
    assert feed.stream() is not None


# ---- what is served -----------------------------------------------------------------------------------------------

def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script_but_its_own(feed):
    site = StatusSite(feed)
    paths = ['/', *(f'/{file.name}' for file in PAGE.iterdir() if file.name != 'index.html')]
    assert len(paths) > 5
    for path in paths:
        status, headers, body = get(site, path)
        text = b''.join(body).decode()
        assert status == '200' and headers['Content-Length'] == str(len(text.encode()))
        policy = headers['Content-Security-Policy']
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'") and 'unsafe' not in policy
        assert headers['X-Content-Type-Options'] == 'nosniff'
        elsewhere = set(re.findall(r'(?:https?:)?//[a-z][\w.]+\.\w+', text)) - {'http://www.w3.org'}
        assert not elsewhere, f'{path} names {elsewhere}'
        assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|<[^>]* style=', text)


def test_the_same_is_there_once_as_json(told, feed, opened):
    site = opened(StatusSite(feed))
    status, headers, body = get(site, '/api/status')
    assert (status, headers['Content-Type']) == ('200', 'application/json')
    assert json.loads(b''.join(body)) == {'groups': [ODD], 'mark': 0, 'history': [0]}
    get(site, '/api/status')
    assert told.made.count('status') == 1, 'an answer serves all who ask within a second'


def test_whoever_asks_what_he_gets_is_made_by_one_thread(feed, opened):
    makers: List[threading.Thread] = []

    def metrics(_pause: Pause) -> List[bytes]:
        makers.append(threading.current_thread())
        return [b'a 1\n']
    site = opened(StatusSite(feed, metrics))
    readers = [threading.Thread(target=get, args=(site, '/metrics')) for _ in range(5)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert len(makers) == 5 and len(set(makers)) == 1 and makers[0] not in readers


def test_what_is_made_may_pause_each_time_anew(feed, opened):
    given_pauses: List[Pause] = []
    site = opened(StatusSite(feed, lambda pause: [given_pauses.append(pause) or b'a 1\n']))
    for _ in range(2):
        get(site, '/metrics')
    first, second = given_pauses
    assert isinstance(first, Pauses) and isinstance(second, Pauses) and first is not second


def test_what_making_raises_reaches_who_asked_and_the_next_one_is_served(feed, opened):
    texts: List[Callable[[], List[bytes]]] = [lambda: [1 / 0], lambda: [b'a 1\n']]
    site = opened(StatusSite(feed, lambda _pause: texts.pop(0)()))
    with pytest.raises(ZeroDivisionError):
        get(site, '/metrics')
    assert b''.join(get(site, '/metrics')[2]) == b'a 1\n'


def test_a_site_that_was_closed_asks_the_module_nothing_until_it_is_opened_again(feed, opened):
    site = opened(StatusSite(feed, lambda _pause: [b'a 1\n']))
    site.close()
    for path in ('/metrics', '/api/status'):
        status, headers, _ = get(site, path)
        assert status == '503' and headers['Retry-After']
    site.open()
    assert get(site, '/metrics')[0] == '200'


@pytest.mark.parametrize('method, path, status', [
    ('GET', '/../module.py', '404'), ('GET', '/page.js/', '404'), ('GET', '/index.html', '404'), ('GET', '', '404'),
    ('POST', '/', '405'), ('PUT', '/api/status', '405'), ('DELETE', '/events', '405'), ('HEAD', '/', '200')])
def test_everything_else_is_refused(feed, method, path, status):
    answered, headers, body = get(StatusSite(feed), path, method)
    assert answered == status and int(headers['Content-Length']) > 0
    assert method != 'HEAD' or list(body) == []


def test_asking_for_the_headers_of_the_stream_takes_no_place(feed):
    for _ in range(MOST_STREAMS + 1):
        assert get(StatusSite(feed), '/events', 'HEAD')[0] == '200'


@pytest.mark.parametrize('path, to', [('/', '/'), ('/api/status', '/api/status'), ('/events', '/'),
                                      ('/x\r\nSet-Cookie: a', '/')])
def test_a_standby_sends_browsers_to_the_active_mgr(path, to):
    status, headers, _ = get(Signpost(lambda: 'http://10.0.0.1:9287/'), path, HTTP_HOST='10.0.0.2:9287')
    assert (status, headers['Location']) == ('307', f'http://10.0.0.1:9287{to}')


@pytest.mark.parametrize('active', ['', 'http://10.0.0.2:9287/'])
def test_a_standby_waits_while_no_other_mgr_serves_the_page(active):
    status, headers, _ = get(Signpost(lambda: active), '/', HTTP_HOST='10.0.0.2:9287')
    assert status == '503' and headers['Refresh'] and 'Location' not in headers


def test_a_standby_has_no_metrics_so_that_nothing_is_counted_twice():
    status, _, body = get(Signpost(lambda: 'http://10.0.0.1:9287/'), '/metrics')
    assert (status, b''.join(body)) == ('200', b'')


def test_a_signpost_that_was_closed_asks_the_mgr_nothing():
    signpost = Signpost(lambda: pytest.fail('asked'))
    signpost.close()
    assert get(signpost, '/')[0] == '503'


# ---- the server ---------------------------------------------------------------------------------------------------

class Served:
    """A server that the test sets the options of."""

    def __init__(self, application: Any) -> None:
        self.options = WebOptions(True, '127.0.0.1', 0)
        self.announced: List[str] = []
        self.server = WebServer(lambda: self.options, application, LOG, lambda: '10.0.0.1', self.announced.append)
        self.server.start()

    def wait_url(self) -> str:
        return wait_until(lambda: self.server.url, 20, 'the page to be served')

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.wait_url()).netloc, timeout=20)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    begun: List[Served] = []

    def make(application: Any) -> Served:
        begun.append(Served(application))
        return begun[-1]
    yield make
    for served in begun:
        served.server.stop()
        assert served.server.join(20)


def test_what_is_new_reaches_a_reader_over_http_and_the_server_ends_although_he_goes_on_reading(serve, told):
    feed = Feed(told)
    served = serve(StatusSite(feed))
    connection = served.connect()
    connection.request('GET', '/events')
    response = connection.getresponse()
    assert response.headers['Content-Type'] == 'text/event-stream'
    got = response.read1()
    while b'"mark":0' not in got:
        got += response.read1()
    told.mark = 1
    while b'"mark":1' not in got:
        got += response.read1()
    idle = socket.create_connection((connection.host, connection.port))   # asks nothing, and stays
    began = time.monotonic()
    served.server.stop()
    assert served.server.join(20)
    print(f'ended {time.monotonic() - began:.2f} s later, with an open stream and an idle connection (STOP_S {STOP_S})')
    assert response.read() is not None
    idle.close()


def test_options_take_effect_while_it_runs_and_the_url_is_announced(serve, feed):
    served = serve(StatusSite(feed))
    first = served.wait_url()
    served.options = WebOptions(False)
    wait_until(lambda: not served.server.url, 20, 'the page to be off')
    served.options = WebOptions(True, '', 0)
    second = served.wait_url()
    assert served.announced == [first, '', second] and re.fullmatch(r'http://10\.0\.0\.1:\d+/', second)


def test_a_port_in_use_is_a_problem_until_it_is_free(serve, feed):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        served = serve(StatusSite(feed))
        served.options = WebOptions(True, '127.0.0.1', port)
        said = wait_until(lambda: served.server.problem, 20, 'the problem to be told')
        assert f'port {port}' in said and 'web_port' in said
    assert f':{port}/' in served.wait_url() and not served.server.problem


def test_without_cherrypy_the_page_is_off_and_says_what_to_install(serve, feed, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cheroot', None)
    served = serve(StatusSite(feed))
    assert 'python3-cherrypy3' in wait_until(lambda: served.server.problem, 20, 'the problem to be told')


def test_a_module_that_was_copied_without_its_page_works_without_it(serve, feed, monkeypatch, tmp_path):
    monkeypatch.setattr('nvmeof_ha.web_app.PAGE', tmp_path / 'page')
    served = serve(StatusSite(feed))
    assert f'{tmp_path}/page' in wait_until(lambda: served.server.problem, 20, 'the problem to be told')


def test_a_failure_of_what_is_shown_is_a_problem_and_nothing_else(serve, told):
    told.status_mark = lambda: 1 / 0
    served = serve(StatusSite(Feed(told)))
    connection = served.connect()
    connection.request('GET', '/events')
    assert 'ZeroDivisionError' in wait_until(lambda: served.server.problem, 20, 'the problem to be told')
    connection.close()


def test_once_stopped_the_module_is_not_called_any_more(feed):
    called: List[float] = []
    server = WebServer(lambda: called.append(time.monotonic()) or WebOptions(), StatusSite(feed), LOG)
    server.start()
    wait_until(lambda: called, 20, 'the options to be read')
    server.stop()
    stopped = time.monotonic()
    assert server.join(20) and all(at <= stopped for at in called)


def test_health_says_what_lasts_and_bears_with_what_passes():
    health = Health()
    assert not health.checks({}, '', 0.0, 'mgr x: no port')
    assert not health.checks({}, '', NOT_RUNNING_S - 1, 'mgr x: no port')
    found = health.checks({}, '', NOT_RUNNING_S, 'mgr x: no port')['NVMEOF_HA_PAGE']
    assert (found['severity'], found['detail']) == ('warning', ['mgr x: no port'])
    assert not health.checks({}, '', NOT_RUNNING_S + 1, '')


# ---- options ------------------------------------------------------------------------------------------------------

def test_the_page_is_off_by_default():
    declared = {option['name']: option['default'] for option in options.declarations()}
    assert options.web(declared.__getitem__) == WebOptions() and not WebOptions().enabled


@pytest.mark.parametrize('port', [-1, 65536, None, '9287'])
def test_a_port_that_cannot_be_is_named(port):
    values = {'web_enabled': True, 'web_addr': ' 127.0.0.1 ', 'web_port': port}
    found = options.web(values.__getitem__)
    assert f'web_port = {port!r}' in found.problem and found.addr == '127.0.0.1'


def test_options_that_cannot_be_used_are_a_problem(serve, feed):
    served = serve(StatusSite(feed))
    served.options = WebOptions(True, problem='web_port = -1: must be 0 to 65535')
    wait_until(lambda: served.server.problem == served.options.problem, 20, 'the problem to be told')
