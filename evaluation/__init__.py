"""Measurements of whole networks on real images, with the library torch_ebpc."""
