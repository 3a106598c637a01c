"""The Open Inference Protocol's tests of tests/serve, against replicas behind Ray's proxy."""

from test_protocol import *  # noqa: F403 - the same tests with the server of this folder
