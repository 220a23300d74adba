"""The runs of a store as MLflow itself sees them."""

from __future__ import annotations

from vbench import tracking


def client():
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.store())


def runs(view=1, experiment="grid"):
    """The experiment's runs as MLflow itself sees them; view 1 active, 2 deleted."""
    known = client()
    return known.search_runs([known.get_experiment_by_name(experiment).experiment_id], run_view_type=view)
