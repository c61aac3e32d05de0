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


def test_a_folder_is_measured_without_what_is_left_out(tmp_path):
    for name in ("torch/a", "numpy/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(10_000))
    whole, rest = sizes.filled(tmp_path), sizes.filled(tmp_path, ("torch",))
    assert whole == 2 * rest
    assert 10_000 <= rest < 20_000
