"""A campaign on a real SLURM whose drivers, jobs, servers and controller are killed: a short benchmarks/chaos.py."""

import cluster
import pytest

from benchmarks import chaos


@pytest.mark.skipif(bool(cluster.missing()), reason=cluster.missing() or "")
def test_a_campaign_through_every_disaster_has_each_point_once_in_the_end(tmp_path):
    with cluster.cluster() as slurm:
        campaign = chaos.Campaign(slurm, tmp_path, sessions=6, parallel=2)
        chaos.through_it_all(campaign, away_s=5)
        assert chaos.wrong(campaign) == [], "\n".join(campaign.befell)
