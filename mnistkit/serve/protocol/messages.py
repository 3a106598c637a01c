"""The protobuf messages of ``inference.GRPCInferenceService``, made when they are first needed.

Field names and numbers are those of the Open Inference Protocol's ``grpc_predict_v2.proto``. They are a table and no
generated code, because generated code is bound to one release of protobuf and this is not; a pool of their
own keeps them apart from a client library's copy in the same process.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_PARAMETERS = {1: "bool bool_param", 2: "int64 int64_param", 3: "string string_param"}  # all in one oneof
_REPOSITORY_PARAMETERS = {**_PARAMETERS, 4: "bytes bytes_param"}  # the same
# message -> field number -> "[*]type name"; * is repeated, @ a map from string, a capital a message of this table
_MESSAGES: dict[str, dict[int, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {1: "bool live"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {1: "bool ready"},
    "ModelReadyRequest": {1: "string name", 2: "string version"},
    "ModelReadyResponse": {1: "bool ready"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {1: "string name", 2: "string version", 3: "*string extensions"},
    "ModelMetadataRequest": {1: "string name", 2: "string version"},
    "TensorMetadata": {1: "string name", 2: "string datatype", 3: "*int64 shape"},
    "ModelMetadataResponse": {
        1: "string name",
        2: "*string versions",
        3: "string platform",
        4: "*TensorMetadata inputs",
        5: "*TensorMetadata outputs",
    },
    "InferParameter": _PARAMETERS,
    "InferTensorContents": {
        1: "*bool bool_contents",
        2: "*int32 int_contents",
        3: "*int64 int64_contents",
        4: "*uint32 uint_contents",
        5: "*uint64 uint64_contents",
        6: "*float fp32_contents",
        7: "*double fp64_contents",
        8: "*bytes bytes_contents",
    },
    "InferInputTensor": {
        1: "string name",
        2: "string datatype",
        3: "*int64 shape",
        4: "@InferParameter parameters",
        5: "InferTensorContents contents",
    },
    "InferRequestedOutputTensor": {1: "string name", 2: "@InferParameter parameters"},
    "ModelInferRequest": {
        1: "string model_name",
        2: "string model_version",
        3: "string id",
        4: "@InferParameter parameters",
        5: "*InferInputTensor inputs",
        6: "*InferRequestedOutputTensor outputs",
        7: "*bytes raw_input_contents",
    },
    "InferOutputTensor": {
        1: "string name",
        2: "string datatype",
        3: "*int64 shape",
        4: "@InferParameter parameters",
        5: "InferTensorContents contents",
    },
    "ModelInferResponse": {
        1: "string model_name",
        2: "string model_version",
        3: "string id",
        4: "@InferParameter parameters",
        5: "*InferOutputTensor outputs",
        6: "*bytes raw_output_contents",
    },
    # The extension for model repositories, after Triton's grpc_service.proto
    "ModelRepositoryParameter": _REPOSITORY_PARAMETERS,
    "RepositoryIndexRequest": {1: "string repository_name", 2: "bool ready"},
    "ModelIndex": {1: "string name", 2: "string version", 3: "string state", 4: "string reason"},
    "RepositoryIndexResponse": {1: "*ModelIndex models"},
    "RepositoryModelLoadRequest": {
        1: "string repository_name",
        2: "string model_name",
        3: "@ModelRepositoryParameter parameters",
    },
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": {
        1: "string repository_name",
        2: "string model_name",
        3: "@ModelRepositoryParameter parameters",
    },
    "RepositoryModelUnloadResponse": {},
}
METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
    "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip


@functools.cache
def pool() -> Any:
    """All messages and the service, apart from what else protobuf knows in this process."""
    file = descriptor_pb2.FileDescriptorProto(name="mnistkit_grpc_predict_v2.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if fields in (_PARAMETERS, _REPOSITORY_PARAMETERS):
            message.oneof_decl.add(name="parameter_choice")
        for number, text in fields.items():
            _add_field(message, number, text)
            if fields in (_PARAMETERS, _REPOSITORY_PARAMETERS):
                message.field[-1].oneof_index = 0
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for name in METHODS:
        service.method.add(name=name, input_type=f".{PACKAGE}.{name}Request", output_type=f".{PACKAGE}.{name}Response")
    made = descriptor_pool.DescriptorPool()
    made.Add(file)
    return made


@functools.cache
def messages() -> SimpleNamespace:
    """All message classes, by name."""
    classes: dict[str, Any] = {
        name: message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }
    return SimpleNamespace(**classes)


def _add_field(message: Any, number: int, text: str) -> None:
    kind, name = text.lstrip("*@").split()
    repeated = text[0] in "*@"
    if text[0] == "@":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, 1, "string key")
        _add_field(entry, 2, f"{kind} value")
        kind = f"{message.name}.{entry.name}"
    proto = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(
        name=name, number=number, label=proto.LABEL_REPEATED if repeated else proto.LABEL_OPTIONAL
    )
    if kind[0].isupper():
        field.type, field.type_name = proto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(proto, f"TYPE_{kind.upper()}")
