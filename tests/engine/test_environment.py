"""What a run's record says of its host, where the host does not tell all of it."""

from vbench.engine import environment
from vbench.schema import Engine


def test_a_node_without_git_measures_all_the_same(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()  # a checkout that the nodes share
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "vbench" / "engine" / "environment.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = environment.describe_environment(Engine(command=["python", "a_server.py"]), [])
    assert (facts["git"], facts["engine"]) == (None, "not vLLM: a_server.py")
