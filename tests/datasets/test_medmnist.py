import dataclasses
import hashlib
import re
import warnings

import numpy as np
import pytest

from medlib.datasets import download, medmnist, registry
from medlib.errors import DataError, DownloadError, UsageError

PUBLIC = [name for name in registry.names() if registry.info(name).files]


def arrays_of(name, image_size=28, seed=0):
    """Random arrays with the structure of a published file."""
    rng, facts, arrays = np.random.default_rng(seed), registry.info(name), {}
    colours = (3,) if len(facts.channel_names) == 3 else ()
    for split, count in zip(("train", "val", "test"), facts.counts.values(), strict=True):
        shape = (count, image_size, image_size, *colours)
        arrays[f"{split}_images"] = rng.integers(256, size=shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(
            len(facts.class_names), size=(count, 1), dtype=np.uint8
        )
    return arrays


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "cache"))

    def offline(address, target, *, by_hand, **facts):
        raise DownloadError(address, found="no connection", advice=by_hand)

    monkeypatch.setattr(download, "fetch", offline)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A folder with a made-up BreastMNIST."""
    folder = tmp_path / "files"
    folder.mkdir()
    np.savez(folder / "breastmnist.npz", **arrays_of("breastmnist"))
    return folder


def load(folder, name="breastmnist", **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*its hash is not the published one")
        with pytest.MonkeyPatch.context() as patch:
            if folder:
                patch.setenv("MEDLIB_DATA", str(folder))
            return medmnist.load_medmnist(name, **options)


class TestFacts:
    def test_the_sets_that_lessons_use_are_there(self):
        wanted = {"breastmnist", "pneumoniamnist", "retinamnist", "bloodmnist", "pathmnist"}
        assert wanted <= set(PUBLIC)

    @pytest.mark.parametrize("name", PUBLIC)
    def test_every_size_has_an_address_and_a_hash_of_its_own(self, name):
        facts = registry.info(name)
        assert facts.sizes == tuple(facts.files) == (28, 64, 128, 224)
        names = [file.name for file in facts.files.values()]
        assert names == [f"{name}{size}.npz" for size in ("", "_64", "_128", "_224")]
        assert all(re.fullmatch("[0-9a-f]{32}", file.md5) for file in facts.files.values())
        assert all(file.address.startswith("https://zenodo.org/") for file in facts.files.values())

    def test_no_hash_stands_twice(self):
        hashes = [file.md5 for name in PUBLIC for file in registry.info(name).files.values()]
        assert len(set(hashes)) == len(hashes) == 4 * len(PUBLIC)

    @pytest.mark.parametrize("name", PUBLIC)
    def test_a_card_says_who_may_use_the_set_and_what_it_cannot_show(self, name):
        facts = registry.info(name)
        assert facts.licence == "CC BY 4.0"
        assert "doi" in facts.citation
        assert "Cannot show" in facts.card
        assert "Splits" in facts.card

    @pytest.mark.parametrize("name", PUBLIC)
    def test_class_names_can_be_listed_with_commas(self, name):
        assert not any("," in label or "=" in label for label in registry.info(name).class_names)

    def test_the_readme_is_made_of_the_cards(self, repository):
        written = (repository / "data" / "README.md").read_text(encoding="utf-8")
        command = "medlib data cards > data/README.md"
        assert written == registry.readme(), f"a card has changed: run  {command}"

    def test_an_unknown_name_is_answered_with_the_known_ones(self):
        with pytest.raises(UsageError, match="simbrain, breastmnist.*found 'brestmnist'"):
            registry.info("brestmnist")


class TestLoad:
    def test_grey_images_get_one_channel(self, folder):
        dataset = load(folder)
        assert dataset.image_shape == (28, 28, 1)
        published = arrays_of("breastmnist")
        np.testing.assert_array_equal(
            (dataset.validation.images[..., 0] * 255).round(), published["val_images"]
        )
        turned = 1 - published["test_labels"][:, 0].astype(int)  # malignant is class 1 here
        np.testing.assert_array_equal(dataset.test.labels, turned)
        assert [len(split) for split in dataset.splits.values()] == [546, 78, 156]

    def test_colour_images_keep_three(self, folder):
        np.savez(folder / "retinamnist_64.npz", **arrays_of("retinamnist", 64))
        dataset = load(folder, "retinamnist", image_size=64)
        assert dataset.image_shape == (64, 64, 3)
        assert dataset.channel_names == ("red", "green", "blue")
        assert dataset.class_names[4] == "proliferative"

    def test_black_is_0_and_white_is_1(self, folder):
        arrays = arrays_of("breastmnist")
        arrays["test_images"][0], arrays["test_images"][1] = 0, 255
        np.savez(folder / "breastmnist.npz", **arrays)
        images = load(folder).test.images
        assert images[0].max() == 0
        assert images[1].min() == 1

    def test_every_image_is_a_subject_of_its_own(self, folder):
        subjects = [split.subjects for split in load(folder).splits.values()]
        assert len(np.unique(np.concatenate(subjects))) == 546 + 78 + 156
        assert subjects[1][3] == "validation-00003"

    def test_says_when_a_file_is_not_the_published_one(self, folder, monkeypatch):
        monkeypatch.setenv("MEDLIB_DATA", str(folder))
        with pytest.warns(UserWarning, match=r"breastmnist\.npz: its hash is not the published"):
            medmnist.load_medmnist("breastmnist")

    def test_says_nothing_when_it_is(self, folder, monkeypatch):
        md5 = hashlib.md5((folder / "breastmnist.npz").read_bytes()).hexdigest()
        published = dataclasses.replace(registry.info("breastmnist").files[28], md5=md5)
        monkeypatch.setitem(registry.info("breastmnist").files, 28, published)
        monkeypatch.setenv("MEDLIB_DATA", str(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            medmnist.load_medmnist("breastmnist")

    def test_reads_a_compressed_file(self, folder):
        np.savez_compressed(folder / "breastmnist.npz", **arrays_of("breastmnist"))
        assert len(load(folder).train) == 546


class TestWhereTheFileIs:
    def test_the_environment_names_a_folder(self, folder, monkeypatch):
        monkeypatch.setenv("MEDLIB_DATA", str(folder))
        assert len(load(None).train) == 546

    def test_the_environment_comes_before_the_cache(self, cache, tmp_path, monkeypatch):
        other = tmp_path / "other"
        for place in (other, cache / "medmnist"):
            place.mkdir(parents=True)
            (place / "breastmnist.npz").touch()
        assert medmnist.find("breastmnist").parent == cache / "medmnist"
        monkeypatch.setenv("MEDLIB_DATA", str(other))
        assert medmnist.find("breastmnist").parent == other

    def test_a_folder_without_the_file_is_passed_over(self, cache, monkeypatch, tmp_path):
        monkeypatch.setenv("MEDLIB_DATA", str(tmp_path))
        (cache / "medmnist").mkdir(parents=True)
        (cache / "medmnist" / "breastmnist.npz").touch()
        assert medmnist.find("breastmnist").parent == cache / "medmnist"
        assert medmnist.find("pathmnist") is None

    def test_a_folder_that_does_not_exist_is_an_error(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MEDLIB_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match="MEDLIB_DATA: expected a folder"):
            medmnist.load_medmnist("breastmnist")

    def test_offline_it_says_which_file_goes_where(self, cache):
        with pytest.raises(DownloadError) as caught:
            medmnist.load_medmnist("bloodmnist", image_size=64)
        message = str(caught.value)
        assert "https://zenodo.org/records/10519652/files/bloodmnist_64.npz" in message
        assert f"put it into {cache / 'medmnist'} or any folder" in message
        assert "MEDLIB_DATA" in message

    def test_what_was_fetched_is_loaded(self, cache, folder, monkeypatch):
        def fetch(address, target, *, md5, by_hand):
            assert md5 == "750601b1f35ba3300ea97c75c52ff8f6"
            target.parent.mkdir(parents=True)
            return (folder / "breastmnist.npz").rename(target)

        monkeypatch.setattr(download, "fetch", fetch)
        assert len(load(None).train) == 546
        assert medmnist.find("breastmnist") == cache / "medmnist" / "breastmnist.npz"


class TestOverlap:
    @pytest.fixture
    def overlapping(self, folder):
        arrays = arrays_of("breastmnist")
        arrays["test_images"][76] = arrays["train_images"][115]
        arrays["val_images"][5] = arrays["test_images"][9]
        np.savez(folder / "breastmnist.npz", **arrays)
        return folder

    def test_is_warned_about(self, overlapping):
        with pytest.warns(UserWarning, match="official splits") as warned:
            dataset = load(overlapping)
        (message,) = [str(one.message) for one in warned]
        for pair in ("row 115 (train), row 76 (test)", "row 5 (validation), row 9 (test)"):
            assert pair in message
        assert len(dataset.train) == 546

    def test_strict_drops_it_and_keeps_the_test_set(self, overlapping):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*official splits")
            dataset = load(overlapping, strict=True)
        assert [len(split) for split in dataset.splits.values()] == [545, 77, 156]
        assert 115 not in set(dataset.train.table["row"])
        assert 5 not in set(dataset.validation.table["row"])


class TestDamage:
    def spoil(self, folder, **changes):
        arrays = arrays_of("breastmnist") | changes
        kept = {key: array for key, array in arrays.items() if array is not None}
        np.savez(folder / "breastmnist.npz", **kept)

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"val_labels": None}, "val_labels is not a file"),
            ({"test_images": np.zeros((155, 28, 28), np.uint8)}, r"test shapes \(155, 28, 28\)"),
            ({"test_images": np.zeros((156, 64, 64), np.uint8)}, r"test shapes \(156, 64, 64\)"),
            ({"train_images": np.zeros((546, 28, 28), np.float32)}, "of float32"),
            ({"test_labels": np.zeros(156, np.uint8)}, r"and \(156,\)"),
            ({"test_labels": np.zeros((156, 1), object)}, "Object arrays cannot"),
            ({"test_labels": np.full((156, 1), 7, np.uint8)}, "index 7 is out of bounds"),
        ],
        ids=["no array", "count", "size", "float", "shape", "pickle", "labels"],
    )
    def test_another_structure(self, folder, changes, named):
        self.spoil(folder, **changes)
        with pytest.raises(DataError, match=named):
            load(folder)

    def test_a_text_file(self, folder):
        (folder / "breastmnist.npz").write_text("<html>Not found</html>")
        with pytest.raises(DataError, match=r"breastmnist\.npz: expected the published arrays"):
            load(folder)

    def test_an_empty_file(self, folder):
        (folder / "breastmnist.npz").write_bytes(b"")
        with pytest.raises(DataError, match="fetch it again"):
            load(folder)

    @pytest.mark.parametrize("kept", [0.3, 0.999])
    def test_a_file_cut_short(self, folder, kept):
        content = (folder / "breastmnist.npz").read_bytes()
        (folder / "breastmnist.npz").write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(DataError, match="fetch it again"):
            load(folder)

    def test_a_flipped_byte(self, folder):
        content = bytearray((folder / "breastmnist.npz").read_bytes())
        content[len(content) // 3] ^= 255
        (folder / "breastmnist.npz").write_bytes(content)
        with pytest.raises(DataError, match="fetch it again"):
            load(folder)

    def test_a_size_that_is_not_published(self, folder):
        with pytest.raises(UsageError, match="one of 28, 64, 128, 224, found 96"):
            medmnist.load_medmnist("breastmnist", image_size=96)

    def test_too_little_memory_is_said_before_anything_is_fetched(self, monkeypatch):
        from types import SimpleNamespace

        small = SimpleNamespace(available=2**30)
        monkeypatch.setattr("psutil.virtual_memory", lambda: small)
        with pytest.raises(DataError, match="GiB of free memory, found 1.0 GiB"):
            medmnist.load_medmnist("pathmnist", image_size=224)


class TestRealFiles:
    @pytest.fixture
    def files(self, real_data):
        if not (real_data / "medmnist" / "pneumoniamnist.npz").is_file():
            pytest.skip("no MedMNIST files here")
        return real_data / "medmnist"

    def test_breastmnist(self, files):
        with pytest.warns(UserWarning, match=r"row 115 \(train\), row 76 \(test\)"):
            dataset = load(files)
        counts = dataset.summary()["normal or benign"]
        assert counts.to_dict() == {"train": 399, "validation": 57, "test": 114}
        strict = load(files, strict=True)
        assert [len(split) for split in strict.splits.values()] == [545, 78, 156]

    def test_pneumoniamnist_has_the_overlap_its_card_lists(self, files):
        with pytest.warns(UserWarning, match="official splits"):
            official = load(files, "pneumoniamnist")
        assert "61, 105" in official.card.replace("\n", " ")
        strict = load(files, "pneumoniamnist", strict=True)
        assert [len(split) for split in strict.splits.values()] == [4698, 524, 624]
        assert official.train.labels.mean() == pytest.approx(0.742, abs=0.001)
