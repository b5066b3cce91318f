"""The long form of the tests: jobs killed again and again, and readers given damaged files."""
