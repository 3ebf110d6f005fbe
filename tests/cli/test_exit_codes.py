"""Failures as a user meets them: 2 for wrong usage, 1 for what cannot be done; and what JSON carries."""

import json

import pytest

from cli.program import eigenflow, make_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("failures")
    make_inputs(path)
    (path / "empty").mkdir()
    (path / "text.toml").write_text("no toml at all")
    (path / "latin.toml").write_bytes(b'name = "\xfc"')
    (path / "wrong.toml").write_text("domain = [1, 0.1]\n[drift]\nb = 'two'\n[times]\ncuont = 3\n")
    (path / "long.toml").write_text("# " + "x" * 300_000)
    (path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    (path / "dotted.toml").write_text(".".join("a" * 50_000) + " = 1")
    (path / "digits.toml").write_text("a = " + "1" * 5000)
    (path / "keys.toml").write_text("\n".join(f"k{index} = 1" for index in range(9000)))
    (path / "many.toml").write_text("\n".join(f"k{index} = 1" for index in range(10**5)))
    for name, row in (("gap", "0.02,0.1,1\n"), ("word", "0.01,x,1\n"), ("negative", "0.01,0.1,-1\n"), ("none", "")):
        (path / f"{name}.csv").write_text("low,high,mass\n" + ("" if name == "none" else "0.001,0.01,1\n") + row)
    return path


SOLVE = ["solve", "problem.toml", "--out", "never"]


def setting(change):
    return [*SOLVE, "--set", change]


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "code", "messages"),
    [
        # Wrong usage: commands, options, arguments.
        (["nonesuch"], 2, ["No such command"]),
        (["solve"], 2, ["Missing argument"]),
        (["solve", "problem.toml", "--nonesuch"], 2, ["No such option"]),
        (["--limit", "cells", *SOLVE], 2, ["must be a positive number", "cells=1e9"]),
        (["--limit", "sells=5", *SOLVE], 2, ["must be one of", "cells"]),
        (["--limit", "cells=5", *SOLVE], 2, ["asks for 36 cells", "at most 5", "--limit cells="]),
        (["--limit", "work=50", *SOLVE], 2, ["evaluations; at most 50"]),
        # Configurations: the file is blamed for its own, the option for its own.
        (["solve", "none.toml"], 2, ["there is no file 'none.toml'"]),
        (["solve", "empty"], 2, ["there is no file 'empty'"]),
        (["solve", "text.toml"], 2, ["`text.toml` is not valid TOML"]),
        (["solve", "latin.toml"], 2, ["`latin.toml` is not valid TOML: it is no UTF-8"]),
        (["solve", "wrong.toml"], 2, ["`wrong.toml` does not hold", "drift.b", "'times.cuont' is not a known key"]),
        (["solve", "long.toml"], 2, ["300,002 bytes of settings", "--limit config_bytes="]),
        (["solve", "many.toml"], 2, ["bytes of settings"]),
        (["solve", "deep.toml"], 2, ["nested too deeply"]),
        (["solve", "dotted.toml"], 2, ["levels of nesting"]),
        (["solve", "digits.toml"], 2, ["`digits.toml` is not valid TOML", "4300"]),
        (["solve", "keys.toml"], 2, ["'k0' is not a known key", "... and 8980 more"]),
        (setting("drift.b=two"), 2, ["`--set drift.b=two` does not give valid settings", "drift.b", "'two'"]),
        (setting("drift=5"), 2, ["--set drift=5", "drift: must be a section"]),
        (setting("drift.b.c=5"), 2, ["--set drift.b.c=5"]),
        (setting("times.count.x=5"), 2, ["'count' is a value, not a section"]),
        (setting("=5"), 2, ["section.key=value"]),
        (setting("drift..b=5"), 2, ["section.key=value"]),
        (setting("drift.b"), 2, ["section.key=value"]),
        (setting("drift.b=" + "[" * 2000), 2, ["drift.b"]),
        (setting("drift.b=1\nname='x'"), 2, ["drift.b"]),
        (setting("drift.b=" + "1" * 5000), 2, ["drift.b"]),
        (setting("drift.b=nan"), 2, ["finite"]),
        (setting("initial.upper=-1"), 2, ["--set", "must be a number between"]),
        (setting("times.last=1e-9"), 2, ["--set times.last=1e-9", "last must be later than first"]),
        (["solve", "wrong.toml", "--set", "drift.c=x"], 2, ["`--set drift.c=x`", "`wrong.toml` does not hold"]),
        (["run", "--set", "train.stesp=5", "--dry-run"], 2, ["`--set train.stesp=5`", "'train.stesp'"]),
        (["run", "--set", "name=../x", "--dry-run"], 2, ["plain name", "--out"]),
        # Tables of a configuration.
        (setting("initial.table=gap.csv"), 2, ["gap.csv', row 2", "`low`"]),
        (setting("initial.table=word.csv"), 2, ["word.csv', row 2", "`high`", "'x'"]),
        (setting("initial.table=negative.csv"), 2, ["negative.csv', row 2", "not be negative"]),
        (setting("initial.table=none.csv"), 2, ["no rows"]),
        (setting("initial.table=curves.csv"), 2, ["lacks the column(s) low, high, mass"]),
        (setting("initial.table=empty"), 2, ["no such file"]),
        # What is no run.
        (["claims", "nowhere"], 1, ["nowhere"]),
        (["claims", "empty"], 1, ["run.json"]),
        (["claims", "curves.csv"], 1, ["curves.csv"]),
        (["analyse", "nowhere"], 1, ["nowhere"]),
        (["analyse", "empty"], 1, ["run.json"]),
        (["analyse", "curves.csv"], 1, ["curves.csv"]),
        (["report", "run", "nowhere"], 1, ["nowhere"]),
        (["report", "curves.csv"], 1, ["curves.csv"]),
        (["compare", "run", "empty"], 1, ["run.json"]),
        (["compare", "run", "curves.csv"], 1, ["curves.csv"]),
    ],
)
def test_a_failure_is_a_sentence_with_its_code(folder, words, code, messages):
    done = eigenflow(*words, cwd=folder)
    told = done.stderr.replace("\n", " ")
    assert done.code == code, done
    assert all(message in told for message in messages), told
    assert len(told) < 6000 and not (folder / "never").exists() and not (folder / "runs").exists()


NAMES = [
    "../x",
    "/abs",
    "a/b",
    "a\\b",
    "",
    ".",
    "..",
    "x" * 101,
    "\u00fc" * 60,
    "a\tb",
    "a\x1b[1mb",
    " a",
    "-a",
    "\u202ea",
    "a:b",
]


@pytest.mark.rejects
@pytest.mark.parametrize("command", ["solve", "run"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_never_leaves_the_folder_of_results(folder, name, command):
    """Written in a file; on the command line it is the same key."""
    (folder / "named.toml").write_text(f"name = {json.dumps(name)}\n")
    done = eigenflow(command, "named.toml", *(["--dry-run"] if command == "run" else []), cwd=folder)
    assert done.code == 2 and "`named.toml`" in done.stderr and "plain name" in done.stderr.replace("\n", " ")
    assert not (folder / "runs").exists() and "\x1b" not in done.stderr


def test_names_that_are_plain(tmp_path):
    from eigenflow.transport.config import load_solve_config

    for name in ("digits", "b = 1.5", "\u00fcber", ".hidden", "a..b", "x" * 100):
        (tmp_path / "c.toml").write_text(f"name = {json.dumps(name)}\n")
        assert load_solve_config(tmp_path / "c.toml").name == name


@pytest.mark.long
def test_objects_in_json_carry_a_format(folder):
    told = eigenflow("solve", "problem.toml", "--out", "solved", "--json", cwd=folder)
    assert json.loads(told.stdout)["format"] == 1
    table = eigenflow("forecast", "plan", "finished.csv", "--json", cwd=folder)
    assert json.loads(table.stdout)["format"] == 1
    scores = eigenflow("forecast", "score", "fit.json", "curves.csv", "--json", cwd=folder)
    assert json.loads(scores.stdout)["format"] == 1
