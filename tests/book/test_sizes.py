"""README.md says how much an installation fetches, as the record says it; a build without CUDA is small."""

import sizes

README = sizes.README.read_text(encoding="utf-8")


def test_the_readme_shows_the_record():
    assert README.count("| System |") == 1
    assert sizes.shown() in README


def test_without_cuda_an_installation_is_small_everywhere():
    fetched = {system: int(row[1]) for system, row in sizes.measured().items()}
    assert set(fetched) == {*sizes.SYSTEMS, sizes.CPU}
    assert fetched["Linux"] > 5 * fetched[sizes.CPU]
    assert all(size < 1000 for system, size in fetched.items() if system != "Linux")


def test_what_was_measured_is_larger_than_what_was_fetched():
    filled = {system: (int(row[1]), int(row[2])) for system, row in sizes.measured().items() if row[2]}
    assert set(filled) == {"Linux", sizes.CPU}
    assert all(fills > fetches for fetches, fills in filled.values())


def test_it_is_what_a_learner_installs():
    makefile = (sizes.ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"-c constraints.txt -e '.[{sizes.EXTRA}]'" in makefile
    assert {"torch", "jupyterlab"} <= {line.split(">")[0] for line in sizes.requirements()}


def test_a_folder_is_measured_as_the_disk_counts(tmp_path):
    for name in ("torch/a", "numpy/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(10_000))
    (tmp_path / "linked").symlink_to(tmp_path / "torch" / "a")
    assert 20_000 <= sizes.filled(tmp_path) < 40_000
    assert sizes.filled(tmp_path) == 2 * sizes.filled(tmp_path / "torch")


def test_each_of_two_environments_fills_its_own_row(tmp_path, monkeypatch):
    """The one with CUDA, and the one without."""
    monkeypatch.setattr(sizes, "LISTED", tmp_path / "sizes.csv")
    monkeypatch.setattr(sizes, "README", tmp_path / "README.md")
    sizes.write(dict.fromkeys((*sizes.SYSTEMS, sizes.CPU), ("9", "1", "")))
    sizes.README.write_text("| System |\n|---|\n| old |\n\nAfter.\n")
    for flag, million, system in (("--filled", 3, "Linux"), ("--filled-cpu", 2, sizes.CPU)):
        (folder := tmp_path / flag).mkdir()
        (folder / "file").write_bytes(bytes(million * 1_000_000))
        monkeypatch.setattr(sizes.sys, "argv", ["sizes.py", flag, str(folder)])
        sizes.main()
        assert sizes.measured()[system] == ("9", "1", str(million))
    assert sizes.README.read_text() == sizes.shown() + "\nAfter.\n"
    assert sizes.measured()["Windows"][2] == ""
