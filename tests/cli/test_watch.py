"""`eigenflow watch` as a program of its own: its address, its end, what it says when something is missing."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from cli.program import eigenflow
from report.live.watched import until


def start(*words, cwd):
    command = [sys.executable, "-m", "eigenflow", "watch", *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_prints_an_address_shows_the_run_and_ends_with_ctrl_c(tmp_path):
    rows = "".join(f"{step},{2 + step**-0.5:.5f}\n" for step in range(1, 9))
    (tmp_path / "log.csv").write_text("step,loss\n" + rows)
    program = start("log.csv", cwd=tmp_path)
    try:
        address = program.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:") and address.endswith("/")

        def state():
            with urllib.request.urlopen(f"{address}state.json", timeout=5) as answer:
                return json.load(answer)

        until(lambda: state().get("step") == 8, "the log's last step")
        program.send_signal(signal.SIGINT)
        stdout, stderr = program.communicate(timeout=20)
    finally:
        program.kill()
    assert program.returncode == 0 and stdout == ""
    assert "Ctrl-C stops" in stderr and "ssh -L" in stderr and "Stopped" in stderr and "Traceback" not in stderr


def test_a_port_that_is_taken_says_so(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = eigenflow("watch", "log.csv", "--port", str(port), cwd=tmp_path)
    assert done.code == 2 and f"`--port` {port}" in done.stderr and "--port 0" in done.stderr


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch, missing):
    for name in [one for one in sys.modules if one.startswith(("eigenflow.report.live.", missing))]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == missing:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    done = eigenflow("watch", "log.csv", cwd=tmp_path)
    assert done.code == 1 and "pip install 'eigenflow[live]'" in done.stderr and missing in done.stderr


def test_help_loads_no_server(tmp_path):
    script = "import sys; sys.argv = ['eigenflow', 'watch', '--help']\nfrom eigenflow.cli import main\n"
    script += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    script += "print([one for one in ('starlette', 'uvicorn', 'plotly', 'jinja2', 'pandas') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Example" in done.stdout and done.stdout.strip().endswith("[]")
