"""Read many pictures, or a large array of images, into one table; on one machine or on a Ray cluster."""

from mnistkit.digits.bulk.job import BulkReport, Progress, read_in_bulk
from mnistkit.digits.bulk.on_ray import RayCluster

__all__ = ["BulkReport", "Progress", "RayCluster", "read_in_bulk"]
