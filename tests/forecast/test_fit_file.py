"""fit.json: whatever is wrong in it is found when it is read, not when somebody predicts."""

import json
import re

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast import fit_study, load_study, save_study
from forecast.logs import SCHEDULES, study

pytestmark = [pytest.mark.rejects, pytest.mark.long]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    made = fit_study(ef.read_curves(study(), schedules=SCHEDULES), ["transport"], starts=1)
    return save_study(made, tmp_path_factory.mktemp("fit") / "fit.json").read_text()


@pytest.fixture
def content(text):
    """Without a checksum, as earlier versions wrote it: its values must be checked all the same."""
    found = json.loads(text)
    del found["sha256"]
    return found


def load(content, folder):
    path = folder / "fit.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_study(path)


def test_a_flipped_digit_is_noticed_wherever_it_is(text, tmp_path):
    rng = np.random.default_rng(0)
    digits = [found.start() for found in re.finditer(r"\d", text)]
    for at in rng.choice(digits, 40, replace=False):
        digit = str((int(text[at]) + rng.integers(1, 10)) % 10)
        changed = text[:at] + digit + text[at + 1 :]
        if same_values(changed, text):  # a digit beyond what a double holds
            continue
        with pytest.raises(EigenflowError, match=r"checksum|not JSON|newer than|damaged"):
            load(changed, tmp_path)


def test_how_the_file_is_spaced_does_not_matter(text, tmp_path):
    schedule = SCHEDULES["cosine"]
    sound, spaced = load(text, tmp_path), load(json.dumps(json.loads(text), indent=2, sort_keys=True), tmp_path)
    expected, found = (one.predict(schedule, size=25e6, every=100) for one in (sound, spaced))
    np.testing.assert_array_equal(found.upper, expected.upper)


def same_values(changed, text):
    try:
        return json.loads(changed) == json.loads(text)
    except ValueError:
        return False


def first_fit(content):
    return content["fits"][0]["fit"]


WRONG = {
    "theta is short": (lambda c: first_fit(c)["theta"].pop(), r"`theta` must have \d+ entries"),
    "theta is null": (lambda c: first_fit(c)["theta"].__setitem__(2, None), r"theta\[2\]"),
    "theta is text": (lambda c: first_fit(c)["theta"].__setitem__(2, "1"), r"theta\[2\]"),
    "theta beyond its guard": (lambda c: first_fit(c)["theta"].__setitem__(0, 50.0), r"theta\[0\]` \(L_inf\)"),
    "theta infinite": (lambda c: first_fit(c)["theta"].__setitem__(0, float("inf")), r"finite"),
    "covariance is short": (lambda c: first_fit(c)["covariance"].pop(), "`covariance`"),
    "covariance is ragged": (lambda c: first_fit(c)["covariance"][1].pop(), "`covariance`.*columns"),
    "covariance is skew": (lambda c: first_fit(c)["covariance"][1].__setitem__(0, 9.0), "symmetric"),
    "variance negative": (lambda c: first_fit(c)["covariance"][0].__setitem__(0, -9.0), "negative variances"),
    "noise negative": (lambda c: first_fit(c).update(noise=-1.0), "noise"),
    "unknown law": (lambda c: first_fit(c).update(law="magic"), "unknown law"),
    "another law": (lambda c: first_fit(c).update(law="momentum"), r"`theta`|slopes"),
    "unknown status": (lambda c: first_fit(c).update(status="FINE"), "status"),
    "slope out of range": (lambda c: first_fit(c)["slopes"].append([99, "size"]), "`slopes`"),
    "slope of an odd kind": (lambda c: first_fit(c)["slopes"].append([1, "depth"]), "slopes"),
    "no reference size": (lambda c: first_fit(c).update(reference_size=None), "`reference_size`"),
    "reference rate 0": (lambda c: first_fit(c).update(reference_rate=0.0), "reference_rate"),
    "jacobian is short": (lambda c: first_fit(c)["curves"][0]["jacobian"].pop(), "`jacobian`"),
    "no settings": (lambda c: first_fit(c).update(settings={}), "settings.reference"),
    "a curve that is not there": (lambda c: first_fit(c)["curves"][0].update(name="x"), "not in `curves`"),
    "certificate is a list": (lambda c: first_fit(c).update(certificate=[]), "certificate"),
    "older schema": (lambda c: first_fit(c).update(schema=0), "schema"),
    "backtest without errors": (lambda c: c["fits"][0]["own"][0].update(errors=[]), "`errors`"),
    "spread is ragged": (lambda c: c["fits"][0]["own"][0]["spread"][0].pop(), "`spread`"),
    "no fits": (lambda c: c.update(fits=[]), "fits"),
    "no laws": (lambda c: c.update(laws=[]), "laws"),
    "a law without a fit": (lambda c: c["laws"].append("momentum"), "must have a fit"),
    "loss negative": (lambda c: c["curves"][0]["losses"].__setitem__(3, -1.0), r"losses\[3\]"),
    "steps go back": (lambda c: c["curves"][0]["steps"].__setitem__(3, 0), "`steps` must increase"),
    "steps are short": (lambda c: c["curves"][0]["steps"].pop(), "equally long"),
    "schedule of an odd kind": (lambda c: c["curves"][0]["schedule"].update(kind="x"), "Unknown `kind`"),
    "schedule is short": (lambda c: c["curves"][0]["schedule"].update(total=200), "schedule has 200"),
    "one curve twice": (lambda c: c["curves"].append(c["curves"][0]), "twice"),
    "version is text": (lambda c: c.update(version="1"), "version is '1'"),
    "version is missing": (lambda c: c.pop("version"), "version"),
    "sizes in no unit": (lambda c: c.update(size_unit=0), "size_unit"),
    "notes are a text": (lambda c: c.update(notes="x"), "notes"),
}


@pytest.mark.parametrize(("damage", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_when_it_is_read(content, tmp_path, damage, message):
    damage(content)
    with pytest.raises(ArgumentError, match=message):
        load(content, tmp_path)
