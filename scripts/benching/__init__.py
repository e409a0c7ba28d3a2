"""The benchmark: fusecopy and its peers over the same images, in turn; see docs/benchmark.md."""
