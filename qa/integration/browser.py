"""Headless Chromium, of the distribution, looking at the status page: what a person sees, and what a page must not do.

Everything that the page says in the console and everything it asks for is kept, for the tests to judge.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = '/usr/bin/chromium-headless-shell'
# As root it has no sandbox; and it must not look for its maker's hosts.
ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync']
LOOK_MS = 60_000

SMALLEST_CONTRAST = 4.5
"""Of WCAG 2.1, level AA, for text of usual size."""

_CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) { return colour; }
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || ['NOSCRIPT', 'SCRIPT'].includes(parent.tagName) || !parent.getClientRects().length) { continue; }
    const inside = parent.closest('svg') && parent.getAttribute('class') === 'inside';
    const back = inside ? parse(getComputedStyle(parent.parentElement.querySelector('rect')).fill) : behind(parent);
    const style = getComputedStyle(parent);
    const front = parse(parent.closest('svg') ? style.fill : style.color);
    const [one, other] = [light(front), light(back)].sort((a, b) => b - a);
    found.push([(one + .05) / (other + .05), text]);
  }
  return found;
}"""

_FOCUSABLE = """() => [...document.querySelectorAll('a[href], button, summary, input, select, [tabindex="0"]')]
  .filter((node) => node.getClientRects().length).map((node) => node.textContent)"""


class Look:
    """One page in one window."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.said: List[str] = []
        self.asked: List[str] = []
        page.set_default_timeout(LOOK_MS)
        page.on('console', lambda message: self.said.append(f'{message.type}: {message.text}'))
        page.on('pageerror', lambda error: self.said.append(f'error: {error}'))
        page.on('request', lambda request: self.asked.append(request.url))

    def hosts_asked(self) -> set:
        return {urlsplit(url).netloc for url in self.asked}

    def group(self, name: str):
        """The section of one gateway group, as a screen reader finds it."""
        return self.page.get_by_role('region', name=name)

    def wait_row(self, group: str, table: str, *texts: str) -> None:
        """Until a row of the group's table says all these."""
        row = self.group(group).get_by_role('table', name=table).get_by_role('row')
        for text in texts:
            row = row.filter(has_text=text)
        row.first.wait_for()

    def width(self) -> int:
        return self.page.evaluate('document.documentElement.scrollWidth')

    def faint_texts(self) -> List[str]:
        return [f'{text!r}: {ratio:.2f}' for ratio, text in self.page.evaluate(_CONTRAST) if ratio < SMALLEST_CONTRAST]

    def unreached_by_tab(self) -> List[str]:
        """What can be used and the Tab key does not come to."""
        wanted = self.page.evaluate(_FOCUSABLE)
        reached = []
        self.page.evaluate('document.activeElement.blur()')
        for _ in range(len(wanted) + 2):
            self.page.keyboard.press('Tab')
            reached.append(self.page.evaluate('document.activeElement.textContent'))
        return sorted(set(wanted) - set(reached))


class Watching:
    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def at(self, url: str, **window: object) -> Iterator[Look]:
        context = self._browser.new_context(**{'viewport': {'width': 1200, 'height': 900}, **window})
        look = Look(context.new_page(), url)
        try:
            look.page.goto(url)
            yield look
        finally:
            context.close()


@contextmanager
def chromium() -> Iterator[Watching]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield Watching(browser)
        finally:
            browser.close()
