"""The page in a real browser: quiet, off the network, legible, and harmless whatever names it is given."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.view import page
from tests.fleet import generated
from tests.fleet.conftest import repo  # noqa: F401  (a fixture)
from tests.view import example
from tests.view.hostile import overview

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FOLDER = Path(page.__file__).parent
SHOTS = Path(__file__).parents[2] / "build"

# Text of the picture that touches other text, or is not within its own shape or the picture.
OVERLAPS = """
const svg = document.querySelector('svg'), whole = svg.getBoundingClientRect(), found = [];
const texts = Array.from(svg.querySelectorAll('text'), t => [t, t.getBoundingClientRect()]);
texts.forEach(([text, box], n) => {
  const shape = text.parentNode.querySelector(':scope > rect');
  const around = shape ? shape.getBoundingClientRect() : whole;
  const wide = box.left < around.left || box.right > around.right;
  if (wide || box.top < around.top || box.bottom > around.bottom)
    found.push(text.textContent + ' leaves its shape');
  texts.slice(n + 1).forEach(([other, at]) => {
    if (box.left < at.right && at.left < box.right && box.top < at.bottom - 1 && at.top < box.bottom - 1)
      found.push(text.textContent + ' touches ' + other.textContent);
  });
});
Array.from(svg.querySelectorAll('rect, path'), each => each.getBoundingClientRect()).forEach(box => {
  const wide = box.left < whole.left - 1 || box.right > whole.right + 1;
  if (wide || box.top < whole.top - 1 || box.bottom > whole.bottom + 1)
    found.push('a shape leaves the picture');
});
return found;
"""
# Cells whose text is wider than they are, and texts of a tile or a row that lie over each other.
SPILLS = """
const found = [];
document.querySelectorAll('th, td, .tiles li, h1, h2, p, .tools').forEach(each => {
  if (each.clientWidth && each.scrollWidth > each.clientWidth + 1)
    found.push(each.textContent.slice(0, 60));
});
if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
  found.push('the page is wider than the screen');
return found;
"""
# WCAG 2.1, 1.4.3: of text against what is behind it.
CONTRAST = """
function channels(color) {
  const box = document.createElement('canvas'); box.width = box.height = 1;
  const draw = box.getContext('2d'); draw.fillStyle = color; draw.fillRect(0, 0, 1, 1);
  return Array.from(draw.getImageData(0, 0, 1, 1).data);
}
function light(rgb) {
  const [r, g, b] = rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
function behind(each) {
  for (; each; each = each.parentElement) {
    const color = channels(getComputedStyle(each).backgroundColor);
    if (color[3] === 255) return color.slice(0, 3);
  }
  return [255, 255, 255];
}
const found = new Set();
document.querySelectorAll('main *, header *, .tools *').forEach(each => {
  const says = Array.from(each.childNodes).some(n => n.nodeType === 3 && n.data.trim());
  if (each.closest('svg') || !says) return;
  const style = getComputedStyle(each), back = behind(each), alpha = parseFloat(style.opacity);
  const ink = channels(style.color).slice(0, 3).map((v, n) => v * alpha + back[n] * (1 - alpha));
  const pair = [light(ink), light(back)].sort((a, b) => b - a);
  const ratio = (pair[0] + .05) / (pair[1] + .05);
  if (ratio < 4.5) found.add(each.className + ' ' + each.tagName + ' ' + ratio.toFixed(2));
});
return Array.from(found);
"""
SHOWN = "return Array.from(document.querySelectorAll('table.rows tbody tr')).filter(r => !r.hidden).length"


@pytest.fixture(scope="module")
def chromium():
    from tests.view.browser import browser  # noqa: PLC0415  (selenium is not for `make test`)

    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    folder = tmp_path_factory.mktemp("company")
    now = time.time()
    example.copy(folder / "repo", now)
    example.write_facts(folder / "facts", now)
    output = folder / "report.html"
    words = ["report", "--all", "inventory.yaml", "-o", str(output), "--facts", str(folder / "facts")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "repo")
        assert main([*words, "--no-cache", "--quiet"]) == 0
    return output


def written(folder: Path, text: str) -> Path:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def hostile(tmp_path):
    style, script = ((FOLDER / name).read_text() for name in ("page.css", "page.js"))
    return written(tmp_path, page.page(overview(), style, script))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_company(chromium, company, scheme):
    chromium.looks(scheme)
    chromium.requests()
    chromium.open(company)
    assert chromium.complaints() == []
    assert chromium.requests() == [company.as_uri()]
    assert chromium.run(OVERLAPS) == []
    assert chromium.run(SPILLS) == []
    assert chromium.run(CONTRAST) == []
    chromium.shoot(SHOTS / f"report-{scheme}.png")
    chromium.looks(scheme, height=1040)
    chromium.run("document.querySelector('.graph').scrollIntoView({behavior: 'instant', block: 'center'})")
    chromium.shoot(SHOTS / f"report-{scheme}-traffic.png")


@pytest.mark.parametrize("width", [390, 768, 1920])
def test_on_other_screens(chromium, company, width):
    chromium.looks("light", width)
    chromium.open(company)
    assert chromium.run(SPILLS) == []


def test_filtering(chromium, company):
    chromium.looks()
    chromium.open(company)
    every = chromium.run(SHOWN)
    find = chromium.driver.find_element("id", "find")
    find.send_keys("postgresql APP")
    shown = chromium.run(SHOWN)
    assert 0 < shown < every
    assert chromium.driver.find_element("id", "found").text == f"{shown} of {every} rows"
    find.clear()
    find.send_keys("nothing like it")
    assert chromium.run(SHOWN) == 0
    find.clear()
    find.send_keys("a")
    find.send_keys("\b")
    assert chromium.run(SHOWN) == every
    chromium.driver.find_element("css selector", "#group option[value=routers]").click()
    assert 0 < chromium.run(SHOWN) < every
    hosts = chromium.run(
        "return Array.from(document.querySelectorAll('#hosts tbody tr')).filter(r => !r.hidden)"
        ".map(r => r.cells[0].innerText)"
    )
    assert hosts == ["gw-berlin", "gw-riga"]


def test_sorting(chromium, company):
    chromium.open(company)

    def column(number: int) -> list[str]:
        cells = "document.querySelector('#expiring table.rows').tBodies[0].rows, r => r.cells[arguments[0]]"
        return [text.split("\n")[0] for text in chromium.run(f"return Array.from({cells}.innerText)", number)]

    def click(number: int) -> None:
        chromium.run("document.querySelectorAll('#expiring th button')[arguments[0]].click()", number)

    assert column(2) == ["it", "shop", "voice"]
    click(2)
    assert column(2) == ["it", "shop", "voice"]
    click(2)
    assert column(2) == ["voice", "shop", "it"]
    assert chromium.run("return document.querySelectorAll('#expiring th')[2].ariaSort") == "descending"
    click(0)
    assert [each.split()[1] for each in column(0)] == ["9", "19", "66"]
    levels = "return Array.from(document.querySelectorAll('#risky tbody th'), each => each.dataset.value)"
    chromium.run("document.querySelector('#risky th button').click()")
    found = chromium.run(levels)
    assert found == sorted(found, reverse=True) and len(set(found)) > 1


def test_without_javascript_everything_is_there(chromium, company, tmp_path):
    """The page that has none shows the same text, but for the filters, which are not there."""
    text = company.read_text()
    plain = text[: text.index("<script>")] + text[text.index("</script>") + 9 :]
    chromium.open(written(tmp_path, plain))
    assert chromium.complaints() == []
    said = "return document.querySelector('main').innerText"
    without = chromium.run(said)
    assert not chromium.driver.find_element("id", "tools").is_displayed()
    chromium.open(company)
    assert chromium.run(said).split() == without.split()


def test_hostile_names_are_names(chromium, hostile):
    chromium.looks()
    chromium.requests()
    chromium.open(hostile)
    chromium.run("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new MouseEvent('mouseover')))")
    assert chromium.driver.title.startswith("Firewall report: ")
    assert chromium.complaints() == []
    assert chromium.requests() == [hostile.as_uri()]
    assert (
        chromium.run("return document.querySelectorAll('img, iframe, [onmouseover], [onload]').length") == 0
    )
    assert chromium.run(OVERLAPS) == []
    assert chromium.run(SPILLS) == []
    chromium.shoot(SHOTS / "report-hostile.png")


def test_the_policy_of_the_page_lets_nothing_else_run(chromium, company, tmp_path):
    """What would get by the escaping is stopped by the browser; and this test sees complaints at all."""
    text = company.read_text().replace("</main>", "<script>document.title='owned'</script></main>")
    chromium.complaints()
    chromium.open(written(tmp_path, text))
    assert chromium.driver.title.startswith("Firewall report: ")
    assert any("Content Security Policy" in each for each in chromium.complaints())


def test_ten_zones(chromium, repo):  # noqa: F811
    zones = {f"zone-{letter}": f"eth{number}" for number, letter in enumerate("abcdefghij")}
    names = list(zones)
    lines = [
        f"    - {{service: tcp/{100 + n}, in: {a}, out: {b}}}"
        for n, (a, b) in enumerate(itertools.pairwise(names))
    ]
    text = ["version: 1", f"zones: {{{', '.join(f'{name}: {own}' for name, own in zones.items())}}}"]
    text += [
        "input: {default: drop, allow: [{service: ssh, in: zone-a}]}",
        "forward:",
        "  default: drop",
        "  allow:",
        *lines,
    ]
    repo.write(
        router="\n".join(text) + "\n",
        inventory="all: {vars: {fwpolicy_policies: [router.yaml]}, hosts: {gw: }}\n",
    )
    assert main(["report", "--all", "-o", "r.html", "--quiet", "--no-cache"]) == 0
    chromium.looks()
    chromium.open(repo.path / "r.html")
    assert chromium.run(OVERLAPS) == []
    assert {each.text for each in chromium.driver.find_elements("css selector", "svg .spot text")} == set(
        names
    )
    assert len(chromium.driver.find_elements("css selector", "svg path")) == 2 * 9 + 1
    chromium.shoot(SHOTS / "report-zones.png")


def test_a_thousand_hosts(chromium, tmp_path, monkeypatch):
    generated.write(tmp_path / "repo", 1000, 12)
    monkeypatch.chdir(tmp_path / "repo")
    output = tmp_path / "report.html"
    assert main(["report", "--all", "-o", str(output), "--quiet", "--no-cache", "--no-prove"]) == 0
    chromium.looks()
    chromium.requests()
    chromium.open(output)
    assert chromium.complaints() == [] and chromium.requests() == [output.as_uri()]
    timing = chromium.run("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    print(f"{output.stat().st_size >> 10} KiB, loaded in {timing:.0f} ms")
    assert output.stat().st_size < 3 << 20
    assert chromium.run(OVERLAPS) == []
    assert chromium.run(SPILLS) == []
    chromium.driver.find_element("id", "find").send_keys("host-0777")
    assert chromium.run(SHOWN) > 0
