"""What people get of an exported file beside the file itself: a page, a folder for a model hub, a report.

Everything here begins with an ``.onnx`` file and needs neither Keras nor a backend.
"""

from mnistkit.publish.hub import HubFolder, hub_folder, verify_hub_folder
from mnistkit.publish.web import WebFolder, web_folder

__all__ = ["HubFolder", "WebFolder", "hub_folder", "verify_hub_folder", "web_folder"]
