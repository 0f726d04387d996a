"""A real browser without a screen, for pages that only a browser can judge."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1500,1000",
)  # fmt: skip
# Web components keep their insides in shadow trees, which `innerText` passes over.
_TEXT = """
function text(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent.trim() + '\\n';
  if (['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.nodeName)) return '';
  let whole = node.shadowRoot ? text(node.shadowRoot) : '';
  for (const child of node.childNodes) whole += text(child);
  return whole;
}
return text(document.body).replace(/\\n+/g, '\\n');
"""
_FIND = """
function find(node, wanted) {
  let found = [...node.querySelectorAll(wanted)];
  for (const child of node.querySelectorAll('*'))
    if (child.shadowRoot) found = found.concat(find(child.shadowRoot, wanted));
  return found;
}
return find(document, arguments[0]);
"""


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Chromium by its own driver; the test is skipped where there is none."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="no selenium (pip install selenium)"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield page
    finally:
        page.quit()


def page_text(page: Any) -> str:
    """All that is written on it, shadow trees included, a line a piece."""
    return str(page.execute_script(_TEXT))


def find_all(page: Any, selector: str) -> list[Any]:
    """The elements of a CSS selector, shadow trees included."""
    return list(page.execute_script(_FIND, selector))


def wait_for(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """The first true answer of `look`; asked again and again, for `seconds` at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := look():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")
