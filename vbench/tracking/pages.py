"""The URLs of MLflow's own pages, if the store is a server. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from vbench.tracking.view import VIEW

LOCAL_UI = "http://127.0.0.1:5000"  # where `make ui` serves a local store
KIND = "workflowType=machine_learning"  # without it MLflow 3 shows its pages for generative AI


def campaign_page(store: str, experiment_id: str) -> str | None:
    """The runs of an experiment, with our columns; None if the store is not a server."""
    return _page(store, f"experiments/{experiment_id}/runs?{KIND}&viewStateShareKey={VIEW}")


def run_page(store: str, experiment_id: str, run_id: str) -> str | None:
    """A run's artifacts; None if the store is not a server."""
    return _page(store, f"experiments/{experiment_id}/runs/{run_id}/artifacts?{KIND}")


def report_route(experiment_id: str, run_id: str) -> str:
    """The report of an experiment, as a link within MLflow's pages, wherever they are served."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/report.html?{KIND}"


def direct_run_page(store: str, run_id: str) -> str:
    """A run, whatever its experiment; of a store that is not a server on the pages that `make ui` serves."""
    return _page(store, f"runs/{run_id}?{KIND}") or str(_page(LOCAL_UI, f"runs/{run_id}?{KIND}"))


def experiment_page(store: str, experiment_id: str) -> str:
    """The runs of an experiment, with our columns; of a store that is no server on the pages that `make ui` serves."""
    return campaign_page(store, experiment_id) or str(campaign_page(LOCAL_UI, experiment_id))


def _page(store: str, route: str) -> str | None:
    address = urlsplit(store)
    if address.scheme not in ("http", "https"):
        return None
    host = address.netloc.rpartition("@")[2]  # without a password that may precede it
    return f"{address.scheme}://{host}{address.path.rstrip('/')}/#/{route}"
