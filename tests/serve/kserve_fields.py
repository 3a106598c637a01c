"""Print the fields of an InferenceService by KServe's own classes, as JSON: types by field by class.

A program of its own: KServe's protobuf messages and tritonclient's have the same names, so a process takes one of them.
"""

import json
import re
import sys

import kserve
from kubernetes import client

found, left = {}, ["V1beta1InferenceService"]
while left:
    name = left.pop()
    one = getattr(kserve, name, None) or getattr(client, name, None)
    if one is None or name in found or not hasattr(one, "openapi_types"):
        continue
    found[name] = {there: one.openapi_types[here] for here, there in one.attribute_map.items()}
    left += [word for kind in found[name].values() for word in re.findall(r"\bV\d\w+", kind)]
json.dump(found, sys.stdout)
