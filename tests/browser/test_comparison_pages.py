"""Pages of a comparison and of a sweep in a real browser: light and dark, wide and narrow; and their filters."""

import json

import pytest

from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from eigenflow.report.sweep_page import write_sweep_page
from eigenflow.store import accept_run, open_run
from eigenflow.theory.over_sweep import open_sweep, sweep_dataset, sweep_effects
from report.recorded import record_run
from synthetic_run import power_law_modes, write_run
from theory.over_sweep.swept import write_sweep

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
PAGES = {
    "comparison": ["What differs?", "Lazy or feature learning?", "Which claims flip?", "Which ends better?"],
    "sweep": [
        "Is it done?",
        "What is best?",
        "What does size bring?",
        "Lazy or feature learning?",
        "Which verdicts flip?",
    ],
}
FIGURES = {"comparison": {"plane", "losses"}, "sweep": {"sweep_loss", "sweep_map", "sweep_distance"}}


def compared(folder):
    """One system whose operator stands still, one that grows, and one that was stopped early."""
    for name, rho, steps in (("still", 1.0, 1000), ("growing", 1.5, 1000), ("short", 1.5, 300)):
        write_run(folder / name, power_law_modes(20, rho=rho, seed=0), steps=steps, count=16)
    return write_comparison(
        compare([open_run(folder / name) for name in ("still", "growing", "short")]), folder / "compared.html"
    )


def swept(folder, name="known"):
    dimensions = [
        ("model.width", {"model.width": [8, 16, 32, 64]}, 0),
        ("train.learning_rate", {"train.learning_rate": [0.1, 0.3, 1.0]}, 0),
        ("repeat", {}, 2),
    ]
    write_sweep(
        folder / "sweep",
        dimensions,
        lambda values, index: (
            values["model.width"] ** -0.5 * (1 + 0.1 * index["repeat"]) * values["train.learning_rate"] ** 0.1
        ),
        growth=lambda values: 8 / values["model.width"] * values["train.learning_rate"],
        verdicts=lambda index: dict.fromkeys(
            ("C1", "C3.remainder"), "supported" if index["model.width"] else "contradicted"
        ),
        left_out=("0_0_1",),
    )
    header = folder / "sweep" / "sweep.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"name": name}))
    effects = sweep_effects(sweep_dataset(open_sweep(folder / "sweep")))
    return write_sweep_page(effects, folder / "swept.html", failures={name: name} if name != "known" else {})


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {"comparison": compared(folder), "sweep": swept(folder)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 768, 390])
@pytest.mark.parametrize("kind", PAGES)
def test_every_figure_is_drawn_and_no_text_lies_on_another(browser, pages, kind, width, scheme):
    browser.open(pages[kind], width=width, scheme=scheme)
    browser.unfold()
    drawn = browser.run(
        "return [...document.querySelectorAll('figure')].filter((one) => one.querySelector('.main-svg'))"
        ".map((one) => one.id.slice(7))"
    )
    assert set(drawn) == FIGURES[kind]
    browser.require_clean(width)


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("kind", PAGES)
def test_the_first_screen_is_the_answer(browser, pages, kind, width):
    browser.open(pages[kind], width=width, height=900)
    asked = browser.run("return [...document.querySelectorAll('.answer dt')].map((one) => one.innerText)")
    assert asked == PAGES[kind]
    last = "return [...document.querySelectorAll('.answer')].at(-1).getBoundingClientRect().bottom"
    assert browser.run(last) <= 900
    order = (
        "return [...document.querySelectorAll('.answers, figure, .cautions, h2')].slice(0, 4).map((one) => one.tagName)"
    )
    assert browser.run(order) == ["DL", "FIGURE", "SECTION", "H2"]


def test_flipped_claims_stand_first_and_are_found(browser, pages):
    """C7 holds where the operator stands still, and fails where it grows."""
    browser.open(pages["comparison"])
    names = "return [...document.querySelectorAll('.claim:not([hidden])')].map((one) => one.id.slice(6))"
    rows = """
    return [...document.querySelectorAll('.claim:not([hidden]) tr[data-claim]')]
      .filter((row) => !row.hidden).map((row) => row.dataset.claim);
    """
    everything = browser.run(names)
    assert sorted(everything) == [f"C{number}" for number in range(1, 9)] and everything[0] == "C7"
    assert "C7" in browser.run("return document.querySelector('#answer-flips .headline').innerText")
    browser.run("document.querySelector('button[data-verdict=flips]').click()")
    flipped = browser.run(rows)
    assert "C7" in flipped and "C1" not in flipped
    browser.run("document.querySelector('button[data-verdict=flips]').click()")
    browser.run(
        "const box = document.getElementById('claim-search'); box.value = 'C4.form';"
        "box.dispatchEvent(new Event('input'))"
    )
    assert browser.run(rows) == ["C4.form"] and browser.run("return document.getElementById('claim-C4').open")


def test_a_phone_has_no_table_to_scroll_sideways(browser, pages):
    for page in pages.values():
        browser.open(page, width=390)
        browser.unfold()
        wide = (
            "return [...document.querySelectorAll('.wide')].filter((one) => one.scrollWidth > one.clientWidth).length"
        )
        assert browser.run(wide) == 0
        lone = "return document.querySelectorAll("
        lone += "'table.stacks td:not(:first-child):not([data-head]):not([colspan])').length"
        assert browser.run(lone) == 0


def test_names_of_strangers_do_not_run(browser, tmp_path):
    for name, steps in (("one", 1), ("other", 2)):
        header = {
            "config": {"name": HOSTILE, HOSTILE: steps, "train": {"optimizer": f"{HOSTILE}{steps}"}},
            "probe": {"samples": 40, "outputs": 1, "checksum": "abc", "parameters": 99},
        }
        record_run(tmp_path / f"<b>{name}", header=header)
        accept_run(tmp_path / f"<b>{name}")
    found = compare([open_run(tmp_path / f"<b>{name}") for name in ("one", "other")])
    for page in (write_comparison(found, tmp_path / "page.html"), swept(tmp_path, HOSTILE)):
        browser.open(page)
        browser.unfold()
        assert browser.run("return document.title") != "ran"
        assert browser.run("return document.querySelectorAll('main b.one, main img, h1 *').length") == 0
        assert HOSTILE in browser.run("return document.body.innerText")
        assert browser.errors() == []
