"""Names that Triton, mnistkit's server and Kubernetes take."""

from __future__ import annotations

import re
from typing import Final

from mnistkit.core.errors import InputError

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035: names of Services begin with a letter
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'\\]+")
LONGEST: Final = 50
"""Letters of a name of Kubernetes: 63 less what controllers and KServe append."""


def check_model_name(name: str) -> str:
    """The name under which a model is served.

    Raises:
        InputError: A path of the protocol, or a folder, cannot have it.
    """
    if not _MODEL.fullmatch(name):
        raise InputError(
            f"a model cannot be served as {name!r}: expected letters of a to z, digits, dots, dashes and underscores, "
            "at most 128; give another name with --name"
        )
    return name


def object_name(name: str) -> str:
    """The name of Kubernetes' objects for a model: in small letters, with dashes for dots and underscores.

    Raises:
        InputError: That is no DNS label, or a very long one.
    """
    made = re.sub(r"[._-]+", "-", check_model_name(name).lower()).strip("-")
    if not _LABEL.fullmatch(made) or len(made) > LONGEST:
        raise InputError(
            f"Kubernetes takes no object named {made!r}: expected a letter, then letters, digits and dashes, at most "
            f"{LONGEST} in all; give another name with --name"
        )
    return made


def check_image(image: str) -> str:
    """A reference to a container's image.

    Raises:
        InputError: It is none.
    """
    if not _IMAGE.fullmatch(image):
        raise InputError(f"--image: expected a reference such as registry.example.com/mnistkit:1, got {image!r}")
    return image


def check_claim(claim: str) -> str:
    """The name of a PersistentVolumeClaim.

    Raises:
        InputError: It is none.
    """
    if not _CLAIM.fullmatch(claim):
        raise InputError(f"--claim: expected the name of a PersistentVolumeClaim, got {claim!r}")
    return claim


def check_storage_uri(uri: str) -> str:
    """A place that KServe can load from.

    Raises:
        InputError: It is none.
    """
    if not _URI.fullmatch(uri):
        raise InputError(f"--storage-uri: expected one such as s3://BUCKET/FOLDER or pvc://CLAIM/FOLDER, got {uri!r}")
    return uri
