"""The long form of the tests: jobs killed again and again, and readers given damaged files."""

import common.data.tfrecord  # noqa: F401  # before keras: it keeps TensorFlow from announcing itself
