"""run=watch: a study's page while it runs, on the loopback address, to nobody else, and gone after a signal."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness import record
from harness.commands.watch import LivePage, PageServer
from harness.config import ConfigError, check, to_dict, to_yaml
from tests.browser import browser, chromium
from tests.commands import compose
from tests.report.studies import factorial, write_study
from tests.test_record import make


@pytest.fixture
def study(tmp_path):
    """A study of 6 simulated trials in a results folder of its own."""
    config = compose(["sweep=rank_alpha_lr", "run=study", "study=simulated", f"results={tmp_path}"])
    folder = write_study(tmp_path / "simulated", factorial()[:6])
    (folder / "config.yaml").write_text(to_yaml(to_dict(config)))
    return config, folder


@pytest.fixture
def server(study, monkeypatch):
    """A server of its page, that reads the records at every request; returns its address."""
    monkeypatch.setattr("harness.commands.watch._LEAST_SECONDS", 0.0)
    config, folder = study
    with PageServer(0, LivePage(config, folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def fetch(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode(errors="replace")


def test_the_page_is_the_reports_and_its_data_grow_with_the_records(server):
    address, folder = server
    page = fetch(f"{address}/")
    assert 'data-live="true"' in page
    assert "connect-src 'self'" in page
    before = json.loads(fetch(f"{address}/data.json"))
    assert len(before["trials"]) == before["live"]["done"] == 6
    record.append(folder, factorial()[6])
    after = json.loads(fetch(f"{address}/data.json"))
    assert len(after["trials"]) == 7
    assert after["live"]["version"] != before["live"]["version"]
    assert "7 of " in after["live"]["lines"][0]


def test_a_study_without_a_trial_says_how_far_it_is(server):
    address, folder = server
    (folder / record.RECORDS).unlink()
    assert "0 of " in fetch(f"{address}/")


@pytest.mark.parametrize("path", ["/../config.yaml", "/config.yaml", "/%2e%2e/x", "/trials/0000/config.yaml", "/x.png"])
def test_nothing_but_the_page_and_what_it_links_to_is_served(server, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(server[0] + path)


def test_what_the_page_links_to_is_served(server):
    address, folder = server
    (folder / "pareto.svg").write_text("<svg/>")
    assert fetch(f"{address}/pareto.svg") == "<svg/>"
    assert fetch(f"{address}/records.jsonl") == (folder / "records.jsonl").read_text()


def test_another_sites_name_for_this_machine_is_refused(server):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(f"{server[0]}/data.json", Host="evil.example")


def test_its_port_is_of_watching_alone():
    with pytest.raises(ConfigError, match="port=8000: of run=watch"):
        check(to_dict(compose([])) | {"port": 8000})


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_frees_the_port(study, zygote, signum):
    _, folder = study
    command = ["-m", "harness", "run=watch", "study=simulated", f"results={folder.parent}"]
    process = zygote.popen(command, stderr=subprocess.PIPE)
    try:
        said = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address, said
        assert "simulated" in fetch(address[0])
        process.send_signal(signum)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        with pytest.raises(urllib.error.URLError):
            fetch(address[0])
    finally:
        process.kill()
        process.stderr.close()


@pytest.mark.slow
def test_there_must_be_such_a_study(tmp_path, zygote):
    done = zygote.run(["run=watch", "study=nothing", f"results={tmp_path}"], tmp_path, os.environ)
    assert done.returncode == 2
    assert "study=nothing: no such study" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_an_open_page_shows_a_trial_that_ends_meanwhile(server, tmp_path):
    address, folder = server
    (tmp_path / "chromium").mkdir()
    with browser(tmp_path / "chromium") as tab:
        tab.resize(1440, 900)
        tab.open(f"{address}/")
        rows = "document.querySelectorAll('#board tbody tr').length"
        before = tab.evaluate(rows)
        assert "6 of " in tab.evaluate("document.getElementById('live').textContent")
        record.append(folder, make(99, study="simulated", arm="brand new", task="reviews", model="minilm", data=DATA))
        until = time.monotonic() + 30
        while tab.evaluate(rows) == before:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert "brand new" in tab.evaluate("document.getElementById('board').textContent")
        assert tab.problems == []


DATA = {"name": "t", "source": "x", "sha256": "0", "rows": {"train": 8000, "validation": 742, "test": 1272}}
