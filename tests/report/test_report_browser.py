"""The report in a real headless Chromium: what a person sees and does with the keyboard."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run, make_sweep

from dlrun.report.page import page
from dlrun.runs.run import Run

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


class Page:
    """One page in one browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, width: int = 1200, scheme: str = "light") -> None:
        """Loads the file in a window of that width."""
        self.driver.get_log("browser")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.media(scheme)
        self.driver.get(path.as_uri())
        self.js("localStorage.clear()")
        self.driver.refresh()

    def media(self, scheme: str, kind: str = "screen") -> None:
        """Light or dark; on the screen or in print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": kind, "features": features}
        )

    def js(self, code: str) -> Any:
        """The value of an expression or statement in the page."""
        return self.driver.execute_script(f"return {code}")

    def keys(self, selector: str, *keys: str) -> None:
        """Focuses an element and types."""
        self.js(f"document.querySelector({selector!r}).focus()")
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def until(self, code: str) -> None:
        """Waits for a condition."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda _: self.js(code), code)

    def errors(self) -> list[str]:
        """What the console complains of."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a sweep in which one more run failed."""
    folder = tmp_path_factory.mktemp("report")
    sweep = make_sweep(folder, pictures=True)
    failed: dict[str, Any] = {"state": "failed", "reason": "train/loss is not finite"}
    make_run(sweep / "broken", None, lr=9.0, pictures=True, **failed)
    out = folder / "report.html"
    runs = [Run(path) for path in sorted(sweep.iterdir())]
    out.write_text(page(runs, "sizes"), encoding="utf-8")
    return out


VISIBLE = "[...document.querySelectorAll('.panel:not([hidden]) .film img.on')]"
DECODE = "Promise.all([...document.images].map(i => i.decode())).then(() => true)"


def test_it_opens_without_an_error_and_every_image_decodes(browser: Page, report: Path) -> None:
    browser.open(report)
    assert browser.js("document.images.length") == 21
    assert browser.js(DECODE)
    assert browser.js("[...document.images].every(i => i.naturalWidth > 0 && i.alt)")
    assert browser.js("performance.getEntriesByType('resource').every("
                      "e => e.name.startsWith('data:'))")  # fmt: skip
    assert browser.errors() == []


def test_the_slider_moves_the_pictures_by_keyboard(browser: Page, report: Path) -> None:
    browser.open(report)
    steps = f"{VISIBLE}.map(i => i.dataset.step)"
    assert set(browser.js(steps)) == {"30"}
    before = browser.js(f"{VISIBLE}[0].src")
    browser.keys(".slider input", "\ue012")  # arrow left
    assert set(browser.js(steps)) == {"20"}
    assert browser.js(f"{VISIBLE}[0].src") != before
    assert browser.js("document.querySelector('.slider output').textContent") == "20"
    browser.keys(".slider input", "\ue011")  # Home
    assert set(browser.js(steps)) == {"10"}
    assert browser.js("document.querySelector('.slider input').ariaValueText") == "step 10"
    assert browser.js("document.querySelector('.film .at').textContent") == "10"


def test_tabs_are_walked_with_the_arrow_keys(browser: Page, report: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0.5, pictures=True)
    shutil.copy(run / "samples/predictions-000010.png", run / "samples/views-000000.png")
    out = tmp_path / "r.html"
    out.write_text(page([Run(run)], "run"), encoding="utf-8")
    browser.open(out)
    open_panels = "[...document.querySelectorAll('.panel:not([hidden])')].map(p => p.id)"
    assert browser.js(open_panels) == ["panel-0"]
    browser.keys("#tab-0", "\ue014")  # arrow right
    assert browser.js(open_panels) == ["panel-1"]
    assert browser.js("document.activeElement.id") == "tab-1"
    browser.media("light", "print")
    assert browser.js("[...document.querySelectorAll('.film')].every(f => f.offsetHeight > 0)")
    browser.media("light")


def test_curves_have_axes_bands_values_and_a_legend(browser: Page, report: Path) -> None:
    browser.open(report)
    browser.js("document.querySelector('.chart').scrollIntoView()")
    browser.until("document.querySelectorAll('.chart:first-child .band').length === 2")
    words = "[...document.querySelectorAll('.chart:first-child text')].map(t => t.textContent)"
    assert {"optimizer steps", "accuracy"} <= set(browser.js(words))
    browser.keys(".chart svg", "\ue010")  # End
    told = browser.js("document.getElementById('tooltip').innerText")
    assert told.startswith("step 30")
    assert "optimizer.lr=0.1, val 0.81 (0.8 to 0.82)" in told
    browser.js("document.querySelector('input[value=seconds]').click()")
    assert "seconds of training" in browser.js(words)
    browser.js("[...document.querySelectorAll('#legend button')].find("
               "b => b.textContent === 'optimizer.lr=0.1').click()")  # fmt: skip
    assert browser.js("document.querySelectorAll('.chart:first-child .band').length") == 1
    browser.js("document.querySelector('input[value=log]').click()")
    browser.js("document.querySelector('input[value=deviation]').click()")
    assert browser.js("document.querySelectorAll('.chart:first-child .line').length") == 2
    assert browser.errors() == []


def test_light_and_dark_follow_the_system_and_the_toggle(browser: Page, report: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.open(report, scheme="light")
    light = browser.js(colour)
    browser.open(report, scheme="dark")
    dark = browser.js(colour)
    assert light != dark
    browser.keys("#theme", "\ue007")  # Enter: light
    assert browser.js(colour) == light
    browser.keys("#theme", "\ue007")
    browser.media("light")
    assert browser.js(colour) == dark
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.js(outline) == "solid"


@pytest.mark.parametrize("width", [360, 800])
def test_nothing_is_wider_than_the_screen(browser: Page, report: Path, width: int) -> None:
    browser.open(report, width=width)
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.js("innerWidth") == width
    assert browser.js("document.documentElement.scrollWidth") <= width


def test_tables_sort_by_a_click(browser: Page, report: Path) -> None:
    browser.open(report)
    first = "document.querySelector('#figures tbody th').textContent"
    assert browser.js(first) == "1. optimizer.lr=0.1"
    browser.js("document.querySelectorAll('#figures thead button')[2].click()")
    assert browser.js(first) == "2. optimizer.lr=0.01"


def test_names_of_the_user_do_nothing(browser: Page, tmp_path: Path) -> None:
    evil = "<img src=x onerror=window.hit=1><script>window.hit=1<"
    run = make_run(tmp_path / evil, 0.5, warnings=[f"</script>{evil}"])
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "time": 9.0, "val/</script><script>window.hit=1": 1.0}\n')
    out = tmp_path / "r.html"
    out.write_text(page([Run(run)], evil), encoding="utf-8")
    browser.open(out)
    browser.until("document.querySelectorAll('.chart svg').length > 0")
    assert browser.js("window.hit === undefined")
    assert evil in browser.js("document.body.innerText")
    assert browser.errors() == []


def test_it_prints(browser: Page, report: Path) -> None:
    browser.open(report)
    made = browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    content = base64.b64decode(made)
    assert content.startswith(b"%PDF") and len(content) > 20_000
    assert browser.errors() == []
