"""What the verbs that use a trained run say of a mistake, in one line."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image
from trained_runs import call

from dlrun.errors import UserError

MISTAKES = {
    "predict the-sup nowhere": "nowhere: no such file or folder",
    "predict the-sup no*.png": "nothing matches it",
    "predict the-sup empty": "no image there",
    "predict the-sup a.png --top 0": "--top: got 0",
    "predict the-sup a.png -o a.doc": r"expected a name that ends in \.csv",
    "predict the-sup a.png --tops 3": r"--tops: unknown argument\. Did you mean --top\?",
    "embed the-cyc": "cannot embed; it can translate",
    "embed the-vae -o a.csv": r"ends in \.npy or \.parquet",
    "embed the-vae test": "for a split of the run's own data set, give --split test",
    "embed the-vae --picture umap -o a.npy": "needs umap-learn",
    "sample the-vae -n 0": "-n: got 0",
    "sample the-auto": "cannot sample.*can sample: vae.*the-vae",
    "sample the-vae -n 1 -o a.png/x": "cannot be written",
    "interpolate the-vae no.png no.png": r"no\.png: No such file",
    "traverse the-vae --dims 99 --prior": "dims: got 99",
    "translate the-cyc nowhere out --to B": "nowhere: no such folder",
    "translate the-cyc . . --to B": "expected a folder other than that of the images",
    "translate the-cyc . out --to zebra": "direction: got 'zebra'.* Sneaker or Ankle boot",
    "translate the-cyc empty out --to B": "no image below it",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "umap" in words and importlib.util.find_spec("umap"):
        pytest.skip("umap is installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(UserError) as refused:
        call(*words.split())
    assert re.search(MISTAKES[words], str(refused.value))
    assert len(str(refused.value).splitlines()) == 1
