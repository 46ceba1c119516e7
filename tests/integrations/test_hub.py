"""Sharing of trained models, as folders and by a stand-in for the Hugging Face Hub."""

import os
import shutil

import pytest
import torch
from PIL import Image
from torch import nn

from tood_d2.checkpoint import save_weights
from tood_d2.config import load_run
from tood_d2.data.images import read_image
from tood_d2.inference import Predictor, find_trained_model

pytest.importorskip("huggingface_hub", "1.0")
pytest.importorskip("safetensors")

from hub_stand_in import TOKEN, hub_stand_in
from huggingface_hub import ModelCard, constants, snapshot_download

from tood_d2.integrations.hub import MAX_SIDE, PretrainedPredictor
from tood_d2.integrations.model_card import check_license

CLASSES = ["circle", "rectangle", "triangle", "star"]


def detect(predictor, shapes):
    (found,) = predictor.detect([read_image(str(shapes / "val" / "000001.png"), "RGB")])
    assert len(found) > 10
    return [found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist()]


@pytest.fixture(scope="module")
def predictor(detecting_model):
    return PretrainedPredictor.from_training(detecting_model)


@pytest.fixture(scope="module")
def shared(predictor, tmp_path_factory, shapes):
    """What is shared of a model; it is not changed."""
    folder = tmp_path_factory.mktemp("shared") / "shapes"
    pictures = [str(shapes / "val" / "000001.png")]
    predictor.save_pretrained(folder, license="CC-BY-4.0", pictures=pictures)
    return folder


@pytest.fixture
def changed(shared, tmp_path):
    """A folder like what is shared, to be changed."""
    return shutil.copytree(shared, tmp_path / "changed")


NOWHERE = "http://127.0.0.1:9"


def point_to(endpoint, monkeypatch):
    """What the variable HF_ENDPOINT does when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in, with a cache and no token, and without the transfer that it does not have."""
    with hub_stand_in() as hub:
        point_to(hub.endpoint, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        yield hub


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


class TestFolders:
    def test_the_model_is_the_same(self, detecting_model, shared, shapes):
        before = Predictor(find_trained_model(detecting_model).load_run())
        after = PretrainedPredictor.from_pretrained(shared)
        assert detect(after, shapes) == detect(before, shapes)
        assert after.class_names == before.class_names == CLASSES
        assert after.category_ids == before.category_ids == [1, 2, 4, 5]

    def test_nothing_of_this_machine_is_in_it(self, shared, shapes, detecting_model):
        assert sorted(os.listdir(shared)) == [
            "README.md",
            "config.yaml",
            "detections_1.jpg",
            "model.safetensors",
        ]
        text = (shared / "config.yaml").read_text() + (shared / "README.md").read_text()
        assert str(shapes) not in text and str(detecting_model) not in text
        assert "device: cuda" in text  # where there is one

    def test_other_programs_take_it(self, shared, shapes, predictor):
        weights = f"train.init_checkpoint={shared / 'model.safetensors'}"
        again = Predictor(load_run(str(shared / "config.yaml"), [weights]))
        assert detect(again, shapes) == detect(predictor, shapes)
        assert find_trained_model(shared).config_file == str(shared / "config.yaml")

    def test_an_optimised_model_is_shared_as_it_was_trained(self, shared, shapes, tmp_path):
        fast = PretrainedPredictor.from_pretrained(shared, optimize="float32")
        fast.save_pretrained(tmp_path / "again")
        content = (shared / "model.safetensors").read_bytes()
        assert (tmp_path / "again" / "model.safetensors").read_bytes() == content

    def test_averaged_weights_are_shared_by_their_name(self, detecting_model, tmp_path):
        folder = shutil.copytree(detecting_model, tmp_path / "run")
        content = torch.load(folder / "model_final.pth")
        name = "head.cls_logits.bias"
        content["model"][name] += 1
        torch.save(content, folder / "model_final_ema.pth")
        model = PretrainedPredictor.from_training(folder / "model_final_ema.pth")
        model.save_pretrained(tmp_path / "ema")
        shared = PretrainedPredictor.from_pretrained(tmp_path / "ema")
        assert torch.equal(shared.model.state_dict()[name], content["model"][name].cpu())

    def test_classes_without_names_are_numbers(self, detecting_model, tmp_path):
        folder = shutil.copytree(detecting_model, tmp_path / "run")
        run = load_run(str(folder / "config.yaml")).without_files().with_options(class_names=[])
        (folder / "config.yaml").write_text(run.dump())
        PretrainedPredictor.from_training(folder).save_pretrained(tmp_path / "shared")
        card = (tmp_path / "shared" / "README.md").read_text()
        assert "The names of its 4 classes are not known." in card
        loaded = PretrainedPredictor.from_pretrained(tmp_path / "shared")
        assert loaded.class_names == ["0", "1", "2", "3"]

    def test_names_in_the_checkpoint_alone_are_kept(self, detecting_model, tmp_path):
        folder = shutil.copytree(detecting_model, tmp_path / "run")
        run = load_run(str(folder / "config.yaml")).without_files().with_options(class_names=[])
        (folder / "config.yaml").write_text(run.dump())
        state = torch.load(folder / "model_final.pth")["model"]
        save_weights(state, str(folder / "model_final.pth"), class_names=CLASSES)
        PretrainedPredictor.from_training(folder).save_pretrained(tmp_path / "shared")
        assert PretrainedPredictor.from_pretrained(tmp_path / "shared").class_names == CLASSES

    def test_own_classes_have_to_be_trusted(self, detecting_model, tmp_path, monkeypatch):
        code = "from tood_d2.modeling import TaskAlignedAssigner\n\n\n"
        (tmp_path / "my_package.py").write_text(f"{code}class Mine(TaskAlignedAssigner): pass\n")
        monkeypatch.syspath_prepend(tmp_path)
        folder = shutil.copytree(detecting_model, tmp_path / "run")
        config = (folder / "config.yaml").read_text()
        config = config.replace("tood_d2.modeling.TaskAlignedAssigner", "my_package.Mine")
        (folder / "config.yaml").write_text(config)
        trusted = {"trusted": ["my_package"]}
        model = PretrainedPredictor.from_training(folder, **trusted)
        model.save_pretrained(tmp_path / "shared")
        card = (tmp_path / "shared" / "README.md").read_text()
        assert 'from_pretrained("shared", trusted=["my_package"])' in card
        assert "--config-file shared/config.yaml --trust my_package" in card
        with pytest.raises(ValueError, match="--trust my_package"):
            PretrainedPredictor.from_pretrained(tmp_path / "shared")
        loaded = PretrainedPredictor.from_pretrained(tmp_path / "shared", **trusted)
        assert type(loaded.model.assigner).__name__ == "Mine"

    def test_a_folder_with_files_is_left_alone(self, predictor, tmp_path):
        (tmp_path / "README.md").write_text("mine")
        with pytest.raises(FileExistsError, match="there are files in it"):
            predictor.save_pretrained(tmp_path)
        assert os.listdir(tmp_path) == ["README.md"]

    def test_an_image_that_cannot_be_read_leaves_no_folder(self, predictor, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match=r"a\.png"):
            predictor.save_pretrained(tmp_path / "new", pictures=[str(tmp_path / "a.png")])
        assert not (tmp_path / "new").exists()


class TestCard:
    def test_the_metadata_are_those_of_the_hub(self, predictor, tmp_path):
        predictor = PretrainedPredictor(
            predictor.run, results={"AP": 61.254, "AP50": 89.0, "APs": float("nan"), "AP-star": 7}
        )
        predictor.save_pretrained(tmp_path / "new", repo_id="me/shapes", license="apache-2.0")
        card = ModelCard.load(tmp_path / "new" / "README.md")
        assert card.data.library_name == "tood_d2" and card.data.license == "apache-2.0"
        assert card.data.pipeline_tag == "object-detection" and card.data.model_name == "shapes"
        values = [(x.task_type, x.dataset_name, x.metric_value) for x in card.data.eval_results]
        assert values == [("object-detection", "val", 61.25), ("object-detection", "val", 89.0)]
        assert "| AP50, at IoU 0.50 | 89.0 |" in card.text and "| star | 7.0 |" in card.text
        assert "nan" not in card.text and 'from_pretrained("me/shapes")' in card.text
        # 8 and 3 images, as the data are there.
        assert "Trained on train (8 images," in card.text and "tested on val (3 images" in card.text

    def test_without_results_and_licence_it_says_less(self, predictor, tmp_path):
        predictor.save_pretrained(tmp_path / "new")
        card = ModelCard.load(tmp_path / "new" / "README.md")
        assert card.data.eval_results is None and card.data.license is None
        assert "## Results" not in card.text and "None is given" in card.text

    def test_its_snippet_runs(self, shared, shapes, tmp_path, monkeypatch, capsys):
        shutil.copy(shapes / "val" / "000001.png", tmp_path / "image.jpg")
        (tmp_path / "shapes").symlink_to(shared)
        monkeypatch.chdir(tmp_path)
        snippet = (shared / "README.md").read_text().split("```python\n")[1].split("```")[0]
        exec(snippet, {})
        assert capsys.readouterr().out.split()[0] in CLASSES

    def test_pictures_are_small(self, predictor, tmp_path):
        Image.new("RGB", (2560, 640)).save(tmp_path / "a.png")
        predictor.save_pretrained(tmp_path / "new", pictures=[str(tmp_path / "a.png")])
        with Image.open(tmp_path / "new" / "detections_1.jpg") as picture:
            assert picture.size == (MAX_SIDE, MAX_SIDE // 4)
        assert "![Detections](detections_1.jpg)" in (tmp_path / "new" / "README.md").read_text()

    def test_names_are_no_markup(self, predictor, tmp_path):
        names = ["a|b", "[x](http://y)", "<img>", "s\nt"]
        PretrainedPredictor(
            predictor.run.with_options(class_names=names), results={"AP": 1.0, "AP-a|b": 2.0}
        ).save_pretrained(tmp_path / "new")
        card = (tmp_path / "new" / "README.md").read_text()
        assert r"4 classes: a\|b, \[x\](http://y), \<img\>, s t." in card
        assert r"| a\|b | 2.0 |" in card

    @pytest.mark.parametrize("license", ["two words", "a/b", "-x"])
    def test_what_is_no_licence_is_refused(self, license):
        with pytest.raises(ValueError, match=f"--license {license}: should be an identifier"):
            check_license(license)


class TestStrangers:
    def refused(self, folder, match):
        with pytest.raises((OSError, ValueError), match=match) as raised:
            PretrainedPredictor.from_pretrained(folder)
        text = str(raised.value)
        assert str(folder) in text
        return text

    @pytest.mark.parametrize(
        ("old", "new", "match"),
        [
            ("tood_d2.modeling.TaskAlignedAssigner", "os.system", "calls 'os.system'"),
            ("tood_d2.modeling.TaskAlignedAssigner", "their.Assigner", "--trust their"),
            ("num_convs: 2", "num_convs: many", "config.yaml"),
            ("max_iter:", "max_iter: [1]\n  other:", "max_iter"),
            ("  - star\n", "", "class_names has 3 names for 4 classes"),
            ("  - star\n", "  - {a: b}\n", "class_names should be texts"),
            ("num_convs: 2", "num_convs: 3", "model.safetensors .* does not fit"),
            ("lr_multiplier:\n", "_BASE_: /etc/passwd\nlr_multiplier:\n", "has a _BASE_"),
        ],
    )
    def test_configs(self, changed, old, new, match):
        config = changed / "config.yaml"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new))
        self.refused(changed, match)

    @pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"\xa6" * 1000, b"{" * 1000])
    def test_files_of_rubbish(self, changed, name, content):
        (changed / name).write_bytes(content)
        self.refused(changed, name)

    def test_a_large_config(self, changed):
        with open(changed / "config.yaml", "ab") as file:
            file.write(b"#" * 1_000_000)
        self.refused(changed, "larger than any config")

    @pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
    def test_what_is_no_file(self, changed, name):
        (changed / name).unlink()
        self.refused(changed, f"{name}: no such file")
        os.mkfifo(changed / name)  # reading it would wait for ever
        self.refused(changed, f"{name}: no such file")

    def test_weights_that_are_a_pickle(self, changed):
        torch.save({"model": {}}, changed / "model.safetensors")
        self.refused(changed, "model.safetensors: no safetensors file")

    def test_the_card_and_other_files_are_not_read(self, changed):
        (changed / "README.md").write_bytes(b"---\n: [\n" + b"\xff" * 1000)
        (changed / "config.json").write_text('{"trusted": ["os"], "tta": true}')
        assert PretrainedPredictor.from_pretrained(changed).class_names == CLASSES

    def test_paths_of_a_config_are_not_followed(self, changed, shapes, tmp_path):
        """Its data could be any file of this machine."""
        config, pipe = changed / "config.yaml", tmp_path / "pipe"
        os.mkfifo(pipe)
        text = config.read_text()
        for key in ("test_json", "source"):
            text = text.replace(f"{key}: ''", f"{key}: {pipe}")
        text = text.replace("init_checkpoint: ''", f"init_checkpoint: {pipe}")
        assert text.count(str(pipe)) == 3
        config.write_text(text)
        predictor = PretrainedPredictor.from_pretrained(changed)
        assert predictor.run.options.test_json == "" and predictor.category_ids == [1, 2, 4, 5]


class TestHub:
    def test_there_and_back(self, predictor, hub, token, shapes):
        image = str(shapes / "val")
        url = predictor.push_to_hub("shapes", license="mit", pictures=[image], private=True)
        assert url == f"{hub.endpoint}/me/shapes"
        repository = hub.repositories["me/shapes"]
        files = {"README.md", "config.yaml", "model.safetensors"}
        assert {*repository["files"]} == files | {f"detections_{i}.jpg" for i in (1, 2, 3)}
        assert repository["visibility"] == "private"
        loaded = PretrainedPredictor.from_pretrained("me/shapes")
        assert detect(loaded, shapes) == detect(predictor, shapes)
        card = ModelCard(repository["files"]["README.md"].decode())
        assert card.data.license == "mit" and 'from_pretrained("me/shapes")' in card.text
        commit = repository["commit"]
        assert PretrainedPredictor.from_pretrained("me/shapes", revision=commit).class_names

    def test_what_was_downloaded_needs_no_network(self, shared, hub, monkeypatch):
        files = {x.replace(".", "_"): (shared / x).read_bytes() for x in os.listdir(shared)}
        hub.add("you/shapes", **files)
        PretrainedPredictor.from_pretrained("you/shapes")
        downloaded = [x for x in hub.requests if x.startswith("GET /you/")]
        assert [x.rpartition("/")[2] for x in downloaded] == ["config.yaml", "model.safetensors"]
        point_to(NOWHERE, monkeypatch)
        assert PretrainedPredictor.from_pretrained("you/shapes").class_names == CLASSES
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert PretrainedPredictor.from_pretrained("you/shapes").class_names == CLASSES
        # A folder of links, as the cache has it, can be named, too.
        folder = snapshot_download("you/shapes", local_files_only=True)
        assert PretrainedPredictor.from_pretrained(folder).class_names == CLASSES
        for offline in (True, False):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
            with pytest.raises(OSError, match="^you/other: not downloaded before, and the Hub"):
                PretrainedPredictor.from_pretrained("you/other")

    def test_hostile_repositories(self, hub, monkeypatch, shared):
        weights = (shared / "model.safetensors").read_bytes()
        hub.add("you/hostile", config_yaml=b"model: {_target_: os.system}\ntrain: {device: cpu}")
        hub.repositories["you/hostile"]["files"]["model.safetensors"] = weights
        with pytest.raises(ValueError, match="you--hostile.*config.yaml: model calls 'os.system'"):
            PretrainedPredictor.from_pretrained("you/hostile")
        hub.add("you/large", config_yaml=b"#" * 1_000_001)
        with pytest.raises(ValueError, match="^you/large: config.yaml has 1000001 bytes, 1000000"):
            PretrainedPredictor.from_pretrained("you/large")
        assert not any("you/large/resolve" in x for x in hub.requests)  # nothing is downloaded
        hub.add("you/bert", config_json=b"{}")
        with pytest.raises(OSError, match="^you/bert: no model of tood_d2, as config.yaml and"):
            PretrainedPredictor.from_pretrained("you/bert")

    @pytest.mark.parametrize(
        ("name", "revision", "match"),
        [
            ("you/nothing", None, "no folder here and no model on the Hub"),
            ("me/private", None, "no folder here and no model on the Hub"),
            ("me/public", "v2", "the model has no such revision"),
            ("a/b/c", None, "neither a folder nor a name for a model"),
            ("../up", None, "neither a folder nor a name for a model"),
        ],
    )
    def test_names_of_nothing(self, hub, name, revision, match):
        hub.add("me/public", config_yaml=b"")
        hub.add("me/private", config_yaml=b"")
        hub.repositories["me/private"]["visibility"] = "private"
        with pytest.raises((OSError, ValueError), match=f"^{name}: {match}") as raised:
            PretrainedPredictor.from_pretrained(name, revision=revision)
        assert "\n" not in str(raised.value)

    def test_uploads_need_a_token_a_network_and_rights(self, predictor, hub, monkeypatch):
        def refused(name, match):
            with pytest.raises((OSError, ValueError), match=f"^{name}: {match}"):
                predictor.push_to_hub(name)

        refused("me/shapes", "there is no token, run 'hf auth login' or set HF_TOKEN$")
        monkeypatch.setenv("HF_TOKEN", "wrong")
        refused("me/shapes", "the Hub refuses, Invalid user token")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        refused("you/shapes", "the Hub refuses, 403 Forbidden: You don't have the rights")
        refused("me/two words", "neither a folder nor a name for a model")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        refused("me/shapes", "HF_HUB_OFFLINE is set")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        point_to(NOWHERE, monkeypatch)
        refused("me/shapes", "the Hub cannot be reached")
        assert not hub.repositories


def test_yaml_configs_are_shared_too(tmp_path, shapes):
    overrides = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
    overrides += ["MODEL.FPN.OUT_CHANNELS", 64, "MODEL.TOOD.CONV_DIM", 64]
    overrides += ["MODEL.TOOD.NUM_CLASSES", 4, "MODEL.TOOD.NUM_CONVS", 2]
    overrides += ["DATASETS.CLASS_NAMES", str(CLASSES), "INPUT.MIN_SIZE_TEST", 96]
    run = load_run("configs/tood_R_50_FPN_1x.yaml", overrides)
    model = run.build_model()
    nn.init.zeros_(model.head.cls_logits.bias)
    nn.init.zeros_(model.head.cls_alignment[-1].bias)
    save_weights(model.state_dict(), str(tmp_path / "run" / "model_final.pth"))
    (tmp_path / "run" / "config.yaml").write_text(run.dump())
    before = PretrainedPredictor.from_training(tmp_path / "run")
    before.save_pretrained(tmp_path / "shared")
    after = PretrainedPredictor.from_pretrained(tmp_path / "shared")
    assert detect(after, shapes) == detect(before, shapes) and after.class_names == CLASSES
