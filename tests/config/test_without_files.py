"""A run without what it names of its machine, for those who use its model elsewhere."""

from pathlib import Path

import pytest

from tood_d2.config import load_run, register_datasets
from tood_d2.config.options import keys_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def load(kind, **values):
    overrides = []
    for name, value in values.items():
        keys = keys_of(name)
        overrides += [f"{keys.lazy}={value}"] if kind == "py" else [keys.yaml, value]
    return load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides)


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_paths_are_left_out_and_the_classes_stay(kind, shapes):
    data = {
        f"{split}_{what}": str(shapes / name) + suffix
        for split, name in (("train", "train"), ("test", "val"))
        for what, suffix in (("json", ".json"), ("images", ""))
    }
    data |= {"output_dir": "/my/output", "init_checkpoint": "/my/x.pth"}
    run = register_datasets(load(kind, **data))
    bare = run.without_files()
    assert str(shapes) in run.dump() and str(shapes) not in bare.dump()
    assert "/my/" not in bare.dump()
    assert bare.options.class_names == ["circle", "rectangle", "triangle", "star"]
    assert bare.options.num_classes == 4
    # The ids are in the config, as there are no data to read them from.
    assert bare.options.category_ids == bare.category_ids == run.category_ids == [1, 2, 4, 5]
    assert not any(bare.test_names) and run.test_names == [str(shapes / "val.json")]


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_registered_data_sets_keep_their_names(kind):
    bare = load(kind).without_files()
    assert (bare.train_names, bare.test_names) == (["coco_2017_train"], ["coco_2017_val"])
    assert bare.category_ids[-1] == 90  # of 80 classes


def test_a_run_without_files_is_the_same():
    run = load("py", init_checkpoint="")
    assert run.without_files().dump() == run.dump()


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_ids_of_a_config_are_those_of_its_classes(kind):
    names = {"class_names": "['cat','dog']", "num_classes": 2, "output_dir": "x"}
    unknown = {"train": "", "test": ""}
    run = load(kind, **names, category_ids="[3,9]").with_datasets(**unknown)
    assert run.category_ids == [3, 9]
    # Ids that are left from other classes are not taken.
    assert load(kind, **names, category_ids="[3]").with_datasets(**unknown).category_ids == [1, 2]
