"""What people get of an exported file beside the file itself: a page, a hub folder, a report, a smaller file.

Everything here begins with an ``.onnx`` file and needs neither Keras nor a backend.
"""

from mnistkit.publish.hub import HubFolder, hub_folder, verify_hub_folder
from mnistkit.publish.shrink import Candidate, Shrunk
from mnistkit.publish.web import WebFolder, web_folder

__all__ = ["Candidate", "HubFolder", "Shrunk", "WebFolder", "hub_folder", "verify_hub_folder", "web_folder"]
