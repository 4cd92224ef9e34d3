"""The command line ``torch-ebpc``. It knows files and terminals; :mod:`torch_ebpc` does the work.

A package beside ``torch_ebpc`` and not in it, since importing that imports PyTorch: help and wrong
arguments are answered without. What a command needs is imported when it runs.
"""
