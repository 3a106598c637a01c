"""The Keras digit classifier made real; see the README.

Importing this loads the light half alone: NumPy, and onnxruntime once a `Classifier` is made. Keras and its backends
are loaded by `mnistkit.train`, `mnistkit.export` and `mnistkit.engine`.
"""

from mnistkit.data import Dataset, load_data
from mnistkit.engine import fit
from mnistkit.errors import MnistkitError
from mnistkit.images import read_picture
from mnistkit.inference import Classifier, Prediction
from mnistkit.parity import verify_file

__version__ = "0.1.0"

__all__ = ["Classifier", "Dataset", "MnistkitError", "Prediction", "fit", "load_data", "read_picture", "verify_file"]
