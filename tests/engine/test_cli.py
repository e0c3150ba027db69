"""The command line without a window, and the engine without Qt."""

import json
import os
import subprocess
import sys
import types

import pytest
import yaml

from opsin.engine.cli import main
from opsin.engine.method import get_method, method_names

WITHOUT_QT = """
import importlib, pkgutil, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('PySide6', 'PyQt6', 'qtpy', 'superqt', 'napari', 'vispy', 'pyqtgraph'):
            raise ImportError('refused: ' + name)
sys.meta_path.insert(0, Refuse())
import opsin.engine
names = [m.name for m in pkgutil.walk_packages(opsin.engine.__path__, 'opsin.engine.')]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
CHEAP = """
import sys
import opsin.engine.method as m
m.get_method('hybrid_wsi').recipe('paper')
print([name for name in ('torch', 'sklearn', 'scipy', 'cv2', 'qtpy') if name in sys.modules])
"""


def test_engine_imports_where_qt_and_napari_are_not_installed():
    done = subprocess.run([sys.executable, "-c", WITHOUT_QT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_registry_and_recipes_are_cheap():
    done = subprocess.run([sys.executable, "-c", CHEAP], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", method_names())
def test_every_preset_is_a_valid_recipe_and_prints_as_one(name, capsys):
    method = get_method(name)
    assert method.presets() == ["paper", "workstation", "quick", "tiny"]
    for preset in method.presets():
        assert main(["recipe", name, preset]) == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        assert method.Recipe.checked(printed) == method.recipe(preset)


@pytest.mark.parametrize("name", method_names())
def test_what_can_be_set_of_a_prediction_is_printed(name, capsys):
    options = get_method(name).Options
    assert main(["recipe", name, "--options"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out) or {}
    assert options.checked(printed) == options() and not {"view", "item"} & set(printed)
    if name == "hybrid_wsi":
        assert {"threshold", "overlap", "regions"} <= set(printed)


@pytest.mark.parametrize("name", method_names())
def test_every_setting_has_words_for_the_form(name):
    method = get_method(name)
    for model in (method.Recipe, method.Options):
        for key, field in model.model_fields.items():
            assert field.title and field.description and "unit" in field.json_schema_extra, key


def test_what_fails_is_one_sentence_and_status_one(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "r.yaml").write_text("nonsense: 1")
    train = ["train", "hybrid_wsi", "--data", str(tmp_path)]
    for words in (
        ["train", "hybrid_wsi", "--data", str(tmp_path / "none")],
        [*train, "--run", str(tmp_path / "empty"), "--resume"],
        [*train, "--recipe", str(tmp_path / "r.yaml")],
        ["predict", "hybrid_wsi", "--checkpoint", str(tmp_path / "c"), "--input", "x", "--output", str(tmp_path / "o")],
        ["convert", str(tmp_path / "a.xml"), str(tmp_path / "b.geojson")],
        ["import", "hybrid_wsi", str(tmp_path / "a.pth"), "--output", str(tmp_path / "b.safetensors")],
    ):
        assert main(words) == 1, words
        error = capsys.readouterr().err
        assert error.startswith("opsin: ") and error.count("\n") == 1, error
        assert "--resume" not in words or "holds no run to resume" in error


def test_wrong_usage_is_one_sentence_and_status_two(capsys, tmp_path):
    data = ["--data", str(tmp_path)]
    weights = ["--checkpoint", str(tmp_path)]
    inputs = [*weights, "--input", "x", "--output", str(tmp_path / "o")]
    for words, part in (
        (["recipe", "hybrid_wsi", "nothing"], "no preset 'nothing'"),
        (["recipe", "nothing"], "no method 'nothing'"),
        (["train", "nothing", *data], "no method 'nothing'"),
        (["predict", "nothing", *inputs], "no method 'nothing'"),
        (["evaluate", "nothing", *data, *weights], "no method 'nothing'"),
        (["import", "nothing", str(tmp_path), "--output", "x"], "no method 'nothing'"),
        (["export", "nothing", *weights, "--output", "x"], "no method 'nothing'"),
        (["train", "hybrid_wsi", *data, "--recipe", "nothing"], "no preset 'nothing'"),
        (["train", "hybrid_wsi", *data, "--set", "foo=1"], "no setting 'foo'"),
        (["train", "hybrid_wsi", *data, "--devices", "0"], "1 or more"),
        (["train", "hybrid_wsi", *data, "--nodes", "2"], "--run must name"),
        (["train", "hybrid_wsi", *data, "--resume"], "--resume needs --run"),
        (["predict", "hybrid_wsi", *inputs, "--set", "threshold=2"], "setting 'threshold' is 2"),
        (["predict", "hybrid_wsi", *inputs, "--set", "base=3"], "--set: the map resolution must be a power of two."),
    ):
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("opsin: ") and error.count("\n") == 1 and part in error, error
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit) as wrong:
        main(["train"])
    assert wrong.value.code == 2


@pytest.fixture
def no_window(monkeypatch):
    """The files that a window would have been opened with."""
    opened = []
    stand_in = types.ModuleType("opsin.gui.application")
    stand_in.run_window = lambda files: opened.append(files) or 0
    monkeypatch.setitem(sys.modules, "opsin.gui.application", stand_in)
    return opened


def test_a_mistyped_verb_opens_no_window(capsys, tmp_path, no_window):
    for word, part in (("tran", "Did you mean 'opsin train'?"), ("qqqqqq", "neither a verb nor a file")):
        with pytest.raises(SystemExit) as wrong:
            main([word, "hybrid_wsi"])
        assert wrong.value.code == 2
        assert part in capsys.readouterr().err
    assert no_window == []
    assert main([str(tmp_path)]) == 0 and main([]) == 0
    assert no_window == [[str(tmp_path)], []]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_the_window_says_so(capsys, monkeypatch, no_window):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for words in ([], ["demo"]):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("opsin: There is no display") and error.count("\n") == 1
    assert no_window == []
    for name, value in (("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0"), ("QT_QPA_PLATFORM", "offscreen")):
        with monkeypatch.context() as there:
            there.setenv(name, value)
            assert main([]) == 0
    assert no_window == [[], [], []]


def test_events_are_json_lines(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ["train", "hybrid_wsi", "--data", str(tmp_path / "empty"), "--recipe", "tiny", "--run", str(tmp_path / "r")]
    assert main([*words, "--events", "--device", "cpu"]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "state" and events[-1]["state"] == "failed"


def test_methods_lists_the_paper(capsys):
    assert main(["methods"]) == 0
    assert "2107.00934" in capsys.readouterr().out


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    code = "import os; from opsin.engine.cli import main; main(['methods']); print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        variables = {**{k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}, **given}
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == expected
