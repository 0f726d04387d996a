"""The data sets on board and those to download; where they are kept; opening them."""

import gzip
import hashlib
import os
import pickle
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import datasets

from dlrun.data.open import cache_folder, open_dataset
from dlrun.data.sources import downloads
from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.data.sources.fashion_mini import FASHION_CLASSES, FOLDER, FashionMini, read_idx
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.options import Choice

CONFIG = SourceConfig(val_fraction=0.1, domains=None, positive=None)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every download fails, and the current folder is one that must stay empty."""

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)


# --- the idx format ------------------------------------------------------------------------------


def idx(*shape: int, body: bytes | None = None, magic: bytes = b"\0\0\x08") -> bytes:
    size = b"".join(side.to_bytes(4, "big") for side in shape)
    count = int(torch.tensor(shape).prod()) if shape else 0
    body = bytes(i % 256 for i in range(count)) if body is None else body
    return magic + bytes([len(shape)]) + size + body


def write(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "some-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(raw))
    return path


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 6, 3), (2, 3, 4, 5), (300, 2, 2)])
def test_idx_of_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    got = read_idx(write(tmp_path, idx(*shape)))
    count = int(torch.tensor(shape).prod())
    assert got.dtype == torch.uint8
    assert torch.equal(got, torch.arange(count).remainder(256).byte().view(shape))
    got += 1  # it is the reader's own memory


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (idx(4, 2, 2)[:-1], "holds 15 bytes, its header says 16"),
        (idx(4, 2, 2) + b"\0", "holds 17 bytes, its header says 16"),
        (idx(4, 2, 2)[:9], "holds 0 bytes"),
        (idx(4, 2, 2, magic=b"\0\0\x0d"), "not an idx file of unsigned bytes"),
        (idx(4, 2, 2, magic=b"\1\0\x08"), "not an idx file"),
        (b"\0\0\x08\0", "not an idx file"),
        (b"\0\0\x08\x05" + bytes(40), "not an idx file"),
        (b"", "not an idx file"),
        (b"<html>404</html>", "not an idx file"),
        (idx(0, body=b""), "holds 0 bytes"),
        (idx(0, 28, 28, body=b""), "holds 0 bytes"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, raw: bytes, message: str) -> None:
    path = write(tmp_path, raw)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip_files(tmp_path: Path) -> None:
    path = write(tmp_path, idx(64, 8, 8))
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = bytearray(whole)
    flipped[middle] ^= 0xFF
    checksum = whole[:-8] + bytes(8)
    wrong: list[bytes] = [whole[:middle], b"", b"plain text", bytes(flipped), checksum]
    for raw in wrong:
        path.write_bytes(raw)
        with pytest.raises(UserError, match=r"some-idx3-ubyte.gz: not "):
            read_idx(path)
    with pytest.raises(UserError, match="not a readable gzip file"):
        read_idx(tmp_path / "missing.gz")


# --- on board ------------------------------------------------------------------------------------


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    seen: dict[int, int] = {}
    rows = []
    for row, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= count:
            rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize(("split", "count"), [("train", 400), ("t10k", 100)])
def test_fashion_mini_is_the_beginning_of_each_class(
    shared_data: Path, tmp_path: Path, split: str, count: int
) -> None:
    images = read_idx(shared_data / "fashion-mnist" / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(shared_data / "fashion-mnist" / f"{split}-labels-idx1-ubyte.gz")
    rows = first_of_each_class(labels, count)
    splits = FashionMini().load(CONFIG, tmp_path)
    table = splits.train if split == "train" else splits.test
    assert torch.equal(table.images[:, 0], images[rows])
    assert table.labels is not None and torch.equal(table.labels, labels[rows].long())


def test_fashion_mini_without_any_other_data(tmp_path: Path) -> None:
    splits = FashionMini().load(CONFIG, tmp_path / "cache")
    assert splits.train.images.shape == (4000, 1, 28, 28)
    assert splits.test.images.shape == (1000, 1, 28, 28)
    assert splits.train.labels is not None and splits.test.labels is not None
    assert splits.train.labels.bincount().tolist() == [400] * 10
    assert splits.test.labels.bincount().tolist() == [100] * 10
    assert splits.class_names == FASHION_CLASSES == tuple(datasets.FashionMNIST.classes)
    assert not (tmp_path / "cache").exists()


def test_fashion_mini_ships_its_licence() -> None:
    text = (FOLDER / "LICENSE").read_text()
    assert "MIT" in text and "Copyright" in text and "Zalando" in text
    assert "The above copyright notice and this permission notice shall be included" in " ".join(
        text.split()
    )


# --- downloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_files_placed_by_hand_are_read_without_network(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    raw = tmp_path / "cache" / name / "raw"
    raw.mkdir(parents=True)
    folder = shared_data / {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}[name]
    source = getattr(downloads, name)()
    assert source.missing(tmp_path / "cache") == list(source.files)
    for file in source.files:
        (raw / file).symlink_to((folder / file).resolve())
    assert source.missing(tmp_path / "cache") == []
    splits = source.load(CONFIG, tmp_path / "cache")
    for table, split in ((splits.train, "train"), (splits.test, "t10k")):
        images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
        assert torch.equal(table.images[:, 0], images)
        assert table.labels is not None and torch.equal(table.labels, labels.long())
    assert len(splits.class_names) == 10
    assert list((tmp_path / "here").iterdir()) == []


def fake_cifar(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The official archive in small, its checksums told to torchvision; returns the images."""
    kind = getattr(datasets, name)
    generator = torch.Generator().manual_seed(0)
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    contents: dict[str, bytes] = {}
    everything = []
    for attribute, changed in lists.items():
        for file, _ in getattr(kind, attribute):
            images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
            everything.append(images)
            key = "labels" if name == "CIFAR10" else "fine_labels"
            entry = {"data": images.view(4, 3072).numpy(), key: [3, 1, 4, 1]}
            contents[file] = pickle.dumps(entry, protocol=2)
            changed.append([file, hashlib.md5(contents[file]).hexdigest()])
        monkeypatch.setattr(kind, attribute, changed)
    classes = [f"class {i}" for i in range(10 if name == "CIFAR10" else 100)]
    meta = dict(kind.meta)
    contents[meta["filename"]] = pickle.dumps({meta["key"]: classes}, protocol=2)
    meta["md5"] = hashlib.md5(contents[meta["filename"]]).hexdigest()
    monkeypatch.setattr(kind, "meta", meta)
    build = folder.parent / "build" / kind.base_folder
    build.mkdir(parents=True)
    for file, content in contents.items():
        (build / file).write_bytes(content)
    folder.mkdir()
    archive = folder / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(build, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return torch.cat(everything)


@pytest.mark.parametrize(("name", "train"), [("CIFAR10", 20), ("CIFAR100", 4)])
def test_cifar_archive_placed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, train: int
) -> None:
    images = fake_cifar(name, tmp_path / "cache", monkeypatch)
    splits = getattr(downloads, name)().load(CONFIG, tmp_path / "cache")
    assert torch.equal(splits.train.images, images[:train])
    assert torch.equal(splits.test.images, images[train:])
    assert splits.train.images.is_contiguous()
    assert splits.train.labels is not None
    assert splits.train.labels.tolist() == [3, 1, 4, 1] * (train // 4)
    assert splits.class_names[1] == "class 1"


def test_a_damaged_cifar_archive_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar("CIFAR10", tmp_path / "cache", monkeypatch)
    archive = tmp_path / "cache" / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UserError) as caught:
        downloads.CIFAR10().load(CONFIG, tmp_path / "cache")
    assert str(caught.value).startswith(f"{archive} is damaged (")
    assert str(caught.value).endswith("Delete it and run again")


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"])
def test_without_network_the_message_says_what_to_place_where(tmp_path: Path, name: str) -> None:
    source = getattr(downloads, name)()
    cache = tmp_path / "cache"
    with pytest.raises(UserError) as caught:
        source.load(CONFIG, cache)
    text = str(caught.value)
    folder = cache / name / "raw" if "MNIST" in name else cache
    assert text.startswith(f"{name} could not be downloaded (<urlopen error Name or service not")
    assert f"Place {', '.join(source.files)} in {folder} yourself" in text
    assert "data_dir=..." in text and "dataset=fashion_mini" in text
    assert "\n" not in text
    assert list((tmp_path / "here").iterdir()) == []


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"Place train-images-idx3.*, t10k.*, t10k.* in ") as caught:
        downloads.MNIST().load(CONFIG, tmp_path / "cache")
    assert "train-labels" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", idx(4, 28, 28)[:-5]])
def test_unpacked_files_cut_short_are_told(tmp_path: Path, content: bytes) -> None:
    # torchvision does not verify what it has unpacked before, as after a kill while unpacking.
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in downloads.MNIST.files:
        (raw / file).write_bytes(b"")
        (raw / file.removesuffix(".gz")).write_bytes(content)
    with pytest.raises(UserError, match=r"MNIST/raw is damaged \(.+\). Delete it and run again"):
        downloads.MNIST().load(CONFIG, tmp_path / "cache")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"CIFAR10 could not be downloaded.*file.*data_dir="):
        downloads.CIFAR10().load(CONFIG, tmp_path / "file" / "cache")


# --- where it is kept ----------------------------------------------------------------------------


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("DLRUN_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "home"


def test_cache_folder_rules_in_order(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(None) == clean / ".cache" / "dlrun"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(None) == Path("/xdg/dlrun")
    monkeypatch.setenv("DLRUN_DATA", "/mine")
    assert cache_folder(None) == Path("/mine")
    assert cache_folder("") == Path("/mine")
    assert cache_folder("/given") == Path("/given")


def test_cache_folder_is_absolute_and_never_the_current_one(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder("~/data") == clean / "data"
    assert cache_folder("data") == Path.cwd() / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder(None) == clean / ".cache" / "dlrun"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # invalid, says the XDG specification
    assert cache_folder(None) == clean / ".cache" / "dlrun"


def test_a_user_without_a_home_has_a_cache(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(tempfile, "tempdir", str(clean))
    assert cache_folder(None) == clean / f"dlrun-{os.getuid()}"


# --- opened --------------------------------------------------------------------------------------


def open_mini(val_fraction: float = 0.1, domains: tuple[str, str] | None = None) -> Any:
    return open_dataset(Choice("fashion_mini", SourceConfig(val_fraction, domains, None)), None)


def test_open_holds_out_val_and_measures_train() -> None:
    data = open_mini(domains=("Sneaker", "Ankle boot"))
    assert (len(data.train), len(data.val), len(data.test)) == (3600, 400, 1000)
    assert data.val.labels.bincount().tolist() == [40] * 10
    assert data.domains == (7, 9)
    assert data.class_names == FASHION_CLASSES and data.num_classes == 10
    std, mean = torch.std_mean(data.train.images.double() / 255, correction=0)
    assert data.mean.tolist() == pytest.approx([float(mean)])
    assert data.std.tolist() == pytest.approx([float(std)])
    whole = FashionMini().load(CONFIG, Path())
    together = torch.cat([data.train.images, data.val.images]).flatten(1).sum(0)
    assert torch.equal(together, whole.train.images.flatten(1).sum(0))
    assert torch.equal(data.test.images, whole.test.images)


def test_open_without_val() -> None:
    data = open_mini(val_fraction=0.0)
    assert (len(data.train), len(data.val)) == (4000, 0)
    assert data.domains is None


def test_checksum_is_that_of_the_data_and_not_of_its_split() -> None:
    checksum = open_mini().checksum
    assert len(checksum) == 64
    assert open_mini(val_fraction=0.5).checksum == checksum


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (("Sneaker", "Ankle boots"), "'Ankle boots' is not one of the classes. Did you mean"),
        (("zebra", "Bag"), "expected one of T-shirt/top, Trouser, Pullover, Dress"),
        (("Bag", "Bag"), "got 'Bag' twice, expected two different classes"),
    ],
)
def test_domains_that_are_no_classes(domains: tuple[str, str], message: str) -> None:
    with pytest.raises(UserError, match=r"^dataset.domains: ") as caught:
        open_mini(domains=domains)
    assert message in str(caught.value)


def open_own(monkeypatch: pytest.MonkeyPatch, splits: Splits, **options: Any) -> Any:
    class Own(DataSource):
        def load(self, config: Any, data_dir: Path) -> Splits:
            return splits

    monkeypatch.setattr("dlrun.data.open.lookup", lambda group, name: Own)
    groups = options.pop("groups", None)
    config = SourceConfig(**{"val_fraction": 0.25, "domains": None, "positive": None, **options})
    return open_dataset(Choice("own", config), None, groups=groups)


def images(n: int, size: int = 4) -> Tensor:
    return torch.arange(n * size * size).remainder(251).byte().view(n, 1, size, size)


def test_a_data_set_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    train = Table(images(8), torch.tensor([0, 1] * 4), {"age": torch.arange(8)})
    data = open_own(monkeypatch, Splits(train, train, ("a", "b")))
    assert data.domains == (0, 1)  # the only two there are
    assert len(data.train) == 6 and len(data.val) == 2
    for table in (data.train, data.val):
        assert torch.equal(table.images, images(8)[table.attributes["age"]])
    told = open_own(monkeypatch, Splits(train, train, ("a", "b"), "known"))
    assert told.checksum == "known"
    turned = open_own(monkeypatch, Splits(train, train, ("a", "b")), domains=("b", "a"))
    assert turned.domains == (1, 0)


def test_a_data_set_without_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = Splits(Table(images(8), None), Table(images(2), None), ())
    data = open_own(monkeypatch, splits)
    assert (len(data.train), len(data.val), data.num_classes, data.domains) == (6, 2, 0, None)
    with pytest.raises(UserError, match=r"dataset.domains: these images have no classes"):
        open_own(monkeypatch, splits, domains=("a", "b"))


GOOD = Table(images(8), torch.tensor([0, 1] * 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((GOOD, GOOD, ("a", "b")), r"a tuple, expected Splits\(train, test, class_names\)"),
        (Splits(GOOD, images(2), ("a", "b")), r"a tensor \(2, 1, 4, 4\) for test, expected"),
        (Splits(GOOD, Table(images(2, 5), None), ("a", "b")),
         r"train and test images that differ in shape, \(1, 4, 4\) and \(1, 5, 5\)"),
        (Splits(*[Table(images(2).permute(0, 2, 3, 1), None)] * 2, ()),
         r"images of \(4, 4, 1\), expected \(C, H, W\) with 1 or 3 channels; \.permute"),
        (Splits(GOOD, GOOD, ("a",)), r"the label 1, expected labels in \[0, 1\)"),
        (Splits(GOOD, Table(images(8), torch.tensor([-1, 1] * 4)), ("a", "b")), "the label -1"),
        (Splits(GOOD, GOOD, "ab"), "'ab' for class_names, expected a tuple of texts"),
        (Splits(GOOD, GOOD, (0, 1)), r"\(0, 1\) for class_names, expected a tuple of texts"),
        (Splits(GOOD, GOOD, ("a", "a")), "a class name twice"),
        (Splits(Table(images(0), None), GOOD, ("a", "b")), "no train images"),
        (Splits(GOOD, Table(images(8), GOOD.labels, {"age": torch.zeros(8)}), ("a", "b")),
         r"other attributes for train than for test, \[\] and \[age\]"),
    ],
)  # fmt: skip
def test_a_data_set_that_breaks_the_contract(
    monkeypatch: pytest.MonkeyPatch, given: Any, said: str
) -> None:
    with pytest.raises(UserError, match=rf"load\(\) returned {said}"):
        open_own(monkeypatch, given)


def test_a_source_without_load() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?load"):
        DataSource()  # type: ignore[abstract]


# --- what counts as positive, and the groups of the report ---------------------------------------


def test_positive_is_the_second_of_two_classes_or_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(images(8), torch.tensor([0, 1] * 4))
    two = Splits(table, table, ("face", "nonface"))
    assert open_own(monkeypatch, two).positive == 1
    assert open_own(monkeypatch, two, positive="face").positive == 0
    three = Splits(table, table, ("a", "b", "c"))
    assert open_own(monkeypatch, three).positive is None
    assert open_own(monkeypatch, three, positive="c").positive == 2
    with pytest.raises(
        UserError, match=r"^dataset.positive: 'fase' is not one .* Did you mean face\?"
    ):
        open_own(monkeypatch, two, positive="fase")
    bare = Splits(Table(images(8), None), Table(images(2), None), ())
    assert open_own(monkeypatch, bare).positive is None
    with pytest.raises(UserError, match=r"^dataset.positive: these images have no classes"):
        open_own(monkeypatch, bare, positive="face")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gendr",), "'gendr' is not a column with classes. Did you mean gender?"),
        (("zebra",), "'zebra' is not a column with classes; expected one of label, race, gender"),
        (
            ("age",),
            "the column 'age' holds numbers, expected one with classes: gender, label, race",
        ),
        (("race", "race"), "got 'race' twice"),
    ],
)
def test_groups_that_are_no_columns_with_classes(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], message: str
) -> None:
    columns = {"race": torch.arange(8), "gender": torch.arange(8), "age": torch.arange(8.0)}
    table = Table(images(8), torch.tensor([0, 1] * 4), columns)
    splits = Splits(table, table, ("a", "b"))
    with pytest.raises(UserError) as caught:
        open_own(monkeypatch, splits, groups=names)
    assert str(caught.value) == f"groups: {message}"
    assert open_own(monkeypatch, splits, groups=("gender", "race")).groups == ("gender", "race")


def test_groups_where_there_is_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(images(8), None)
    with pytest.raises(UserError, match=r"^groups: 'race' is not a column .*dataset\.attributes"):
        open_own(monkeypatch, Splits(table, table, ()), groups=("race",))


def test_a_column_in_doubt_is_told_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(images(8), torch.tensor([0, 1] * 4))
    splits = Splits(table, table, ("a", "b"), doubts={"year": "it has 9 whole numbers"})
    assert open_own(monkeypatch, splits).doubts == {"year": "it has 9 whole numbers"}
    said = r"^groups: column year .*9 whole numbers.*dataset\.categories=\[year\]"
    with pytest.raises(UserError, match=said):
        open_own(monkeypatch, splits, groups=("year",))


def test_the_label_makes_groups_too(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([0, 1] * 4)
    table = Table(images(8), labels, {"sex": torch.tensor([0, 0, 1, 1] * 2)})
    data = open_own(monkeypatch, Splits(table, table, ("a", "b")), groups=("label", "sex"))
    assert data.combinations().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
