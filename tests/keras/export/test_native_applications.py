"""The families of keras.applications, with redrawn weights and logits, against Keras."""

import keras
import pytest
from comparing import agree, redraw
from one_backend import few

FAMILIES = {
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "DenseNet121": 64,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "NASNetMobile": 64,
    "ConvNeXtTiny": 64,
    "VGG16": 64,
}


@pytest.mark.parametrize("name", few(FAMILIES, everywhere=("NASNetMobile",)))
def test_application(name):
    if name == "NASNetMobile" and keras.backend.backend() == "torch":
        pytest.skip("Keras refuses to build NASNet under torch")
    size = FAMILIES[name]
    make = getattr(keras.applications, name)
    model = redraw(make(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None))
    written = agree(model, batches=(1, 2), check=name == "MobileNetV2")
    kinds = [node.op_type for node in written.proto.graph.node]
    assert kinds.count("Transpose") <= (44 if name == "ConvNeXtTiny" else 2)
