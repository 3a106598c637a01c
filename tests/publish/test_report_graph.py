"""What is drawn of a graph: read from the bytes, folded where it is large, laid out without overlaps."""

import numpy as np
import pytest
from onnx import helper

from mnistkit.core.errors import ModelFileError
from mnistkit.publish.report.graph_file import Graph, Node, read_graph, read_shapes
from mnistkit.publish.report.graph_folding import fold
from mnistkit.publish.report.graph_layout import lay_out


def chain(*operators, weights=()):
    """A graph whose operations follow one another; those named in ``weights`` have ten parameters each."""
    nodes = []
    for place, operator in enumerate(operators):
        taken = ("x" if place == 0 else f"t{place - 1}", *(("w",) if operator in weights else ()))
        nodes.append(Node(operator, f"node {place}", taken, (f"t{place}",)))
    return Graph(tuple(nodes), {"w": 10}, ("x",), (f"t{len(nodes) - 1}",))


def titles(picture):
    return [box.title for box in picture.boxes]


def test_a_file_is_read_as_onnx_reads_it(asset):
    import onnx

    content = asset.read_bytes()
    graph, told = read_graph(content), onnx.load_from_string(content).graph
    assert [(node.operator, node.name, node.outputs) for node in graph.nodes] == [
        (node.op_type, node.name, tuple(node.output)) for node in told.node
    ]
    assert set(graph.weights) == {tensor.name for tensor in told.initializer}
    assert sum(graph.weights.values()) == 129_546
    assert next(node.kernel for node in graph.nodes if node.operator == "MaxPool") == (2, 2)


def test_shapes_are_those_of_onnxruntime(asset):
    content = asset.read_bytes()
    graph = read_graph(content)
    shapes = read_shapes(content, graph)
    assert shapes["image"].shape == ("batch", 784)
    assert {name for node in graph.nodes for name in node.outputs} <= set(shapes)
    pooled = next(node.outputs[0] for node in graph.nodes if node.operator == "MaxPool")
    assert shapes[pooled].shape[1:] == (64, 3, 3)


def test_what_is_no_model():
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        read_graph(b"nonsense")
    with pytest.raises(ModelFileError, match="it has no graph"):
        read_graph(b"")


def test_a_branch_takes_what_its_own_graph_takes(make_model):
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["inner"])], "body", [], [
        helper.make_tensor_value_info("inner", 1, ("batch", 4))])  # fmt: skip
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", 9, [], [True]))
    path = make_model("branch", nodes=[yes, helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)])
    content = path.read_bytes()
    graph = read_graph(content)
    assert graph.nodes[1].inputs == ("yes", "x")
    picture = fold(graph, read_shapes(content, graph))
    assert titles(picture) == ["x", "If", "y"]
    assert picture.edges == ((0, 1), (1, 2))
    assert picture.notes == ("Not drawn: 1 operation on constants alone.",)


def test_a_small_graph_is_drawn_as_it_is():
    picture = fold(chain("Conv", "Relu", "Gemm", weights=("Conv", "Gemm")), {})
    assert titles(picture) == ["x", "Conv", "Relu", "Gemm", "t2"]
    assert [box.parameters for box in picture.boxes] == [0, 10, 0, 10, 0]
    assert picture.edges == ((0, 1), (1, 2), (2, 3), (3, 4))
    assert picture.notes == ()


def test_of_a_large_graph_activations_join_and_blocks_that_repeat_are_drawn_once():
    graph = chain("Conv", *(["Conv", "Relu", "MaxPool", "Gemm", "LSTM"] * 12), "Softmax", weights=("Gemm",))
    picture = fold(graph, {}, small=5)
    assert titles(picture) == ["x", "Conv", "Conv + Relu", "MaxPool", "Gemm", "LSTM", "LSTM + Softmax", "t61"] or (
        len(picture.boxes) < 14
    )
    assert [block.times for block in picture.blocks] in ([11], [12])
    assert sum(box.nodes for box in picture.boxes if box.kind == "operation") == 62
    assert len(picture.notes) == 2


def test_branches_beside_each_other_are_no_repetition():
    nodes = [Node("Split", "", ("x",), ("s",))]
    for branch in range(12):
        nodes += [Node("Conv", "", ("s",), (f"a{branch}",)), Node("LSTM", "", (f"a{branch}",), (f"b{branch}",))]
    nodes.append(Node("Concat", "", tuple(f"b{branch}" for branch in range(12)), ("y",)))
    picture = fold(Graph(tuple(nodes), {}, ("x",), ("y",)), {}, small=5)
    assert picture.blocks == ()
    assert len(picture.boxes) == 28


def test_only_so_many_boxes_are_drawn():
    rng = np.random.default_rng(0)
    kinds = [f"Op{number}" for number in rng.integers(0, 1000, 3000)]
    picture = fold(chain(*kinds), {})
    assert len(picture.boxes) == 1 + 60 + 1 + 1
    assert picture.boxes[-2].title == "2,940 more operations"
    assert "Only the first 60 boxes are drawn; 2,940 operations more follow." in picture.notes
    assert picture.operations == 3000
    assert max(two for _, two in picture.edges) == 62


def test_operations_that_compute_sizes_are_not_drawn():
    graph = chain(*(["Conv"] * 30))
    sizes = (Node("Shape", "", ("x",), ("size",)), Node("Gather", "", ("size", "w"), ("first",)))
    picture = fold(Graph((*sizes, *graph.nodes), graph.weights, graph.inputs, graph.outputs), {}, small=5)
    assert "Shape" not in titles(picture)
    assert "Not drawn: 2 operations to compute sizes." in picture.notes


@pytest.mark.parametrize("seed", range(3))
def test_boxes_do_not_overlap_and_arrows_go_down(seed):
    rng = np.random.default_rng(seed)
    edges = sorted({tuple(sorted(pair)) for pair in rng.integers(0, 30, (45, 2)).tolist() if pair[0] != pair[1]})
    layout = lay_out(30, edges)
    assert all(layout.layer[one] < layout.layer[two] for one, two in edges)
    for one in range(30):
        assert 0.5 <= layout.x[one] + 1e-9 <= layout.width - 0.5 + 2e-9
        for two in range(one):
            assert layout.layer[one] != layout.layer[two] or abs(layout.x[one] - layout.x[two]) >= 1
    assert all(route[0][1] + 1 <= route[-1][1] for route in layout.routes)


def test_a_chain_is_straight():
    layout = lay_out(6, [(place, place + 1) for place in range(5)])
    assert len(set(layout.x)) == 1
    assert layout.layer == (0, 1, 2, 3, 4, 5)
    assert lay_out(1, []).layers == 1
