"""The OpenAPI document at ``/openapi.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit import __version__
from mnistkit.serve.protocol.datatypes import NUMPY

if TYPE_CHECKING:
    from mnistkit.serve.settings import Settings

_TEXT = {"type": "string"}
_SIZES = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 16}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_WHOLE_SIZES = {"type": "array", "items": {"type": "integer"}}


def document(settings: Settings) -> dict[str, Any]:
    """The whole document, for these models."""
    # What a repository holds changes while the server runs.
    names = [] if settings.model_repository is not None else [name for name, _ in settings.models]
    named = {"type": "string", "enum": names} if names else _TEXT
    numbered = {"type": "string", "enum": ["1"]} if names else {"type": "string", "pattern": "^[1-9][0-9]*$"}
    model = {"name": "model", "in": "path", "required": True, "schema": named}
    version = {"name": "version", "in": "path", "required": True, "schema": numbered}
    paths: dict[str, Any] = {
        "/v2": {"get": _get("serverMetadata", "Name, version and extensions of the server", "ServerMetadata")},
        "/v2/health/live": {"get": _get("serverLive", "Whether the process runs", "Live")},
        "/v2/health/ready": {"get": _get("serverReady", "Whether to send requests here", "Ready", {503: "Ready"})},
        "/predict": {"post": _predict(named)},
        "/v2/repository/index": {"post": _index()},
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Numbers for Prometheus",
                "responses": {"200": {"description": "Text format", "content": {"text/plain": {"schema": _TEXT}}}},
            }
        },
    }
    for prefix, parameters, mark in (
        ("/v2/models/{model}", [model], ""),
        ("/v2/models/{model}/versions/{version}", [model, version], "Version"),
    ):
        paths[prefix] = {
            "parameters": parameters,
            "get": _get(f"model{mark}Metadata", "Inputs and outputs of a model", "ModelMetadata", {404: "Error"}),
        }
        paths[f"{prefix}/ready"] = {
            "parameters": parameters,
            "get": _get(f"model{mark}Ready", "Whether the model answers", "ModelReady",
                        {404: "Error", 503: "ModelReady"}),
        }  # fmt: skip
        paths[f"{prefix}/infer"] = {"parameters": parameters, "post": _infer(f"model{mark}Infer")}
    if settings.model_repository is not None:
        for verb, text in (("load", "Load a model, or load it again"), ("unload", "Serve a model no longer")):
            paths[f"/v2/repository/models/{{model}}/{verb}"] = {"parameters": [model], "post": _control(verb, text)}
    for path in paths.values():
        for operation in path.values():
            if isinstance(operation, dict):
                operation["responses"].setdefault("400", _error("The request cannot be read"))
                operation["responses"].setdefault("403", _error("A page of another site asks"))
                operation["responses"].setdefault("405", _error("The method is not the path's"))
                if settings.token_file and "health" not in operation["operationId"].lower():
                    operation["responses"]["401"] = _error("No or another token")
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "mnistkit",
            "version": __version__,
            "description": "Open Inference Protocol v2, and pictures to digits.",
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }
    if settings.token_file:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _get(name: str, summary: str, schema: str, others: dict[int, str] | None = None) -> dict[str, Any]:
    responses = {"200": _json(schema, "The answer")}
    for status, other in (others or {}).items():
        responses[str(status)] = _json(other, "Unknown" if other == "Error" else "Not now")
    return {"operationId": name, "summary": summary, "responses": responses}


def _infer(name: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": "Run the model on tensors",
        "description": "As JSON; or with raw tensors behind a JSON header of Inference-Header-Content-Length bytes.",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "description": "Bytes of the JSON header of a binary request; 0 where the body is one raw tensor",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("InferRequest")}},
        },
        "responses": {
            "200": {
                "description": "The outputs",
                "content": {
                    "application/json": {"schema": _ref("InferResponse")},
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "404": _error("No such model or version"),
            **_overload(),
        },
    }


def _index() -> dict[str, Any]:
    asked = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    return {
        "operationId": "repositoryIndex",
        "summary": "State of every model",
        "requestBody": {"required": False, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": _json("RepositoryIndex", "One entry for each version"), **_overload()},
    }


def _control(verb: str, text: str) -> dict[str, Any]:
    asked = {"type": "object", "properties": {"parameters": {"type": "object", "maxProperties": 0}}}
    return {
        "operationId": f"repositoryModel{verb.capitalize()}",
        "summary": text,
        "requestBody": {"required": False, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {"description": "Done"},
            "400": _error("No such model, or it does not load"),
            **_overload(),
        },
    }


def _predict(named: dict[str, Any]) -> dict[str, Any]:
    picture = {"type": "string", "format": "binary"}
    return {
        "operationId": "predict",
        "summary": "Read digits from picture files",
        "parameters": [
            {"name": "model", "in": "query", "schema": named},
            {
                "name": "explain",
                "in": "query",
                "description": "1 adds the 28x28 that the model saw",
                "schema": {"type": "string", "enum": ["0", "1", "true", "false"]},
            },
            {
                "name": "number",
                "in": "query",
                "description": "1 reads all digits of each picture, in a row or rows; not together with explain",
                "schema": {"type": "string", "enum": ["0", "1", "true", "false"]},
            },
            {
                "name": "signs",
                "in": "query",
                "description": "As number, with separators and operators in the text: + - x / = ( ) , . :",
                "schema": {"type": "string", "enum": ["0", "1", "true", "false"]},
            },
            {
                "name": "min_confidence",
                "in": "query",
                "description": "An answer less likely right is unclear; of a number, all digits must be right together",
                "schema": {"type": "number", "minimum": 0, "maximum": 1},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/png": {"schema": picture},
                "image/jpeg": {"schema": picture},
                "application/octet-stream": {"schema": picture},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"pictures": {"type": "array", "minItems": 1, "items": picture}},
                        "required": ["pictures"],
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "One entry for each picture, in order",
                "content": {
                    "application/json": {"schema": {"anyOf": [_ref("Predictions"), _ref("Numbers")]}},
                },
            },
            "404": _error("No such model"),
            "415": _error("Neither a picture nor a form"),
            "422": _error("No digit is found on a picture"),
            **_overload(),
        },
    }


def _overload() -> dict[str, Any]:
    return {
        "408": _error("The request came too slowly"),
        "413": _error("The body is too large"),
        "415": _error("The body is in an encoding that is not read"),
        "429": {
            **_error("The queue is full"),
            "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
        },
        "431": _error("The headers are too large"),
        "503": _error("Too many requests are being answered"),
        "504": _error("No answer in time"),
    }


def _schemas() -> dict[str, Any]:
    datatype = {"type": "string", "enum": [*NUMPY, "BF16"]}
    about = {"type": "object", "properties": {"name": _TEXT, "datatype": _TEXT, "shape": _WHOLE_SIZES},
             "required": ["name", "datatype", "shape"]}  # fmt: skip
    number = {"type": ["number", "boolean", "null"]}
    return {
        "Error": _object({"error": _TEXT}),
        "Live": _object({"live": {"type": "boolean"}}),
        "Ready": _object({"ready": {"type": "boolean"}}),
        "ModelReady": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
        "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": {"type": "array", "items": _TEXT},
                "platform": _TEXT,
                "inputs": {"type": "array", "items": about},
                "outputs": {"type": "array", "items": about},
            }
        ),
        "RepositoryIndex": {
            "type": "array",
            "items": _object({"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}),
        },
        "InferRequest": {
            "type": "object",
            "properties": {
                "id": _TEXT,
                "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
                "inputs": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": _TEXT,
                            "datatype": datatype,
                            "shape": _SIZES,
                            "parameters": {"type": "object"},
                            "data": {"type": "array", "description": "Numbers, flat or nested as the shape says"},
                        },
                        "required": ["name", "datatype", "shape"],
                    },
                },
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": _TEXT,
                            "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
                        },
                        "required": ["name"],
                    },
                },
            },
            "required": ["inputs"],
        },
        "InferResponse": {
            "type": "object",
            "properties": {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": _TEXT,
                            "datatype": _TEXT,
                            "shape": _WHOLE_SIZES,
                            "parameters": {"type": "object"},
                            "data": {"type": "array", "items": number},
                        },
                        "required": ["name", "datatype", "shape"],
                    },
                },
            },
            "required": ["model_name", "model_version", "outputs"],
        },
        "Predictions": _object({"model_name": _TEXT, "predictions": {"type": "array", "items": _ref("Prediction")}}),
        "Numbers": _object({"model_name": _TEXT, "predictions": {"type": "array", "items": _ref("Number")}}),
        "Number": _object({"name": _TEXT, **_digits()["properties"], **_doubt()}),
        "Digits": _digits(),
        "Prediction": {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "digit": {
                    "type": ["integer", "null"],
                    "minimum": 0,
                    "maximum": 9,
                    "description": "null where it is unclear, and where the picture has several digits",
                },
                "label": {"type": ["string", "null"]},
                "confidence": _SHARE,
                "probabilities": {
                    "type": ["array", "null"],
                    "items": {"type": "number"},
                    "minItems": 10,
                    "maxItems": 10,
                },
                **_doubt(),
                "number": {
                    "anyOf": [_ref("Digits"), {"type": "null"}],
                    "description": "All digits, where the picture has several",
                },
                "seen": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            },
            "required": ["name", "digit", "label", "confidence", "probabilities", *_doubt(), "number"],
        },
    }


def _doubt() -> dict[str, Any]:
    candidate = _object({"label": _TEXT, "confidence": _SHARE})
    return {
        "unclear": {"type": "boolean", "description": "Whether the confidence is below min_confidence"},
        "candidates": {"type": "array", "items": candidate, "description": "What it may be, the likeliest first"},
    }


def _digits() -> dict[str, Any]:
    box = _object({side: {"type": "integer"} for side in ("x", "y", "width", "height")})
    sign = {"text": _TEXT, "row": {"type": "integer"}, "place": {"type": "integer"}, "box": box}
    digit = {
        "digit": {"type": "integer", "minimum": 0, "maximum": 9},
        "label": _TEXT,
        "confidence": _SHARE,
        "row": {"type": "integer"},
        "after_gap": {"type": "boolean"},
        "box": box,
    }
    return _object(
        {
            "text": {"type": "string", "description": "All rows, one a line; a space where a gap is wide"},
            "rows": {"type": "array", "items": _TEXT},
            "row_confidences": {"type": "array", "items": _SHARE},
            "confidence": {**_SHARE, "description": "Probability that all digits are right and none is missing"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
            "digits": {"type": "array", "items": _object(digit)},
            "signs": {"type": "array", "items": _object(sign), "description": "Where they were asked for"},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _json(schema: str, text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _ref(schema)}}}


def _error(text: str) -> dict[str, Any]:
    return _json("Error", text)
