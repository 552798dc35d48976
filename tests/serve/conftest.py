"""One server for a file of tests."""

from collections.abc import Iterator

import planted
import pytest
import served as serving


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Desk]:
    """The planted model and atlas, served."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOKE_HOME", str(folder / "home"))
        atlas = planted.write(folder / "atlas.sqlite")
        patch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda _: atlas)
        with serving.desk(folder, [atlas], serving.tiny_microscope) as one:
            yield one
