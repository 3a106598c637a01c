"""Find and change weights in the bytes of an ``.onnx`` file."""

import onnx
from onnx import numpy_helper


def weights_of(content):
    """The float32 initializers of a file, by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(content).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }


def read(content, name):
    """The values of one weight."""
    return weights_of(content)[name]


def replaced(content, name, values):
    """The file with other values in one weight."""
    model = onnx.load_from_string(content)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    before = numpy_helper.to_array(tensor)
    assert values.shape == before.shape
    tensor.CopyFrom(numpy_helper.from_array(values.astype(before.dtype), name))
    return model.SerializeToString()


def largest(content):
    """Name of the weight with the most numbers, which in the tutorial's model is the hidden layer's kernel."""
    weights = weights_of(content)
    return max(weights, key=lambda name: weights[name].size)


def classes_bias(content):
    """Name of the ten numbers that are added to the scores of the classes."""
    return next(name for name, values in weights_of(content).items() if values.shape in {(10,), (1, 10)})
