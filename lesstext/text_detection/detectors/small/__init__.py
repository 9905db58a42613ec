"""A small network whose weights travel in the package: fast on processors, and checks itself."""
