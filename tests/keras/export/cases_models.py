"""Activations, models as users write them, applications and KerasHub backbones."""

from __future__ import annotations

from typing import Any

import keras
from cases_layers import Case, call, chain
from keras import layers as L
from keras import ops
from keras_versions import SHIFTED_TRANSPOSE

ACTIVATIONS = [
    Case(name, "default", chain((6,), lambda name=name: L.Activation(name)), mutant=False)
    for name in sorted(dir(keras.activations))
    if not name.startswith("_") and name not in {"deserialize", "get", "serialize", "threshold"}
]
ACTIVATIONS.append(
    Case("threshold", "default", call([(6,)], lambda x: keras.activations.threshold(x, 0.2, -1.0)), mutant=False)
)


# -- users' models ----------------------------------------------------------------------------------------------------


def tabular() -> Any:
    numbers = keras.Input((4,), name="numbers")
    kind = keras.Input((1,), dtype="int32", name="kind")
    town = keras.Input((1,), dtype="int32", name="town")
    x = L.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])(numbers)
    hot = L.CategoryEncoding(5, output_mode="one_hot")(kind)
    near = L.Flatten()(L.Embedding(5, 3)(town))
    x = L.Dense(8, activation="relu")(L.Concatenate()([x, hot, near]))
    return keras.Model({"numbers": numbers, "kind": kind, "town": town}, L.Dense(1, activation="sigmoid")(x))


def seq2seq() -> Any:
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = L.Embedding(6, 8, mask_zero=True)(source)
    _, h, c = L.LSTM(8, return_state=True)(x)
    y = L.Embedding(6, 8, mask_zero=True)(target)
    y = L.LSTM(8, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model([source, target], L.Dense(6, activation="softmax")(y))


def crnn() -> Any:
    x = inputs = keras.Input((None, 16, 1))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = L.MaxPooling2D((1, 2))(x)
    x = L.TimeDistributed(L.Flatten())(x)
    x = L.Bidirectional(L.GRU(6, return_sequences=True))(x)
    return keras.Model(inputs, L.Dense(5, activation="softmax")(x))


def siamese() -> Any:
    tower = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(6)])
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    distance = ops.sqrt(ops.maximum(ops.sum(ops.square(tower(a) - tower(b)), axis=1, keepdims=True), 1e-9))
    return keras.Model([a, b], L.Dense(1, activation="sigmoid")(distance))


def unet() -> Any:
    x = inputs = keras.Input((None, None, 3))
    skips = []
    for filters in (4, 8):
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = L.BatchNormalization()(x)
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    for filters, skip in zip((8, 4), reversed(skips), strict=True):
        x = L.Conv2DTranspose(filters, 2, strides=2)(x)
        x = L.Concatenate()([x, skip])
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(x))


def operations() -> Any:
    x = keras.Input((6, 4))
    numbers = keras.Input((6,), dtype="int32")
    a, b = ops.split(x, 2, axis=2)
    y = ops.einsum("bij,bkj->bik", a, b)
    y = ops.where(y > 0, y, 0.1 * y)
    top, index = ops.top_k(y, 3)
    hot = ops.one_hot(numbers, 5)
    padded = ops.pad(ops.roll(x, 2, axis=1), [[0, 0], [1, 1], [0, 0]])
    return keras.Model([x, numbers], [top, index, L.Dense(3)(hot), ops.mean(padded, axis=1)])


def attention_block(x: Any, context: Any, *, causal: bool = False) -> Any:
    y = L.MultiHeadAttention(2, 4)(x, context, use_causal_mask=causal)
    return L.LayerNormalization()(L.Add()([x, y]))


def feed_forward(x: Any) -> Any:
    y = L.Dense(8)(L.Dense(16, activation="gelu")(x))
    return L.LayerNormalization()(L.Add()([x, y]))


def transformer() -> Any:
    tokens = keras.Input((None,), dtype="int32")
    x = L.Embedding(6, 8, mask_zero=True)(tokens)
    x = feed_forward(attention_block(x, x))
    return keras.Model(tokens, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


def encoder_decoder() -> Any:
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = L.Embedding(6, 8, mask_zero=True)(source)
    x = feed_forward(attention_block(x, x))
    y = L.Embedding(6, 8, mask_zero=True)(target)
    y = attention_block(y, y, causal=True)
    y = feed_forward(attention_block(y, x))
    return keras.Model([source, target], L.Dense(6)(y))


def gelu_tagger() -> Any:
    tokens = keras.Input((None,), dtype="int32")
    x = L.Embedding(6, 8, mask_zero=True)(tokens)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True))(x)
    return keras.Model(tokens, L.TimeDistributed(L.Dense(4, activation="softmax"))(x))


USERS = [
    Case("tabular", "default", tabular),
    Case("seq2seq", "masks", seq2seq),
    Case("crnn", "free length", crnn, lengths=(5, 12)),
    Case("siamese", "default", siamese),
    Case("unet", "free height and width", unet, lengths=(8, 16)),
    Case("operations", "default", operations),
    Case("transformer", "masks", transformer),
    Case("encoder_decoder", "masks", encoder_decoder),
    Case("tagger", "masks", gelu_tagger),
    *(
        []
        if SHIFTED_TRANSPOSE
        else [
            Case(
                "autoencoder",
                "default",
                chain(
                    (8, 8, 1),
                    lambda: L.Conv2D(4, 3, strides=2, padding="same"),
                    lambda: L.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
                ),
            )
        ]
    ),
    Case("residual", "functional ops", call([(6, 6, 4)], lambda x: ops.relu(x + L.Conv2D(4, 3, padding="same")(x)))),
]

# -- keras.applications -----------------------------------------------------------------------------------------------


def _application(name: str, *, only: tuple[str, ...] = (), **options: Any) -> Case:
    """Logits, because a softmax over redrawn weights often says 1 and 0 whatever a wrong file computes."""
    options |= {"weights": None, "classes": 7, "classifier_activation": None}
    return Case(name, "random weights, logits", lambda: getattr(keras.applications, name)(**options), only=only)


SMALL_APPLICATIONS = [
    _application("MobileNetV2", input_shape=(64, 64, 3), alpha=0.35),
    _application("MobileNetV3Small", input_shape=(64, 64, 3)),
]
APPLICATIONS = [
    *SMALL_APPLICATIONS,
    _application("EfficientNetB0", input_shape=(64, 64, 3)),
    _application("EfficientNetV2B0", input_shape=(64, 64, 3)),
    _application("MobileNet", input_shape=(64, 64, 3), alpha=0.25),
    _application("MobileNetV3Large", input_shape=(64, 64, 3)),
    _application("DenseNet121", input_shape=(64, 64, 3)),
    _application("NASNetMobile", input_shape=(64, 64, 3), only=("tensorflow", "jax")),  # Keras refuses it under torch
    _application("Xception", input_shape=(75, 75, 3)),
    _application("InceptionV3", input_shape=(75, 75, 3)),
    _application("InceptionResNetV2", input_shape=(75, 75, 3)),
    _application("ResNet50", input_shape=(64, 64, 3)),
    _application("ResNet50V2", input_shape=(64, 64, 3)),
    _application("ConvNeXtTiny", input_shape=(64, 64, 3)),
    _application("VGG16", input_shape=(32, 32, 3)),
]


# -- KerasHub, where it is installed ----------------------------------------------------------------------------------


def hub() -> list[Case]:
    """Return tiny backbones of every kind; needs ``keras_hub``."""
    from keras_hub import models as M

    text = dict(vocabulary_size=9, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
    decoder = dict(
        vocabulary_size=9, num_layers=2, num_query_heads=4, num_key_value_heads=2, hidden_dim=16, intermediate_dim=24
    )

    def resnet() -> Any:
        return M.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=(None, None, 3),
        )

    sides = dict(
        hidden_dim=16,
        intermediate_dim=24,
        num_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
    )
    cases = {
        "BertBackbone": lambda: M.BertBackbone(num_segments=5, **text, max_sequence_length=32),
        "DistilBertBackbone": lambda: M.DistilBertBackbone(**text, max_sequence_length=32),
        "RobertaBackbone": lambda: M.RobertaBackbone(**text, max_sequence_length=32),
        "AlbertBackbone": lambda: M.AlbertBackbone(num_segments=5, **text, embedding_dim=8, max_sequence_length=32),
        "DebertaV3Backbone": lambda: M.DebertaV3Backbone(**text, max_sequence_length=32, bucket_size=8),
        "ElectraBackbone": lambda: M.ElectraBackbone(
            num_segments=5,
            **{k: v for k, v in text.items() if k != "vocabulary_size"},
            vocab_size=9,
            embedding_dim=8,
            max_sequence_length=32,
        ),
        "FNetBackbone": lambda: M.FNetBackbone(
            **{k: v for k, v in text.items() if k != "num_heads"}, max_sequence_length=32, num_segments=5
        ),
        "XLNetBackbone": lambda: M.XLNetBackbone(**text),
        "GPT2Backbone": lambda: M.GPT2Backbone(**text, max_sequence_length=32),
        "OPTBackbone": lambda: M.OPTBackbone(**text, max_sequence_length=32),
        "BloomBackbone": lambda: M.BloomBackbone(**text),
        "GPTNeoXBackbone": lambda: M.GPTNeoXBackbone(**{**text, "hidden_dim": 16}, max_sequence_length=32),
        "FalconBackbone": lambda: M.FalconBackbone(
            vocabulary_size=9, num_layers=2, num_attention_heads=2, hidden_dim=8, intermediate_dim=16
        ),
        "LlamaBackbone": lambda: M.LlamaBackbone(**decoder),
        "MistralBackbone": lambda: M.MistralBackbone(**decoder, sliding_window=8),
        "GemmaBackbone": lambda: M.GemmaBackbone(**decoder, head_dim=4),
        "Qwen2Backbone": lambda: M.QwenBackbone(**decoder),
        "Phi3Backbone": lambda: M.Phi3Backbone(**decoder),
        "Qwen3Backbone": lambda: M.Qwen3Backbone(**decoder, head_dim=4),
        "Gemma3Backbone": lambda: M.Gemma3Backbone(**decoder, head_dim=4, image_size=16, vision_encoder=None),
        "MixtralBackbone": lambda: M.MixtralBackbone(**decoder, num_experts=3),
        "GptOssBackbone": lambda: M.GptOssBackbone(**decoder, num_experts=3, head_dim=4),
        "RoformerV2Backbone": lambda: M.RoformerV2Backbone(**text, head_size=4, num_segments=5),
        "ESMBackbone": lambda: M.ESMBackbone(**text, max_sequence_length=32),
        "T5GemmaBackbone": lambda: M.T5GemmaBackbone(
            vocabulary_size=9,
            encoder_layer_types=["full_attention", "full_attention"],
            decoder_layer_types=["full_attention", "full_attention"],
            **{f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sides.items()},
        ),
        "MoonshineBackbone": lambda: M.MoonshineBackbone(
            vocabulary_size=9,
            filter_dim=16,
            encoder_num_layers=1,
            decoder_num_layers=1,
            hidden_dim=16,
            intermediate_dim=24,
            encoder_num_heads=2,
            decoder_num_heads=2,
        ),
        "T5Backbone": lambda: M.T5Backbone(**text),
        "BartBackbone": lambda: M.BartBackbone(**text, max_sequence_length=32),
        "WhisperBackbone": lambda: M.WhisperBackbone(
            **text, num_mels=8, max_encoder_sequence_length=32, max_decoder_sequence_length=32
        ),
        "ViTBackbone": lambda: M.ViTBackbone(
            image_shape=(16, 16, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16
        ),
        "ResNetBackbone": resnet,
        "DeiTBackbone": lambda: M.DeiTBackbone(
            image_shape=(16, 16, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16
        ),
        "SwinTransformerBackbone": lambda: M.SwinTransformerBackbone(
            image_shape=(32, 32, 3), embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
        ),
        "XceptionBackbone": lambda: M.XceptionBackbone(
            stackwise_conv_filters=[[8, 16], [16, 16]], stackwise_pooling=[True, False], image_shape=(32, 32, 3)
        ),
        "DeepLabV3Backbone": lambda: M.DeepLabV3Backbone(
            image_encoder=resnet(),
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P3",
            projection_filters=8,
            upsampling_size=2,
            dilation_rates=[2, 4],
            image_shape=(32, 32, 3),
        ),
        "DenseNetBackbone": lambda: M.DenseNetBackbone(
            stackwise_num_repeats=[2, 2], compression_ratio=0.5, growth_rate=4, image_shape=(32, 32, 3)
        ),
        "VGGBackbone": lambda: M.VGGBackbone(
            stackwise_num_repeats=[1, 1], stackwise_num_filters=[4, 8], image_shape=(16, 16, 3)
        ),
        "MiTBackbone": lambda: M.MiTBackbone(
            layerwise_depths=[1, 1],
            num_layers=2,
            layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
            image_shape=(32, 32, 3),
            hidden_dims=[8, 16],
        ),
        "SegFormerBackbone": lambda: M.SegFormerBackbone(
            image_encoder=M.MiTBackbone(
                layerwise_depths=[1, 1, 1, 1],
                num_layers=4,
                layerwise_num_heads=[1, 1, 2, 2],
                layerwise_sr_ratios=[4, 2, 1, 1],
                max_drop_path_rate=0.1,
                layerwise_patch_sizes=[7, 3, 3, 3],
                layerwise_strides=[4, 2, 2, 2],
                image_shape=(64, 64, 3),
                hidden_dims=[8, 16, 24, 32],
            ),
            projection_filters=8,
        ),
        "CSPNetBackbone": lambda: M.CSPNetBackbone(
            stem_filters=8,
            stem_kernel_size=3,
            stem_strides=2,
            stackwise_depth=[1, 1],
            stackwise_strides=[1, 2],
            stackwise_num_filters=[8, 16],
            block_type="dark_block",
            stage_type="dark",
            image_shape=(32, 32, 3),
        ),
    }
    lengths = {"ResNetBackbone": (32, 48), "WhisperBackbone": (16,), "MoonshineBackbone": (2000, 3000)}
    return [Case(name, "tiny", build, lengths=lengths.get(name, (7, 12))) for name, build in cases.items()]
