"""The list of operators for the reduced build: what the models need today, no more and no less."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from operators_config.__main__ import CONFIG, main
from operators_config.operators import OperatorsError, of_file, parse, render, union


def convolution(folder: Path) -> Path:
    """A model with a Conv and a Relu behind it."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)],
    )
    path = folder / "convolution.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


def test_the_recipe_has_the_list_that_the_bundles_need_now(
    base: Path, base_fp32: Path, tiny_en: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert base.parent == base_fp32.parent == tiny_en.parent
    status = main(["--check", "--bundles", str(base.parent)])
    assert status == 0, capsys.readouterr().err


def test_a_list_that_differs_is_noticed_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, config = convolution(tmp_path), tmp_path / "operators.config"
    monkeypatch.setattr("operators_config.__main__.models", lambda *_: [model])
    assert main(["--output", str(config)]) == 0
    assert main(["--check", "--output", str(config)]) == 0
    config.write_text(config.read_text("utf-8").replace(",Relu", ""))
    there = config.read_text("utf-8")
    capsys.readouterr()
    assert main(["--check", "--output", str(config)]) == 1
    assert "+ai.onnx;17;Conv,Relu" in capsys.readouterr().err
    assert config.read_text("utf-8") == there


def test_the_list_is_written_as_it_is_read() -> None:
    text = CONFIG.read_text("utf-8")
    assert render(parse(text)) == text


def test_a_missing_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundles", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "tiny.en" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_operators_of_a_branch_count_and_so_do_those_that_are_folded_away(tmp_path: Path) -> None:
    """`If` runs one of two graphs; `Neg` of a constant is gone once the optimisers have run."""
    number = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    then = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "then", [], [number])
    other = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "else", [], [number])
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["constant"], ["folded"]),
            helper.make_node("If", ["flag"], ["branch"], then_branch=then, else_branch=other),
            helper.make_node("Add", ["branch", "folded"], ["out"]),
        ],
        "graph",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [helper.make_tensor("constant", TensorProto.FLOAT, [1], [2.0])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    assert of_file(path)["ai.onnx", 17] == {"Abs", "Exp", "Neg", "If", "Add"}


def test_what_the_optimisers_put_in_counts(tmp_path: Path) -> None:
    """Conv and Relu become one FusedConv, an operator that the file does not name."""
    assert of_file(convolution(tmp_path)) == {
        ("ai.onnx", 17): {"Conv", "Relu"},
        ("com.microsoft", 1): {"FusedConv"},
    }


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08"])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(OperatorsError, match=r"broken\.onnx"):
        of_file(path)


def test_parts_are_joined_and_their_order_does_not_matter() -> None:
    one, two = {("ai.onnx", 17): {"B", "A"}}, {("ai.onnx", 9): {"C"}, ("ai.onnx", 17): {"D"}}
    assert render(union([one, two])) == render(union([two, one]))
    assert render(union([one, two])).endswith("ai.onnx;9;C\nai.onnx;17;A,B,D\n")


@pytest.mark.parametrize("line", ["ai.onnx;17", "ai.onnx;x;Add", "ai.onnx;17;"])
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(OperatorsError, match="line 2"):
        parse(f"# comment\n{line}\n")
