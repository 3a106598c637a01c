"""The Keras digit classifier made real; see the README.

Importing this loads the light half alone: NumPy, and onnxruntime once a `Classifier` is made. Keras and its backends
are loaded by `mnistkit.train`, `mnistkit.export` and `mnistkit.training`.
"""

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import MnistkitError
from mnistkit.digits.classifier import Classifier, Prediction
from mnistkit.digits.data import Dataset, load_data
from mnistkit.digits.pictures import read_picture
from mnistkit.training import fit

__version__ = "0.1.0"

__all__ = ["Classifier", "Dataset", "MnistkitError", "Prediction", "fit", "load_data", "read_picture", "verify_file"]
