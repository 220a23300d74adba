"""How long the servers of a session usually take to start on this host."""

from test_session import session

from vbench.session import starts


def test_the_fastest_and_slowest_of_the_latest_starts_of_the_same_kind(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made, other = session(loads=(4,)), session(loads=(4,), model={"hub_id": "other/model"})
    assert starts.find_usual_starts(made) is None
    for seconds in (500.0, 10.0, 20.0, 30.0, 40.0, 50.0):
        starts.remember_start(made, seconds)
    starts.remember_start(other, 99.0)
    with (tmp_path / "vbench" / "starts.jsonl").open("a") as file:
        file.write("cut of")
    assert starts.find_usual_starts(made) == (10.0, 50.0)
    assert starts.find_usual_starts(other) == (99.0, 99.0)


def test_without_a_folder_for_caches_nothing_is_remembered(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    starts.remember_start(session(loads=(4,)), 10.0)
    assert starts.find_usual_starts(session(loads=(4,))) is None
