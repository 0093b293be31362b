"""Many clients for a few seconds: every answer right, bounded memory, what is too much refused at once."""

from __future__ import annotations

import statistics
import urllib.request

from server_pair import Deployment

from pura_bench import workload
from pura_bench.load import Crowd, enrol
from pura_client.processes import free_ports

CLIENTS, SECONDS = 16, 5.0
MIB = 1 << 20


def test_many_clients(deployment: Deployment) -> None:
    (metrics,) = free_ports(1)
    extra = (
        f'[limits]\nat_once = 2\nwaiting = 4\n[budget]\nquestions = 100000\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
    )
    deployment.edit("s1", lambda text: text + extra)
    work = workload.make(6, deployment.params.dimension, 40, 3)
    deployment.start()
    with deployment.connect() as client:
        handles = enrol(client, work)
    tallied = Crowd(deployment.folder, CLIENTS, work, handles, 3).run(SECONDS, deployment.servers)
    assert (tallied.wrong, dict(tallied.failed)) == (0, {})
    assert tallied.right >= 4
    assert tallied.refused > 0
    # a refusal costs no arithmetic, so it does not take an answer's time
    assert statistics.median(tallied.refusal_s) < statistics.median(tallied.answer_s)
    assert max(tallied.growth) < 100 * MIB
    deployment.wait()
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as page:
        text = page.read().decode()
    assert f'pura_calls_total{{code="overloaded",method="Identify"}} {tallied.refused}.0' in text
    assert "pura_peer_ready 1.0" in text
    assert 'pura_level{kind="entries"} 6.0' in text
    assert "load-3" not in text
    assert deployment.stop() == [0, 0]
    rows = [row for row in deployment.log(deployment.s1) if row.get("method") == "Identify"]
    assert {row["code"] for row in rows} == {"ok", "overloaded"}
    assert not any("rounds" in row for row in rows if row["code"] == "overloaded")
