"""Many clients for a few seconds: every answer right, bounded memory, what is too much refused at once."""

from __future__ import annotations

from server_pair import Deployment

from pura_bench import workload
from pura_bench.load import Crowd
from pura_bench.loopback import enrol

CLIENTS, SECONDS = 16, 5.0
MIB = 1 << 20


def test_many_clients(deployment: Deployment) -> None:
    value = deployment.measured("s1")
    extra = "[limits]\nat_once = 2\nwaiting = 4\n[budget]\nquestions = 100000\n"
    deployment.edit("s1", lambda text: text + extra)
    work = workload.make(6, deployment.params.dimension, 40, 3)
    deployment.start()
    with deployment.connect() as client:
        handles = enrol(client, work)
    crowd = Crowd(deployment.folder, CLIENTS, work, handles, 3)
    tallied = crowd.run(SECONDS, deployment.servers, enough=lambda so_far: so_far.right >= 4 and so_far.refused > 0)
    assert (tallied.wrong, dict(tallied.failed)) == (0, {})
    assert max(tallied.growth) < 100 * MIB
    deployment.wait()
    assert value('pura_calls_total{code="overloaded",method="Identify"}') == tallied.refused
    assert value("pura_peer_ready") == 1
    assert value('pura_level{kind="entries"}') == 6
    assert "load-3" not in value.text()
    assert deployment.stop() == [0, 0]
    rows = [row for row in deployment.log(deployment.s1) if row.get("method") == "Identify"]
    assert {row["code"] for row in rows} == {"ok", "overloaded"}
    # a refusal costs no arithmetic, so it does not take an answer's time
    assert not any("rounds" in row for row in rows if row["code"] == "overloaded")
