"""What Keras reads data sets, loaders and generators with, and the way past it."""
